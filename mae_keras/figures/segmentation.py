"""Segmented images, signals and volumes beside the truth, and scores of each class as bars.

Imports matplotlib and NumPy only.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mae_keras.arguments import UNLABELED, check_array, check_int
from mae_keras.figures.inputs import check_mapping, check_value_range, read_images, read_numbers
from mae_keras.figures.sheet import (
    ABSENT,
    INK,
    LINE,
    LITERAL,
    MUTED,
    ORANGE,
    SMALL,
    Note,
    Sheet,
    channel_note,
    draw_signals,
    text_width,
    to_pictures,
)
from mae_keras.figures.style import (
    CLASS_COLORS,
    MARGIN,
    framed_page,
    line_look,
    listed,
    percent,
    read_class_names,
    shortened,
    widest,
)
from mae_keras.figures.volumes import (
    BETWEEN,
    PLANES,
    axes_of_planes,
    cut_plane,
    read_spacing,
    sides_of_planes,
)

_HEADINGS = ("original", "true classes", "predicted", "errors")
_SIDE, _SIGNAL, _GAP = 1.75, (2.3, 0.9), 0.08  # inches, as below
_LEGEND_LINE, _LEGEND_TOP, _SWATCH, _LONGEST_NAME = 0.19, 0.1, 0.13, 1.5
_BAR, _BARS_GAP, _BARS_WIDTH, _NUMBER = 0.14, 0.16, 3.6, 0.45
_OPACITY = 0.7  # of classes, over their image
# Neither is near the colors of the first two classes, the second near that of none.
_FIRST_KIND, _OTHER_KIND = ORANGE, INK
# Beyond ten classes the same colors again, lighter, then darker: share of the color, and of white.
_TINTS = ((1.0, 0.0), (0.55, 0.45), (0.55, 0.0))
_MOST_COLORS = len(_TINTS) * len(CLASS_COLORS)


class _Entry(NamedTuple):
    """One entry of a legend: a color, and what it means."""

    text: str
    color: Any


def segmentation_figure(
    images: Any,
    masks: Any,
    predictions: Any,
    *,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    value_range: tuple[float, float] = (0, 255),
    spacing: Sequence[float] | None = None,
    max_rows: int = 4,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Draw each image, its mask, the classes predicted for it, and where they differ.

    Classes lie over the image in their colors. Errors of two classes are told apart: pixels of the
    second class that were missed, and those where it was predicted wrongly. Pixels without a label
    are striped. Volumes are shown in three planes through their middle, as in `volume_figure`.

    Args:
        images: array `(batch, *spatial, channels)` of signals, images or volumes.
        masks: int array `(batch, *spatial)`, true classes, or -1: not labeled.
        predictions: int array of the shape of `masks`.
        class_names: str for each class; defaults to their numbers.
        num_classes: int from 2 to 1024, or `None`: as many as there are names, or as occur.
        value_range: two floats, pixel values that mean black and white.
        spacing: of volumes, millimeters from voxel to voxel along depth, height and width.
        max_rows: int, images drawn at most, the first ones.
        title: str or `None`.
        note: str, one more sentence for the legend, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        TypeError: if masks or predictions are not integers.
        ValueError: naming the argument that does not fit.

    Example:
    >>> images = np.zeros((2, 8, 8, 1), "uint8")
    >>> masks = np.arange(128).reshape(2, 8, 8) // 4 % 2
    >>> figure = segmentation_figure(images, masks, 1 - masks, class_names=["cell", "wall"])
    >>> len(figure.axes)
    8
    """
    check_value_range(value_range)
    max_rows = check_int("max_rows", max_rows, 1)
    images = read_images("images", images)
    masks = _class_maps("masks", masks, images, UNLABELED)
    predictions = _class_maps("predictions", predictions, images, 0)
    num_classes = _num_classes(num_classes, class_names, masks, predictions)
    names = read_class_names(class_names, num_classes)
    rank = masks.ndim - 1
    sides = _sides(spacing, images.shape[1:-1])
    images, masks, predictions = (part[:max_rows] for part in (images, masks, predictions))

    classes = [_Entry(shortened(n, _LONGEST_NAME, SMALL), _color(i)) for i, n in enumerate(names)]
    errors = _error_kinds(classes)
    colors = np.array([entry.color for entry in classes])
    shades = np.array([to_rgb(entry.color) for entry in errors])
    cell = _cell(images.shape[1:-1], sides)
    lines = _flow(classes + errors, 4 * cell[0] + 3 * _GAP)
    sheet = Sheet(
        len(images),
        4,
        cell,
        gap=_GAP,
        headings=_HEADINGS,
        title=title,
        notes=_notes(images, masks, predictions, num_classes, note),
        below=_LEGEND_TOP + _LEGEND_LINE * len(lines),
    )
    figure, rows = sheet.draw()
    corner = rows[-1][0].get_position()
    for row, image, mask, prediction in zip(rows, images, masks, predictions, strict=True):
        wrong = _wrong(mask, prediction, len(errors))
        if rank == 1:
            _draw_signal(row, image, mask, prediction, wrong, colors, shades)
        elif rank == 2:
            _draw_image(row, image, mask, prediction, wrong, colors, shades, value_range)
        else:
            planes = [axes_of_planes(figure, axes, sides) for axes in row]
            for place, plane in enumerate(PLANES):
                parts = (cut_plane(part, plane) for part in (image, mask, prediction, wrong))
                axes = [column[place] for column in planes]
                _draw_image(axes, *parts, colors, shades, value_range)
    _draw_legend(figure, corner.x0, corner.y0, _LEGEND_TOP, lines)
    return figure


