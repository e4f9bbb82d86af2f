"""Signals as lines."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mae_keras.figures.sheet import MISSING, draw_signals


def draw(panels, hidden, hatched, missing=None):
    figure = Figure()
    row = [figure.add_subplot(1, len(panels), number + 1) for number in range(len(panels))]
    missing = [np.zeros(len(hidden), bool)] * len(panels) if missing is None else missing
    draw_signals(row, panels, np.array(hidden), missing, hatched)
    return row


def test_hidden_spans_are_shaded_from_half_a_step_before_to_half_a_step_after():
    (axes,) = draw([np.zeros((6, 1))], [True, False, False, True, True, False], [False])
    spans = [(box.get_x(), box.get_x() + box.get_width()) for box in axes.patches]
    assert spans == [(-0.5, 0.5), (2.5, 4.5)]


def test_all_panels_of_a_row_share_one_scale():
    left, right = draw([np.zeros((4, 1)), np.full((4, 1), 9.0)], [False] * 4, [False, False])
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[0] < 0 < 9 < left.get_ylim()[1]


def test_a_signal_without_a_single_value_is_drawn():
    (axes,) = draw([np.full((4, 1), np.nan)], [False] * 4, [False])
    assert np.isfinite(axes.get_ylim()).all()


def test_only_what_is_said_to_be_missing_has_its_color():
    signal = np.array([[0.0], [np.nan], [1.0]])
    absent = [np.array([False, True, False]), np.zeros(3, bool)]
    marked, gap = draw([signal, signal], [False] * 3, [False, False], absent)
    assert [box.get_facecolor()[:3] for box in marked.patches] == [to_rgb(MISSING)]
    assert len(gap.patches) == 0


def test_a_value_between_gaps_is_a_dot():
    values = [1, np.nan, 2, 3, np.nan, 4, np.nan, np.nan, 5, 6]
    (axes,) = draw([np.array(values)[:, None]], [False] * 10, [False])
    (line,) = axes.lines
    assert (line.get_marker(), list(line.get_markevery())) == ("o", [0, 5])


def test_channels_are_one_above_the_other_each_on_its_own_scale():
    large, small = np.array([0.0, 500, 1000, np.nan]), np.array([0.002, 0.001, 0.002, 0.003])
    (axes,) = draw([np.stack([large, small, np.full(4, 7.0)], axis=1)], [False] * 4, [False])
    first, second, constant = (line.get_ydata() for line in axes.lines)
    np.testing.assert_allclose(np.diff(first)[:2], 0.5)
    np.testing.assert_allclose(np.diff(second), [-0.5, 0.5, 0.5])
    assert np.nanmin(first) > second.max() and second.min() > constant.max()
