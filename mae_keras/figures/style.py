"""The common look: pages, colors, names of lines, accuracies, class names. Imports matplotlib."""

import bisect
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mae_keras.figures.inputs import check_names, read_numbers
from mae_keras.figures.sheet import (
    BLUE,
    INK,
    LARGE,
    LINE,
    LITERAL,
    MUTED,
    NORMAL,
    ORANGE,
    SMALL,
    Page,
    one_line,
    text_width,
    wrapped,
)
from mae_keras.files import replacing

MARGIN = 0.15  # inches, as below
_TITLE_LINE, _NOTE_LINE, _NOTE_GAP = 0.22, 0.165, 0.05
_SWATCH_WIDTH = 0.24


def framed_page(
    width: float,
    height: float,
    *,
    title: str | None = None,
    notes: Sequence[str | tuple[str, str]] = (),
) -> tuple[Page, float]:
    """A page with space for a drawing (inches), and how far below its top the drawing starts."""
    lines = wrapped(title or "", width - 2 * MARGIN, LARGE, "bold")
    entries = [note if isinstance(note, tuple) else (note, "") for note in notes if note]
    broken = [
        (wrapped(text, width - 2 * MARGIN - _SWATCH_WIDTH * bool(swatch), SMALL), swatch)
        for text, swatch in entries
    ]
    top = MARGIN + _TITLE_LINE * len(lines) + 0.06 * bool(lines)
    below = sum(_NOTE_GAP + _NOTE_LINE * len(text) for text, _ in broken)
    page = Page(width, top + height + below + MARGIN)
    for number, line in enumerate(lines):
        page.text(MARGIN, MARGIN + _TITLE_LINE * (number + 0.4), line, size=LARGE, weight="bold")
    y = top + height
    for text, swatch in broken:
        y = _draw_note(page, text, swatch, y + _NOTE_GAP)
    return page, top


def _draw_note(page: Page, lines: list[str], swatch: str, y: float) -> float:
    x = MARGIN
    if swatch:
        page.swatch(x, y + 0.02, swatch)
        x += _SWATCH_WIDTH
    for line in lines:
        page.text(x, y + _NOTE_LINE / 2, line, size=SMALL, color=MUTED)
        y += _NOTE_LINE
    return y


def widest(texts: Sequence[str], size: float) -> float:
    """Width of the widest of some texts."""
    return max((text_width(text, size) for text in texts), default=0.0)


# Ten categories, none of them gray. Searched to keep the smallest difference (CIEDE2000) above 23,
# and above 14 under any of the three kinds of color blindness.
CLASS_COLORS = (
    "#2a84f4",
    "#ecb714",
    "#ab0c2e",
    "#6bcede",
    "#7d0867",
    "#1b7365",
    "#d56b37",
    "#1e39e8",
    "#9bba8b",
    "#956f99",
)
_CLASS_MARKS = ("o", "^", "s", "D", "v", "P")
NUM_CLASS_LOOKS = 30

# The first two are those of all other figures; the rest were searched to keep the smallest
# difference (CIEDE2000) under any kind of color blindness above 15.
_LINE_COLORS = (BLUE, ORANGE, "#a3253c", "#0e4c5a", "#56a8c8", "#717581")
_LINE_MARKS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))


