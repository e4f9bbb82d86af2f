"""The masking of the paper: patches hidden independently at random."""

from collections.abc import Sequence
from typing import Any

import keras

from mae_keras.layers.patch_masking import PatchMasking
from mae_keras.ops import random_scores


@keras.saving.register_keras_serializable(package="mae_keras")
class RandomMasking(PatchMasking):
    """Hide patches at random, exactly as many in every image.

    A mask is a function of (seed, step, number of the sample) alone. The step is a saved integer
    weight, so a reloaded model goes on where it stopped; it advances once per training call and
    inference always uses step 0.

    Args:
        mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `0.75`.
        seed: int, or `None` to draw one now (it is kept in the config).
        grid: ints, patches per axis; random masking does not need it.
        missing: `"proportional"` or `"first"`, how samples with missing patches are masked; see
            `PatchMasking`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_patches, features)`.
        training: bool; masks advance in training and stand still otherwise.

    Returns:
        `visible`: `(batch, num_visible, features)`, in raster order;
        `patch_mask`: bool `(batch, num_patches)`, `True` = hidden.

    Raises:
        ValueError: if no patch would be hidden, or all, or `missing` is unknown.

    Example:
    >>> import numpy as np
    >>> visible, patch_mask = RandomMasking(0.75, seed=0)(np.ones((2, 16, 8)))
    >>> tuple(visible.shape), tuple(patch_mask.shape)
    ((2, 4, 8), (2, 16))

    References:
        - He et al. 2021, arXiv:2111.06377, section 3 ("Masking").
        - facebookresearch/mae `random_masking`; differs in rounding (`ops.num_hidden`) and in
          keeping visible patches in raster order.
    """

    def scores(self, grid: Sequence[int], step: Any, samples: Any) -> Any:
        return random_scores(grid, self.seed, step, samples)
