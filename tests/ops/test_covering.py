"""Masks that together hide everything, drawn for each image alone."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mae_keras.ops import covering_masks


def drawn(*arguments):
    return keras.ops.convert_to_numpy(covering_masks(*arguments))


@pytest.mark.slow
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


@settings(max_examples=8)
@given(
    st.integers(2, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))),
    st.integers(0, 7),
    st.integers(0, 2**31 - 1),
)
def test_present_patches_are_hidden_as_often_as_the_masks_allow(sizes, extra, seed):
    """From none to all missing: every present patch is hidden, and never all of them."""
    num_patches, count = sizes
    together = max(2, -(-num_patches // count))
    missing = np.random.default_rng(seed).random((9, num_patches)) < np.linspace(0, 1, 9)[:, None]
    masks = drawn(num_patches, count, together + extra, seed, np.arange(9), missing)
    assert masks[:, missing].all()
    for image, absent in enumerate(missing):
        present = int((~absent).sum())
        hidden = masks[:, image][:, ~absent]
        if present < 2:
            assert not hidden.any()
            continue
        assert set(hidden.sum(axis=1)) == {min(-(-present * count // num_patches), present - 1)}
        assert (hidden.sum(axis=0) >= 1).all()


def test_with_nothing_missing_the_masks_are_those_of_before():
    nothing = np.zeros((5, 17), bool)
    expected = drawn(17, 5, 9, 3, np.arange(5))
    np.testing.assert_array_equal(drawn(17, 5, 9, 3, np.arange(5), nothing), expected)


@pytest.mark.every_backend
def test_missing_patches_of_one_image_change_no_other():
    missing = np.zeros((4, 16), bool)
    missing[2, :9] = True
    masks, whole = drawn(16, 12, 4, 7, np.arange(4), missing), drawn(16, 12, 4, 7, np.arange(4))
    np.testing.assert_array_equal(masks[:, [0, 1, 3]], whole[:, [0, 1, 3]])
