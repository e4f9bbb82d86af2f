"""Features in two dimensions, colored by class."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from mae_keras.figures import feature_map_figure
from mae_keras.figures.style import CLASS_COLORS

# Drawing takes longer than the fast part has time for.
pytestmark = pytest.mark.slow


def make(num_classes, samples=200):
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % num_classes
    points = rng.normal(0, 5, (num_classes, 2))[labels] + rng.normal(0, 1, (samples, 2))
    return {"PCA": points, "t-SNE": points * 100}, labels


def drawn(axes):
    """All dots of a panel as (x, y, color)."""
    return {
        (*xy, to_hex(color))
        for dots in axes.collections
        for xy, color in zip(dots.get_offsets().tolist(), dots.get_facecolors(), strict=True)
    }


def test_each_panel_has_a_heading_and_each_class_a_color(texts):
    points, labels = make(3)
    figure = feature_map_figure(points, labels, ["cat", "dog", "cow"])
    for words in ("PCA", "t-SNE", "cat", "dog", "cow"):
        assert words in texts(figure)
    expected = {
        (*xy, CLASS_COLORS[n]) for xy, n in zip(points["PCA"].tolist(), labels, strict=True)
    }
    assert drawn(figure.axes[0]) == expected


def test_only_classes_with_samples_are_in_the_legend(texts):
    figure = feature_map_figure({"PCA": np.eye(4, 2)}, [0, 2, 2, 0], ["cat", "dog", "cow"])
    assert "cow" in texts(figure)
    assert "dog" not in texts(figure)


def test_classes_beyond_ten_differ_by_mark():
    points, labels = make(25)
    panel = feature_map_figure(points, labels).axes[0]
    assert sum(len(dots.get_offsets()) for dots in panel.collections) == len(labels)
    marks = {}
    for dots in panel.collections:
        outline = dots.get_paths()[0].vertices.tobytes()
        for xy, color in zip(dots.get_offsets().tolist(), dots.get_facecolors(), strict=True):
            label = int(labels[np.abs(points["PCA"] - xy).sum(axis=1).argmin()])
            marks.setdefault(label, set()).add((to_hex(color), outline))
    assert all(len(looks) == 1 for looks in marks.values())
    assert len({looks.pop() for looks in marks.values()}) == 25


def test_names_stand_at_the_medians_of_few_classes_too():
    points, labels = make(3)
    figure = feature_map_figure(points, labels, ["cat", "dog", "cow"])
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    np.testing.assert_allclose(places["dog"], np.median(points["PCA"][labels == 1], axis=0))


def test_beyond_thirty_classes_names_stand_at_medians(texts):
    points, labels = make(100, samples=1000)
    figure = feature_map_figure(points, labels)
    assert "100 classes: colors repeat" in texts(figure)
    assert len(figure.axes) == 2  # no legend
    assert len(figure.axes[0].texts) > 5
    for text in figure.axes[0].texts:
        median = np.median(points["PCA"][labels == int(text.get_text())], axis=0)
        np.testing.assert_allclose(text.get_position(), median)


def test_both_directions_have_one_scale():
    points = {"PCA": np.array([[0.0, 0.0], [10.0, 1.0]])}
    axes = feature_map_figure(points, [0, 1]).axes[0]
    assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim()))


def test_points_that_coincide_are_drawn():
    axes = feature_map_figure({"PCA": np.full((3, 2), 7.0)}, [0, 1, 1]).axes[0]
    low, high = axes.get_xlim()
    assert low < 7 < high


@pytest.mark.parametrize("num_classes", [2, 10, 11, 30, 100])
@pytest.mark.parametrize(
    "name", [None, "a class with a name that is far too long, {}"], ids=["numbers", "long"]
)
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, num_classes, name):
    points, labels = make(num_classes, samples=1000)
    names = None if name is None else [name.format(number) for number in range(num_classes)]
    check_layout(feature_map_figure(points, labels, names, title="Features", note="A note."))


@pytest.mark.parametrize(
    ("points", "labels", "names", "error", "message"),
    [
        ({}, [0, 1], None, ValueError, "`points` must hold at least one panel"),
        ({"a": np.zeros((0, 2))}, np.zeros(0, int), None, ValueError, "`labels` must not be empty"),
        ({"a": np.zeros((2, 3))}, [0, 1], None, ValueError, r"`points\['a'\]` must have shape"),
        ({"a": np.zeros((3, 2))}, [0, 1], None, ValueError, r"shape \(2, 2\)"),
        ({"a": np.full((2, 2), np.nan)}, [0, 1], None, ValueError, "must be finite"),
        (
            {"a": np.zeros((2, 2))},
            [0.0, 1.0],
            None,
            TypeError,
            "`labels` must be an array of integers",
        ),
        ({"a": np.zeros((2, 2))}, [[0, 1]], None, ValueError, "`labels` must have 1 axis"),
        ({"a": np.zeros((2, 2))}, [0, 2], ["x", "y"], ValueError, "below the 2 names.*0 to 2"),
        (None, [0, 1], None, TypeError, "`points` must be a dict"),
        ({"a": [["0", "1"]] * 2}, [0, 1], None, TypeError, r"`points\['a'\]` must be an array of"),
        ({"a": np.zeros((2, 2))}, [0, 1], "xy", TypeError, "`class_names` must be a sequence of"),
        ({"a": np.zeros((2, 2))}, [-1, 0], None, ValueError, "`labels` must count from 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(points, labels, names, error, message):
    with pytest.raises(error, match=message):
        feature_map_figure(points, labels, names)
