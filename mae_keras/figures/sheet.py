"""The common look: colours, and sheets of equal cells laid out in inches. Imports matplotlib.

Everything is placed by hand rather than by a layout engine: cells keep one size whatever the
text, text never meets a picture, and the figure is exactly as large as what is in it.
"""

import dataclasses
import re
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

INK, MUTED, LINE = "#22303c", "#5d6975", "#c9d0d8"
BLUE, ORANGE = "#2f6db3", "#d9772b"
# One colour code in every figure and notebook: what is hidden is light blue. Over images it is
# striped as well, so that no picture can hold it.
HIDDEN, VISIBLE = "#a9c1de", "#4a545f"
STRIPES = {"facecolor": HIDDEN, "edgecolor": "#7f9fc6", "hatch": "////"}
MISSING = "#c2559d"
# Classes without samples: nothing is hidden there, so the stripes are grey.
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
    """

    rows: int
    columns: int
    cell: tuple[float, float]
    gap: float = 0.08
    headings: tuple[str, ...] = ()
    title: str | None = None
    notes: tuple[Note, ...] = ()
    left: float = 0.0

    def draw(self) -> tuple[Figure, list[list[Axes]]]:
        """Make the figure with its texts, and empty axes `[row][column]` without ticks."""
        grid_width = self._along(self.columns, self.cell[0])
        width = 2 * _MARGIN + self.left + grid_width
        title = wrapped(self.title or "", width - 2 * _MARGIN, LARGE, "bold")
        notes = [(note, wrapped(note.text, self._note_width(note), SMALL)) for note in self.notes]
        top = _MARGIN + _TITLE_LINE * len(title) + _HEADING * bool(self.headings)
        below = sum(_NOTE_GAP + _NOTE_LINE * len(lines) for _, lines in notes) + _NOTE_GAP
        grid_height = self._along(self.rows, self.cell[1])
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
                page.axes(_MARGIN + self.left + c * steps[0], top + r * steps[1], *self.cell)
                for c in range(self.columns)
            ]
            for r in range(self.rows)
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
        """Text, vertically centred on `y`."""
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
    """Text that can be drawn on one line: no breaks, control characters or lone surrogates.

    Args:
        text: str.

    Returns:
        str.

    Example:
    >>> one_line("two" + chr(10) + "lines" + chr(0))
    'two lines'
    """
    # File names that are not UTF-8 come with lone surrogates, which no font has.
    text = text.encode("utf-8", "backslashreplace").decode()
    return _BREAKS.sub(" ", text).strip()


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text.

    Args:
        text: str.
        size: float, points.
        weight: `"normal"` or `"bold"`.

    Returns:
        float, inches.

    Example:
    >>> 0 < text_width("wide", 8) < text_width("wider", 8) < 1
    True
    """
    # Measured on outlines: needs no canvas. Rasterised letters are up to 5 % wider.
    font = FontProperties(size=size, weight=weight)
    width = text_to_path.get_text_width_height_descent(one_line(text), font, False)[0]
    return 1.05 * width / 72


def wrapped(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Break text into lines of at most `width` inches (or one word).

    Args:
        text: str.
        width: float, inches.
        size: float, points.
        weight: `"normal"` or `"bold"`.

    Returns:
        List of str, empty for an empty text.

    Example:
    >>> wrapped("hidden patches are striped", 1.0, 8)
    ['hidden patches', 'are striped']
    """
    lines: list[str] = []
    for word in one_line(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, weight) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
