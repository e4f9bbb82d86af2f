"""Colors stay apart, for the color-blind too."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from mae_keras.figures.style import CLASS_COLORS, NUM_CLASS_LOOKS, class_look, line_look

# Drawing takes longer than the fast part has time for.
pytestmark = pytest.mark.slow

# Machado et al. 2009, doi:10.1109/TVCG.2009.113, severity 1, for linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen(color, matrix):
    """CIELAB of a color as somebody with this vision sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(matrix) @ linear, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(rgb[None, None])[0, 0]


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    ("colors", "least"),
    [(CLASS_COLORS, 14), ([line_look(n)["color"] for n in range(6)], 15)],
    ids=["classes", "lines"],
)
def test_colors_differ_whoever_looks(vision, colors, least):
    labs = [seen(color, VISION[vision]) for color in colors]
    smallest = min(float(deltaE_ciede2000(a, b)) for a, b in itertools.combinations(labs, 2))
    assert smallest > least  # a difference of 2 is just noticeable side by side


def test_the_first_thirty_classes_differ_in_color_or_mark():
    looks = [class_look(number) for number in range(NUM_CLASS_LOOKS)]
    assert len(set(looks)) == NUM_CLASS_LOOKS == 30
    assert len({color for color, _ in looks[:10]}) == 10
    assert all(a != b for (_, a), (_, b) in itertools.pairwise(looks[:10]))
    assert class_look(NUM_CLASS_LOOKS) == class_look(0)


def test_the_first_lines_differ_in_color_and_in_mark():
    looks = [line_look(number) for number in range(6)]
    assert len({look["color"] for look in looks}) == len({look["marker"] for look in looks}) == 6
    assert line_look(6)["linestyle"] != line_look(0)["linestyle"]
