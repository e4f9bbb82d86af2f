"""How a classifier does: which classes are taken for which, and whether it is as right as it says.

Imports matplotlib and NumPy only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mae_keras.arguments import check_array
from mae_keras.figures.inputs import read_numbers
from mae_keras.figures.sheet import (
    ABSENT,
    BLUE,
    INK,
    LINE,
    LITERAL,
    MUTED,
    NORMAL,
    ORANGE,
    SMALL,
    Page,
)
from mae_keras.figures.style import (
    MARGIN,
    framed_page,
    listed,
    percent,
    read_class_names,
    shortened,
    widest,
)

_NUMBERED = 20  # up to so many classes, numbers stand in the cells
_LONGEST_NAME = 1.5  # inches, as below
_AXIS_LABEL, _PAD, _BAR, _BAR_TEXT = 0.24, 0.08, 0.13, 0.4
_SHADES = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#a9c6e6", BLUE, "#173a66"])
# Mistakes are rare: under a linear scale most of them would be as white as none.
_SCALE = PowerNorm(0.5, 0, 1)


def confusion_figure(
    matrix: Any, class_names: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """Draw a confusion matrix, each row shaded by its shares.

    Up to 20 classes, cells hold counts (percent of the row if a count has more than three
    digits) and each row ends with its share of correct ones. Beyond, the most frequent mistakes
    are listed below. Classes without samples are striped.

    Args:
        matrix: array `(num_classes, num_classes)`, how many samples of the class of the row were
            given the class of the column.
        class_names: str for each class; defaults to their numbers.
        title: str or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the matrix is not square, holds other than counts, or names do not fit.

    Example:
    >>> figure = confusion_figure([[9, 1], [2, 8]], ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts[:4]]
    ['9', '1', '2', '8']
    """
    counts = _counts(matrix)
    names = read_class_names(class_names, len(counts))
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1e-300)[:, None]
    few = len(counts) <= _NUMBERED
    step = 1 if few else -(-len(counts) // 25)
    short = [shortened(name, _LONGEST_NAME, SMALL) for name in names]
    recalls = _recalls(counts) if few else []
    side = float(np.clip(0.46 * len(counts), 2.2, 6.4))
    upright = widest(short, SMALL) > 0.9 * step * side / len(counts)
    below = (widest(short, SMALL) if upright else 0.14) + _PAD + _AXIS_LABEL
    left = MARGIN + _AXIS_LABEL + widest(short, SMALL) + _PAD
    right = _PAD + widest(recalls, SMALL) + 0.15 * bool(recalls)
    width = left + side + right + _BAR + _BAR_TEXT + MARGIN
    notes = _notes(counts, shares, names, step)
    page, top = framed_page(width, side + below + 0.18, title=title, notes=notes)
    top += 0.18
    axes = page.axes(left, top, side, side)
    _draw_cells(axes, shares, totals == 0, few)
    if few:
        _write_numbers(axes, counts, shares, side)
        _write_recalls(axes, recalls)
    _write_names(axes, short, step, upright)
    page.text(left + side / 2, top + side + below - 0.08, "predicted", ha="center")
    page.text(MARGIN + 0.08, top + side / 2, "true", ha="center", rotation=90)
    _draw_bar(page, left + side + right, top, min(side, 2.6))
    return page.figure


def _counts(matrix: Any) -> np.ndarray:
    counts = check_array("matrix", matrix, empty=True)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] < 2:
        raise ValueError(
            f"`matrix` must have shape (num_classes, num_classes), at least two classes. "
            f"Received: matrix.shape={counts.shape}"
        )
    counts = counts.astype("float64")
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts % 1).any():
        raise ValueError(
            "`matrix` must hold counts, neither shares nor NaN. Received: values from "
            f"{counts.min():g} to {counts.max():g}"
        )
    return counts


def _recalls(counts: np.ndarray) -> list[str]:
    return [
        f"{percent(right / total)} of {total:.0f}" if total else "none given"
        for right, total in zip(np.diag(counts), counts.sum(axis=1), strict=True)
    ]


def _draw_cells(axes: Axes, shares: np.ndarray, absent: np.ndarray, few: bool) -> None:
    edges = {"edgecolors": "#eef1f4", "linewidth": 0.8} if few else {}
    axes.pcolormesh(shares, cmap=_SHADES, norm=_SCALE, **edges)
    for row in np.flatnonzero(absent):
        axes.add_patch(Rectangle((0, row), len(shares), 1, **{**ABSENT, "linewidth": 0}))
    axes.set_xlim(0, len(shares))
    axes.set_ylim(len(shares), 0)


def _write_numbers(axes: Axes, counts: np.ndarray, shares: np.ndarray, side: float) -> None:
    size = float(np.clip(0.32 * 72 * side / len(counts), 5.5, 11))
    for row, column in np.argwhere(counts > 0):
        share = shares[row, column]
        number = f"{counts[row, column]:.0f}" if counts.max() < 1000 else percent(share)[:-1]
        color = "white" if share > 0.3 else INK
        place = {"ha": "center", "va": "center", "size": size, "color": color}
        axes.text(column + 0.5, row + 0.5, number, **place)


def _write_recalls(axes: Axes, recalls: list[str]) -> None:
    look = {"size": SMALL, "color": MUTED, "va": "center", "textcoords": "offset points"}
    for row, text in enumerate(recalls):
        place = {"xycoords": ("axes fraction", "data")}
        axes.annotate(text, (1, row + 0.5), (72 * _PAD, 0), **place, **look)
    axes.annotate("correct", (1, 1), (72 * _PAD, 7), xycoords="axes fraction", **look)


def _write_names(axes: Axes, names: list[str], step: int, upright: bool) -> None:
    places = np.arange(0, len(names), step)
    axes.set_xticks(places + 0.5, names[::step], rotation=90 if upright else 0, **LITERAL)
    axes.set_yticks(places + 0.5, names[::step], **LITERAL)
    axes.tick_params(labelsize=SMALL, colors=INK, length=0 if step == 1 else 2, pad=3)


def _draw_bar(page: Page, x: float, y: float, height: float) -> None:
    axes = page.axes(x, y, _BAR, height)
    levels = np.linspace(0, 1, 257)
    axes.pcolormesh([0, 1], levels, levels[:-1, None] ** 2, cmap=_SHADES, norm=_SCALE)
    ticks = [0, 0.01, 0.05, 0.2, 0.5, 1]
    axes.set_yticks(np.sqrt(ticks), [f"{100 * tick:g}%" for tick in ticks])
    axes.tick_params(labelsize=SMALL, colors=MUTED, length=2, labelright=True, labelleft=False)
    axes.tick_params(left=False, right=True)


def _notes(
    counts: np.ndarray, shares: np.ndarray, names: list[str], step: int
) -> list[str | tuple[str, str]]:
    present = counts.sum(axis=1) > 0
    unused = [name for name, some in zip(names, counts.any(axis=0), strict=True) if not some]
    absent = [name for name, some in zip(names, present, strict=True) if not some]
    text = "Shade: share of the true class, the row, on a square-root scale."
    if len(counts) <= _NUMBERED:
        unit = "samples" if counts.max() < 1000 else "percent of the row"
        text += f" Numbers: {unit}; an empty cell is 0."
    notes: list[str | tuple[str, str]] = [text]
    if present.any():
        overall, mean = np.trace(counts) / counts.sum(), np.diag(shares)[present].mean()
        notes.append(
            f"Correct: {percent(overall)} of {counts.sum():.0f} samples; "
            f"mean over classes {percent(mean)}."
        )
    if step > 1:
        notes.append(f"Named is one class in {step}.")
    if len(counts) > _NUMBERED:
        notes.append(_mistakes(shares, names))
    if absent:
        notes.append((f"Without a sample: {listed(absent)}.", "absent"))
    if unused:
        notes.append(f"Never predicted: {listed(unused)}.")
    return notes


def _mistakes(shares: np.ndarray, names: list[str], most: int = 5) -> str:
    """The largest shares off the diagonal in words, or nothing if there are none."""
    wrong = shares * (1 - np.eye(len(shares)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    texts = [f"{names[r]} as {names[c]} ({percent(wrong[r, c])})" for r, c in pairs if wrong[r, c]]
    return f"Most often mistaken: {', '.join(texts)}." if texts else ""


_SIDE, _STRIP, _GAP, _LEFT, _BELOW = 3.3, 0.7, 0.16, 0.65, 0.45  # inches


def calibration_figure(
    confidence: Any, accuracy: Any, count: Any, *, title: str | None = None
) -> Figure:
    """Draw a reliability diagram: accuracy against confidence, bin by bin.

    A calibrated classifier's points lie on the diagonal, those of an overconfident one below it.
    Vertical bars are 95 % intervals (Wilson 1927) of the accuracy of so many samples. The strip
    below shows the share of the samples in each bin. The title states the expected calibration
    error, the mean over samples of the distance between confidence and accuracy of their bin.

    Args:
        confidence: floats in [0, 1], one per bin: the mean confidence of its samples. NaN in
            empty bins.
        accuracy: floats in [0, 1], one per bin: the share of its samples that are right. NaN in
            empty bins.
        count: ints, one per bin: samples in it; at least one bin is not empty.
        title: str put before the expected calibration error, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if shapes differ, values are outside [0, 1], or all bins are empty.

    Example:
    >>> figure = calibration_figure([0.55, 0.95], [0.5, 0.9], [20, 80])
    >>> figure.texts[0].get_text()
    'ECE 5.0%'

    References:
        - Guo et al. 2017, arXiv:1706.04599, section 2 and equation 3.
    """
    confidence, accuracy, count = _bins(confidence, accuracy, count)
    shares = count / count.sum()
    error = float(np.sum(shares * np.abs(confidence - accuracy)))
    heading = f"ECE {percent(error)}" if title is None else f"{title}: ECE {percent(error)}"
    page, top = framed_page(
        _LEFT + _SIDE + MARGIN + 0.1,
        _SIDE + _GAP + _STRIP + _BELOW,
        title=heading,
        notes=[
            "ECE: expected calibration error, the mean distance of confidence and accuracy "
            f"(orange) over the {count.sum():.0f} samples. Dashed: calibrated. "
            "Blue bars: 95% intervals."
        ],
    )
    axes = page.axes(_LEFT, top, _SIDE, _SIDE)
    _draw_bins(axes, confidence, accuracy, count)
    strip = page.axes(_LEFT, top + _SIDE + _GAP, _SIDE, _STRIP)
    width = 0.8 * min(_narrowest(confidence), 0.1)
    strip.bar(confidence, shares, width=width, color=BLUE, alpha=0.55, linewidth=0)
    strip.set_ylim(0, min(1.08 * shares.max(), 1.0))
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(0, strip.get_ylim()[1])
    strip.set_yticks([tick for tick in ticks if 0 < tick <= strip.get_ylim()[1]])
    for place in (axes, strip):
        _dress(place)
    strip.tick_params(labelbottom=True)
    strip.set_xlabel("confidence", size=NORMAL, color=INK)
    strip.set_ylabel("samples", size=NORMAL, color=INK)
    axes.set_ylabel("accuracy", size=NORMAL, color=INK)
    return page.figure


def _bins(confidence: Any, accuracy: Any, count: Any) -> tuple[np.ndarray, ...]:
    """The bins that hold samples, by ascending confidence."""
    columns = {"confidence": confidence, "accuracy": accuracy, "count": count}
    arrays = [read_numbers(name, values) for name, values in columns.items()]
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(
            "`confidence`, `accuracy` and `count` must have one value per bin. Received: shapes "
            f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    count = arrays[2]
    if not np.isfinite(count).all() or (count < 0).any() or (count % 1).any() or not count.sum():
        raise ValueError(
            f"`count` must be numbers of samples, not all of them 0. Received: {count.tolist()}"
        )
    order = np.argsort(arrays[0], kind="stable")
    confidence, accuracy, count = (array[order][count[order] > 0] for array in arrays)
    for name, values in (("confidence", confidence), ("accuracy", accuracy)):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                f"`{name}` must be in [0, 1] in bins that hold samples. Received: {values.tolist()}"
            )
    return confidence, accuracy, count


def _draw_bins(axes: Axes, confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    gap = {"color": ORANGE, "alpha": 0.35, "linewidth": 5}
    axes.vlines(confidence, accuracy, confidence, zorder=2, **gap)
    low, high = _wilson(accuracy, count)
    axes.vlines(confidence, low, high, color=BLUE, linewidth=1.2, zorder=3)
    look = {"color": BLUE, "marker": "o", "markersize": 5, "linewidth": 1.2}
    axes.plot(confidence, accuracy, **look, clip_on=False, zorder=4)
    axes.set_ylim(0, 1)
    axes.set_yticks(np.linspace(0, 1, 6))


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = 1.96
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) * z / (1 + z**2 / count)
    return center - spread, center + spread


def _narrowest(confidence: np.ndarray) -> float:
    return max(float(np.diff(confidence).min()), 0.005) if len(confidence) > 1 else 0.1


def _dress(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
    axes.tick_params(labelsize=SMALL, colors=MUTED, length=0, labelbottom=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color=LINE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
