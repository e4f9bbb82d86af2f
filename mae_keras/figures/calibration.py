"""Whether a classifier is as often right as it says. Imports matplotlib and NumPy only."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mae_keras.figures.accuracy_axis import percent
from mae_keras.figures.frame import MARGIN, framed_page
from mae_keras.figures.inputs import read_numbers
from mae_keras.figures.sheet import BLUE, INK, LINE, MUTED, NORMAL, ORANGE, SMALL

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
    given = {"confidence": confidence, "accuracy": accuracy, "count": count}
    arrays = [read_numbers(name, values) for name, values in given.items()]
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
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) * z / (1 + z**2 / count)
    return centre - spread, centre + spread


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