def _class_maps(name: str, values: Any, images: np.ndarray, lowest: int) -> np.ndarray:
    maps = check_array(name, values, kinds="iu", empty=True)
    if maps.shape != images.shape[:-1]:
        raise ValueError(
            f"`{name}` must have the shape of `images` without channels, {images.shape[:-1]}. "
            f"Received: {name}.shape={maps.shape}"
        )
    maps = maps.astype("int64")
    if maps.min() < lowest:
        raise ValueError(
            f"`{name}` must be class numbers of at least {lowest}. Received: {maps.min()}"
        )
    return maps


def _num_classes(
    num_classes: int | None,
    class_names: Sequence[str] | None,
    masks: np.ndarray,
    predictions: np.ndarray,
) -> int:
    highest = int(max(masks.max(), predictions.max()))
    if num_classes is None and class_names is not None:
        num_classes = len(class_names)
    elif num_classes is None:
        num_classes = max(2, highest + 1)
    num_classes = check_int("num_classes", num_classes, 2, 1024)
    if highest >= num_classes:
        name = "masks" if masks.max() == highest else "predictions"
        raise ValueError(
            f"`{name}` must be in [0, {num_classes}), as many classes as there are. Received: "
            f"{highest}"
        )
    return num_classes


def _sides(spacing: Any, spatial: tuple[int, ...]) -> list[float]:
    """Inches of depth, height and width of volumes; of others nothing."""
    if len(spatial) == 3:
        return sides_of_planes(spatial, read_spacing(spacing))
    if spacing is not None:
        raise ValueError(
            f"`spacing` must be None for images that are no volumes. Received: spacing={spacing!r}"
        )
    return []


def _color(number: int) -> np.ndarray:
    share, white = _TINTS[number // len(CLASS_COLORS) % len(_TINTS)]
    return share * np.array(to_rgb(CLASS_COLORS[number % len(CLASS_COLORS)])) + white


def _error_kinds(classes: list[_Entry]) -> list[_Entry]:
    if len(classes) > 2:
        return [_Entry("errors", _OTHER_KIND)]
    name = classes[1].text
    return [
        _Entry(f"errors: {name} missed", _FIRST_KIND),
        _Entry(f"errors: {name} predicted wrongly", _OTHER_KIND),
    ]


def _cell(spatial: tuple[int, ...], sides: list[float]) -> tuple[float, float]:
    if len(spatial) == 1:
        return _SIGNAL
    if len(spatial) == 2:
        return _SIDE, _SIDE * float(np.clip(spatial[0] / spatial[1], 0.3, 2.0))
    depth, height, width = sides
    return width + BETWEEN + depth, height + BETWEEN + depth


def _wrong(mask: np.ndarray, prediction: np.ndarray, num_kinds: int) -> np.ndarray:
    """The kind of error of each pixel, -1 where there is none or no label."""
    kinds = prediction if num_kinds == 2 else np.zeros_like(mask)
    return np.where((mask != UNLABELED) & (mask != prediction), kinds, -1)


def _draw_image(
    row: list[Axes],
    image: np.ndarray,
    mask: np.ndarray,
    prediction: np.ndarray,
    wrong: np.ndarray,
    colors: np.ndarray,
    shades: np.ndarray,
    value_range: tuple[float, float],
) -> None:
    picture = to_pictures(image[None], value_range)[0]
    pale = 0.75 + 0.25 * picture
    panels = [
        picture,
        _OPACITY * colors[mask.clip(0)] + (1 - _OPACITY) * picture,
        _OPACITY * colors[prediction] + (1 - _OPACITY) * picture,
        np.where(wrong[..., None] < 0, pale, shades[wrong]),
    ]
    for number in (1, 3):  # stripes behind the picture, seen where there is no label
        row[number].patch.set(**ABSENT)
        labeled = (mask != UNLABELED)[..., None]
        panels[number] = np.concatenate([panels[number], labeled], axis=-1)
    for axes, panel in zip(row, panels, strict=True):
        axes.imshow(panel, interpolation="nearest", aspect="auto")


def _draw_signal(
    row: list[Axes],
    signal: np.ndarray,
    mask: np.ndarray,
    prediction: np.ndarray,
    wrong: np.ndarray,
    colors: np.ndarray,
    shades: np.ndarray,
) -> None:
    nothing = np.zeros(len(signal), bool)
    draw_signals(row, [signal] * 4, nothing, [nothing] * 4, [False] * 4)
    for axes, numbers, palette in (
        (row[1], mask, colors),
        (row[2], prediction, colors),
        (row[3], wrong, shades),
    ):
        for start, end in _runs(numbers):
            if numbers[start] >= 0:
                look = {"facecolor": palette[numbers[start]], "alpha": 0.5, "linewidth": 0}
                axes.axvspan(start - 0.5, end - 0.5, **look)
    for axes in (row[1], row[3]):
        for start, end in _runs(mask):
            if mask[start] == UNLABELED:
                axes.axvspan(start - 0.5, end - 0.5, **{**ABSENT, "linewidth": 0})


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Where runs of equal values start and end, the end not included."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(zip(edges, edges[1:], strict=False))


def _flow(entries: list[_Entry], width: float) -> list[list[tuple[float, _Entry]]]:
    """Entries of a legend in lines of at most `width` inches, each with its place in the line."""
    lines: list[list[tuple[float, _Entry]]] = [[]]
    x = 0.0
    for entry in entries:
        needed = _SWATCH + 0.07 + text_width(entry.text, SMALL)
        if lines[-1] and x + needed > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, entry))
        x += needed + 0.2
    return lines


