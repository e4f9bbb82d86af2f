"""What a figure looks like once it is drawn."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def _all_texts(figure):
    axes_texts = [
        text
        for axes in figure.axes
        for text in (*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title)
    ]
    labels = [label for axes in figure.axes for label in _drawn_tick_labels(axes)]
    return [text for text in (*figure.texts, *axes_texts, *labels) if text.get_text()]


def _drawn_tick_labels(axes):
    """Matplotlib also keeps labels of ticks beyond the ends of an axis, and draws none of them."""
    return [
        label
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if min(low, high) <= tick.get_loc() <= max(low, high)
    ]


@pytest.fixture
def texts():
    """Return a reader of all texts of a figure, joined by spaces."""
    return lambda figure: " ".join(text.get_text() for text in _all_texts(figure))


@pytest.fixture
def check_layout():
    """Return a check that texts lie inside the figure and do not run into each other."""

    def check(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        drawn = [text for text in _all_texts(figure) if text.get_visible()]
        # Not the method of annotations, which counts their arrows in.
        boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in drawn]
        width, height = canvas.get_width_height()
        for text, box in zip(drawn, boxes, strict=True):
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
            assert inside, f"{text.get_text()!r} is cut off"
        for i, box in enumerate(boxes):
            for j in range(i):
                # Half a pixel of play: boxes are larger than letters.
                apart = min(box.x1, boxes[j].x1) - max(box.x0, boxes[j].x0) < 0.5 or (
                    min(box.y1, boxes[j].y1) - max(box.y0, boxes[j].y0) < 0.5
                )
                assert apart, f"{drawn[i].get_text()!r} runs into {drawn[j].get_text()!r}"

    return check


@pytest.fixture
def make_case():
    """Return a maker of (images, patch_mask, prediction) with a quarter of patches visible."""

    def make(shape=(8, 8, 1), num_patches=16, batch=3):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (batch, *shape)).astype("uint8")
        patch_mask = np.arange(batch * num_patches).reshape(batch, -1) % 4 > 0
        return images, patch_mask, 255.0 - images

    return make
