"""Accuracies on an axis: read, and shown in percent. Imports matplotlib and NumPy only."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mae_keras.figures.inputs import read_numbers
from mae_keras.figures.sheet import INK, LINE, MUTED, NORMAL, SMALL

_LEAST_SPAN = 0.1  # smaller differences would look like large ones


def read_accuracies(values: Iterable[float | None], name: str) -> np.ndarray:
    """Bring accuracies to an array, or say what is wrong with them.

    Args:
        values: floats in [0, 1]; `None` or not finite where there is none.
        name: str, the argument's name for errors.

    Returns:
        float64 array, NaN where there is none.

    Raises:
        ValueError: if a value is outside [0, 1].

    Example:
    >>> read_accuracies([0.5, None], "accuracies").tolist()
    [0.5, nan]
    """
    array = read_numbers(name, values)
    array[~np.isfinite(array)] = np.nan
    wrong = array[(array < 0) | (array > 1)]
    if len(wrong):
        raise ValueError(
            f"`{name}` must be accuracies in [0, 1], not percent. Received: {wrong[0]:g}"
        )
    return array


def percent(value: float) -> str:
    """An accuracy as text.

    Args:
        value: float in [0, 1].

    Returns:
        str, with one decimal; only what is exactly 0 or 1 is written as 0 or 100.

    Example:
    >>> percent(0.9731), percent(0.99999), percent(1.0)
    ('97.3%', '>99.9%', '100%')
    """
    if value in (0, 1):
        return f"{100 * value:.0f}%"
    if value < 0.0005:
        return "<0.1%"
    return ">99.9%" if value >= 0.9995 else f"{100 * value:.1f}%"


def dress_accuracy_axis(axes: Axes, values: Any, label: str | None = "accuracy") -> None:
    """Set the limits of a vertical axis of accuracies, its ticks in percent, and the common look.

    The limits leave room around the values, span at least ten percentage points and stay within 0
    and 100 %.

    Args:
        axes: matplotlib axes.
        values: array of floats in [0, 1], all that is drawn; NaN is left out.
        label: str beside the axis, or `None`.

    Example:
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> dress_accuracy_axis(axes, [0.95, 1.0])
    >>> [round(float(limit), 3) for limit in axes.get_ylim()]
    [0.9, 1.0]
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