def class_look(number: int) -> tuple[str, str]:
    """Color and mark of a class: the first ten differ in color, and neighbors in mark too."""
    number %= NUM_CLASS_LOOKS
    mark = (number + number // len(CLASS_COLORS)) % len(_CLASS_MARKS)
    return CLASS_COLORS[number % len(CLASS_COLORS)], _CLASS_MARKS[mark]


def line_look(number: int) -> dict[str, Any]:
    """Color, mark and dashes of a line; the first six lines differ in color and mark."""
    color = number % len(_LINE_COLORS)
    return {
        "color": _LINE_COLORS[color],
        "marker": _LINE_MARKS[color],
        "linestyle": _DASHES[number // len(_LINE_COLORS) % len(_DASHES)],
        "linewidth": 1.8,
        "markersize": 4,
    }


OFFSET = 12  # points between the axes and a label
_DISTANCE = 13.0  # points between lines of text


class Label(NamedTuple):
    """A name to be written beside the right end of a line."""

    height: float
    text: str
    color: str


def label_room(labels: Sequence[Label]) -> float:
    """Inches that labels need right of the axes."""
    return widest([label.text for label in labels], SMALL) + OFFSET / 72 + 0.1


def write_labels(axes: Axes, labels: Sequence[Label], height: float) -> None:
    """Write names right of the axes at the heights of their lines, moved apart to be legible."""
    points = height * 72
    to_axes = axes.transData + axes.transAxes.inverted()
    labels = sorted(labels, key=lambda label: label.height)
    wanted = [to_axes.transform((1, label.height))[1] * points for label in labels]
    for label, line, place in zip(labels, wanted, _places(wanted, points), strict=True):
        axes.annotate(
            one_line(label.text),
            (1, line / points),
            (OFFSET, place - line),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            size=SMALL,
            color=label.color,
            **LITERAL,
            arrowprops={"arrowstyle": "-", "color": LINE, "linewidth": 0.8, "relpos": (0, 0.5)},
        )


def _places(wanted: list[float], points: float) -> list[float]:
    """Heights `_DISTANCE` apart and, as far as there is room, between 0 and `points`."""
    places = np.array(spread(wanted, _DISTANCE))
    steps = _DISTANCE * np.arange(len(places))
    places = np.minimum(places, points - steps[::-1])
    return np.maximum(places, min(0.0, points - steps[-1]) + steps).tolist() if len(places) else []


def spread(heights: Sequence[float], distance: float) -> list[float]:
    """Move ascending heights apart, as little as needed to keep them `distance` from each other."""
    groups: list[tuple[float, int]] = []  # center and number of heights that move together
    for height in heights:
        groups.append((height, 1))
        while len(groups) > 1 and _overlap(*groups[-2:], distance):
            (a, m), (b, n) = groups.pop(-2), groups.pop()
            groups.append(((a * m + b * n) / (m + n), m + n))
    return [
        center + (number - (count - 1) / 2) * distance
        for center, count in groups
        for number in range(count)
    ]


def _overlap(lower: tuple[float, int], upper: tuple[float, int], distance: float) -> bool:
    return upper[0] - lower[0] < (lower[1] + upper[1]) / 2 * distance


_LEAST_SPAN = 0.1  # smaller differences would look like large ones


def read_accuracies(values: Iterable[float | None], name: str) -> np.ndarray:
    """Bring accuracies to an array, or say what is wrong with them."""
    array = read_numbers(name, values)
    array[~np.isfinite(array)] = np.nan
    wrong = array[(array < 0) | (array > 1)]
    if len(wrong):
        raise ValueError(
            f"`{name}` must be accuracies in [0, 1], not percent. Received: {wrong[0]:g}"
        )
    return array


def percent(value: float) -> str:
    """An accuracy as text."""
    if value in (0, 1):
        return f"{100 * value:.0f}%"
    if value < 0.0005:
        return "<0.1%"
    return ">99.9%" if value >= 0.9995 else f"{100 * value:.1f}%"


def dress_accuracy_axis(axes: Axes, values: Any, label: str | None = "accuracy") -> None:
    """Set the limits of a vertical axis of accuracies, its ticks in percent, and the common look.

    The limits leave room around the values, span at least ten percentage points and stay within 0
    and 100 %.
    """
    axes.set_ylim(*_limits(np.asarray(values, dtype="float64")))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    axes.tick_params(which="both", labelsize=SMALL, colors=MUTED, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=LINE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    if label is not None:
        axes.set_ylabel(label, size=NORMAL, color=INK)


def _limits(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    span = max(1.1 * (high - low), _LEAST_SPAN)
    low = min(max((low + high - span) / 2, 0.0), max(1.0 - span, 0.0))
    return low, min(low + span, 1.0)


def read_class_names(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    """Names of classes, their numbers where there are none."""
    if class_names is None:
        return [str(number) for number in range(num_classes)]
    check_names("class_names", class_names)
    names = [one_line(str(name)) for name in class_names]
    if len(names) != num_classes:
        raise ValueError(
            f"`class_names` must have one name for each of the {num_classes} classes. "
            f"Received: {len(names)} names"
        )
    return names


def shortened(text: str, width: float, size: float) -> str:
    """Cut a text that is too wide, and say so by an ellipsis."""
    text = one_line(text)
    if text_width(text, size) <= width:
        return text
    lengths = range(1, len(text))
    fitting = bisect.bisect(lengths, width, key=lambda n: text_width(text[:n] + "…", size))
    return text[: max(fitting, 1)].rstrip() + "…"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Names in a sentence, the first ones of many."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: float = 120) -> None:
    """Write a figure so that a crash never costs the picture that was there.

    Args:
        figure: `matplotlib.figure.Figure`.
        path: file to write or replace; its suffix decides the format (`.png`, `.pdf`, `.svg`,
            ...), PNG without one; parents are created.
        dpi: float, dots per inch.

    Raises:
        ValueError: if `path` is a folder, or matplotlib does not know its suffix.

    Example:
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pictures" / "empty.png"
    >>> save_figure(Figure(), path)
    >>> path.exists()
    True
    """
    path = pathlib.Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"`path` must be a file. Received: the folder {str(path)!r}")
    suffix = path.suffix[1:].lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if suffix not in known:
        raise ValueError(
            f"`path` must end in one of {', '.join(sorted(known))}. Received: path={str(path)!r}"
        )
    with replacing(path) as aside:
        figure.savefig(aside, format=suffix, dpi=dpi)