def _draw_legend(
    figure: Figure, left: float, bottom: float, gap: float, lines: list[list[tuple[float, _Entry]]]
) -> None:
    """Draw a legend `gap` inches below a place given in shares of the figure."""
    across, down = figure.get_size_inches()
    for number, line in enumerate(lines):
        y = bottom * down - gap - _LEGEND_LINE * (number + 0.5)
        for place, (text, color) in line:
            x = left * across + place
            corner = (x / across, (y - _SWATCH / 2) / down)
            look = {"transform": figure.transFigure, "linewidth": 0.5, "edgecolor": LINE}
            box = Rectangle(corner, _SWATCH / across, _SWATCH / down, facecolor=color, **look)
            figure.add_artist(box)
            style = {"size": SMALL, "color": MUTED, "va": "center", **LITERAL}
            figure.text((x + _SWATCH + 0.07) / across, y / down, text, **style)


def _notes(
    images: np.ndarray,
    masks: np.ndarray,
    predictions: np.ndarray,
    num_classes: int,
    note: str | None,
) -> tuple[Note, ...]:
    labeled = masks != UNLABELED
    notes = []
    if not labeled.all():
        notes.append(Note("Not labeled, counted nowhere.", "absent"))
    if np.isnan(images).any() and masks.ndim > 2:
        notes.append(Note("Missing data (NaN).", "missing"))
    elif np.isnan(images).any():
        notes.append(Note("Gaps in lines: missing data (NaN)."))
    if masks.ndim == 4:
        size = " x ".join(map(str, masks.shape[1:]))
        notes.append(
            Note(
                f"Planes through the middle of {size} voxels (depth x height x width): height by "
                "width; to the right of it height by depth, below it depth by width."
            )
        )
    if labeled.any():
        right = percent(float((masks == predictions)[labeled].mean()))
        notes.append(Note(f"Right: {right} of the labeled pixels of the samples shown."))
    if num_classes > _MOST_COLORS:
        notes.append(Note(f"Colors repeat after {_MOST_COLORS} classes."))
    if masks.ndim > 2 and channel_note(images.shape[-1]):
        notes.append(Note(channel_note(images.shape[-1])))
    return (*notes, *(() if note is None else (Note(note),)))


