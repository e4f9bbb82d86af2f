"""Expected calibration error against the reference's loop over bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mae_keras.evaluation import expected_calibration_error

CONFIDENCES = hnp.arrays("float64", st.integers(1, 40), elements=st.floats(0.001, 1))


def loop_over_bins(confidence, correct, num_bins):
    """As gpleiss/temperature_scaling: bins open below and closed above."""
    edges = np.linspace(0, 1, num_bins + 1)
    error = 0.0
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            distance = abs(correct[inside].mean() - confidence[inside].mean())
            error += distance * inside.mean()
    return error


@given(CONFIDENCES, st.sampled_from([1, 5, 15]), st.randoms(use_true_random=False))
def test_agrees_with_the_loop_of_the_reference(confidence, num_bins, random):
    correct = np.array([random.random() < 0.6 for _ in confidence])
    found = expected_calibration_error(confidence, correct, num_bins)
    assert found.error == pytest.approx(loop_over_bins(confidence, correct, num_bins), abs=1e-12)
    assert sum(one.count for one in found.bins) == len(confidence)


def test_a_small_case_by_hand():
    found = expected_calibration_error([0.5, 0.6, 0.9, 0.95], [True, False, True, True], 2)
    low, high = found.bins
    # 0.5 is in (0, 0.5]: |0.5 - 1|; the others in (0.5, 1]: |0.81667 - 2 / 3|
    assert (low.low, low.high, low.count, low.confidence, low.accuracy) == (0.0, 0.5, 1, 0.5, 1.0)
    assert (high.count, high.accuracy) == (3, pytest.approx(2 / 3))
    assert found.error == pytest.approx(0.25 * 0.5 + 0.75 * 0.15)


def test_there_are_fifteen_bins_unless_told():
    bins = expected_calibration_error([0.3], [True]).bins
    assert len(bins) == 15
    assert [one.count for one in bins].index(1) == 4  # (0.267, 0.333]


def test_an_empty_bin_has_no_confidence_and_no_accuracy():
    empty = expected_calibration_error([0.9], [True], 2).bins[0]
    assert (empty.count, empty.confidence, empty.accuracy) == (0, None, None)


def test_the_ends_of_the_range_have_a_bin():
    bins = expected_calibration_error([0.0, 1.0], [False, True], 3).bins
    assert [one.count for one in bins] == [1, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "at least one sample"),
        (([0.5], [True, False]), "must have one shape"),
        (([1.5], [True]), "`confidence` must be.*Received: values from 1.5"),
        (([float("nan")], [True]), "`confidence` must be"),
        (([0.5], [True], 0), "`num_bins` must be.*Received: num_bins=0"),
    ],
    ids=str,
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(*arguments)
