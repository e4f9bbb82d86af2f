"""Accuracies on an axis."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from mae_keras.figures.style import dress_accuracy_axis, percent, read_accuracies


def test_what_is_not_known_becomes_nan():
    values = read_accuracies([0.25, None, float("inf"), 1], "results")
    assert values[[0, 3]].tolist() == [0.25, 1.0]
    assert np.isnan(values[[1, 2]]).all()


@pytest.mark.parametrize("wrong", [97.3, -0.1])
def test_percent_given_for_accuracies_is_refused(wrong):
    with pytest.raises(ValueError, match=rf"`results` must be accuracies in \[0, 1\].*{wrong}"):
        read_accuracies([0.5, wrong], "results")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0%"), (1, "100%"), (0.5, "50.0%"), (0.0001, "<0.1%"), (0.9999, ">99.9%")],
)
def test_only_exact_ends_are_written_as_such(value, text):
    assert percent(value) == text


@pytest.mark.parametrize(
    "values",
    [[0.5], [0.97, 0.971], [0.0, 1.0], [0.0, 0.001], [1.0], [np.nan], [], [0.1, 0.9, np.nan]],
)
def test_limits_hold_all_values_within_zero_and_one_and_span_a_tenth(values):
    axes = Figure().add_subplot()
    dress_accuracy_axis(axes, values)
    low, high = axes.get_ylim()
    assert 0 <= low < high <= 1
    assert high - low >= 0.1 - 1e-9
    for value in np.array(values)[np.isfinite(values)]:
        assert low <= value <= high


def test_ticks_are_in_percent():
    axes = Figure().add_subplot()
    dress_accuracy_axis(axes, [0.0, 1.0])
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["0%", "20%"]
    assert axes.get_ylabel() == "accuracy"
