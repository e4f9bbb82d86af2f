"""A page with a title above and notes below whatever a figure draws. Imports matplotlib."""

from collections.abc import Sequence

from mae_keras.figures.sheet import LARGE, MUTED, SMALL, Page, text_width, wrapped

MARGIN = 0.15  # inches, as below
_TITLE_LINE, _NOTE_LINE, _NOTE_GAP = 0.22, 0.165, 0.05
_SWATCH_WIDTH = 0.24


def framed_page(
    width: float,
    height: float,
    *,
    title: str | None = None,
    notes: Sequence[str | tuple[str, str]] = (),
) -> tuple[Page, float]:
    """Make a page with room for a drawing between its title and its notes.

    Args:
        width: float, inches of the page.
        height: float, inches of the drawing.
        title: str or `None`.
        notes: texts, one below the other, each alone or with the kind of its swatch
            (`"hidden"`, `"missing"` or `"absent"`).

    Returns:
        The `Page`, and how many inches from its top the drawing starts.

    Example:
    >>> page, top = framed_page(4.0, 2.0, title="Accuracy", notes=["Bars are intervals."])
    >>> page.size[0], 0 < top < 1
    (4.0, True)
    """
    lines = wrapped(title or "", width - 2 * MARGIN, LARGE, "bold")
    entries = [note if isinstance(note, tuple) else (note, "") for note in notes if note]
    broken = [
        (wrapped(text, width - 2 * MARGIN - _SWATCH_WIDTH * bool(swatch), SMALL), swatch)
        for text, swatch in entries
    ]
    top = MARGIN + _TITLE_LINE * len(lines) + 0.06 * bool(lines)
    below = sum(_NOTE_GAP + _NOTE_LINE * len(text) for text, _ in broken)
    page = Page(width, top + height + below + MARGIN)
    for number, line in enumerate(lines):
        page.text(MARGIN, MARGIN + _TITLE_LINE * (number + 0.4), line, size=LARGE, weight="bold")
    y = top + height
    for text, swatch in broken:
        y = _draw_note(page, text, swatch, y + _NOTE_GAP)
    return page, top


def _draw_note(page: Page, lines: list[str], swatch: str, y: float) -> float:
    x = MARGIN
    if swatch:
        page.swatch(x, y + 0.02, swatch)
        x += _SWATCH_WIDTH
    for line in lines:
        page.text(x, y + _NOTE_LINE / 2, line, size=SMALL, color=MUTED)
        y += _NOTE_LINE
    return y


def widest(texts: Sequence[str], size: float) -> float:
    """Width of the widest of some texts.

    Args:
        texts: str each; none have no width.
        size: float, points.

    Returns:
        float, inches.

    Example:
    >>> widest(["wide", "wider"], 8) == text_width("wider", 8)
    True
    """
    return max((text_width(text, size) for text in texts), default=0.0)
