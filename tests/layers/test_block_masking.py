"""Block masking: contract, and what is hidden hangs together."""

import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer

from mae_keras.layers import BlockMasking, RandomMasking


@pytest.mark.parametrize(
    ("num_patches", "grid"),
    [
        pytest.param(16, None, id="square"),
        pytest.param(12, (3, 4), id="oblong", marks=pytest.mark.slow),
        pytest.param(10, None, id="rank 1", marks=pytest.mark.slow),
        pytest.param(24, (2, 3, 4), id="rank 3"),
    ],
)
def test_contract(num_patches, grid):
    tokens = np.random.default_rng(0).normal(size=(4, num_patches, 8)).astype("float32")
    init_kwargs = {"mask_ratio": 0.5, "seed": 3, "grid": grid}
    check_layer(BlockMasking, init_kwargs, tokens, num_weights=1, num_trainable=0)


def equal_neighbors(layer):
    """Share of neighboring patches that are both hidden or both visible, in 64 images."""
    grid = ops.convert_to_numpy(layer.draw((12, 12), 1, np.arange(64))).reshape(64, 12, 12)
    down, across = grid[:, 1:] == grid[:, :-1], grid[:, :, 1:] == grid[:, :, :-1]
    return (down.mean() + across.mean()) / 2


def test_neighbors_are_hidden_together():
    assert equal_neighbors(BlockMasking(0.5, seed=0)) > 0.8
    # at random, half of all neighbors are equal
    assert equal_neighbors(RandomMasking(0.5, seed=0)) < 0.55


def test_the_oblong_grid_is_the_one_given():
    wide, tall = (
        ops.convert_to_numpy(BlockMasking(0.5, seed=0, grid=grid)(np.zeros((64, 36, 1)))[1])
        for grid in ((3, 12), (12, 3))
    )
    along_rows = [(mask[:, 1:] == mask[:, :-1]).mean() for mask in (wide, tall)]
    # In raster order a tall grid jumps to another row every third patch.
    assert along_rows[0] > along_rows[1] + 0.05
