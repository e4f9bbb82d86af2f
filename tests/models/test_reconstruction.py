"""Reading masks, and the weights with which patches lend each other their statistics."""

import numpy as np
import pytest

from mae_keras.models.restoration import read_patch_mask
from mae_keras.models.targets import neighbor_weights

FLAT = np.array([1, 0, 0, 1, 1, 0])


@pytest.mark.parametrize("dtype", [bool, int, "float32", "uint8"])
@pytest.mark.parametrize("shape", [(6,), (2, 3)], ids=["flat", "grid"])
def test_one_mask_serves_all_images(shape, dtype):
    read = read_patch_mask(FLAT.reshape(shape).astype(dtype), (2, 3), 4)
    assert read.dtype == bool
    np.testing.assert_array_equal(read, np.tile(FLAT.astype(bool), (4, 1)))


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 3)], ids=["flat", "grid"])
def test_every_image_may_have_its_own_mask(shape):
    masks = np.random.default_rng(0).random((4, 6)) < 0.5
    np.testing.assert_array_equal(read_patch_mask(masks.reshape(shape), (2, 3), 4), masks)


def test_nested_lists_are_read():
    assert read_patch_mask([[True, False, True]], (1, 3), 1).tolist() == [[True, False, True]]


@pytest.mark.parametrize("shape", [(5,), (3, 2), (3, 6), (4, 3, 2), (1, 1, 6), (), (24,)])
def test_other_shapes_are_refused_with_those_that_fit(shape):
    with pytest.raises(ValueError, match=r"shape \(6,\), \(2, 3\), \(4, 6\) or \(4, 2, 3\)"):
        read_patch_mask(np.zeros(shape, bool), (2, 3), 4)


@pytest.mark.parametrize("value", [2, 0.5, np.nan, -1])
def test_values_other_than_0_and_1_are_refused(value):
    with pytest.raises(ValueError, match="`patch_mask` must be boolean, True = hidden"):
        read_patch_mask(np.full(6, value), (2, 3), 4)


def test_a_mask_read_can_be_written_to():
    read = read_patch_mask(FLAT, (2, 3), 2)
    read[0] = False
    assert read[1].any()


@pytest.mark.parametrize("grid", [(5,), (2, 3), (2, 2, 2)])
def test_neighbors_weigh_by_inverse_squared_distance_and_not_themselves(grid):
    weights = neighbor_weights(grid)
    places = list(np.ndindex(*grid))
    for i, first in enumerate(places):
        for j, second in enumerate(places):
            squared = sum((a - b) ** 2 for a, b in zip(first, second, strict=True))
            assert weights[i, j] == pytest.approx(1 / squared if squared else 0.0)
