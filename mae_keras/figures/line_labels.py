"""Names beside the right ends of lines, instead of a legend. Imports matplotlib and NumPy only."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from mae_keras.figures.frame import widest
from mae_keras.figures.sheet import LINE, LITERAL, SMALL, one_line

OFFSET = 12  # points between the axes and a label
_DISTANCE = 13.0  # points between lines of text


class Label(NamedTuple):
    """A name to be written beside the right end of a line."""

    height: float
    text: str
    colour: str


def label_room(labels: Sequence[Label]) -> float:
    """Inches that labels need to the right of the axes.

    Args:
        labels: what `write_labels` will write.

    Returns:
        float.

    Example:
    >>> label_room([Label(0.5, "trained", "black")]) > label_room([])
    True
    """
    return widest([label.text for label in labels], SMALL) + OFFSET / 72 + 0.1


def write_labels(axes: Axes, labels: Sequence[Label], height: float) -> None:
    """Write names right of the axes at the heights of their lines, moved apart to be legible.

    Args:
        axes: matplotlib axes whose limits are final.
        labels: heights in data units, texts and colours, in any order.
        height: float, inches of the axes; labels stay within them if there is room.

    Example:
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> write_labels(axes, [Label(0.5, "a", "black"), Label(0.5, "b", "black")], 3.0)
    >>> [text.get_text() for text in axes.texts]
    ['a', 'b']
    """
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
            color=label.colour,
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
    """Move ascending heights apart, as little as needed to keep them `distance` from each other.

    Args:
        heights: ascending floats.
        distance: float.

    Returns:
        Floats in the same order.

    Example:
    >>> spread([0.0, 5.0, 5.0], 2.0)
    [0.0, 4.0, 6.0]
    """
    groups: list[tuple[float, int]] = []  # centre and number of heights that move together
    for height in heights:
        groups.append((height, 1))
        while len(groups) > 1 and _overlap(*groups[-2:], distance):
            (a, m), (b, n) = groups.pop(-2), groups.pop()
            groups.append(((a * m + b * n) / (m + n), m + n))
    return [
        centre + (number - (count - 1) / 2) * distance
        for centre, count in groups
        for number in range(count)
    ]


def _overlap(lower: tuple[float, int], upper: tuple[float, int], distance: float) -> bool:
    return upper[0] - lower[0] < (lower[1] + upper[1]) / 2 * distance
