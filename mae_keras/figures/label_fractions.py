"""Accuracy against the share of labels used. Imports matplotlib and NumPy only."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mae_keras.figures.accuracy_axis import dress_accuracy_axis, percent, read_accuracies
from mae_keras.figures.frame import framed_page
from mae_keras.figures.inputs import check_mapping
from mae_keras.figures.line_labels import Label, label_room, write_labels
from mae_keras.figures.palette import line_look
from mae_keras.figures.sheet import INK, NORMAL, SMALL, text_width

_WIDTH, _LEFT, _HEIGHT, _BELOW = 7.2, 0.75, 3.1, 0.45  # inches
_DODGE = 5.0  # points between the bars of neighbouring methods


def label_fraction_figure(
    results: Mapping[str, Mapping[float, Sequence[float | None]]],
    *,
    title: str | None = None,
    note: str | None = "Points: means over seeds. Bars: 95% intervals of the mean.",
) -> Figure:
    """Draw accuracy against the share of labelled training images, a line for each method.

    The horizontal axis is logarithmic. Methods are drawn side by side at each fraction, so that
    their intervals do not cover each other.

    Args:
        results: name of a method to fraction of the labels, in (0, 1], to `(mean, low, high)`:
            accuracy and the ends of its interval, in [0, 1]. A mean that is `None` or NaN leaves
            a gap; an interval that is, no bar.
        title: str or `None`.
        note: str below, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no results, a fraction is outside (0, 1], or an interval does not
            hold its mean.

    Example:
    >>> results = {"fine-tuned": {0.01: (0.7, 0.66, 0.74), 1.0: (0.97, 0.96, 0.98)}}
    >>> figure = label_fraction_figure(results)
    >>> figure.axes[0].get_xscale()
    'log'
    """
    results = check_mapping("results", results, "method")
    lines = {name: _line(name, values) for name, values in results.items()}
    labels = _labels(lines)
    page, top = framed_page(_WIDTH, _HEIGHT + _BELOW, title=title, notes=_notes(lines, note))
    width = _WIDTH - _LEFT - label_room(labels)
    axes = page.axes(_LEFT, top, width, _HEIGHT)
    values = np.concatenate(list(lines.values()))
    _dress_fractions(axes, np.unique(values[:, 0]), width, len(lines))
    dress_accuracy_axis(axes, values[:, 1:])
    for number, line in enumerate(lines.values()):
        _draw(axes, line, number, len(lines), width)
    write_labels(axes, labels, _HEIGHT)
    return page.figure


def _line(name: str, values: Mapping[float, Sequence[float | None]]) -> np.ndarray:
    """Rows of fraction, mean, low and high, by ascending fraction."""
    where = f"results[{name!r}]"
    check_mapping(where, values, "fraction")
    rows = []
    for fraction, entry in sorted(values.items()):
        if not 0 < fraction <= 1:
            raise ValueError(
                f"`{where}` must have fractions of the labels in (0, 1]. Received: {fraction!r}"
            )
        if np.shape(entry) != (3,):
            raise ValueError(
                f"`{where}[{fraction!r}]` must be (mean, low, high). Received: {entry!r}"
            )
        mean, low, high = read_accuracies(entry, f"{where}[{fraction!r}]")
        if mean < low - 1e-9 or mean > high + 1e-9:
            raise ValueError(
                f"`{where}[{fraction!r}]` must be (mean, low, high) with low <= mean <= high. "
                f"Received: {tuple(entry)!r}"
            )
        rows.append((fraction, mean, low, high))
    return np.array(rows, dtype="float64")


def _notes(lines: dict[str, np.ndarray], note: str | None) -> list[str]:
    unknown = [name for name, values in lines.items() if not np.isfinite(values[:, 1]).any()]
    return [note or "", f"Without a value: {', '.join(unknown)}." if unknown else ""]


def _labels(lines: dict[str, np.ndarray]) -> list[Label]:
    """Names with the accuracy at the largest fraction that has one."""
    labels = []
    for number, (name, values) in enumerate(lines.items()):
        known = values[np.isfinite(values[:, 1]), 1]
        if len(known):
            text = f"{name}  {percent(known[-1])}"
            labels.append(Label(float(known[-1]), text, line_look(number)["color"]))
    return labels


def _draw(axes: Axes, line: np.ndarray, number: int, count: int, width: float) -> None:
    look = line_look(number)
    low, high = np.log(axes.get_xlim())
    shift = (number - (count - 1) / 2) * _DODGE * (high - low) / (72 * width)
    fractions, means = line[:, 0] * np.exp(shift), line[:, 1]
    axes.plot(fractions, means, **look, clip_on=False, zorder=3)
    axes.vlines(fractions, line[:, 2], line[:, 3], color=look["color"], linewidth=1.4, zorder=2)
    ends = {"marker": "_", "s": 36, "color": look["color"], "linewidth": 1.4, "clip_on": False}
    for column in (2, 3):
        axes.scatter(fractions, np.where(np.isfinite(means), line[:, column], np.nan), **ends)


def _dress_fractions(axes: Axes, fractions: np.ndarray, width: float, count: int) -> None:
    axes.set_xscale("log")
    # Room for the outermost of the methods drawn side by side, and half a bar.
    inset = (count - 1) / 2 * _DODGE + 10
    span = max(np.log(fractions[-1] / fractions[0]), np.log(4))
    margin = span * inset / (72 * width - 2 * inset)
    middle = np.log(fractions[0] * fractions[-1]) / 2
    axes.set_xlim(*np.exp([middle - span / 2 - margin, middle + span / 2 + margin]))
    ticks = _apart(fractions, 72 * width / (span + 2 * margin))
    axes.set_xticks(ticks, [_percent_of_labels(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the training labels", size=NORMAL, color=INK)


def _apart(fractions: np.ndarray, points: float) -> list[float]:
    """Fractions from the largest down whose names do not meet, `points` being one e-fold."""
    kept: list[float] = []
    for fraction in fractions[::-1]:
        needed = 72 * text_width(_percent_of_labels(fraction), SMALL) + 8
        if not kept or np.log(kept[-1] / fraction) * points >= needed:
            kept.append(float(fraction))
    return kept[::-1]


def _percent_of_labels(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"
