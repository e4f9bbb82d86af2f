"""Names beside the ends of lines."""

import numpy as np
import pytest
from matplotlib.text import Text

from mae_keras.figures.sheet import Page
from mae_keras.figures.style import Label, label_room, write_labels


def draw(heights, names=None):
    names = names or [f"line {number}" for number in range(len(heights))]
    labels = [Label(height, name, "black") for height, name in zip(heights, names, strict=True)]
    page = Page(2.0 + label_room(labels) + 0.1, 3.4)
    axes = page.axes(0.3, 0.2, 1.7, 3.0)
    axes.set_ylim(0, 1)
    write_labels(axes, labels, 3.0)
    return page.figure


@pytest.mark.parametrize(
    "heights",
    [[0.5], [1.0] * 6, [0.0] * 6, [0.0, 0.01, 0.5, 0.99, 1.0], list(np.linspace(0, 1, 16))],
    ids=["one", "top", "bottom", "ends", "many"],
)
def test_labels_do_not_meet_and_stay_beside_the_axes(check_layout, heights):
    check_layout(draw(heights))


def test_labels_have_the_order_of_their_lines():
    figure = draw([0.9, 0.1, 0.5])
    figure.canvas.draw()
    places = {text.get_text(): Text.get_window_extent(text).y0 for text in figure.axes[0].texts}
    assert sorted(places, key=places.get) == ["line 1", "line 2", "line 0"]


def test_a_label_with_room_stands_at_its_line():
    text = draw([0.25]).axes[0].texts[0]
    assert text.xy == (1, pytest.approx(0.25))
    assert text.xyann[1] == pytest.approx(0)


def test_no_labels_need_little_room():
    assert label_room([]) < 0.3
    assert not draw([]).axes[0].texts
