"""Rows of spectrograms: original, visible, predicted, composite."""

import numpy as np
import pytest

from mae_keras.figures import spectrogram_figure

FRAMES, BANDS = 8, 4
AXES = {"seconds_per_frame": 0.01, "frequencies": [100, 500, 1000, 2000]}


def case():
    """Two recordings; the second ends after five frames, within a patch of two."""
    spectrograms = np.random.default_rng(0).uniform(-60, 20, (2, FRAMES, BANDS, 1))
    spectrograms[1, 5:] = np.nan
    mask = np.zeros((2, 4, 2), bool)
    mask[:, ::2] = True
    return spectrograms, mask.reshape(2, -1), np.zeros(spectrograms.shape)


def opaque(figure, row, column):
    """Which places `(frames, bands)` of a panel are drawn."""
    picture = np.asarray(figure.axes[4 * row + column].get_images()[0].get_array())
    return picture[..., 3].T > 0


def test_time_goes_right_and_frequency_up(texts):
    spectrograms, mask, prediction = case()
    spectrograms[0, 6, 3] = 99  # late and high
    figure = spectrogram_figure(spectrograms, mask, prediction, patch_size=2, **AXES)
    picture = figure.axes[0].get_images()[0]
    colors = np.asarray(picture.get_array())[..., :3].sum(axis=-1)
    assert np.unravel_index(colors.argmax(), colors.shape) == (3, 6)  # magma ends in near-white
    assert picture.origin == "lower"
    left, bottom = figure.axes[0], figure.axes[4]
    assert [label.get_text() for label in left.get_yticklabels()] == [
        *("100", "500", "1,000", "2,000")
    ]
    np.testing.assert_allclose(left.get_yticks(), [0, 1, 2, 3])
    seconds = [float(label.get_text()) for label in bottom.get_xticklabels()]
    np.testing.assert_allclose(bottom.get_xticks(), np.array(seconds) / 0.01 - 0.5)
    assert "seconds" in texts(figure) and "Hz" in texts(figure)


def test_hidden_patches_show_stripes_and_missing_ones_nothing(texts):
    spectrograms, mask, prediction = case()
    figure = spectrogram_figure(spectrograms, mask, prediction, patch_size=2, **AXES)
    hidden = mask[0].reshape(4, 2).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(opaque(figure, 0, 1), ~hidden)
    np.testing.assert_array_equal(opaque(figure, 0, 2), hidden)
    assert figure.axes[5].patch.get_hatch()
    np.testing.assert_array_equal(opaque(figure, 1, 0)[:, 0], np.arange(FRAMES) < 5)
    visible = np.asarray(figure.axes[5].get_images()[0].get_array())
    # Frame 4 is there, but a patch with a missing frame is missing.
    np.testing.assert_array_equal(visible[:, 4:], 1.0)
    assert "Hidden patches (50% of those that are not missing)" in texts(figure)


def test_the_layout_holds(check_layout):
    figure = spectrogram_figure(*case(), patch_size=2, title="Sound", note="A note.", **AXES)
    check_layout(figure)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frequencies": [1, 2, 3]}, "`frequencies` must be 4 ascending numbers"),
        ({"frequencies": [4, 3, 2, 1]}, "`frequencies` must be 4 ascending numbers"),
        ({"seconds_per_frame": 0}, "`seconds_per_frame`"),
        ({"patch_size": 3}, "`patch_size` must divide"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        spectrogram_figure(*case(), **{"patch_size": 2, **AXES, **changes})
    with pytest.raises(ValueError, match="`spectrograms` must have shape"):
        spectrogram_figure(np.zeros((1, 8, 4, 3)), np.zeros((1, 8)), 0, patch_size=2, **AXES)
