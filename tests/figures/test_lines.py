"""Named lines over any horizontal axis."""

import numpy as np
import pytest

from mae_keras.figures import line_figure


def test_lines_have_their_points_names_and_intervals(texts, check_layout):
    lines = {"model": {3: 0.2, 1: (0.5, 0.4, 0.6)}, "other": {1: 0.1, 3: 0.3}}
    figure = line_figure(
        lines, xlabel="hidden", ylabel="error", baselines={"mean": 0.7}, title="A title", note="So."
    )
    (axes,) = figure.axes
    assert axes.lines[0].get_xydata().tolist() == [[1, 0.5], [3, 0.2]]
    bars = [segment.tolist() for segment in axes.collections[0].get_segments()]
    assert bars == [[[1, 0.4], [1, 0.6]], [[3, 0.2], [3, 0.2]]]
    np.testing.assert_allclose(axes.lines[2].get_ydata(), 0.7)
    assert axes.get_ylim()[0] == 0
    for text in ("model", "other", "mean", "hidden", "error", "A title", "So."):
        assert text in texts(figure)
    check_layout(figure)


def test_the_axis_need_not_start_at_zero():
    figure = line_figure({"a": {0: 5.0, 1: 6.0}}, xlabel="x", ylabel="y", from_zero=False)
    assert figure.axes[0].get_ylim()[0] > 4


def test_many_points_are_not_marked(check_layout):
    figure = line_figure({"a": dict(enumerate(range(100)))}, xlabel="step", ylabel="rate")
    assert figure.axes[0].lines[0].get_marker() == "None"
    check_layout(figure)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({}, "at least one line"),
        ({"a": {}}, "at least one point"),
        ({"a": {0: np.nan}}, "must be a finite number"),
        ({"a": {0: (1, 2)}}, r"y or \(y, low, high\)"),
    ],
)
def test_lines_that_cannot_be_drawn_are_refused(lines, message):
    with pytest.raises(ValueError, match=message):
        line_figure(lines, xlabel="x", ylabel="y")
