"""Volumes beside what a masked autoencoder predicts, in three planes through their middle.

Imports matplotlib and NumPy only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from mae_keras.arguments import check_array, check_choice, check_int
from mae_keras.figures.inputs import check_value_range
from mae_keras.figures.reconstruction import HEADINGS, STATISTICS, hidden_note, outline_hidden
from mae_keras.figures.sheet import (
    BLANK,
    LINE,
    MUTED,
    SMALL,
    STRIPES,
    Note,
    Sheet,
    channel_note,
    read_prediction,
    to_pictures,
)

_SIDE, _THINNEST = 1.5, 0.28  # inches
_SHOWN = (0.5, 99.5)  # percentiles of values that black and white are, where nothing says it
BETWEEN = 0.05  # inches between planes
# The axis of the volume that each plane cuts, those that run down and to the right in it, and
# where it stands: the last two beside and below the first, which shares an axis with each.
PLANES = ((0, 1, 2), (2, 1, 0), (1, 0, 2))


def volume_figure(
    volumes: Any,
    patch_mask: Any,
    prediction: Any,
    *,
    patch_size: int | Sequence[int],
    spacing: Sequence[float] | None = None,
    oriented: bool = False,
    pasted: Any = None,
    value_range: tuple[float, float] | None = None,
    statistics: str | None = None,
    max_rows: int = 4,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Draw each volume, what the model saw of it, what it predicted, and both put together.

    Each is shown in three planes through its middle: height by width; to the right of it height
    by depth, below it depth by width.

    Args:
        volumes: array `(batch, depth, height, width, channels)`.
        patch_mask: bool array `(batch, num_patches)`, `True` = hidden.
        prediction: array of the shape of `volumes`.
        patch_size: int or three ints, in voxels.
        spacing: millimeters from voxel to voxel along depth, height and width; `None`: axes are in
            voxels.
        oriented: bool, whether depth, height and width go up, to the front and to the right of a
            patient, who is then drawn upright.
        pasted: array of the shape of `volumes`; defaults to them with the prediction in their
            hidden patches.
        value_range: two floats, values that mean black and white. Defaults to the lowest and
            highest of each volume but for 0.5 % at both ends.
        statistics: `"original"`, `"visible"` or `None`, as in `reconstruction_figure`.
        max_rows: int, volumes drawn at most, the first ones.
        title: str or `None`.
        note: str, one more sentence for the legend, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: naming the argument that does not fit.

    Example:
    >>> volumes = np.random.default_rng(0).normal(size=(2, 4, 8, 8, 1))
    >>> mask = np.arange(64).reshape(2, 32) % 4 > 0
    >>> figure = volume_figure(volumes, mask, volumes, patch_size=2, spacing=(2, 1, 1))
    >>> len(figure.axes)
    24
    """
    check_choice("statistics", statistics, STATISTICS)
    max_rows = check_int("max_rows", max_rows, 1)
    if value_range is not None:
        check_value_range(value_range)
    axes = ("batch", "depth", "height", "width", "channels")
    original, hidden, prediction, pasted = read_prediction(
        "volumes", volumes, axes, patch_mask, prediction, patch_size, pasted
    )
    steps = read_spacing(spacing)
    original, prediction, pasted, hidden = (
        panel[:max_rows] for panel in (original, prediction, pasted, hidden)
    )
    sides = sides_of_planes(original.shape[1:4], steps)
    sheet = Sheet(
        len(original),
        4,
        (sides[2] + BETWEEN + sides[0], sides[1] + BETWEEN + sides[0]),
        gap=0.14,
        headings=HEADINGS,
        title=title,
        notes=_notes(original, hidden, spacing, oriented, statistics, note),
        left=0.45,
        below=0.34,
    )
    figure, rows = sheet.draw()
    for number, row in enumerate(rows):
        black_white = value_range or _range(original[number])
        panels = [panel[number] for panel in (original, prediction, pasted, hidden)]
        planes = [axes_of_planes(figure, axes, sides) for axes in row]
        for place, plane in enumerate(PLANES):
            axes = [column[place] for column in planes]
            _fill(axes, [cut_plane(panel, plane) for panel in panels], black_white)
            for each in axes:
                _orient(each, plane, oriented)
        _dress(planes, original.shape[1:4], steps, number == len(rows) - 1, spacing is not None)
    return figure


def read_spacing(spacing: Sequence[float] | None) -> tuple[float, ...]:
    """Millimeters from voxel to voxel along each axis, 1 where they are not known."""
    if spacing is None:
        return (1.0, 1.0, 1.0)
    steps = check_array("spacing", spacing, 1, finite=True)
    if len(steps) != 3 or not (steps > 0).all():
        raise ValueError(
            f"`spacing` must be three positive numbers, in millimeters. Received: {spacing!r}"
        )
    return tuple(float(step) for step in steps)


def sides_of_planes(shape: tuple[int, ...], steps: tuple[float, ...]) -> list[float]:
    """Inches of depth, height and width: in proportion, unless they would be too thin."""
    lengths = [size * step for size, step in zip(shape, steps, strict=True)]
    scale = _SIDE / max(lengths)
    return [max(_THINNEST, scale * length) for length in lengths]


