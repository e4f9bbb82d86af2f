"""Masks that together hide everything, drawn for each image alone."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mae_keras.ops import covering_masks


def drawn(*arguments):
    return keras.ops.convert_to_numpy(covering_masks(*arguments))


@settings(max_examples=15)
@given(
    st.integers(2, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))),
    st.integers(0, 20),
)
def test_every_patch_is_hidden_as_often_as_the_masks_allow(sizes, extra):
    num_patches, count = sizes
    together = -(-num_patches // count)
    masks = drawn(num_patches, count, max(2, together) + extra, 0, np.arange(3))
    assert (masks.sum(axis=2) == count).all()
    assert (masks.sum(axis=0) >= len(masks) // together).all()


def test_halves_are_complementary_and_every_pair_is_another():
    masks = drawn(16, 8, 8, 0, np.arange(5))
    np.testing.assert_array_equal(masks[1::2], ~masks[::2])
    assert len(np.unique(masks[:, 0], axis=0)) == 8


@pytest.mark.every_backend
def test_a_mask_depends_on_the_seed_and_the_number_of_the_image_alone():
    whole = drawn(16, 12, 4, 7, np.arange(10))
    np.testing.assert_array_equal(drawn(16, 12, 4, 7, np.arange(4, 7)), whole[:, 4:7])
    assert not np.array_equal(drawn(16, 12, 4, 8, np.arange(10)), whole)
    assert len(np.unique(whole[0], axis=0)) > 5


@pytest.mark.parametrize("wrong", [0, 1, 3, 4.0, True, None])
def test_too_few_masks_are_refused_with_the_number_it_takes(wrong):
    with pytest.raises(ValueError, match="`num_masks` must be an int, at least 4: .* 16 patches"):
        covering_masks(16, 4, wrong, 0, np.arange(2))


def test_one_mask_is_too_few_whatever_it_hides():
    with pytest.raises(ValueError, match="`num_masks` must be an int, at least 2"):
        covering_masks(16, 15, 1, 0, np.arange(2))
