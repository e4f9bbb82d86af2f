"""Masking all but a regular lattice of patches."""

from collections.abc import Sequence
from typing import Any

import keras

from mae_keras.layers.patch_masking import PatchMasking, per_sample
from mae_keras.ops import grid_scores


@keras.saving.register_keras_serializable(package="mae_keras")
class GridMasking(PatchMasking):
    """Hide all but an even lattice of patches, the same one in every image.

    An easier task than random masking: every hidden patch has a visible neighbour.

    Args:
        mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `0.75`.
        seed: int or `None`; the lattice is fixed, so it changes nothing.
        grid: ints, patches per axis, or `None`: given by the model, or the square grid with the
            number of tokens that the layer is called on.
        missing: `"proportional"` or `"first"`, how samples with missing patches are masked; see
            `PatchMasking`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_patches, features)`.
        training: bool; without effect here.

    Returns:
        `visible`: `(batch, num_visible, features)`, in raster order;
        `patch_mask`: bool `(batch, num_patches)`, `True` = hidden.

    Raises:
        ValueError: if no patch would be hidden, or all, or `missing` is unknown.

    Example:
    >>> import numpy as np
    >>> visible, patch_mask = GridMasking(0.75)(np.ones((2, 16, 8)))
    >>> np.asarray(patch_mask)[0, :4].tolist()
    [False, True, False, True]

    References:
        - He et al. 2021, arXiv:2111.06377, figure 6 and table 1f ("grid").
    """

    def scores(self, grid: Sequence[int], step: Any, samples: Any) -> Any:
        return per_sample(grid_scores(grid), samples)
