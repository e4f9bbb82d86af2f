"""Volumes in three planes."""

import numpy as np
import pytest

from mae_keras.figures import volume_figure

SHAPE = (1, 4, 6, 8, 1)


@pytest.fixture
def volume():
    return np.random.default_rng(0).uniform(size=SHAPE)


@pytest.fixture
def mask():
    return np.arange(24)[None] % 3 > 0


def grays(axes):
    return axes.images[0].get_array()[..., 0]


def test_planes_are_the_middle_slices(volume, mask, texts, check_layout):
    figure = volume_figure(volume, mask, volume / 2, patch_size=2, value_range=(0, 1))
    original, composite = figure.axes[:3], figure.axes[9:]
    z, y, x = 2, 3, 4
    planes = volume[0, z, ..., 0], volume[0, :, :, x, 0].T, volume[0, :, y, :, 0]
    for axes, plane in zip(original, planes, strict=True):
        np.testing.assert_allclose(grays(axes), plane, atol=1e-6)
    hidden = mask.reshape(2, 3, 4).repeat(2, 0).repeat(2, 1).repeat(2, 2)[z]
    expected = np.where(hidden, planes[0] / 2, planes[0])
    np.testing.assert_allclose(grays(composite[0]), expected, atol=1e-6)
    assert "voxels" in texts(figure) and "mm" not in texts(figure)
    assert original[0].get_ylim() == (5.5, -0.5)
    check_layout(figure)


def test_a_patient_stands_upright_in_millimeters(volume, mask, texts, check_layout):
    volume[0, :2] = np.nan
    figure = volume_figure(
        volume, mask, volume, patch_size=2, spacing=(5, 10, 10), oriented=True, title="Chest"
    )
    heights = [axes.get_ylim() for axes in figure.axes[:3]]
    assert heights == [(-0.5, 5.5), (-0.5, 5.5), (-0.5, 3.5)]
    shown = texts(figure)
    assert "of 5 x 10 x 10 mm" in shown and "front of the patient" in shown and "Missing" in shown
    check_layout(figure)
    ticks = [tick.label1.get_text() for tick in figure.axes[0].yaxis.get_major_ticks()]
    assert ticks == ["0", "20", "40"]
    box = figure.axes[0].get_position(), figure.axes[2].get_position()
    across, up = figure.get_size_inches()
    ratio = (box[1].height * up) / (box[0].height * up)
    assert ratio == pytest.approx(20 / 60, rel=1e-3) and across > up * 0.5


def test_what_does_not_fit_is_named(volume, mask):
    with pytest.raises(ValueError, match="`volumes` must have shape"):
        volume_figure(volume[0], mask, volume, patch_size=2)
    with pytest.raises(ValueError, match="`spacing` must be three positive numbers"):
        volume_figure(volume, mask, volume, patch_size=2, spacing=(1, 0, 1))
