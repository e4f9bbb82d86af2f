"""Position tables of checkpoints: of which grid they are, and whether they are the fixed sin-cos.

facebookresearch/mae and Hugging Face store the table even where it is fixed; fine-tuning changes
it.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mae_keras.interop.stored_tensors import StoredTensor, numpy_dtype
from mae_keras.ops import sincos_positions

# Tables were made in float32 or float64, and stored in what the file holds.
_TOLERANCE = {"float16": 1e-3, "bfloat16": 5e-3}
_FULL_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class StoredPositions:
    """A position table, taken apart.

    Attributes:
        table: float32 array `(num_patches, hidden_dim)`.
        class_row: float32 array `(hidden_dim,)` that is added to the class token, or `None`.
        grid: tuple of ints, patches per axis, or `None`: not to be told.
        fixed: bool, whether the table is the sin-cos table of `grid`.
        difference: float, its largest distance from that table.
    """

    table: np.ndarray
    class_row: np.ndarray | None
    grid: tuple[int, ...] | None
    fixed: bool
    difference: float

    @property
    def shifts_class_token(self) -> bool:
        """Whether the class token has a position other than zero."""
        return self.class_row is not None and bool(np.any(self.class_row))


def read_positions(
    tensor: StoredTensor,
    class_token: bool,
    rank: int,
    expected: Sequence[int] | None = None,
) -> StoredPositions:
    """Take a position table apart.

    Args:
        tensor: `([1,] [1 +] num_patches, hidden_dim)`.
        class_token: bool, whether the model has one, whose row may come first.
        rank: int, axes of the grid.
        expected: ints, the grid it should be of, or `None`.

    Returns:
        `StoredPositions`. A grid is told by the sin-cos table that is equal, by `expected`, or
        by being a square (cube).

    Example:
    >>> from mae_keras.interop.stored_tensors import made
    >>> read_positions(made(sincos_positions((2, 6), 8)[None]), False, 2).grid
    (2, 6)
    """
    rows = tensor.numpy().reshape(-1, tensor.shape[-1])
    tolerance = _tolerance(tensor.dtype, rows)
    # with a row for the class token first, or without (timm's no_embed_class)
    cuts = [1, 0] if class_token else [0]
    wanted = None if expected is None else tuple(expected)
    for cut in cuts:
        for grid in _grids(len(rows) - cut, rank, wanted):
            off = _distance(rows[cut:], grid)
            if off <= tolerance:
                return StoredPositions(rows[cut:], _class_row(rows, cut), grid, True, off)
    for cut in cuts:
        grid = _plausible_grid(len(rows) - cut, rank, wanted)
        if grid is not None:
            off = _distance(rows[cut:], grid)
            return StoredPositions(rows[cut:], _class_row(rows, cut), grid, False, off)
    return StoredPositions(rows[cuts[0] :], _class_row(rows, cuts[0]), None, False, math.inf)


def _tolerance(dtype: str, rows: np.ndarray) -> float:
    """By the dtype, or by that which the numbers were rounded to before they were stored."""
    tolerance = _TOLERANCE.get(dtype, _FULL_TOLERANCE)
    for name, rounded in _TOLERANCE.items():
        with np.errstate(over="ignore"):
            narrow = rows.astype(numpy_dtype(name)).astype(rows.dtype)
        if np.array_equal(narrow, rows):
            tolerance = max(tolerance, rounded)
    return tolerance


def _class_row(rows: np.ndarray, cut: int) -> np.ndarray | None:
    return rows[0] if cut else None


def _distance(table: np.ndarray, grid: tuple[int, ...]) -> float:
    if table.shape[1] < 2 * len(grid):
        return math.inf
    return float(np.abs(table - sincos_positions(grid, table.shape[1])).max())


def _grids(count: int, rank: int, wanted: tuple[int, ...] | None) -> list[tuple[int, ...]]:
    """All grids of so many patches, the likeliest first."""
    if count < 1:
        return []
    every = [(count,)]
    for _ in range(rank - 1):
        every = [
            (*head, size, last // size)
            for *head, last in every
            for size in range(1, last + 1)
            if last % size == 0
        ]
    return sorted(every, key=lambda grid: (grid != wanted, max(grid) / min(grid)))


def _plausible_grid(
    count: int, rank: int, wanted: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    if wanted is not None and math.prod(wanted) == count:
        return wanted
    side = round(count ** (1 / rank))
    return (side,) * rank if side >= 1 and side**rank == count else None
