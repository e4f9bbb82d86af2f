"""Intervals against SciPy's own, and against values from textbooks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mae_keras.evaluation import accuracy_interval, mean_interval

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=8).filter(lambda v: np.std(v) > 1e-6)
CONFIDENCE = st.sampled_from([0.5, 0.9, 0.95, 0.99])


@given(SCORES, CONFIDENCE)
def test_the_mean_interval_is_that_of_scipy(values, confidence):
    expected = stats.t.interval(
        confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    mean, low, high = mean_interval(values, confidence)
    assert mean == pytest.approx(np.mean(values))
    assert (low, high) == pytest.approx(expected, rel=1e-9)


def test_three_seeds_by_hand():
    # s = 0.02, t(2; 0.975) = 4.3027, half = 4.3027 * 0.02 / sqrt(3)
    assert mean_interval([0.90, 0.92, 0.94]) == pytest.approx((0.92, 0.87032, 0.96968), abs=1e-5)


def test_one_value_has_no_interval():
    assert mean_interval([0.7]) == (0.7, None, None)


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


@given(st.integers(1, 300), st.floats(0, 1), CONFIDENCE)
def test_the_accuracy_interval_is_that_of_scipy(n, share, confidence):
    right = int(share * n)
    expected = stats.binomtest(right, n).proportion_ci(confidence, method="wilson")
    found = accuracy_interval(right / n, n, confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found[0] <= right / n <= found[1] <= 1


@pytest.mark.parametrize(
    ("accuracy", "n", "expected"),
    [
        (0.8, 10, (0.490, 0.943)),
        (0.0, 10, (0.0, 0.278)),
        (1.0, 10, (0.722, 1.0)),
        (0.5, 100, (0.404, 0.596)),
        (0.99, 10_000, (0.9879, 0.9918)),
    ],
)
def test_accuracy_intervals_by_hand(accuracy, n, expected):
    # Wilson's formula with z = 1.96, worked out apart from the code and rounded
    assert accuracy_interval(accuracy, n) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [[0.5, 0.6]], 0.5], ids=str)
def test_values_without_a_mean_are_refused(values):
    with pytest.raises(ValueError, match="`values` must be a list of finite numbers"):
        mean_interval(values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.2, 10), "`accuracy` must be.*Received: accuracy=1.2"),
        ((float("nan"), 10), "`accuracy` must be"),
        ((0.5, 0), "`n` must be.*Received: n=0"),
        ((0.5, 2.5), "`n` must be"),
        ((0.5, 10, 1.0), "`confidence` must be"),
    ],
    ids=str,
)
def test_bad_accuracies_and_counts_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        accuracy_interval(*arguments)
