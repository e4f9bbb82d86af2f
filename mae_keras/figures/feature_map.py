"""Features in two dimensions, colored by class. Imports matplotlib and NumPy only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from mae_keras.arguments import check_array
from mae_keras.figures.inputs import check_mapping, check_names
from mae_keras.figures.sheet import INK, LITERAL, SMALL, Page, one_line, text_width
from mae_keras.figures.style import (
    MARGIN,
    NUM_CLASS_LOOKS,
    class_look,
    framed_page,
    shortened,
    widest,
)

_SIDE, _GAP, _HEADING = 3.2, 0.2, 0.24  # inches, as below
_LINE, _MARK, _COLUMN_GAP, _LONGEST_NAME = 0.18, 0.16, 0.18, 1.3
_LETTER = 7  # points of names within a panel


def feature_map_figure(
    points: Mapping[str, Any],
    labels: Any,
    class_names: Sequence[str] | None = None,
    *,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Draw samples as dots colored by class, a panel for each way to reduce them to two numbers.

    Up to ten classes differ in color, up to thirty in color and mark. Beyond, looks repeat and
    there is no legend. Names also stand at the medians of their classes where there is room.

    Args:
        points: heading of a panel to float array `(num_samples, 2)`, such as `embed_2d` makes.
        labels: int array `(num_samples,)`, from 0.
        class_names: str for each class; defaults to their numbers. Only classes with samples are
            shown.
        title: str or `None`.
        note: str below, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if there are no points, they are not finite, or shapes do not fit.

    Example:
    >>> points = {"PCA": np.eye(4, 2), "t-SNE": np.eye(4, 2)}
    >>> figure = feature_map_figure(points, [0, 1, 1, 0], ["cat", "dog"])
    >>> len(figure.axes)  # two panels and the legend
    3
    """
    labels = _labels(labels, class_names)
    points = check_mapping("points", points, "panel")
    panels = {name: _points(name, values, len(labels)) for name, values in points.items()}
    names = {
        int(label): str(label) if class_names is None else one_line(str(class_names[label]))
        for label in np.unique(labels)
    }
    many = len(names) > NUM_CLASS_LOOKS
    legend = [] if many else _legend(names)
    width = 2 * MARGIN + len(panels) * (_SIDE + _GAP) - _GAP
    width += sum(_COLUMN_GAP + _MARK + widest(column, SMALL) for column in _texts(legend))
    notes = [note or "", _many_note(len(names)) if many else ""]
    page, top = framed_page(width, _HEADING + _SIDE + 0.05, title=title, notes=notes)
    for number, (heading, values) in enumerate(panels.items()):
        x = MARGIN + number * (_SIDE + _GAP)
        page.text(x + _SIDE / 2, top + _HEADING / 2, heading, ha="center")
        axes = page.axes(x, top + _HEADING, _SIDE, _SIDE)
        _scatter(axes, values, labels, list(names))
        _name_medians(axes, values, labels, names)
    _draw_legend(page, legend, MARGIN + len(panels) * (_SIDE + _GAP) - _GAP, top + _HEADING)
    return page.figure


def _labels(labels: Any, class_names: Sequence[str] | None) -> np.ndarray:
    labels = check_array("labels", labels, 1, kinds="iu")
    if class_names is not None:
        check_names("class_names", class_names)
    highest = np.inf if class_names is None else len(class_names) - 1
    if labels.min() < 0 or labels.max() > highest:
        names = "" if class_names is None else f", below the {len(class_names)} names"
        raise ValueError(
            f"`labels` must count from 0{names}. Received: {labels.min()} to {labels.max()}"
        )
    return labels


def _points(name: str, values: Any, num_samples: int) -> np.ndarray:
    values = check_array(f"points[{name!r}]", values, empty=True).astype("float64")
    if values.shape != (num_samples, 2):
        raise ValueError(
            f"`points[{name!r}]` must have shape ({num_samples}, 2), a row for each label. "
            f"Received: shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"`points[{name!r}]` must be finite. Received: NaN or infinity")
    return values


def _scatter(axes: Axes, values: np.ndarray, labels: np.ndarray, classes: list[int]) -> None:
    looks = [class_look(number) for number in np.searchsorted(classes, labels)]
    colors = np.array([color for color, _ in looks])
    marks = np.array([mark for _, mark in looks])
    # Shuffled, so that no class covers another just for being drawn last.
    order = np.random.default_rng(0).permutation(len(labels))
    area = float(np.clip(9000 / len(labels), 6, 30))
    for mark in np.unique(marks):
        shown = order[marks[order] == mark]
        look = {"marker": mark, "s": area, "linewidths": 0, "alpha": 0.8}
        axes.scatter(*values[shown].T, c=colors[shown], **look)
    center = (values.min(axis=0) + values.max(axis=0)) / 2
    reach = 0.54 * float(np.ptp(values, axis=0).max()) or 1.0  # one scale for both directions
    axes.set_xlim(center[0] - reach, center[0] + reach)
    axes.set_ylim(center[1] - reach, center[1] + reach)


def _name_medians(
    axes: Axes, values: np.ndarray, labels: np.ndarray, names: dict[int, str]
) -> None:
    """Write names at the medians of classes, the largest first, where they meet no other."""
    per_inch = np.ptp(axes.get_xlim()) / _SIDE
    taken = np.zeros((0, 3))  # x, y and half a width
    for label in sorted(names, key=lambda label: -np.sum(labels == label)):
        x, y = np.median(values[labels == label], axis=0) / per_inch
        name = shortened(names[label], 0.9, _LETTER)
        half = text_width(name, _LETTER) / 2 + 0.03
        near = np.abs(taken[:, 0] - x) < taken[:, 2] + half
        inside = abs(x - np.mean(axes.get_xlim()) / per_inch) + half < _SIDE / 2
        if inside and not (near & (np.abs(taken[:, 1] - y) < 0.14)).any():
            taken = np.vstack([taken, (x, y, half)])
            halo = [withStroke(linewidth=2, foreground="white")]
            place = {"ha": "center", "va": "center", "size": _LETTER, "color": INK, **LITERAL}
            axes.text(x * per_inch, y * per_inch, name, path_effects=halo, **place)


def _many_note(count: int) -> str:
    return f"{count} classes: colors repeat; names stand at medians of classes, where they fit."


def _legend(names: dict[int, str]) -> list[list[tuple[str, tuple[str, str]]]]:
    """Columns of names, each with its color and mark."""
    entries = [
        (shortened(name, _LONGEST_NAME, SMALL), class_look(number))
        for number, name in enumerate(names.values())
    ]
    columns = -(-len(entries) // int(_SIDE / _LINE))
    rows = -(-len(entries) // columns)
    return [entries[start : start + rows] for start in range(0, len(entries), rows)]


def _texts(legend: list[list[tuple[str, tuple[str, str]]]]) -> list[list[str]]:
    return [[text for text, _ in column] for column in legend]


def _draw_legend(
    page: Page, legend: list[list[tuple[str, tuple[str, str]]]], x: float, y: float
) -> None:
    for column, texts in zip(legend, _texts(legend), strict=True):
        x += _COLUMN_GAP
        axes = page.axes(x, y, _MARK, _LINE * len(column))
        axes.set_axis_off()
        axes.set(xlim=(-1, 1), ylim=(len(column) - 0.5, -0.5))
        for row, (text, (color, mark)) in enumerate(column):
            axes.scatter([0], [row], c=color, marker=mark, s=30, linewidths=0)
            page.text(x + _MARK + 0.03, y + _LINE * (row + 0.5), text, size=SMALL)
        x += _MARK + widest(texts, SMALL)
