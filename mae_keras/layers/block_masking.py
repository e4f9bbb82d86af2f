"""Masking whole regions: boxes of patches."""

from collections.abc import Sequence
from typing import Any

import keras

from mae_keras.layers.patch_masking import PatchMasking
from mae_keras.ops import block_scores


@keras.saving.register_keras_serializable(package="mae_keras")
class BlockMasking(PatchMasking):
    """Hide boxes of neighbouring patches, exactly as many patches in every image.

    A harder task than random masking: there is less to copy from close by.

    Args:
        mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `0.75`.
        seed: int, or `None` to draw one now (it is kept in the config).
        grid: ints, patches per axis, or `None`: given by the model, or the square grid with the
            number of tokens that the layer is called on.
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
    >>> visible, patch_mask = BlockMasking(0.5, seed=0)(np.ones((2, 16, 8)))
    >>> tuple(visible.shape)
    (2, 8, 8)

    References:
        - Bao et al. 2021, arXiv:2106.08254, algorithm 1; He et al. 2021, figure 6 and table 1f.
    """

    def scores(self, grid: Sequence[int], step: Any, samples: Any) -> Any:
        return block_scores(grid, self.seed, step, samples)
