"""Random masking: contract, and every patch has the same chance."""

import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer

from mae_keras.layers import RandomMasking


@pytest.mark.parametrize(
    ("num_patches", "grid"), [(16, None), (6, (2, 3))], ids=["square", "oblong"]
)
def test_contract(num_patches, grid):
    tokens = np.random.default_rng(0).normal(size=(4, num_patches, 8)).astype("float32")
    init_kwargs = {"mask_ratio": 0.75, "seed": 3, "grid": grid}
    check_layer(RandomMasking, init_kwargs, tokens, num_weights=1, num_trainable=0)


def test_three_quarters_are_hidden_by_default():
    visible, patch_mask = RandomMasking()(np.zeros((2, 196, 1)))
    assert visible.shape == (2, 49, 1)
    assert int(ops.sum(patch_mask)) == 2 * 147


def test_every_patch_has_the_same_chance():
    patch_mask = RandomMasking(0.75, seed=0).draw((4, 4), 1, np.arange(4000))
    share = ops.convert_to_numpy(patch_mask).mean(axis=0)
    # 16 binomial shares of 4000 draws: 4.5 standard deviations
    np.testing.assert_allclose(share, 0.75, atol=4.5 * np.sqrt(0.75 * 0.25 / 4000))


def test_patches_are_hidden_independently():
    patch_mask = RandomMasking(0.5, seed=0).draw((8, 8), 1, np.arange(4000))
    together = np.corrcoef(ops.convert_to_numpy(patch_mask).T)[~np.eye(64, dtype=bool)]
    # A fixed count makes pairs exclude each other by 1 / 63; noise of 4032 pairs: 5 deviations.
    np.testing.assert_allclose(together, -1 / 63, atol=5 / np.sqrt(4000))
