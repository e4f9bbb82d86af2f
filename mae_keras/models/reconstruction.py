"""What `reconstruct` returns, and how it reads the masks it is given."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from mae_keras.arguments import check_array


class Reconstruction(NamedTuple):
    """Reconstructed images, in pixels as given.

    Attributes:
        prediction: float32 `(batch, *spatial, channels)`, every patch as predicted, not clipped.
        patch_mask: bool `(batch, num_patches)`, `True` = hidden.
        pasted: float32, the images with their hidden patches replaced by the prediction.
        statistics: whose mean and variance gave standardised predictions their brightness,
            `"original"` or `"visible"`; `None` when the model predicts pixels.
    """

    prediction: np.ndarray
    patch_mask: np.ndarray
    pasted: np.ndarray
    statistics: str | None


class PatchPrediction(NamedTuple):
    """Targets and predictions as the loss sees them.

    Attributes:
        targets: float32 `(batch, num_patches, patch_dim)`, normalised, standardised if the model
            predicts standardised patches; 0 where data is missing.
        predictions: float32, of the same shape.
        patch_mask: bool `(batch, num_patches)`, `True` = hidden.
        missing: bool `(batch, num_patches)`, `True` = holds NaN.
    """

    targets: np.ndarray
    predictions: np.ndarray
    patch_mask: np.ndarray
    missing: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """Bool `(batch, num_patches)`: the patches in the loss, hidden and not missing."""
        return self.patch_mask & ~self.missing


def read_patch_mask(patch_mask: Any, grid: Sequence[int], batch: int) -> np.ndarray:
    """Bring a user's mask to bool `(batch, num_patches)`.

    Args:
        patch_mask: bool or 0/1 array: `(num_patches,)`, `grid`, or either with a batch before it.
        grid: ints, patches per axis.
        batch: int, number of images.

    Returns:
        NumPy bool array.

    Raises:
        ValueError: if the shape fits neither, or values are not 0 and 1.

    Example:
    >>> read_patch_mask([[1, 0], [0, 0]], (2, 2), 3).shape
    (3, 4)
    """
    if isinstance(patch_mask, (list, tuple)):
        patch_mask = check_array("patch_mask", patch_mask)
    given = np.asarray(keras.ops.convert_to_numpy(patch_mask))
    if given.dtype != bool and not np.isin(given, (0, 1)).all():
        raise ValueError(
            f"`patch_mask` must be boolean, True = hidden. Received: dtype {given.dtype} with "
            f"values other than 0 and 1"
        )
    num_patches, grid = math.prod(grid), tuple(grid)
    if given.shape in ((num_patches,), grid):
        return np.broadcast_to(given.astype(bool).reshape(1, -1), (batch, num_patches)).copy()
    if given.shape in ((batch, num_patches), (batch, *grid)):
        return given.astype(bool).reshape(batch, num_patches)
    raise ValueError(
        f"`patch_mask` must have shape ({num_patches},), {grid}, ({batch}, {num_patches}) or "
        f"{(batch, *grid)}. Received: patch_mask.shape={given.shape}"
    )


def neighbour_weights(grid: Sequence[int]) -> np.ndarray:
    """Inverse squared distances between the patches of a grid, 0 to themselves.

    Args:
        grid: ints, patches per axis.

    Returns:
        NumPy float32 array `(num_patches, num_patches)`.

    Example:
    >>> neighbour_weights((3,))[0].tolist()
    [0.0, 1.0, 0.25]
    """
    axes = np.meshgrid(*map(np.arange, grid), indexing="ij")
    places = np.stack(axes, -1).reshape(-1, len(tuple(grid)))
    squared = ((places[:, None] - places[None]) ** 2).sum(-1).astype("float32")
    with np.errstate(divide="ignore"):
        return np.where(squared > 0, 1.0 / squared, 0.0).astype("float32")
