"""Colours and marks that tell groups apart, for the colour-blind too."""

from typing import Any

from mae_keras.figures.sheet import BLUE, ORANGE

# Ten categories: Petroff 2021, arXiv:2107.02270, chosen to stay apart under all three kinds of
# colour blindness.
CLASS_COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
_CLASS_MARKS = ("o", "^", "s")
NUM_CLASS_LOOKS = len(CLASS_COLOURS) * len(_CLASS_MARKS)

# The first two are those of all other figures; the rest were searched to keep the smallest
# difference (CIEDE2000) under any kind of colour blindness above 15.
_LINE_COLOURS = (BLUE, ORANGE, "#a3253c", "#0e4c5a", "#56a8c8", "#717581")
_LINE_MARKS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))


def class_look(number: int) -> tuple[str, str]:
    """Colour and mark of a class: ten colours as dots, then as triangles, then as squares.

    Args:
        number: int, from 0; looks repeat from `NUM_CLASS_LOOKS` on.

    Returns:
        A colour and a marker of matplotlib.

    Example:
    >>> class_look(0), class_look(11)
    (('#3f90da', 'o'), ('#ffa90e', '^'))
    """
    mark = number // len(CLASS_COLOURS) % len(_CLASS_MARKS)
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
