"""Class names that mean something to matplotlib, or that no font can draw, cost no picture."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mae_keras.figures import confusion_figure, feature_map_figure

NAMES = [r"$\frac{$", "US$ 5 or $ 6", "caf\udce9", "two\nlines"]
SHOWN = [r"$\frac{$", "US$ 5 or $ 6", r"caf\udce9", "two lines"]
POINTS = {"PCA": np.random.default_rng(0).normal(size=(8, 2))}


def confusion():
    return confusion_figure(np.eye(4, dtype=int), NAMES, title=NAMES[0])


def feature_map():
    return feature_map_figure(POINTS, np.arange(8) % 4, NAMES, title=NAMES[0])


def feature_map_of_many():
    names = [f"{number} {name}" for number in range(10) for name in NAMES]
    points = {"PCA": 100 * np.random.default_rng(0).normal(size=(40, 2))}
    return feature_map_figure(points, np.arange(40), names)


@pytest.mark.parametrize("make", [confusion, feature_map])
def test_names_are_drawn_letter_by_letter(make, texts):
    figure = make()
    FigureCanvasAgg(figure).draw()
    for shown in SHOWN:
        assert shown in texts(figure)


def test_names_within_a_map_of_many_classes_are_too():
    FigureCanvasAgg(feature_map_of_many()).draw()
