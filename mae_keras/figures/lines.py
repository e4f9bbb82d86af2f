"""Named lines over any horizontal axis. Imports matplotlib and NumPy only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mae_keras.figures.inputs import check_mapping
from mae_keras.figures.sheet import INK, LINE, MUTED, NORMAL, SMALL
from mae_keras.figures.style import Label, framed_page, label_room, line_look, write_labels

_WIDTH, _LEFT, _HEIGHT, _BELOW = 7.2, 0.75, 2.6, 0.5  # inches
_MARKED = 20  # with more points than this, they are not marked one by one


def line_figure(
    lines: Mapping[str, Mapping[float, float | Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    baselines: Mapping[str, float] | None = None,
    from_zero: bool = True,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Draw lines with their names at their right ends, and baselines as dashed lines.

    Args:
        lines: name to x to y, or to `(y, low, high)`, which draws the interval as a bar.
        xlabel: str, what x is, with its unit.
        ylabel: str, what y is, with its unit.
        baselines: name to a y that does not depend on x.
        from_zero: bool, start the vertical axis at 0.
        title: str or `None`.
        note: str below, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no lines, one has no points, or a value is not finite.

    Example:
    >>> errors = {"mean image": {10: 0.4, 50: 0.4}, "model": {10: 0.1, 50: (0.2, 0.15, 0.25)}}
    >>> figure = line_figure(errors, xlabel="hidden, %", ylabel="error")
    >>> figure.axes[0].get_ylabel()
    'error'
    """
    points = {
        name: _points(f"lines[{name!r}]", line)
        for name, line in check_mapping("lines", lines, "line").items()
    }
    levels = {name: _number(f"baselines[{name!r}]", y) for name, y in (baselines or {}).items()}
    labels = [
        Label(line[-1, 1], name, line_look(number)["color"])
        for number, (name, line) in enumerate(points.items())
    ]
    labels += [Label(level, name, MUTED) for name, level in levels.items()]
    notes = [] if note is None else [note]
    page, top = framed_page(_WIDTH, _HEIGHT + _BELOW + 0.1, title=title, notes=notes)
    axes = page.axes(_LEFT, top + 0.1, _WIDTH - _LEFT - label_room(labels), _HEIGHT)
    for number, line in enumerate(points.values()):
        look = line_look(number) | ({} if len(line) <= _MARKED else {"marker": None})
        axes.plot(line[:, 0], line[:, 1], **look, clip_on=False, zorder=3)
        axes.vlines(line[:, 0], line[:, 2], line[:, 3], color=look["color"], linewidth=1)
    for level in levels.values():
        axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if from_zero:
        axes.set_ylim(bottom=min(0.0, *(line[:, 2].min() for line in points.values())))
    _dress(axes, np.unique(np.concatenate([line[:, 0] for line in points.values()])))
    axes.set_xlabel(xlabel, size=NORMAL, color=INK)
    axes.set_ylabel(ylabel, size=NORMAL, color=INK)
    write_labels(axes, labels, _HEIGHT)
    return page.figure


def _points(name: str, line: Any) -> np.ndarray:
    """Rows of x, y, low and high, by ascending x."""
    rows = []
    for x, entry in sorted(check_mapping(name, line, "point").items()):
        values = [entry] * 3 if np.ndim(entry) == 0 else list(entry)
        if len(values) != 3:
            raise ValueError(f"`{name}[{x!r}]` must be y or (y, low, high). Received: {entry!r}")
        rows.append([_number(name, x), *(_number(f"{name}[{x!r}]", value) for value in values)])
    return np.array(rows)


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"`{name}` must be a finite number. Received: {value!r}")
    return number


def _dress(axes: Axes, xs: np.ndarray) -> None:
    if len(xs) <= 8:
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=bool((xs % 1 == 0).all())))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.tick_params(which="both", labelsize=SMALL, colors=MUTED, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=LINE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
