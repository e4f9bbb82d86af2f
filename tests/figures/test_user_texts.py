"""Names that users give are drawn letter by letter, and never cost a picture."""

import io

import numpy as np
import pytest
from matplotlib.text import Text

from mae_keras import figures
from mae_keras.figures.sheet import one_line

# Mathtext that does not parse, mathtext that does, a line break, a byte that is not UTF-8.
NAMES = [r"$\frac{$", "$a_b$", "two\nlines", "caf\udce9"]
SHOWN = [r"$\frac{$", "$a_b$", "two lines", r"caf\udce9"]
IMAGES = np.zeros((1, 4, 4, 1), "uint8")
MASK = np.array([[True, False, False, True]])
TITLE = {"title": NAMES[0]}


def curves(values):
    return {name: values for name in NAMES}


FIGURES = {
    "attention": lambda: figures.attention_figure(
        IMAGES, np.full((1, 1, 4), 0.25), (2, 2), title=" ".join(NAMES)
    ),
    "calibration": lambda: figures.calibration_figure([0.5], [0.5], [4], title=" ".join(NAMES)),
    "confusion": lambda: figures.confusion_figure(np.eye(4, dtype=int), NAMES, **TITLE),
    "confusion, notes": lambda: figures.confusion_figure(np.zeros((4, 4), int), NAMES, **TITLE),
    "feature map": lambda: figures.feature_map_figure(
        {NAMES[0]: np.eye(4, 2)}, np.arange(4), NAMES, note=NAMES[1], **TITLE
    ),
    "label fractions": lambda: figures.label_fraction_figure(
        curves({1.0: (0.5, 0.4, 0.6)}), note=NAMES[1], **TITLE
    ),
    "layer curve": lambda: figures.layer_curve_figure(
        curves([0.5, 0.6]), chosen=dict.fromkeys(NAMES, 1), baselines=curves(0.4), **TITLE
    ),
    "loss": lambda: figures.loss_figure({"loss": [1.0, 0.5]}, baselines=curves(0.7)),
    "masks": lambda: figures.mask_gallery(curves(MASK), (2, 2)),
    "reconstruction": lambda: figures.reconstruction_figure(
        IMAGES, MASK, IMAGES, patch_size=2, note=" ".join(NAMES), **TITLE
    ),
    "robustness, models": lambda: figures.robustness_figure(curves({"blur": {0: 0.5}}), **TITLE),
    "robustness, kinds": lambda: figures.robustness_figure({"model": curves({0: 0.5})}, **TITLE),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_names_are_drawn_letter_by_letter(make):
    figure = make()
    figure.savefig(io.BytesIO(), format="png")
    found = [text for text in figure.findobj(Text) if text.get_text()]
    drawn = " ".join(text.get_text() for text in found)
    for name in SHOWN:
        # baselines are written with spaces
        assert name in drawn or name.replace("_", " ") in drawn, name
    assert not any(text.get_parse_math() for text in found if "$" in text.get_text())


def test_line_breaks_and_bytes_that_are_not_text_are_replaced():
    assert [one_line(name) for name in NAMES] == SHOWN
    assert one_line("\x00a\t\u2028b ") == "a b"
    assert one_line("zwölf 十二") == "zwölf 十二"
