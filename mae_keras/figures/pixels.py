"""From arrays of any rank and channel count to what a screen can show. Imports nothing above."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

from mae_keras.arguments import check_int, check_ints
from mae_keras.figures.inputs import read_mask
from mae_keras.figures.sheet import MISSING


def hidden_values(
    patch_mask: Any, images_shape: Sequence[int], patch_size: int | Sequence[int]
) -> np.ndarray:
    """Spread a mask of patches over the values of the images.

    Args:
        patch_mask: bool or 0/1 array `(batch, num_patches)`, `True` = hidden, patches in raster
            order; for models that hide single values, `(batch, values per image)`.
        images_shape: ints `(batch, *spatial, channels)`.
        patch_size: int or one int per spatial axis, in pixels; 1 where single values are hidden.

    Returns:
        bool array of shape `images_shape`.

    Raises:
        ValueError: if the mask does not fit, or `patch_size` does not divide the images.

    Example:
    >>> hidden_values([[True, False]], (1, 4, 1), 2)[0, :, 0].tolist()
    [True, True, False, False]
    """
    batch, *spatial, channels = images_shape
    mask, sizes = read_mask("patch_mask", patch_mask), _patch_sizes(patch_size, spatial)
    if mask.shape == (batch, math.prod(spatial) * channels) and set(sizes) <= {1}:
        return mask.reshape(tuple(images_shape))
    grid = [length // size for length, size in zip(spatial, sizes, strict=False)]
    if mask.shape != (batch, math.prod(grid)):
        raise ValueError(
            f"`patch_mask` must have shape ({batch}, {math.prod(grid)}): {batch} images of "
            f"{tuple(grid)} patches. Received: patch_mask.shape={mask.shape}"
        )
    mask = mask.reshape(batch, *grid)
    for axis, size in enumerate(sizes[: len(spatial)]):
        mask = mask.repeat(size, axis=axis + 1)
    return np.broadcast_to(mask[..., None], tuple(images_shape))


def _patch_sizes(patch_size: int | Sequence[int], spatial: Sequence[int]) -> tuple[int, ...]:
    if np.ndim(patch_size) == 0:
        sizes = (check_int("patch_size", patch_size, 1),) * len(spatial)
    else:
        sizes = check_ints("patch_size", patch_size, 1)
    # A model of single values counts channels as one more axis of patches.
    fits = len(sizes) == len(spatial) or (len(sizes) == len(spatial) + 1 and set(sizes) == {1})
    if not fits:
        raise ValueError(
            f"`patch_size` must be a positive int, or one for each of the {len(spatial)} spatial "
            f"axes. Received: patch_size={patch_size!r}"
        )
    if any(length % size for length, size in zip(spatial, sizes, strict=False)):
        raise ValueError(
            f"`patch_size` must divide the images, {tuple(spatial)} pixels. "
            f"Received: patch_size={patch_size!r}"
        )
    return sizes


def middle_slice(values: np.ndarray) -> np.ndarray:
    """The middle of the first spatial axis of volumes; other images as they are.

    Args:
        values: array `(batch, *spatial, channels)` with two or three spatial axes.

    Returns:
        Array `(batch, rows, columns, channels)`.

    Example:
    >>> middle_slice(np.zeros((1, 9, 8, 8, 1))).shape
    (1, 8, 8, 1)
    """
    return values[:, values.shape[1] // 2] if values.ndim == 5 else values


def to_pictures(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Bring pixels to colours: grey, RGB, or as `channel_note` says; NaN to the missing colour.

    Args:
        values: float array `(batch, rows, columns, channels)`.
        value_range: two floats, the values shown as black and white; beyond them is clipped.

    Returns:
        float32 array `(batch, rows, columns, 3)` in [0, 1].

    Example:
    >>> to_pictures(np.array([[[[0.0], [255.0]]]]), (0, 255))[0, 0].tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    low, high = value_range
    if values.shape[-1] < 3:
        values = values.mean(axis=-1, keepdims=True)
    values = np.clip((values[..., :3] - low) / ((high - low) or 1.0), 0.0, 1.0)
    pictures = np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values
    missing = np.isnan(pictures).any(axis=-1, keepdims=True)
    return np.where(missing, np.array(to_rgb(MISSING)), pictures).astype("float32")


def channel_note(channels: int) -> str | None:
    """What `to_pictures` makes of channels that are neither grey nor colour, or `None`.

    Args:
        channels: int.

    Returns:
        str or `None`.

    Example:
    >>> channel_note(2)
    'Shown is the mean of the 2 channels, in grey.'
    """
    if channels in (1, 3):
        return None
    if channels == 2:
        return "Shown is the mean of the 2 channels, in grey."
    return f"Shown are the first three of the {channels} channels, as red, green and blue."
