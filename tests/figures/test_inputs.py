"""What cannot be drawn is refused by every figure, by the argument's name."""

import numpy as np
import pytest

from mae_keras import figures

IMAGES = np.zeros((2, 8, 8, 1), "uint8")
MASK = np.arange(32).reshape(2, 16) % 2 == 0
CURVE = {"model": {"noise": {0: 0.9, 3: 0.5}}}


def reconstruction(**changes):
    arguments = {"images": IMAGES, "patch_mask": MASK, "prediction": IMAGES, "patch_size": 2}
    return figures.reconstruction_figure(**{**arguments, **changes})


def attention(**changes):
    arguments = {"images": IMAGES, "attention": np.full((2, 2, 16), 1 / 16), "grid": (4, 4)}
    return figures.attention_figure(**{**arguments, **changes})


def calibration(**changes):
    arguments = {"confidence": [0.5, 0.9], "accuracy": [0.4, 0.8], "count": [2, 3]}
    return figures.calibration_figure(**{**arguments, **changes})


RAGGED = [[[0.1], [0.2]], [[0.3]]]
ARRAYS = [
    (reconstruction, "images"),
    (reconstruction, "patch_mask"),
    (reconstruction, "prediction"),
    (reconstruction, "pasted"),
    (attention, "images"),
    (attention, "attention"),
    (calibration, "confidence"),
    (calibration, "accuracy"),
    (calibration, "count"),
    (figures.confusion_figure, "matrix"),
]


@pytest.mark.parametrize("value", ["text", "complex", "ragged", "none"])
@pytest.mark.parametrize(("draw", "name"), ARRAYS)
def test_what_is_no_array_of_numbers_is_refused(draw, name, value):
    if (name, value) == ("pasted", "none"):
        return  # computed
    wrong = {
        "text": np.full((2, 8, 8, 1), "0.5"),
        "complex": np.full((2, 8, 8, 1), 0.5 + 1j),
        "ragged": RAGGED,
        "none": None,
    }[value]
    with pytest.raises((TypeError, ValueError), match=f"`{name}` must be") as caught:
        draw(**{name: wrong})
    assert "inhomogeneous" not in str(caught.value) or value == "ragged"


def test_masks_of_other_numbers_are_refused():
    with pytest.raises(ValueError, match=r"`masks\['a'\]` must be boolean"):
        figures.mask_gallery({"a": np.full((1, 16), 0.5)}, (4, 4))


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (lambda given: figures.mask_gallery(given, (4, 4)), "masks"),
        (lambda given: figures.feature_map_figure(given, [0, 1]), "points"),
        (figures.label_fraction_figure, "results"),
        (figures.layer_curve_figure, "accuracies"),
        (figures.loss_figure, "history"),
        (figures.robustness_figure, "results"),
    ],
)
def test_what_is_no_dict_is_refused(draw, name):
    for given in (None, [1.0]):
        with pytest.raises(TypeError, match=f"`{name}` must be a dict"):
            draw(given)


@pytest.mark.parametrize("chance", [-np.inf, np.nan, [0.1, 0.1], "0.1"])
def test_a_chance_that_is_no_accuracy_is_refused(chance):
    with pytest.raises(ValueError, match="`chance` must be a number in"):
        figures.robustness_figure(CURVE, chance=chance)


@pytest.mark.parametrize("value_range", [3, None, "ab", (0, np.inf), (0, 1, 2), ("0", "1")])
@pytest.mark.parametrize("draw", [reconstruction, attention])
def test_a_value_range_of_other_things_is_refused(draw, value_range):
    with pytest.raises(ValueError, match="`value_range` must be two numbers"):
        draw(value_range=value_range)


@pytest.mark.parametrize("grid", [None, 4, (4.5, 4), ("4", "4")])
def test_a_grid_of_other_things_is_refused(grid):
    with pytest.raises(ValueError, match="`grid` must be a sequence of ints"):
        attention(grid=grid)


def test_one_text_is_no_class_names():
    with pytest.raises(TypeError, match="`class_names` must be a sequence of names"):
        figures.confusion_figure(np.eye(3), "abc")


def test_missing_numbers_and_limits_beyond_all_rows_are_drawn(texts):
    assert "ECE 10.0%" in texts(calibration(count=[2, 3]))
    figures.calibration_figure([0.5, None], [0.4, None], [2, 0])
    assert len(attention(max_rows=10**20, max_heads=10**20).axes) == 2 * 4
    assert len(reconstruction(max_rows=10**20, value_range=(7, 7)).axes) == 2 * 4
