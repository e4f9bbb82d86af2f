"""Masks side by side."""

import pathlib
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from mae_keras.figures import mask_gallery
from mae_keras.figures.sheet import HIDDEN, STRIPES

MASKS = np.arange(48).reshape(3, 16) % 4 > 0


def cells(axes):
    return np.asarray(axes.collections[0].get_array())


def test_each_kind_is_a_row_and_each_mask_a_picture(texts):
    figure = mask_gallery({"random": MASKS, "grid": MASKS[:1] & MASKS[1:2]}, (4, 4))
    assert len(figure.axes) == 4
    assert (cells(figure.axes[1]) == ~MASKS[1].reshape(4, 4)).all()
    for words in ("random", "grid", "75% hidden"):
        assert words in texts(figure)


def test_hidden_has_one_color_in_figures_and_notebooks(texts):
    """The one of reconstructions, in the gallery and in the sources of all notebooks."""
    figure = mask_gallery({"random": MASKS}, (4, 4))
    FigureCanvasAgg(figure).draw()
    drawn = figure.axes[0].collections[0].get_facecolor().reshape(4, 4, 4)
    assert {to_hex(color) for color in drawn[MASKS[0].reshape(4, 4)]} == {HIDDEN}
    assert HIDDEN not in {to_hex(color) for color in drawn[~MASKS[0].reshape(4, 4)]}
    assert "Light blue patches are hidden" in texts(figure)
    assert STRIPES["facecolor"] == HIDDEN
    notebooks = list((pathlib.Path(__file__).parents[2] / "notebooks").glob("*.py"))
    colors = re.findall(r'bad="(#\w+)"', "".join(path.read_text() for path in notebooks))
    assert len(notebooks) > 8 and set(colors) <= {HIDDEN}


def test_the_first_patch_is_at_the_upper_left():
    (axes,) = mask_gallery({"one": ~np.eye(1, 6, dtype=bool)}, (2, 3)).axes
    assert cells(axes).tolist() == [[True, False, False], [False, False, False]]
    assert axes.yaxis_inverted()


def test_titles_take_the_place_of_names(texts):
    text = texts(mask_gallery({"a": MASKS}, (4, 4), titles=["Drawn at random"]))
    assert "Drawn at random" in text


def test_volumes_show_their_middle_slice_and_say_so(texts):
    mask = np.arange(24)[None] < 12
    figure = mask_gallery({"half": mask}, (2, 3, 4))
    assert cells(figure.axes[0]).all()
    assert "slice 2 of 2" in texts(figure)


@pytest.mark.parametrize(
    ("grid", "titles"),
    [
        ((16,), None),
        ((4, 4), ["a title that is rather long, longer than the masks"]),
        ((16, 1), None),
    ],
    ids=["signal", "long title", "tall"],
)
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, grid, titles):
    check_layout(mask_gallery({"random": MASKS}, grid, titles=titles))


@pytest.mark.parametrize(
    ("masks", "grid", "titles", "message"),
    [
        ({}, (4, 4), None, "`masks` must hold at least one kind"),
        ({"a": MASKS}, (4, 5), None, r"`masks\['a'\]` must have shape \(num_masks, 20\)"),
        ({"a": MASKS[0]}, (4, 4), None, r"`masks\['a'\]` must have .*Received: shape \(16,\)"),
        ({"a": MASKS}, (2, 2, 2, 2), None, "`grid` must have one to three axes"),
        ({"a": MASKS}, (4, 4), ["b", "c"], "`titles` must have one entry for each of the 1 kinds"),
    ],
)
def test_arguments_that_do_not_fit_are_named(masks, grid, titles, message):
    with pytest.raises(ValueError, match=message):
        mask_gallery(masks, grid, titles=titles)
