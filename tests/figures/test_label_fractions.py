"""Accuracy against the share of labels."""

import numpy as np
import pytest

from mae_keras.figures import label_fraction_figure

# Drawing takes longer than the fast part has time for.
pytestmark = pytest.mark.slow

RESULTS = {
    "fine-tuned": {1.0: (0.99, 0.98, 1.0), 0.01: (0.8, 0.75, 0.85), 0.1: (0.9, 0.88, 0.92)},
    "from scratch": {0.01: (0.5, 0.4, 0.6), 0.1: (0.8, 0.75, 0.85), 1.0: (0.98, None, None)},
}


def bars(axes, number):
    """(low, high) of the intervals of a method; vertical lines come first, then their ends."""
    segments = axes.collections[3 * number].get_segments()
    return [tuple(segment[:, 1]) for segment in segments if len(segment)]


def test_fractions_ascend_on_a_logarithmic_axis():
    axes = label_fraction_figure(RESULTS).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.lines[0].get_ydata().tolist() == [0.8, 0.9, 0.99]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1%", "10%", "100%"]


def test_intervals_are_bars():
    axes = label_fraction_figure(RESULTS).axes[0]
    assert bars(axes, 0) == [(0.75, 0.85), (0.88, 0.92), (0.98, 1.0)]


def test_methods_stand_side_by_side_around_their_fraction():
    first, second = (line.get_xdata() for line in label_fraction_figure(RESULTS).axes[0].lines)
    fractions = np.array([0.01, 0.1, 1.0])
    assert (first < fractions).all() and (fractions < second).all()
    np.testing.assert_allclose(np.sqrt(first * second), fractions)
    (alone,) = label_fraction_figure({"a": RESULTS["fine-tuned"]}).axes[0].lines
    np.testing.assert_allclose(alone.get_xdata(), fractions)


def test_lines_are_named_with_their_last_accuracy(texts):
    text = texts(label_fraction_figure(RESULTS))
    assert "fine-tuned  99.0%" in text
    assert "from scratch  98.0%" in text
    assert "95% intervals" in text


def test_a_mean_without_an_interval_has_no_bar_and_none_at_all_leaves_a_gap(texts):
    results = {"a": {0.1: (0.5, None, None), 1.0: (None, None, None)}, "b": {1.0: (np.nan,) * 3}}
    figure = label_fraction_figure(results)
    assert np.isfinite(figure.axes[0].lines[0].get_ydata()).tolist() == [True, False]
    assert bars(figure.axes[0], 0) == []
    assert "a  50.0%" in texts(figure)
    assert "Without a value: b." in texts(figure)


@pytest.mark.parametrize(
    "fractions",
    [(1.0,), (0.01, 0.1, 1.0), (0.001, 0.002, 0.005, 0.01, 0.09, 0.1, 0.11, 0.9, 1.0)],
    ids=["one", "three", "close together"],
)
@pytest.mark.parametrize("methods", [1, 2, 6])
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, fractions, methods):
    results = {
        f"a method with a long name {n}": {f: (0.99, 0.985, 1.0) for f in fractions}
        for n in range(methods)
    }
    check_layout(label_fraction_figure(results, title="Fewer labels"))


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({}, "`results` must hold at least one method"),
        ({"a": {}}, r"`results\['a'\]` must hold at least one fraction"),
        ({"a": {10: (0.5, 0.4, 0.6)}}, r"fractions of the labels in \(0, 1\]. Received: 10"),
        ({"a": {0.1: 0.5}}, r"`results\['a'\]\[0.1\]` must be \(mean, low, high\)"),
        ({"a": {0.1: (0.5, 0.6, 0.7)}}, "with low <= mean <= high"),
        ({"a": {0.1: (50, 40, 60)}}, r"must be accuracies in \[0, 1\]"),
    ],
)
def test_arguments_that_do_not_fit_are_named(results, message):
    with pytest.raises(ValueError, match=message):
        label_fraction_figure(results)
