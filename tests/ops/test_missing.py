"""Missing data: which patches, and that nothing of NaN remains."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mae_keras.ops import can_be_missing, is_usable, split_missing


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", True),
        ("float16", True),
        ("bfloat16", True),
        ("float64", True),
        ("uint8", False),
        ("int32", False),
        ("bool", False),
        (np.dtype("float32"), True),
        (np.dtype("uint8"), False),
    ],
    ids=str,
)
def test_only_floats_can_be_missing(dtype, expected):
    assert can_be_missing(dtype) is expected


def test_a_patch_with_one_missing_value_is_missing():
    patches = np.array([[[1, np.nan], [2, 3]], [[np.nan, np.nan], [4, 5]]], "float32")
    clean, missing_mask = split_missing(patches)
    np.testing.assert_array_equal(array(clean), [[[1, 0], [2, 3]], [[0, 0], [4, 5]]])
    np.testing.assert_array_equal(array(missing_mask), [[True, False], [True, False]])


@given(hnp.arrays("float32", (2, 3, 4), elements=st.floats(-10, 10, width=32) | st.just(np.nan)))
def test_what_is_there_stays_and_what_is_not_becomes_zero(patches):
    clean, missing_mask = map(array, split_missing(patches))
    there = ~np.isnan(patches)
    np.testing.assert_array_equal(clean[there], patches[there])
    np.testing.assert_array_equal(clean[~there], 0.0)
    np.testing.assert_array_equal(
        missing_mask, [[not row.all() for row in image] for image in there]
    )


def test_infinite_values_are_not_missing():
    patches = np.array([[[np.inf, -np.inf]]], "float32")
    clean, missing_mask = split_missing(patches)
    np.testing.assert_array_equal(array(clean), patches)
    assert not array(missing_mask).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_patches_keep_their_dtype(dtype):
    clean, missing_mask = split_missing(keras.ops.ones((1, 2, 3), dtype))
    assert keras.backend.standardize_dtype(clean.dtype) == dtype
    assert keras.backend.standardize_dtype(missing_mask.dtype) == "bool"


def test_two_present_patches_are_enough_to_learn_from():
    missing = np.array([[True] * 4, [True, True, False, True], [False, True, True, False]])
    usable = keras.ops.convert_to_numpy(is_usable(missing))
    assert usable.tolist() == [False, False, True]