def class_bar_figure(
    scores: Mapping[str, Sequence[float | None]],
    *,
    class_names: Sequence[str] | None = None,
    intervals: Mapping[str, Sequence[tuple[float, float] | None]] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a bar for each class and measure, such as IoU and Dice, with intervals as lines.

    Args:
        scores: name of a measure to its values in [0, 1], one for each class; `None` or NaN where
            a class has none.
        class_names: str for each class; defaults to their numbers.
        intervals: name of a measure to two floats for each class, or `None` where there is no
            interval.
        title: str or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        TypeError: if `scores` or `intervals` is no dict.
        ValueError: if measures have different numbers of classes, or values are outside [0, 1].

    Example:
    >>> figure = class_bar_figure({"IoU": [0.8, 0.5], "Dice": [0.9, 0.7]},
    ...                           intervals={"IoU": [(0.7, 0.9), None]})
    >>> len(figure.axes[0].patches)
    4
    """
    values = {
        name: _in_unit(f"scores[{name!r}]", row)
        for name, row in check_mapping("scores", scores, "measure").items()
    }
    num_classes = len(next(iter(values.values())))
    if not num_classes or any(len(row) != num_classes for row in values.values()):
        counts = ", ".join(f"{len(row)} for {name!r}" for name, row in values.items())
        raise ValueError(f"`scores` must have a value for each class. Received: {counts}")
    ends = _read_intervals(intervals, list(values), num_classes)
    names = [
        shortened(name, _LONGEST_NAME, SMALL) for name in read_class_names(class_names, num_classes)
    ]
    left = MARGIN + widest(names, SMALL) + 0.1
    step = _BAR * len(values) + _BARS_GAP
    height = step * num_classes
    measures = [
        _Entry(shortened(name, _LONGEST_NAME, SMALL), line_look(number)["color"])
        for number, name in enumerate(values)
    ]
    lines = _flow(measures, left - MARGIN + _BARS_WIDTH + _NUMBER)
    page, top = framed_page(
        left + _BARS_WIDTH + _NUMBER + MARGIN,
        height + 0.28 + _LEGEND_LINE * len(lines),
        title=title,
        notes=_bar_notes(values, ends, names),
    )
    axes = page.axes(left, top, _BARS_WIDTH, height)
    for number, (name, row) in enumerate(values.items()):
        places = np.arange(num_classes) * step + _BARS_GAP / 2 + _BAR * (number + 0.5)
        color = line_look(number)["color"]
        axes.barh(places, np.nan_to_num(row), height=0.86 * _BAR, color=color)
        _write_values(axes, places, row, ends.get(name))
    axes.set(xlim=(0, 1), ylim=(height, 0), xticks=np.linspace(0, 1, 6).round(1))
    axes.set_yticks((np.arange(num_classes) + 0.5) * step, names, **LITERAL)
    axes.tick_params(labelsize=SMALL, colors=INK, length=0, pad=3)
    axes.grid(axis="x", color=LINE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _draw_legend(page.figure, MARGIN / page.size[0], axes.get_position().y0, 0.28, lines)
    return page.figure


def _bar_notes(
    values: dict[str, np.ndarray], ends: dict[str, np.ndarray], names: list[str]
) -> list[str]:
    notes = []
    if any(np.isfinite(rows).any() for rows in ends.values()):
        notes.append("Lines: intervals.")
    without = np.isnan(list(values.values())).all(axis=0)
    absent = [name for name, empty in zip(names, without, strict=True) if empty]
    if absent:
        notes.append(f"Without a score: {listed(absent)}.")
    return notes


def _write_values(
    axes: Axes, places: np.ndarray, values: np.ndarray, ends: np.ndarray | None
) -> None:
    look = {"size": SMALL - 1.5, "va": "center", "color": MUTED, "annotation_clip": False}
    for number, (place, value) in enumerate(zip(places, values, strict=True)):
        if np.isnan(value):
            continue
        furthest = value
        if ends is not None and np.isfinite(ends[number]).all():
            axes.plot(ends[number], [place, place], color=INK, linewidth=1.1, clip_on=False)
            furthest = max(value, ends[number][1])
        offset = {"xytext": (4, 0), "textcoords": "offset points"}
        axes.annotate(f"{value:.2f}", (furthest, place), **offset, **look)


def _in_unit(name: str, values: Any) -> np.ndarray:
    row = read_numbers(name, values)
    known = row[~np.isnan(row)]
    if row.ndim != 1 or ((known < 0) | (known > 1)).any():
        raise ValueError(f"`{name}` must be values in [0, 1]. Received: {row.tolist()}")
    return row


def _read_intervals(intervals: Any, measures: list[str], num_classes: int) -> dict[str, np.ndarray]:
    if intervals is None:
        return {}
    read = {}
    for name, rows in check_mapping("intervals", intervals, "measure").items():
        if name not in measures:
            raise ValueError(f"`intervals` must name measures of {measures}. Received: {name!r}")
        argument = f"intervals[{name!r}]"
        pairs = [(np.nan, np.nan) if row is None else row for row in rows]
        ends = check_array(argument, pairs, empty=True).astype("float64")
        if ends.shape != (num_classes, 2):
            raise ValueError(
                f"`{argument}` must have two values for each of the {num_classes} classes. "
                f"Received: shape {ends.shape}"
            )
        read[name] = _in_unit(argument, ends.ravel()).reshape(-1, 2)
    return read