def axes_of_planes(figure: Figure, axes: Axes, sides: list[float]) -> list[Axes]:
    """Axes of the three planes in the place of one."""
    depth, height, width = sides
    box = axes.get_position()
    figure.delaxes(axes)
    across = box.width / (width + BETWEEN + depth)
    up = box.height / (height + BETWEEN + depth)
    left, right = box.x0, box.x0 + (width + BETWEEN) * across
    bottom, top = box.y0, box.y0 + (depth + BETWEEN) * up
    places = (
        (left, top, width * across, height * up),
        (right, top, depth * across, height * up),
        (left, bottom, width * across, depth * up),
    )
    made = [figure.add_axes(place, xticks=[], yticks=[]) for place in places]
    for each in made:
        for spine in each.spines.values():
            spine.set(color=LINE, linewidth=0.8)
    return made


def cut_plane(volume: np.ndarray, plane: tuple[int, int, int]) -> np.ndarray:
    """The middle slice `(down, across, channels)` of a plane."""
    through, down, _ = plane
    piece = volume.take(volume.shape[through] // 2, axis=through)
    return piece if down < plane[2] else piece.swapaxes(0, 1)


def _fill(row: list[Axes], panels: list[np.ndarray], value_range: tuple[float, float]) -> None:
    original, prediction, pasted, hidden = (panel[None] for panel in panels)
    pictures = [
        to_pictures(panel, value_range) for panel in (original, original, prediction, pasted)
    ]
    covered = hidden.all(axis=-1, keepdims=True)
    pictures[1] = np.concatenate([pictures[1], ~covered], axis=-1)
    pictures[2] = np.concatenate([pictures[2], covered], axis=-1)
    row[1].patch.set(**STRIPES)
    row[2].patch.set(facecolor=BLANK)
    for axes, picture in zip(row, pictures, strict=True):
        axes.imshow(picture[0], interpolation="nearest", aspect="auto")
    outline_hidden([row], hidden)


def _orient(axes: Axes, plane: tuple[int, int, int], oriented: bool) -> None:
    if oriented:  # height and depth go up
        axes.invert_yaxis()


def _dress(
    planes: list[list[Axes]],
    shape: tuple[int, ...],
    steps: tuple[float, ...],
    last: bool,
    in_mm: bool,
) -> None:
    """Distances left of the first column, and below the last row."""
    unit = "mm" if in_mm else "voxels"
    look = {"labelsize": SMALL - 1, "colors": MUTED, "length": 2.5, "color": LINE, "pad": 2}
    first = planes[0]
    _ticks(first[0].yaxis, shape[1], steps[1])
    _ticks(first[2].yaxis, shape[0], steps[0], 1)
    first[0].set_ylabel(unit, size=SMALL - 1, color=MUTED, labelpad=2)
    for axes in (first[0], first[2]):
        axes.tick_params(axis="y", **look)
    if not last:
        return
    for column in planes:
        _ticks(column[2].xaxis, shape[2], steps[2])
        column[2].tick_params(axis="x", **look)
        column[2].set_xlabel(unit, size=SMALL - 1, color=MUTED, labelpad=1)


def _ticks(axis: Any, count: int, step: float, number: int = 3) -> None:
    ticks = MaxNLocator(number, steps=[1, 2, 5, 10]).tick_values(0, count * step)
    ticks = ticks[(ticks >= 0) & (ticks < 0.97 * count * step)]
    axis.set_major_locator(FixedLocator(ticks / step - 0.5))
    axis.set_major_formatter(FuncFormatter(lambda place, _: f"{(place + 0.5) * step:.3g}"))


def _range(volume: np.ndarray) -> tuple[float, float]:
    finite = volume[np.isfinite(volume)]
    if not finite.size:
        return (0.0, 1.0)
    low, high = np.percentile(finite, _SHOWN)
    return float(low), float(high)


def _notes(
    volumes: np.ndarray,
    hidden: np.ndarray,
    spacing: Any,
    oriented: bool,
    statistics: str | None,
    note: str | None,
) -> tuple[Note, ...]:
    notes = [Note(hidden_note(hidden), "hidden")]
    if np.isnan(volumes).any():
        notes.append(Note("Missing data (NaN).", "missing"))
    depth, height, width = volumes.shape[1:4]
    size = f"{depth} x {height} x {width} voxels"
    if spacing is not None:
        size += f" of {' x '.join(f'{step:g}' for step in spacing)} mm"
    notes.append(
        Note(
            f"Planes through the middle of {size} (depth x height x width): height by width; to "
            "the right of it height by depth, below it depth by width."
        )
    )
    if oriented:
        notes.append(
            Note(
                "The front of the patient is at the top, left on the left; depth goes to the head."
            )
        )
    if channel_note(volumes.shape[-1]):
        notes.append(Note(channel_note(volumes.shape[-1])))
    if statistics is not None:
        notes.append(Note(STATISTICS[statistics]))
    return (*notes, *(() if note is None else (Note(note),)))
