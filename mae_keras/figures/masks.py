"""Masks side by side. Imports matplotlib and NumPy only."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from mae_keras.arguments import check_ints
from mae_keras.figures.inputs import check_mapping, read_mask
from mae_keras.figures.sheet import (
    HIDDEN,
    INK,
    LITERAL,
    MUTED,
    NORMAL,
    SMALL,
    VISIBLE,
    Note,
    Sheet,
    one_line,
    text_width,
)


def mask_gallery(
    masks: Mapping[str, Any], grid: Sequence[int], *, titles: Sequence[str] | None = None
) -> Figure:
    """Draw masks in a grid: a row for each kind, a column for each draw.

    Args:
        masks: name of the kind to bool array `(num_masks, num_patches)`, `True` = hidden.
        grid: ints, patches per axis, one to three; of volumes the middle slice is drawn.
        titles: str for each kind, in place of the names.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no masks, or they do not fit the grid or the titles.

    Example:
    >>> figure = mask_gallery({"random": np.eye(2, 16, dtype=bool)}, (4, 4))
    >>> len(figure.axes)
    2
    """
    grid = check_ints("grid", grid, 1)
    masks = check_mapping("masks", masks, "kind")
    kinds = {name: _checked(name, mask, grid) for name, mask in masks.items()}
    titles = tuple(kinds if titles is None else titles)
    if len(titles) != len(kinds):
        raise ValueError(
            f"`titles` must have one entry for each of the {len(kinds)} kinds. "
            f"Received: titles={titles!r}"
        )
    rows, columns = (1, grid[0]) if len(grid) == 1 else grid[-2:]
    cell = (1.3, 1.3 * float(np.clip(rows / columns, 0.2, 2.0)))
    sheet = Sheet(
        len(kinds),
        max(map(len, kinds.values())),
        cell,
        gap=0.12,
        notes=_notes(grid),
        left=max(0.75, *(text_width(title, NORMAL) for title in titles)) + 0.15,
    )
    figure, axes = sheet.draw()
    for row, title, kind in zip(axes, titles, kinds.values(), strict=True):
        _label(row[0], title, kind)
        for place, mask in zip(row, kind, strict=False):
            _draw(place, mask[mask.shape[0] // 2] if len(grid) == 3 else mask.reshape(rows, -1))
        for unused in row[len(kind) :]:
            figure.delaxes(unused)
    return figure


def _draw(axes: Axes, mask: np.ndarray) -> None:
    rows, columns = mask.shape
    axes.pcolormesh(
        ~mask,
        cmap=ListedColormap([HIDDEN, VISIBLE]),
        vmin=0,
        vmax=1,
        edgecolors="white",
        linewidth=min(1.2, 12 / max(rows, columns)),
    )
    axes.invert_yaxis()
    axes.set_frame_on(False)


def _label(axes: Axes, title: str, kind: np.ndarray) -> None:
    ratio = f"{100 * kind.mean():.3g}% hidden"
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"} | LITERAL
    axes.annotate(one_line(title), (0, 0.5), (-9, 2), va="bottom", size=NORMAL, color=INK, **place)
    axes.annotate(ratio, (0, 0.5), (-9, -2), va="top", size=SMALL, color=MUTED, **place)


def _notes(grid: tuple[int, ...]) -> tuple[Note, ...]:
    text = "Light blue patches are hidden, dark grey ones stay visible."
    if len(grid) == 3:
        text += f" Shown is slice {grid[0] // 2 + 1} of {grid[0]}, along the first axis."
    return (Note(text),)


def _checked(name: str, mask: Any, grid: tuple[int, ...]) -> np.ndarray:
    mask = read_mask(f"masks[{name!r}]", mask)
    if not 1 <= len(grid) <= 3:
        raise ValueError(f"`grid` must have one to three axes. Received: grid={grid}")
    if mask.ndim != 2 or not len(mask) or mask.shape[1] != math.prod(grid):
        raise ValueError(
            f"`masks[{name!r}]` must have shape (num_masks, {math.prod(grid)}), for a grid of "
            f"{grid}. Received: shape {mask.shape}"
        )
    return mask.reshape(len(mask), *grid)
