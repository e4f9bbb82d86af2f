"""Patch extraction: shapes, dtypes, errors. The order of pixels is tested with the op."""

import keras
import numpy as np
import pytest
from layer_checks import check_layer

from mae_keras.layers import PatchExtraction


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patch_size", "shape"),
    [(3, (12, 2)), (2, (4, 6, 3)), ((2, 3), (4, 6, 1)), ((2, 1, 4), (4, 3, 8, 2))],
    ids=["rank 1", "rank 2", "rank 2, oblong", "rank 3"],
)
def test_contract(patch_size, shape):
    images = np.random.default_rng(0).random((3, *shape)).astype("float32")
    # Pixels keep the dtype they come in, under every policy.
    init_kwargs = {"patch_size": patch_size}
    check_layer(PatchExtraction, init_kwargs, images, num_weights=0, mixed_dtype="float32")


def test_a_patch_is_a_box_of_the_image():
    images = np.arange(2 * 4 * 6 * 2).reshape(2, 4, 6, 2)
    patches = keras.ops.convert_to_numpy(PatchExtraction((2, 3))(images))
    np.testing.assert_array_equal(patches[:, 0], images[:, :2, :3].reshape(2, -1))
    np.testing.assert_array_equal(patches[:, 1], images[:, :2, 3:].reshape(2, -1))
    np.testing.assert_array_equal(patches[:, 2], images[:, 2:, :3].reshape(2, -1))
    np.testing.assert_array_equal(patches[:, 3], images[:, 2:, 3:].reshape(2, -1))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_pixels_keep_their_dtype(dtype, policy):
    keras.config.set_dtype_policy(policy)
    layer = PatchExtraction(2)
    assert keras.backend.standardize_dtype(layer(np.zeros((1, 4, 4, 1), dtype)).dtype) == dtype
    assert layer(keras.KerasTensor((None, 4, 4, 1), dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("patch_size", "shape", "expected"),
    [
        (4, (None, 28, 28, 1), (None, 49, 16)),
        ((2, 7), (5, 28, 28, 3), (5, 56, 42)),
        (16, (None, 160, 2), (None, 10, 32)),
    ],
)
def test_output_shape(patch_size, shape, expected):
    assert PatchExtraction(patch_size).compute_output_shape(shape) == expected


@pytest.mark.parametrize("patch_size", [0, -1, (2, 0), 2.0, True])
def test_a_patch_size_that_is_no_size_is_refused(patch_size):
    with pytest.raises(ValueError, match="`patch_size` must be positive ints.*patch_size="):
        PatchExtraction(patch_size)


def test_an_image_that_patches_do_not_fill_is_refused():
    message = r"`patch_size` must divide the image: axis 1 has 9 pixels.*image_shape=\(8, 9, 1\)"
    with pytest.raises(ValueError, match=message):
        PatchExtraction(4)(np.zeros((1, 8, 9, 1)))


def test_a_patch_size_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r"each of the 1 spatial axes.*patch_size=\(2, 2\)"):
        PatchExtraction((2, 2))(np.zeros((1, 8, 1)))
