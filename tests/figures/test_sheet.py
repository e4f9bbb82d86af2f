"""Sheets of equal cells, and the breaking of lines."""

import pytest

from mae_keras.figures.sheet import Note, Sheet, text_width, wrapped


def test_cells_have_the_size_asked_for_whatever_the_texts():
    for title, notes in ((None, ()), ("Title " * 40, (Note("Note " * 60, "hidden"),))):
        figure, rows = Sheet(2, 3, (1.5, 0.5), title=title, notes=notes).draw()
        width, height = figure.get_size_inches()
        for axes in (axes for row in rows for axes in row):
            box = axes.get_position()
            assert box.width * width == pytest.approx(1.5)
            assert box.height * height == pytest.approx(0.5)


def test_rows_run_downwards_and_columns_to_the_right():
    _, rows = Sheet(2, 2, (1, 1)).draw()
    assert rows[0][0].get_position().y0 > rows[1][0].get_position().y1
    assert rows[0][1].get_position().x0 > rows[0][0].get_position().x1


def test_lines_are_broken_before_they_get_too_wide():
    text = "the brightness of hidden patches is given away"
    lines = wrapped(text, 1.2, 8)
    assert len(lines) > 1
    assert " ".join(lines) == text
    assert all(text_width(line, 8) <= 1.2 for line in lines)


def test_a_word_that_is_too_wide_stands_alone():
    assert wrapped("a reconstruction b", 0.2, 8) == ["a", "reconstruction", "b"]


def test_an_empty_text_has_no_lines():
    assert wrapped("", 1.0, 8) == []


def test_bold_letters_are_wider():
    assert text_width("Held-out", 11, "bold") > text_width("Held-out", 11)
