"""Sheets of equal cells: images of any rank and signals, laid out in inches. Imports matplotlib.

Everything is placed by hand rather than by a layout engine: cells keep one size whatever the
text, text never meets a picture, and the figure is exactly as large as what is in it.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mae_keras.arguments import check_int, check_ints
from mae_keras.figures.inputs import read_images, read_mask

INK, MUTED, LINE = "#22303c", "#5d6975", "#c9d0d8"
BLUE, ORANGE = "#2f6db3", "#d9772b"
# One color code in every figure and notebook: what is hidden is light blue. Over images it is
# striped as well, so that no picture can hold it.
HIDDEN, VISIBLE = "#a9c1de", "#4a545f"
BLANK = "#f3f4f6"
STRIPES = {"facecolor": HIDDEN, "edgecolor": "#7f9fc6", "hatch": "////"}
MISSING = "#c2559d"
# Classes without samples: nothing is hidden there, so the stripes are gray.
ABSENT = {"facecolor": "#eceef1", "edgecolor": "#b9bfc6", "hatch": "////"}
_SWATCHES = {
    "hidden": STRIPES,
    "missing": {"facecolor": MISSING, "edgecolor": MISSING},
    "absent": ABSENT,
}
_BREAKS = re.compile(r"(?:(?! )[\s\x00-\x1f\x7f-\x9f])+")
# For texts that may hold names given by users: "$" and "_" mean themselves.
LITERAL = {"parse_math": False, "usetex": False}

SMALL, NORMAL, LARGE = 8, 9, 11  # points
_MARGIN = 0.15  # inches, as all below
_TITLE_LINE, _HEADING, _NOTE_LINE, _NOTE_GAP = 0.22, 0.24, 0.165, 0.05
_SWATCH = 0.16
_GROUP_GAP = 0.12


class Note(NamedTuple):
    """One entry of a legend: a text, after a swatch of what it explains if `swatch` names one."""

    text: str
    swatch: str | None = None


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Rows and columns of equal cells under a title, over a legend.

    Args:
        rows, columns: ints.
        cell: width and height in inches.
        gap: float, inches between cells.
        headings: a heading for each column, or none.
        title: str or `None`.
        notes: legend entries, one below the other.
        left: float, inches kept free for names of rows.
        below: float, inches kept free below the last row, for ticks.
        group: int, rows that belong together; between groups the gap is wider. `None`: all do.
    """

    rows: int
    columns: int
    cell: tuple[float, float]
    gap: float = 0.08
    headings: tuple[str, ...] = ()
    title: str | None = None
    notes: tuple[Note, ...] = ()
    left: float = 0.0
    below: float = 0.0
    group: int | None = None

    def draw(self) -> tuple[Figure, list[list[Axes]]]:
        """Make the figure with its texts, and empty axes `[row][column]` without ticks."""
        grid_width = self._along(self.columns, self.cell[0])
        width = 2 * _MARGIN + self.left + grid_width
        title = wrapped(self.title or "", width - 2 * _MARGIN, LARGE, "bold")
        notes = [(note, wrapped(note.text, self._note_width(note), SMALL)) for note in self.notes]
        top = _MARGIN + _TITLE_LINE * len(title) + _HEADING * bool(self.headings)
        below = sum(_NOTE_GAP + _NOTE_LINE * len(lines) for _, lines in notes) + _NOTE_GAP
        grid_height = self._along(self.rows, self.cell[1]) + self.below
        grid_height += self._set_apart(self.rows - 1)
        page = Page(width, top + grid_height + below + _MARGIN)
        for number, line in enumerate(title):
            y = _MARGIN + _TITLE_LINE * (number + 0.4)
            page.text(_MARGIN, y, line, size=LARGE, weight="bold")
        for number, heading in enumerate(self.headings):
            x = _MARGIN + self.left + number * (self.cell[0] + self.gap) + self.cell[0] / 2
            page.text(x, top - _HEADING / 2, heading, ha="center")
        self._draw_notes(page, notes, top + grid_height + _NOTE_GAP)
        return page.figure, self._axes(page, top)

    def _along(self, count: int, size: float) -> float:
        return count * (size + self.gap) - self.gap

    def _set_apart(self, row: int) -> float:
        """Inches that the gaps between groups above a row are wider."""
        return 0.0 if self.group is None else _GROUP_GAP * (row // self.group)

    def _note_width(self, note: Note) -> float:
        inset = 0.0 if note.swatch is None else _SWATCH + 0.08
        return self.left + self._along(self.columns, self.cell[0]) - inset

    def _draw_notes(self, page: "Page", notes: list[tuple[Note, list[str]]], y: float) -> None:
        for note, lines in notes:
            x, y = _MARGIN, y + _NOTE_GAP
            if note.swatch is not None:
                page.swatch(x, y + 0.02, note.swatch)
                x += _SWATCH + 0.08
            for line in lines:
                page.text(x, y + _NOTE_LINE / 2, line, size=SMALL, color=MUTED)
                y += _NOTE_LINE

    def _axes(self, page: "Page", top: float) -> list[list[Axes]]:
        steps = [size + self.gap for size in self.cell]
        return [
            [
                page.axes(_MARGIN + self.left + c * steps[0], top + y, *self.cell)
                for c in range(self.columns)
            ]
            for y in (r * steps[1] + self._set_apart(r) for r in range(self.rows))
        ]


class Page:
    """A figure on which places are inches from the upper left corner.

    Args:
        width, height: inches.
    """

    def __init__(self, width: float, height: float):
        self.size = width, height
        self.figure = Figure(figsize=self.size, facecolor="white")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes without ticks, in a thin frame."""
        box = self._box(x, y, width, height)
        axes = self.figure.add_axes((box[0], box[1], box[2], box[3]), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=LINE, linewidth=0.8)
        return axes

    def text(self, x: float, y: float, text: str, **style: object) -> None:
        """Text, vertically centered on `y`."""
        style = {"size": NORMAL, "color": INK, "ha": "left", "va": "center", **LITERAL, **style}
        self.figure.text(x / self.size[0], 1 - y / self.size[1], one_line(text), **style)

    def swatch(self, x: float, y: float, kind: str) -> None:
        """A small box in the look of hidden patches, missing pixels or absent classes."""
        box = self._box(x, y, _SWATCH, 0.13)
        place = {"transform": self.figure.transFigure, "linewidth": 0.5}
        self.figure.add_artist(Rectangle(box[:2], box[2], box[3], **place, **_SWATCHES[kind]))

    def _box(self, x: float, y: float, width: float, height: float) -> tuple[float, ...]:
        across, down = self.size
        return x / across, 1 - (y + height) / down, width / across, height / down


def one_line(text: str) -> str:
    """Text that can be drawn on one line: no breaks, control characters or lone surrogates."""
    # File names that are not UTF-8 come with lone surrogates, which no font has.
    text = text.encode("utf-8", "backslashreplace").decode()
    return _BREAKS.sub(" ", text).strip()


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text in inches; `size` in points."""
    # Measured on outlines: needs no canvas. Rasterised letters are up to 5 % wider.
    font = FontProperties(size=size, weight=weight)
    width = text_to_path.get_text_width_height_descent(one_line(text), font, False)[0]
    return 1.05 * width / 72


def wrapped(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Break text into lines of at most `width` inches (or one word)."""
    lines: list[str] = []
    for word in one_line(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, weight) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def read_prediction(
    name: str,
    samples: Any,
    axes: tuple[Any, ...] | None,
    patch_mask: Any,
    prediction: Any,
    patch_size: int | Sequence[int],
    pasted: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Samples, what of them is hidden, the prediction, and the samples with it in hidden patches.

    `axes` are their names, as many as the samples must have; a number is that of its size.
    """
    samples = read_images(name, samples)
    fits = axes is None or samples.ndim == len(axes)
    if not fits or any(
        isinstance(size, int) and size != own
        for own, size in zip(samples.shape, axes or samples.shape, strict=True)
    ):
        raise ValueError(
            f"`{name}` must have shape ({', '.join(map(str, axes or ()))}). Received: "
            f"{name}.shape={samples.shape}"
        )
    prediction = read_images("prediction", prediction, samples.shape, name)
    hidden = hidden_values(patch_mask, samples.shape, patch_size)
    if pasted is None:
        pasted = np.where(hidden, prediction, samples)
    return samples, hidden, prediction, read_images("pasted", pasted, samples.shape, name)


def hidden_values(
    patch_mask: Any, images_shape: Sequence[int], patch_size: int | Sequence[int]
) -> np.ndarray:
    """Spread a mask of patches, in raster order, over the values `(batch, *spatial, channels)`."""
    batch, *spatial, channels = images_shape
    mask, sizes = read_mask("patch_mask", patch_mask), _patch_sizes(patch_size, spatial)
    if mask.shape == (batch, math.prod(spatial) * channels) and set(sizes) <= {1}:
        return mask.reshape(tuple(images_shape))
    grid = [length // size for length, size in zip(spatial, sizes, strict=False)]
    single = len(sizes) > len(spatial) and mask.shape == (batch, math.prod(grid) * channels)
    grid += [channels] if single else []
    if mask.shape != (batch, math.prod(grid)):
        raise ValueError(
            f"`patch_mask` must have shape ({batch}, {math.prod(grid)}): {batch} images of "
            f"{tuple(grid)} patches. Received: patch_mask.shape={mask.shape}"
        )
    mask = mask.reshape(batch, *grid)
    for axis, size in enumerate(sizes[: len(spatial)]):
        mask = mask.repeat(size, axis=axis + 1)
    return np.broadcast_to(mask if single else mask[..., None], tuple(images_shape))


def _patch_sizes(patch_size: int | Sequence[int], spatial: Sequence[int]) -> tuple[int, ...]:
    if np.ndim(patch_size) == 0:
        sizes = (check_int("patch_size", patch_size, 1),) * len(spatial)
    else:
        sizes = check_ints("patch_size", patch_size, 1)
    # Where channels are hidden by themselves they are one more axis of patches.
    fits = len(sizes) == len(spatial) or (len(sizes) == len(spatial) + 1 and sizes[-1] == 1)
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
    """The middle of the first spatial axis of volumes; other images as they are."""
    return values[:, values.shape[1] // 2] if values.ndim == 5 else values


def to_pictures(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Colors of pixels, float32 `(batch, rows, columns, 3)` in [0, 1]; NaN in its own color.

    One channel is gray, three are RGB, others as `channel_note` says.
    """
    low, high = value_range
    if values.shape[-1] < 3:
        values = values.mean(axis=-1, keepdims=True)
    values = np.clip((values[..., :3] - low) / ((high - low) or 1.0), 0.0, 1.0)
    pictures = np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values
    missing = np.isnan(pictures).any(axis=-1, keepdims=True)
    return np.where(missing, np.array(to_rgb(MISSING)), pictures).astype("float32")


def channel_note(channels: int) -> str | None:
    """What `to_pictures` makes of channels that are neither gray nor color, or `None`."""
    if channels in (1, 3):
        return None
    if channels == 2:
        return "Shown is the mean of the 2 channels, in gray."
    return f"Shown are the first three of the {channels} channels, as red, green and blue."


_COLORS = (INK, ORANGE, "#4f8a5b", "#7a5ea8", BLUE)


def draw_signals(
    row: list[Axes],
    panels: list[np.ndarray],
    hidden: np.ndarray,
    missing: list[np.ndarray],
    hatched: list[bool],
) -> None:
    """Draw one signal's panels side by side, on the same scale; NaN leaves gaps in the lines.

    Several channels are drawn one above the other. `hidden` and, for each panel, `missing` say of
    each step what color is behind it.
    """
    panels = in_lanes(panels) if panels[0].shape[-1] > 1 else panels
    finite = np.concatenate([panel[np.isfinite(panel)] for panel in panels])
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.5
    for axes, panel, absent, hatch in zip(row, panels, missing, hatched, strict=True):
        axes.set(xlim=(-0.5, len(hidden) - 0.5), ylim=(low - margin, high + margin))
        look = STRIPES if hatch else {"facecolor": HIDDEN, "alpha": 0.5}
        for start, end in _spans(hidden):
            axes.axvspan(start, end, linewidth=0, **look)
        for start, end in _spans(absent):
            axes.axvspan(start, end, facecolor=MISSING, alpha=0.5, linewidth=0)
        for channel in range(panel.shape[-1]):
            color = _COLORS[channel % len(_COLORS)]
            look = {"color": color, "linewidth": 1.1, "solid_capstyle": "round"}
            # A step between gaps has no line: a dot shows it.
            dots = {"marker": "o", "markersize": 2.2, "markevery": _alone(panel[:, channel])}
            axes.plot(panel[:, channel], **look, **dots)


def label_time(row: list[Axes], length: int, step: float, unit: str, start: float = 0.0) -> None:
    """Ticks and a label below axes whose places are `step` apart in time; `start` is time 0."""
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(0, length * step)
    ticks = ticks[(ticks >= 0) & (ticks < 0.96 * length * step)]
    for axes in row:
        axes.set_xticks(ticks / step + start)
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda place, _: f"{(place - start) * step:.3g}")
        )
        axes.set_xlabel(unit, size=SMALL, color=MUTED, labelpad=1)
        axes.tick_params(axis="x", labelsize=SMALL, colors=MUTED, length=2.5, color=LINE, pad=2)


def in_lanes(panels: list[np.ndarray]) -> list[np.ndarray]:
    """Channels scaled to their own range over all panels, the first one on top."""
    steps = np.concatenate(panels)
    low, high = np.fmin.reduce(steps), np.fmax.reduce(steps)  # NaN where there is no value
    span = np.where(high > low, high - low, 1.0)
    lanes = 1.15 * np.arange(steps.shape[-1])[::-1]
    return [(panel - low) / span + lanes for panel in panels]


def _alone(values: np.ndarray) -> list[int]:
    """Which steps have a value while those before and after have none."""
    padded = np.concatenate([[False], np.isfinite(values), [False]])
    return np.flatnonzero(padded[1:-1] & ~padded[:-2] & ~padded[2:]).tolist()


def _spans(marked: np.ndarray) -> list[tuple[float, float]]:
    """Runs of `True`, each from half a step before its first to half a step after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
    return [(start - 0.5, end - 0.5) for start, end in edges.reshape(-1, 2)]
