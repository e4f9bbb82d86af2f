"""Masks of pixels become masks of patches and back, whatever the rank."""

import numpy as np
import pytest

from mae_keras.models.checks import cover_pixels, read_missing, touched_patches

SHAPE = (2, 4, 6, 3)
HOLE = np.random.default_rng(0).random((4, 6)) < 0.4
HOLES = np.random.default_rng(1).random((2, 4, 6)) < 0.4
COLORS = np.random.default_rng(2).random(SHAPE) < 0.4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (HOLE, np.stack([np.stack([HOLE] * 3, -1)] * 2)),
        (HOLE[..., None], np.stack([np.stack([HOLE] * 3, -1)] * 2)),
        (COLORS[0], np.stack([COLORS[0]] * 2)),
        (HOLES, np.stack([HOLES] * 3, -1)),
        (HOLES[..., None], np.stack([HOLES] * 3, -1)),
        (COLORS, COLORS),
        (HOLE.tolist(), np.stack([np.stack([HOLE] * 3, -1)] * 2)),
    ],
    ids=["one", "one, 1 channel", "one, channels", "each", "each, 1 channel", "values", "list"],
)
def test_missing_pixels_are_spread_over_images_and_channels(given, expected):
    np.testing.assert_array_equal(read_missing(given, SHAPE), expected)


def test_a_shape_that_could_be_either_is_read_as_a_batch():
    missing = np.array([[True, False], [False, False]])
    read = read_missing(missing, (2, 2, 1))  # two signals of length 2, or one of two channels
    np.testing.assert_array_equal(read[..., 0], missing)


@pytest.mark.parametrize("shape", [(4, 5), (6, 4), (3, 4, 6), (4, 6, 2), (2, 4, 6, 2), (), (24,)])
def test_other_shapes_are_refused_with_those_that_fit(shape):
    match = r"`missing` must have shape \(4, 6\) for all images or \(2, 4, 6\)"
    with pytest.raises(ValueError, match=match):
        read_missing(np.zeros(shape, bool), SHAPE)


@pytest.mark.parametrize("dtype", ["uint8", "float32", int])
def test_what_is_not_boolean_is_refused(dtype):
    with pytest.raises(TypeError, match="`missing` must be boolean, True = missing"):
        read_missing(HOLE.astype(dtype), SHAPE)


@pytest.mark.parametrize(
    ("grid", "image_shape"),
    [((3,), (6, 2)), ((2, 3), (4, 6, 3)), ((2, 1, 3), (4, 2, 6, 1)), ((4, 6, 3), (4, 6, 3))],
    ids=["signal", "image", "volume", "single values"],
)
def test_a_patch_is_touched_by_any_of_its_pixels(grid, image_shape):
    rng = np.random.default_rng(0)
    sizes = [length // count for length, count in zip(image_shape, grid, strict=False)]
    for _ in range(5):
        pixels = rng.random((2, *image_shape)) < 0.1
        touched = touched_patches(pixels, grid).reshape(2, *grid)
        for place in np.ndindex(*grid):
            box = tuple(slice(p * s, (p + 1) * s) for p, s in zip(place, sizes, strict=True))
            for image in range(2):
                assert touched[image][place] == pixels[image][box].any()


@pytest.mark.parametrize(
    ("grid", "image_shape"),
    [((3,), (6, 2)), ((2, 3), (4, 6, 3)), ((2, 1, 3), (4, 2, 6, 1)), ((4, 6, 3), (4, 6, 3))],
    ids=["signal", "image", "volume", "single values"],
)
def test_patches_cover_exactly_their_pixels(grid, image_shape):
    masks = np.random.default_rng(0).random((5, int(np.prod(grid)))) < 0.5
    covered = cover_pixels(masks, grid, image_shape)
    assert covered.shape == (5, *image_shape)
    np.testing.assert_array_equal(touched_patches(covered, grid), masks)
    np.testing.assert_array_equal(touched_patches(~covered, grid), ~masks)
