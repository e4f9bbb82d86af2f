"""How well classifiers of two classes screen: ROC curves and reliability, side by side.

Imports matplotlib and NumPy only.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from mae_keras.figures.inputs import check_mapping, read_numbers
from mae_keras.figures.sheet import INK, LINE, LITERAL, MUTED, NORMAL, SMALL, Page
from mae_keras.figures.style import MARGIN, framed_page, line_look, shortened

_SIDE, _LEFT, _GAP, _BELOW = 3.0, 0.6, 0.85, 0.5  # inches
_ROW, _SWATCH = 0.2, 0.35
_LONGEST_NAME = 2.2
_MOST = 6  # lines that color and mark tell apart


class _Curve(NamedTuple):
    name: str
    rates: np.ndarray
    point: tuple[float, float]
    bins: np.ndarray
    cells: tuple[str, ...]


def screening_figure(
    reports: Mapping[str, Mapping[str, Any]], *, title: str | None = None
) -> Figure:
    """Draw the ROC curve and the reliability of classifiers of two classes.

    Left: sensitivity against the share of false alarms, 1 - specificity; the mark is the operating
    point. Right: the share of positives against the predicted probability, bin by bin, with 95 %
    intervals (Wilson 1927); points of a calibrated classifier lie on the diagonal. The table below
    has the numbers.

    Args:
        reports: name of a classifier to `mae_keras.evaluation.screening_report(...).as_dict()`; at
            most six.
        title: str or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        TypeError: if `reports` is no dict of dicts.
        ValueError: if there are none, or more than six, or one lacks a number.

    Example:
    >>> bins = [{"confidence": 0.2, "accuracy": 0.0, "count": 3}]
    >>> report = {"false_positive_rates": [0, 0, 1], "true_positive_rates": [0, 1, 1]}
    >>> report |= {"sensitivity": 1.0, "specificity": 1.0, "threshold": 0.5, "roc_auc": 1.0}
    >>> report |= {"brier": 0.01, "calibration": {"error": 0.2, "bins": bins}, "intervals": {}}
    >>> figure = screening_figure({"fine-tuned": report})
    >>> len(figure.axes)
    2
    """
    check_mapping("reports", reports, "classifier")
    if len(reports) > _MOST:
        raise ValueError(
            f"`reports` must hold at most {_MOST} classifiers. Received: {len(reports)}"
        )
    curves = [_read(name, report) for name, report in reports.items()]
    width = _LEFT + _SIDE + _GAP + _SIDE + MARGIN + 0.1
    table = _ROW * (len(curves) + 1) + 0.12
    page, top = framed_page(
        width,
        _SIDE + _BELOW + table,
        title=title,
        notes=[
            "Mark: the operating point. Dashed: left chance, right calibrated. Vertical bars: 95% "
            "intervals of the share of positives in a bin; in brackets: one of the ROC-AUC. "
            "ECE: expected calibration error."
        ],
    )
    ranking = page.axes(_LEFT, top, _SIDE, _SIDE)
    reliability = page.axes(_LEFT + _SIDE + _GAP, top, _SIDE, _SIDE)
    for axes in (ranking, reliability):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        _dress(axes)
    for number, curve in enumerate(curves):
        _draw(ranking, reliability, curve, line_look(number))
    ranking.set_xlabel("false alarms (1 − specificity)", size=NORMAL, color=INK)
    ranking.set_ylabel("sensitivity", size=NORMAL, color=INK)
    reliability.set_xlabel("predicted probability", size=NORMAL, color=INK)
    reliability.set_ylabel("share of positives", size=NORMAL, color=INK)
    _write_table(page, curves, top + _SIDE + _BELOW)
    return page.figure


def _read(name: str, report: Any) -> _Curve:
    where = f"reports[{name!r}]"
    if not isinstance(report, Mapping):
        raise TypeError(
            f"`{where}` must be a dict, such as screening_report(...).as_dict(). Received: "
            f"{type(report).__name__}"
        )
    try:
        rates = [
            read_numbers(where, report[f"{kind}_positive_rates"]) for kind in ("false", "true")
        ]
        columns = [
            [one[column] for one in report["calibration"]["bins"] if one["count"]]
            for column in ("confidence", "accuracy", "count")
        ]
        shares = ("sensitivity", "specificity", "roc_auc", "brier")
        sensitivity, specificity, area, brier = (float(report[key]) for key in shares)
        error, threshold = float(report["calibration"]["error"]), float(report["threshold"])
        ends = report["intervals"].get("roc_auc")
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(
            f"`{where}` must be a report, such as screening_report(...).as_dict(). Received: one "
            f"without {problem}"
        ) from None
    numbers = np.concatenate([*rates, [sensitivity, specificity, area, brier, error]])
    bins = np.array([read_numbers(where, column) for column in columns])
    shares_fit = ((numbers >= 0) & (numbers <= 1)).all() and rates[0].shape == rates[1].shape
    if not shares_fit or not ((bins[:2] >= 0) & (bins[:2] <= 1)).all():
        raise ValueError(f"`{where}` must hold rates in [0, 1]. Received: other values")
    interval = "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
    cells = (
        f"{area:.3f}{interval}",
        f"{sensitivity:.3f} / {specificity:.3f}",
        f"{threshold:.3g}",
        f"{brier:.3f}",
        f"{error:.3f}",
    )
    return _Curve(str(name), np.array(rates), (1 - specificity, sensitivity), bins, cells)


def _draw(ranking: Axes, reliability: Axes, curve: _Curve, look: dict[str, Any]) -> None:
    color, style = look["color"], look["linestyle"]
    ranking.plot(*curve.rates, color=color, linestyle=style, linewidth=1.6, zorder=3)
    mark = {"marker": look["marker"], "color": color, "clip_on": False}
    ranking.plot(*curve.point, markersize=8, markeredgecolor="white", zorder=5, **mark)
    confidence, accuracy, count = curve.bins
    reliability.vlines(
        confidence, *_wilson(accuracy, count), color=color, linewidth=1.1, alpha=0.6, zorder=2
    )
    line = {"linestyle": style, "linewidth": 1.4, "markersize": 4.5, **mark}
    reliability.plot(confidence, accuracy, zorder=4, **line)


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = 1.96
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) * z / (1 + z**2 / count)
    return center - spread, center + spread


def _dress(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    ticks = np.linspace(0, 1, 6)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
    axes.tick_params(labelsize=SMALL, colors=MUTED, length=0, pad=6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color=LINE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)


def _write_table(page: Page, curves: list[_Curve], y: float) -> None:
    """A row for each classifier, in the look of its line."""
    headings = ("ROC-AUC", "sensitivity / specificity", "threshold", "Brier", "ECE")
    places = (2.75, 4.25, 5.85, 6.6, 7.1)  # inches
    small = {"size": SMALL, "color": MUTED}
    for place, heading in zip(places, headings, strict=True):
        page.text(place, y + _ROW / 2, heading, **small)
    for number, curve in enumerate(curves):
        y += _ROW
        look = line_look(number)
        across, down = page.size
        middle = 1 - (y + _ROW / 2) / down
        line = Line2D(
            [MARGIN / across, (MARGIN + 0.13) / across, (MARGIN + 0.26) / across],
            [middle] * 3,
            transform=page.figure.transFigure,
            markevery=[1],
            **look,
        )
        page.figure.add_artist(line)
        name = shortened(curve.name, _LONGEST_NAME, SMALL)
        page.text(MARGIN + _SWATCH, y + _ROW / 2, name, size=SMALL, **LITERAL)
        for place, cell in zip(places, curve.cells, strict=True):
            page.text(place, y + _ROW / 2, cell, size=SMALL)
