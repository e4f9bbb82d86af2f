"""Accuracy under ever stronger corruption. Imports matplotlib and NumPy only."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mae_keras.arguments import check_number
from mae_keras.figures.accuracy_axis import dress_accuracy_axis, read_accuracies
from mae_keras.figures.class_names import shortened
from mae_keras.figures.frame import MARGIN, framed_page
from mae_keras.figures.inputs import check_mapping
from mae_keras.figures.palette import line_look
from mae_keras.figures.sheet import INK, LITERAL, MUTED, NORMAL, SMALL, Page, text_width

_CELL, _GAP, _ROW_GAP, _LEFT, _BELOW = (2.1, 1.7), 0.2, 0.6, 0.7, 0.45  # inches, as below
_LEGEND_LINE, _LEGEND_GAP, _MARK, _HEADING = 0.2, 0.25, 0.35, 0.22
_MOST_COLUMNS = 4


def robustness_figure(
    results: Mapping[str, Mapping[str, Mapping[float, float | None]]],
    *,
    chance: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw accuracy against the strength of corruption, a panel for each kind, a line per model.

    All panels share the vertical axis.

    Args:
        results: name of a model to kind of corruption to strength, 0 or more (0 = clean images),
            to accuracy in [0, 1]; `None` or NaN where there is none. Models may lack kinds.
        chance: float, accuracy of guessing, drawn as a dashed line; or `None`.
        title: str or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no results, or a strength or an accuracy is out of range.

    Example:
    >>> results = {"pretrained": {"noise": {0: 0.9, 0.1: 0.8}, "blur": {0: 0.9, 2: 0.7}}}
    >>> figure = robustness_figure(results)
    >>> [axes.get_title() for axes in figure.axes]
    ['noise', 'blur']
    """
    results = check_mapping("results", results, "model and kind")
    curves = {name: _curves(name, kinds) for name, kinds in results.items()}
    kinds = list(dict.fromkeys(kind for lines in curves.values() for kind in lines))
    if not kinds:
        raise ValueError("`results` must hold at least one model and kind. Received: none")
    chance = check_number("chance", chance, 0, 1, optional=True)
    rows = -(-len(kinds) // _MOST_COLUMNS)
    columns = -(-len(kinds) // rows)
    width = _LEFT + columns * (_CELL[0] + _GAP) - _GAP + MARGIN
    legend = _legend(list(curves), width - 2 * MARGIN)
    head = _LEGEND_LINE * len(legend) + _HEADING + 0.05
    height = head + rows * (_CELL[1] + _ROW_GAP) - _ROW_GAP + _BELOW
    notes = [] if chance is None else ["Dashed: the accuracy of guessing."]
    page, top = framed_page(width, height, title=title, notes=notes)
    _draw_legend(page, legend, top)
    everything = [line[1] for lines in curves.values() for line in lines.values()]
    everything.append(np.array([] if chance is None else [chance], dtype="float64"))
    for number, kind in enumerate(kinds):
        row, column = divmod(number, columns)
        x = _LEFT + column * (_CELL[0] + _GAP)
        axes = page.axes(x, top + head + row * (_CELL[1] + _ROW_GAP), *_CELL)
        _draw(axes, [lines.get(kind) for lines in curves.values()], chance)
        label = "accuracy" if column == 0 else None
        dress_accuracy_axis(axes, np.concatenate(everything), label)
        axes.tick_params(labelleft=column == 0)
        axes.set_title(shortened(kind, _CELL[0], NORMAL), size=NORMAL, color=INK, pad=5, **LITERAL)
        if number + columns >= len(kinds):
            axes.set_xlabel("strength (0: clean)", size=SMALL, color=MUTED)
    return page.figure


def _curves(
    name: str, kinds: Mapping[str, Mapping[float, float | None]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kind to ascending strengths and their accuracies."""
    curves = {}
    for kind, values in kinds.items():
        where = f"results[{name!r}][{kind!r}]"
        strengths = np.array(sorted(values), dtype="float64")
        if not len(strengths) or not np.isfinite(strengths).all() or strengths[0] < 0:
            raise ValueError(
                f"`{where}` must have strengths of 0 or more, at least one. "
                f"Received: {list(values)}"
            )
        curves[kind] = strengths, read_accuracies([values[s] for s in sorted(values)], where)
    return curves


def _draw(
    axes: Axes, lines: list[tuple[np.ndarray, np.ndarray] | None], chance: float | None
) -> None:
    for number, line in enumerate(lines):
        if line is not None:
            axes.plot(*line, **line_look(number), clip_on=False, zorder=3)
    if chance is not None:
        axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    strengths = np.unique(np.concatenate([line[0] for line in lines if line is not None]))
    last = strengths[-1] or 1.0
    axes.set_xlim(-0.05 * last, 1.05 * last)
    ticks = _apart(strengths, 72 * _CELL[0] / (1.1 * last))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def _apart(strengths: np.ndarray, points: float) -> list[float]:
    """Strengths from the largest down whose numbers do not meet, `points` being one unit."""
    kept: list[float] = []
    for strength in map(float, strengths[::-1]):
        needed = 72 * text_width(f"{strength:g}", SMALL) + 6
        if not kept or (kept[-1] - strength) * points >= needed:
            kept.append(strength)
    return kept[::-1]


def _legend(names: list[str], width: float) -> list[list[tuple[int, str, float]]]:
    """Lines of entries: number of the model, its name, and where it starts in inches."""
    lines: list[list[tuple[int, str, float]]] = [[]]
    x = 0.0
    for number, name in enumerate(names):
        name = shortened(name, width - _MARK, NORMAL)
        needed = _MARK + text_width(name, NORMAL)
        if lines[-1] and x + needed > width:
            lines.append([])
            x = 0.0
        lines[-1].append((number, name, x))
        x += needed + _LEGEND_GAP
    return lines


def _draw_legend(page: Page, lines: list[list[tuple[int, str, float]]], top: float) -> None:
    width, height = page.size
    for row, entries in enumerate(lines):
        y = top + _LEGEND_LINE * (row + 0.5)
        for number, name, x in entries:
            ends = np.array([0.0, 0.14, 0.28]) + MARGIN + x
            look = {**line_look(number), "transform": page.figure.transFigure, "markevery": [1]}
            page.figure.add_artist(Line2D(ends / width, [1 - y / height] * 3, **look))
            page.text(MARGIN + x + _MARK, y, name)
