"""Colours and marks that tell groups apart, for the colour-blind too."""

from typing import Any

from mae_keras.figures.sheet import BLUE, ORANGE

# Ten categories, none of them grey. Searched to keep the smallest difference (CIEDE2000) above 23,
# and above 14 under any of the three kinds of colour blindness.
CLASS_COLOURS = (
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
# difference (CIEDE2000) under any kind of colour blindness above 15.
_LINE_COLOURS = (BLUE, ORANGE, "#a3253c", "#0e4c5a", "#56a8c8", "#717581")
_LINE_MARKS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))


def class_look(number: int) -> tuple[str, str]:
    """Colour and mark of a class: the first ten differ in colour, and neighbours in mark too.

    Args:
        number: int, from 0; looks repeat from `NUM_CLASS_LOOKS` on.

    Returns:
        A colour and a marker of matplotlib.

    Example:
    >>> class_look(0), class_look(11)
    (('#2a84f4', 'o'), ('#ecb714', 'o'))
    """
    number %= NUM_CLASS_LOOKS
    mark = (number + number // len(CLASS_COLOURS)) % len(_CLASS_MARKS)
    return CLASS_COLOURS[number % len(CLASS_COLOURS)], _CLASS_MARKS[mark]


def line_look(number: int) -> dict[str, Any]:
    """Colour, mark and dashes of a line; the first six lines differ in colour and mark.

    Args:
        number: int, from 0.

    Returns:
        Arguments of `Axes.plot`.

    Example:
    >>> line_look(0)["marker"], line_look(6)["color"] == line_look(0)["color"]
    ('o', True)
    """
    colour = number % len(_LINE_COLOURS)
    return {
        "color": _LINE_COLOURS[colour],
        "marker": _LINE_MARKS[colour],
        "linestyle": _DASHES[number // len(_LINE_COLOURS) % len(_DASHES)],
        "linewidth": 1.8,
        "markersize": 4,
    }
