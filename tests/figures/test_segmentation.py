"""Segmentations beside the truth, and bars of classes."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mae_keras.figures import class_bar_figure, segmentation_figure
from mae_keras.figures.sheet import INK, ORANGE
from mae_keras.figures.style import CLASS_COLORS

MASK = np.array([[[0, 0, 1, 1], [0, -1, 1, 1]]])
PREDICTION = np.array([[[0, 1, 1, 0], [0, 1, 1, 1]]])


def image_of(mask, channels=1):
    return np.zeros((*mask.shape, channels), "uint8")


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def test_classes_have_their_colors_over_the_image():
    figure = segmentation_figure(image_of(MASK), MASK, PREDICTION)
    colors = 0.7 * np.array([to_rgb(color) for color in CLASS_COLORS[:2]])  # over black
    labeled = MASK[0] >= 0
    truth = shown(figure.axes[1])
    np.testing.assert_allclose(truth[labeled][:, :3], colors[MASK[0][labeled]], atol=1e-6)
    np.testing.assert_allclose(shown(figure.axes[2]), colors[PREDICTION[0]], atol=1e-6)


def test_errors_are_told_apart_and_what_has_no_label_is_none(texts, check_layout):
    figure = segmentation_figure(image_of(MASK), MASK, PREDICTION, class_names=["cell", "wall"])
    errors = shown(figure.axes[3])
    np.testing.assert_allclose(errors[0, 1, :3], to_rgb(INK), atol=1e-6)  # wrongly a wall
    np.testing.assert_allclose(errors[0, 3, :3], to_rgb(ORANGE), atol=1e-6)  # missed
    right = errors[..., :3].reshape(-1, 3)[[0, 2, 4, 6, 7]]
    np.testing.assert_allclose(right, 0.75, atol=1e-6)
    unseen = errors[..., 3] == 0
    assert np.array_equal(unseen, MASK[0] == -1) and figure.axes[3].patch.get_hatch()
    words = texts(figure)
    assert "wall missed" in words and "wall predicted wrongly" in words
    assert "Not labeled" in words and "Right: 71.4% of the labeled pixels" in words  # 5 of 7
    check_layout(figure)


def test_volumes_are_shown_in_three_planes(texts, check_layout):
    mask = np.zeros((1, 4, 6, 8), int)
    mask[0, 2, 3, 5] = 1
    prediction = np.zeros_like(mask)
    figure = segmentation_figure(image_of(mask), mask, prediction, spacing=(2, 1, 1))
    errors = [np.all(np.isclose(shown(axes)[..., :3], to_rgb(ORANGE)), -1) for axes in figure.axes]
    # the voxel lies in the middle of depth and of height, not of width
    places = [np.argwhere(found).tolist() for found in errors[9:]]
    assert places == [[[3, 5]], [], [[2, 5]]]
    assert "4 x 6 x 8 voxels" in texts(figure)
    check_layout(figure)


def test_signals_have_their_classes_behind_them(check_layout):
    mask = np.array([[0, 0, 1, 1, 1, -1]])
    prediction = np.array([[0, 1, 1, 1, 1, 0]])
    figure = segmentation_figure(image_of(mask, 2), mask, prediction)
    spans = [
        [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
        for axes in figure.axes
    ]
    assert spans[0] == []
    assert spans[1] == [(-0.5, 1.5), (1.5, 4.5), (4.5, 5.5)]
    assert spans[3] == [(0.5, 1.5), (4.5, 5.5)]
    check_layout(figure)


def test_many_classes_have_colors_of_their_own(texts, check_layout):
    mask = np.arange(30).reshape(1, 5, 6)
    names = [f"class number {number}" for number in range(30)]
    figure = segmentation_figure(image_of(mask), mask, mask, class_names=names)
    colors = shown(figure.axes[1])[..., :3].reshape(-1, 3)
    assert len(np.unique(colors.round(3), axis=0)) == 30
    assert "class number 29" in texts(figure) and "repeat" not in texts(figure)
    check_layout(figure)


def test_names_are_drawn_letter_by_letter(texts):
    figure = segmentation_figure(
        image_of(MASK), MASK, PREDICTION, class_names=[r"$\frac{$", "two\nlines"]
    )
    assert r"$\frac{$" in texts(figure) and "two lines" in texts(figure)
    assert not any(text.get_parse_math() for text in figure.texts if "$" in text.get_text())


def test_first_images_are_drawn():
    mask = np.zeros((5, 4, 4), int)
    assert len(segmentation_figure(image_of(mask), mask, mask, max_rows=2).axes) == 8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"masks": MASK[:, :1]}, "`masks` must have the shape of `images` without channels"),
        ({"predictions": MASK}, "`predictions` must be class numbers of at least 0. Received: -1"),
        ({"num_classes": 1}, "`num_classes` must be"),
        ({"masks": MASK * 7}, "`masks` must be class numbers of at least -1. Received: -7"),
        ({"predictions": PREDICTION + 2, "num_classes": 2}, r"`predictions` must be in \[0, 2\)"),
        ({"class_names": ["a", "b", "c"], "num_classes": 2}, "`class_names` must have one name"),
        ({"spacing": (1, 1, 1)}, "`spacing` must be None"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_does_not_fit_is_named(changed, message):
    arguments = {"images": image_of(MASK), "masks": MASK, "predictions": PREDICTION, **changed}
    with pytest.raises(ValueError, match=message):
        segmentation_figure(**arguments)


def test_masks_of_floats_are_refused():
    with pytest.raises(TypeError, match="`masks` must be an array of integers"):
        segmentation_figure(image_of(MASK), MASK.astype(float), PREDICTION)


def test_bars_have_the_lengths_of_scores(texts, check_layout):
    scores = {"IoU": [0.8, None, 1.0], "Dice": [0.9, None, 1.0]}
    intervals = {"IoU": [(0.7, 0.85), None, (0.9, 1.0)]}
    names = ["liver", "spleen", "a kidney with a name that is far too long to be shown"]
    figure = class_bar_figure(scores, class_names=names, intervals=intervals, title="Organs")
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [0.8, 0.0, 1.0, 0.9, 0.0, 1.0]
    assert [line.get_xdata().tolist() for line in figure.axes[0].lines] == [[0.7, 0.85], [0.9, 1.0]]
    words = texts(figure)
    assert "Without a score: spleen." in words and "0.80" in words and "intervals" in words
    check_layout(figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"IoU": [0.5], "Dice": [0.5, 0.6]},), "1 for 'IoU', 2 for 'Dice'"),
        (({"IoU": []},), "`scores` must have a value for each class"),
        (({"IoU": [80.0]},), r"`scores\['IoU'\]` must be values in \[0, 1\]"),
        (({},), "`scores` must hold at least one measure"),
    ],
    ids=str,
)
def test_bars_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        class_bar_figure(*arguments)


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        ({"F1": [(0, 1)]}, "`intervals` must name measures"),
        ({"IoU": [(0, 1), (0, 1)]}, "two values for each of the 1 classes"),
        ({"IoU": [(0, 3)]}, r"`intervals\['IoU'\]` must be values in \[0, 1\]"),
    ],
    ids=str,
)
def test_intervals_that_do_not_fit_are_named(intervals, message):
    with pytest.raises(ValueError, match=message):
        class_bar_figure({"IoU": [0.5]}, intervals=intervals)
