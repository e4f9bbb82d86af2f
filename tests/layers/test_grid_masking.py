"""Grid masking: contract, and the lattice of the paper's figure."""

import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer

from mae_keras.layers import GridMasking


@pytest.mark.parametrize(
    ("num_patches", "grid"), [(16, None), (12, (3, 4)), (10, None)], ids=["square", "oblong", "row"]
)
def test_contract(num_patches, grid):
    tokens = np.random.default_rng(0).normal(size=(4, num_patches, 8)).astype("float32")
    init_kwargs = {"mask_ratio": 0.75, "seed": 3, "grid": grid}
    check_layer(GridMasking, init_kwargs, tokens, num_weights=1, num_trainable=0)


@pytest.mark.parametrize("training", [False, True])
def test_one_patch_of_every_square_of_four_stays_visible(training):
    patch_mask = GridMasking(0.75)(np.zeros((3, 64, 1)), training=training)[1]
    grid = ops.convert_to_numpy(patch_mask).reshape(3, 8, 8)
    np.testing.assert_array_equal(~grid[:, ::2, ::2], True)
    assert (~grid).sum() == 3 * 16


def test_all_images_steps_and_seeds_have_the_same_mask():
    layer, other, tokens = GridMasking(0.6, seed=0), GridMasking(0.6, seed=9), np.zeros((4, 25, 1))
    first = ops.convert_to_numpy(layer(tokens, training=True)[1])
    np.testing.assert_array_equal(first, first[:1].repeat(4, axis=0))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(tokens, training=True)[1]), first)
    np.testing.assert_array_equal(ops.convert_to_numpy(other(tokens)[1]), first)
