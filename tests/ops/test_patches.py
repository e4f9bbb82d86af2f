"""Patches: order of pixels, inverse, statistics, errors; for one, two and three axes."""

import math
import re

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mae_keras.ops import (
    as_image_shape,
    as_patch_size,
    patch_grid,
    patch_statistics,
    patchify,
    standardize_patches,
    unpatchify,
    unstandardize_patches,
)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@st.composite
def images_in_patches(draw):
    """Numbered pixels `(batch, *spatial, channels)` of any rank, and a size per axis."""
    rank = draw(st.integers(1, 3))
    grid = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    sizes = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    batch, channels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    shape = (batch, *(g * s for g, s in zip(grid, sizes, strict=True)), channels)
    return np.arange(math.prod(shape), dtype="int32").reshape(shape), tuple(sizes), tuple(grid)


@given(images_in_patches())
def test_unpatchify_undoes_patchify(case):
    images, sizes, _ = case
    patches = patchify(images, sizes)
    np.testing.assert_array_equal(array(unpatchify(patches, sizes, images.shape[1:])), images)


@given(images_in_patches())
def test_patchify_undoes_unpatchify(case):
    images, sizes, grid = case
    rows = images.reshape(len(images), math.prod(grid), -1)
    again = patchify(unpatchify(rows, sizes, images.shape[1:]), sizes)
    np.testing.assert_array_equal(array(again), rows)


@given(images_in_patches())
def test_a_patch_is_a_box_of_pixels_in_raster_order(case):
    images, sizes, grid = case
    patches = array(patchify(images, sizes))
    assert patches.shape[1] == math.prod(grid)
    for number, place in enumerate(np.ndindex(grid)):
        box = tuple(slice(i * s, (i + 1) * s) for i, s in zip(place, sizes, strict=True))
        expected = images[(slice(None), *box)].reshape(len(images), -1)
        np.testing.assert_array_equal(patches[:, number], expected)


def test_pixels_are_in_the_order_of_the_reference():
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    # facebookresearch/mae `patchify`, which takes channels first
    x = images.transpose(0, 3, 1, 2).reshape(2, 3, 4, 2, 4, 2)
    expected = np.einsum("nchpwq->nhwpqc", x).reshape(2, 16, 12)
    np.testing.assert_array_equal(array(patchify(images, 2)), expected)


def test_a_small_image_by_hand():
    image = np.array([[1, 2, 3, 4], [5, 6, 7, 8]]).reshape(1, 2, 4, 1)
    np.testing.assert_array_equal(array(patchify(image, 2)), [[[1, 2, 5, 6], [3, 4, 7, 8]]])
    np.testing.assert_array_equal(array(patchify(image, (1, 4))), [[[1, 2, 3, 4], [5, 6, 7, 8]]])


def test_a_small_signal_by_hand():
    signal = np.array([[[1, -1], [2, -2], [3, -3], [4, -4]]])
    np.testing.assert_array_equal(array(patchify(signal, 2)), [[[1, -1, 2, -2], [3, -3, 4, -4]]])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32"])
def test_pixels_keep_their_dtype(dtype):
    patches = patchify(np.zeros((1, 4, 4, 1), dtype), 2)
    assert keras.backend.standardize_dtype(patches.dtype) == dtype
    images = unpatchify(patches, 2, (4, 4, 1))
    assert keras.backend.standardize_dtype(images.dtype) == dtype


def test_statistics_by_hand():
    # 1, 3: variance 2 with n - 1. One value: variance 0, of which the root of 1e-6 remains.
    mean, std = patch_statistics(np.array([[1.0, 3.0], [5.0, 5.0]], "float32"))
    np.testing.assert_allclose(array(mean), [[2.0], [5.0]])
    np.testing.assert_allclose(array(std), [[np.sqrt(2.0)], [1e-3]], rtol=1e-5)
    mean, std = patch_statistics(np.array([[7.0]], "float32"))
    np.testing.assert_allclose([array(mean), array(std)], [[[7.0]], [[1e-3]]], rtol=1e-5)


