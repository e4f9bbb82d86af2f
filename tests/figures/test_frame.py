"""Pages with a title above and notes below."""

import pytest

from mae_keras.figures.sheet import text_width
from mae_keras.figures.style import framed_page, widest

LONG = "A sentence that is too long for the page, so that it must be broken. " * 3


@pytest.mark.parametrize("title", [None, "Short", LONG])
@pytest.mark.parametrize("notes", [[], ["", "One."], [LONG, (LONG, "hidden"), ("M", "missing")]])
def test_the_drawing_meets_no_text(check_layout, title, notes):
    page, top = framed_page(3.0, 1.0, title=title, notes=notes)
    axes = page.axes(0.2, top, 2.6, 1.0)
    check_layout(page.figure)
    box = axes.get_position()
    for text in page.figure.texts:
        height = text.get_position()[1]
        assert height > box.y1 or height < box.y0


def test_an_empty_note_takes_no_room():
    assert framed_page(3.0, 1.0, notes=[""])[0].size == framed_page(3.0, 1.0)[0].size


def test_swatches_stand_before_their_notes():
    page, _ = framed_page(3.0, 1.0, notes=["Plain.", ("Hidden patches.", "hidden")])
    assert len(page.figure.artists) == 1


def test_widest_is_that_of_the_widest_text():
    assert widest(["i", "wwww", "ii"], 8) == text_width("wwww", 8)
    assert widest([], 8) == 0
