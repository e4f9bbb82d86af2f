"""Position tables for one, two or three axes: fixed sin-cos, and interpolation of any table.

Tables are static, so they are NumPy; only applying them to tensors is `keras.ops`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from mae_keras.arguments import (
    LARGEST_WIDTH,
    check_int,
    check_ints,
    check_parameters,
    check_tensor,
)


def sincos_positions(grid: Sequence[int], hidden_dim: int) -> np.ndarray:
    """Fixed sin-cos position table of a grid of patches.

    Every axis has an equal share of the features, the LAST axis first: at rank 2 the first half
    encodes the column (width), as in the reference, whose variable name says the opposite. Within
    a share of size `s`: sines, then cosines, of `position / 10000**(2 k / s)`. Features that do
    not divide evenly stay 0.

    Args:
        grid: ints, patches per axis.
        hidden_dim: int, features per position, at least twice the number of axes.

    Returns:
        NumPy float32 array `(num_patches, hidden_dim)`, patches in raster order.

    Raises:
        ValueError: if `hidden_dim` is too small to encode every axis.

    Example:
    >>> sincos_positions((2, 2), 4)[1].round(3)
    array([0.841, 0.54 , 0.   , 1.   ], dtype=float32)

    References:
        - He et al. 2021, appendix A.1; facebookresearch/mae `get_2d_sincos_pos_embed`.
        - big_vision spaces frequencies by `s / 2 - 1` instead of `s / 2`: another table.
    """
    grid = check_ints("grid", grid, 1, LARGEST_WIDTH)
    hidden_dim = check_int("hidden_dim", hidden_dim, 1, LARGEST_WIDTH)
    check_parameters(math.prod(grid) * hidden_dim, grid=grid, hidden_dim=hidden_dim)
    rank = len(grid)
    frequencies = hidden_dim // (2 * rank)
    if frequencies < 1:
        raise ValueError(
            f"`hidden_dim` must be at least {2 * rank} to encode {rank} axes. "
            f"Received: hidden_dim={hidden_dim}"
        )
    omega = 1.0 / 10000.0 ** (np.arange(frequencies, dtype="float64") / frequencies)
    axes = np.meshgrid(*(np.arange(size, dtype="float64") for size in grid), indexing="ij")
    parts = []
    for positions in reversed(axes):
        angles = positions.reshape(-1, 1) * omega
        parts += [np.sin(angles), np.cos(angles)]
    table = np.concatenate(parts, axis=1)
    padding = hidden_dim - table.shape[1]
    return np.pad(table, ((0, 0), (0, padding))).astype("float32")


def _cubic_kernel(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _resize_matrix(source: int, target: int) -> np.ndarray:
    """Rows of cubic weights `(target, source)`; taps beyond an end count for the end."""
    centers = (np.arange(target) + 0.5) * source / target - 0.5
    first = np.floor(centers).astype(int)
    matrix = np.zeros((target, source))
    for tap in range(-1, 3):
        weights = _cubic_kernel(np.abs(centers - (first + tap)))
        np.add.at(matrix, (np.arange(target), np.clip(first + tap, 0, source - 1)), weights)
    return matrix.astype("float32")


def interpolate_positions(
    table: Any, source_grid: Sequence[int], target_grid: Sequence[int]
) -> Any:
    """Resize a position table from one grid of patches to another, cubically.

    Separable cubic convolution (a = -0.75, half-pixel centers, no antialiasing) along each axis:
    at rank 2 what `torch.nn.functional.interpolate(mode="bicubic")` computes, as
    facebookresearch/mae and Hugging Face do. timm asks for `antialias=True`, which smooths and has
    another `a`: its tables differ a little.

    Args:
        table: tensor `(source patches, hidden_dim)`, patches in raster order, no class token.
        source_grid: ints, patches per axis of the table.
        target_grid: ints, patches per axis wanted.

    Returns:
        Tensor `(target patches, hidden_dim)`; the table itself when the grids are equal.

    Raises:
        ValueError: if the table does not have the source grid's size, or the ranks differ.

    Example:
    >>> tuple(interpolate_positions(sincos_positions((2, 2), 8), (2, 2), (4, 3)).shape)
    (12, 8)
    """
    check_tensor("table", table, 2)
    source_grid = check_ints("source_grid", source_grid, 1, LARGEST_WIDTH)
    target_grid = check_ints("target_grid", target_grid, 1, LARGEST_WIDTH)
    check_parameters(math.prod(target_grid) * int(table.shape[1]), target_grid=target_grid)
    source_grid, target_grid = tuple(source_grid), tuple(target_grid)
    if len(source_grid) != len(target_grid) or table.shape[0] != math.prod(source_grid):
        raise ValueError(
            f"`table` must have one row for each patch of `source_grid`, and both grids the same "
            f"number of axes. Received: table.shape={tuple(table.shape)}, "
            f"source_grid={source_grid}, target_grid={target_grid}"
        )
    if source_grid == target_grid:
        return table
    values = ops.reshape(table, (*source_grid, table.shape[-1]))
    for axis, (source, target) in enumerate(zip(source_grid, target_grid, strict=True)):
        matrix = ops.cast(_resize_matrix(source, target), values.dtype)
        # the resized axis comes out first: move it back to its place
        values = ops.moveaxis(ops.tensordot(matrix, values, axes=[[1], [axis]]), 0, axis)
    return ops.reshape(values, (math.prod(target_grid), table.shape[-1]))