def test_statistics_are_those_of_numpy():
    patches = np.random.default_rng(0).normal(3, 2, (4, 9, 12)).astype("float32")
    mean, std = patch_statistics(patches)
    np.testing.assert_allclose(array(mean)[..., 0], patches.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(array(std)[..., 0], patches.std(-1, ddof=1), rtol=1e-4)


def test_statistics_of_half_precision_are_float32():
    # squares of 600 do not fit into float16
    patches = np.array([[0.0, 600.0]], "float16")
    mean, std = patch_statistics(patches)
    assert {keras.backend.standardize_dtype(x.dtype) for x in (mean, std)} == {"float32"}
    np.testing.assert_allclose(array(std), [[600 / np.sqrt(2)]], rtol=1e-5)
    standardized = standardize_patches(patches)
    assert keras.backend.standardize_dtype(standardized.dtype) == "float32"


@given(hnp.arrays("float32", (2, 3, 6), elements=st.floats(-100, 100, width=16)))
def test_standardized_patches_have_zero_mean_and_unit_variance(patches):
    standardized = array(standardize_patches(patches)).astype("float64")
    # Rounding of a mean near 100 is 1e-5, and may be divided by a std of 1e-3.
    spread = patches.std(axis=-1, ddof=1) > 0.1
    np.testing.assert_allclose(standardized.mean(-1)[spread], 0.0, atol=1e-3)
    np.testing.assert_allclose(standardized.std(-1, ddof=1)[spread], 1.0, atol=1e-3)
    assert np.all(np.isfinite(standardized))


@given(hnp.arrays("float32", (2, 3, 6), elements=st.floats(-100, 100, width=16)))
def test_unstandardize_undoes_standardize(patches):
    mean, std = patch_statistics(patches)
    again = unstandardize_patches(standardize_patches(patches), mean, std)
    np.testing.assert_allclose(array(again), patches, atol=1e-4)  # float32 at 100: 8e-6 a step


def test_flat_patches_become_zero():
    flat = np.full((2, 3, 5), 0.25, "float32")
    np.testing.assert_array_equal(array(standardize_patches(flat)), 0.0)


def test_given_statistics_are_used():
    patches = np.array([[1.0, 2.0]], "float32")
    standardized = standardize_patches(patches, np.array([[-1.0]]), np.array([[2.0]]))
    np.testing.assert_allclose(array(standardized), [[1.0, 1.5]])


@pytest.mark.parametrize(
    ("patch_size", "rank", "expected"),
    [(4, 1, (4,)), (4, 3, (4, 4, 4)), ([2, 3], 2, (2, 3)), (np.int64(2), 2, (2, 2))],
)
def test_as_patch_size(patch_size, rank, expected):
    sizes = as_patch_size(patch_size, rank)
    assert sizes == expected
    assert {type(size) for size in sizes} == {int}


@pytest.mark.parametrize("patch_size", [0, -2, 1.5, True, (2, 0), "ab", None])
def test_what_is_no_patch_size_is_refused(patch_size):
    with pytest.raises(ValueError, match="`patch_size` must be positive ints.*patch_size="):
        as_patch_size(patch_size, 2)


def test_another_number_of_patch_sizes_than_axes_is_refused():
    with pytest.raises(ValueError, match=r"each of the 3 spatial axes.*patch_size=\(2, 2\)"):
        as_patch_size((2, 2), 3)


def test_as_image_shape():
    assert as_image_shape([28, np.int32(14), 1]) == (28, 14, 1)


@pytest.mark.parametrize(
    "shape", [(28,), 28, (2, 2, 2, 2, 2), (0, 4, 1), (4, None, 1), (4.0, 4, 1), (True, 4, 1)]
)
def test_what_is_no_image_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"`size` must be \(\*spatial, channels\).*size="):
        as_image_shape(shape, "size")


@pytest.mark.parametrize(
    ("shape", "patch_size", "grid"),
    [((28, 28, 1), 4, (7, 7)), ((12, 2), 3, (4,)), ((4, 6, 8, 1), (1, 2, 4), (4, 3, 2))],
)
def test_patch_grid(shape, patch_size, grid):
    assert patch_grid(shape, patch_size) == grid


def test_a_patch_size_that_does_not_divide_is_refused_with_those_that_do():
    message = r"axis 1 has 6 pixels.*patches of 4.*Divisors of 6: \[1, 2, 3, 6\].*patch_size=4"
    with pytest.raises(ValueError, match=message):
        patch_grid((8, 6, 1), 4)


@pytest.mark.parametrize("shape", [(2, 8), (1, 2, 2, 2, 2, 1)], ids=["too few", "too many"])
def test_images_of_an_impossible_rank_are_refused(shape):
    with pytest.raises(ValueError, match="with one to three spatial axes.*Received: images.shape"):
        patchify(np.zeros(shape), 2)


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 3, 4), (4, 4)])
def test_patches_that_do_not_make_the_image_are_refused(shape):
    message = r"`patches` must have shape \(batch, 4, 4\).*Received: patches.shape="
    with pytest.raises(ValueError, match=message):
        unpatchify(np.zeros(shape), 2, (4, 4, 1))


@pytest.mark.parametrize(
    ("shape", "patch"), [((8, 8), 2), ((28, 28), 4), ((32, 24), 8), ((5, 8), 1), ((224, 224), 16)]
)
def test_images_without_a_channel_axis_are_not_taken_for_signals(shape, patch):
    wanted = re.escape(f"pass {(*shape, 1)}, and images of that shape")
    with pytest.raises(ValueError, match=wanted):
        patch_grid(shape, patch)
    with pytest.raises(ValueError, match=wanted):
        patchify(np.zeros((2, *shape)), patch)
    assert patch_grid(shape, (patch,)) == (shape[0] // patch,)
    assert patchify(np.zeros((2, *shape)), (patch,)).shape[1] == shape[0] // patch


@pytest.mark.parametrize(
    ("shape", "patch"), [((1024, 12), 4), ((150, 1), 10), ((8, 4), 2), ((128, 64), 4), ((9, 8), 3)]
)
def test_signals_need_no_more_than_their_shape(shape, patch):
    assert patch_grid(shape, patch) == (shape[0] // patch,)
