"""Signals as lines."""

import numpy as np
from matplotlib.figure import Figure

from mae_keras.figures.sheet import draw_signals


def draw(panels, hidden, hatched):
    figure = Figure()
    row = [figure.add_subplot(1, len(panels), number + 1) for number in range(len(panels))]
    draw_signals(row, panels, np.array(hidden), hatched)
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


def test_missing_values_are_marked_except_where_hidden_ones_are_hatched():
    signal = np.array([[0.0], [np.nan], [1.0]])
    plain, hatched = draw([signal, signal], [False] * 3, [False, True])
    assert len(plain.patches) == 1
    assert len(hatched.patches) == 0
