"""Masks spread over pixels, and pixels of any channel count as colors."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mae_keras.figures.sheet import MISSING, channel_note, hidden_values, middle_slice, to_pictures


def test_a_patch_covers_its_pixels_in_raster_order():
    hidden = hidden_values([[False, True, False, False, False, False]], (1, 4, 6, 2), 2)
    expected = np.zeros((4, 6), bool)
    expected[0:2, 2:4] = True
    assert (hidden[0, ..., 0] == expected).all()
    assert (hidden[0, ..., 1] == expected).all()


def test_patches_may_be_oblong_and_of_any_rank():
    hidden = hidden_values(np.eye(1, 8, 5, dtype=bool), (1, 2, 4, 6, 1), (1, 2, 3))
    assert np.argwhere(hidden[0, ..., 0]).min(axis=0).tolist() == [1, 0, 3]
    assert np.argwhere(hidden[0, ..., 0]).max(axis=0).tolist() == [1, 1, 5]


def test_single_values_can_be_hidden_channel_by_channel():
    mask = np.zeros((1, 12), bool)
    mask[0, 4] = True  # the second pixel's second channel
    for patch_size in (1, (1, 1), (1, 1, 1)):
        hidden = hidden_values(mask, (1, 2, 2, 3), patch_size)
        assert np.argwhere(hidden).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("mask", "patch_size", "message"),
    [
        (np.ones((2, 15), bool), 2, r"`patch_mask` must have shape \(2, 16\).*\(2, 15\)"),
        (np.ones((1, 16), bool), 2, r"`patch_mask` must have shape \(2, 16\).*\(1, 16\)"),
        (np.full((2, 16), 0.5), 2, "`patch_mask` must be boolean"),
        (np.ones((2, 16), bool), 3, "`patch_size` must divide the images.*=3"),
        (np.ones((2, 16), bool), (2, 2, 2), "`patch_size` must be a positive int, or one for each"),
        (np.ones((2, 16), bool), 0, "`patch_size` must be an int of at least 1"),
    ],
)
def test_masks_that_do_not_fit_are_named(mask, patch_size, message):
    with pytest.raises(ValueError, match=message):
        hidden_values(mask, (2, 8, 8, 1), patch_size)


def test_gray_and_color_are_scaled_and_clipped():
    gray = to_pictures(np.array([-1.0, 0.0, 1.0, 9.0]).reshape(1, 1, 4, 1), (-1, 1))
    assert gray[0, 0, :, 0].tolist() == [0.0, 0.5, 1.0, 1.0]
    assert (gray[..., 0] == gray[..., 2]).all()
    color = to_pictures(np.array([0.0, 51.0, 255.0]).reshape(1, 1, 1, 3), (0, 255))
    assert color[0, 0, 0].tolist() == pytest.approx([0.0, 0.2, 1.0])


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        ([0.0, 1.0], [0.5, 0.5, 0.5]),
        ([0.1, 0.2, 0.3, 0.9], [0.1, 0.2, 0.3]),
        ([0.5, 0.4, 0.3, 0.2, 0.1], [0.5, 0.4, 0.3]),
    ],
    ids=["2 channels", "4 channels", "5 channels"],
)
def test_other_channel_counts_are_shown_as_the_note_says(pixel, expected):
    values = np.array(pixel).reshape(1, 1, 1, -1)
    assert to_pictures(values, (0, 1))[0, 0, 0].tolist() == pytest.approx(expected)
    assert str(len(pixel)) in channel_note(len(pixel))


def test_gray_and_color_need_no_note():
    assert channel_note(1) is None
    assert channel_note(3) is None


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_missing_pixels_have_a_color_of_their_own(channels):
    values = np.zeros((1, 1, 2, channels))
    values[0, 0, 1, 0] = np.nan
    pictures = to_pictures(values, (0, 255))
    assert pictures[0, 0, 0].tolist() == [0, 0, 0]
    assert pictures[0, 0, 1].tolist() == pytest.approx(to_rgb(MISSING))


def test_a_constant_image_is_drawn():
    assert np.isfinite(to_pictures(np.full((1, 2, 2, 1), 7.0), (7.0, 7.0))).all()


def test_volumes_give_their_middle_slice():
    volume = np.arange(5).reshape(1, 5, 1, 1, 1) * np.ones((1, 5, 2, 2, 1))
    assert (middle_slice(volume) == 2).all()
