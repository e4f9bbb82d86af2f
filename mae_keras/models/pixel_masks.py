"""Between masks of pixels and masks of patches, on arrays. Imports NumPy only.

`grid` may stop at the spatial axes (patches hold all channels) or go on to the channels (every
value is a patch of its own).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import check_array


def read_missing(missing: Any, images_shape: Sequence[int]) -> np.ndarray:
    """Bring a user's mask of missing pixels to the shape of the images.

    Args:
        missing: bool array, `True` = missing: `spatial`, `(*spatial, 1)` or
            `(*spatial, channels)`, for all images or with a batch axis before it.
        images_shape: ints `(batch, *spatial, channels)`.

    Returns:
        NumPy bool array of shape `images_shape`, not to be written to.

    Raises:
        TypeError: if it is not boolean.
        ValueError: if the shape does not fit.

    Example:
    >>> read_missing(np.eye(4, dtype=bool), (2, 4, 4, 3)).sum()
    np.int64(24)
    """
    given, whole = check_array("missing", missing, empty=True), tuple(images_shape)
    if given.dtype != bool:
        raise TypeError(
            f"`missing` must be boolean, True = missing (`mask > 0` makes it so). "
            f"Received: missing.dtype={given.dtype}"
        )
    batch, *spatial, channels = whole
    for axes in ((batch, *spatial), tuple(spatial)):
        if given.shape == axes:
            return np.broadcast_to(given[..., None], whole)
        if given.shape in ((*axes, 1), (*axes, channels)):
            return np.broadcast_to(given, whole)
    raise ValueError(
        f"`missing` must have shape {tuple(spatial)} for all images or {(batch, *spatial)}, either "
        f"with or without 1 or {channels} channels after it. "
        f"Received: missing.shape={given.shape}"
    )


def touched_patches(pixels: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """Find the patches that hold any of the pixels.

    Args:
        pixels: bool array `(batch, *spatial, channels)`.
        grid: ints, patches per axis.

    Returns:
        bool array `(batch, num_patches)`.

    Example:
    >>> touched_patches(np.eye(4, dtype=bool)[None, ..., None], (2, 2)).tolist()
    [[True, False, False, True]]
    """
    shape = pixels.shape
    parts = [
        part
        for length, count in zip(shape[1:], grid, strict=False)
        for part in (count, length // count)
    ]
    # (batch, g1, p1, g2, p2, ..., rest), of which only the grid stays
    split = pixels.reshape(shape[0], *parts, *shape[1 + len(tuple(grid)) :])
    inside = [axis for axis in range(1, split.ndim) if axis % 2 == 0 or axis > len(parts)]
    return split.any(axis=tuple(inside)).reshape(shape[0], -1)


def cover_pixels(
    patch_mask: np.ndarray, grid: Sequence[int], image_shape: Sequence[int]
) -> np.ndarray:
    """Spread a mask of patches over their pixels.

    Args:
        patch_mask: bool array `(batch, num_patches)`.
        grid: ints, patches per axis.
        image_shape: ints `(*spatial, channels)`.

    Returns:
        bool array `(batch, *spatial, channels)`, not to be written to.

    Example:
    >>> cover_pixels(np.array([[True, False]]), (2,), (4, 1))[0, :, 0].tolist()
    [True, True, False, False]
    """
    grid, image_shape = tuple(grid), tuple(image_shape)
    covered = patch_mask.reshape(-1, *grid)
    for axis, (length, count) in enumerate(zip(image_shape, grid, strict=False)):
        covered = covered.repeat(length // count, axis=axis + 1)
    covered = covered.reshape(covered.shape + (1,) * (len(image_shape) - len(grid)))
    return np.broadcast_to(covered, (len(covered), *image_shape))
