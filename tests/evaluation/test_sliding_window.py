"""Predictions over samples larger than the model."""

import numpy as np
import pytest

from mae_keras.evaluation import sliding_window, window_starts, window_weights


@pytest.mark.parametrize("blending", ["gaussian", "uniform"])
@pytest.mark.parametrize(
    "spatial, window", [((37,), (8,)), ((20, 13), (8, 5)), ((9, 16, 11), (4, 8, 11))]
)
def test_a_model_that_returns_its_input_gives_the_sample_back(spatial, window, blending):
    sample = np.random.default_rng(0).normal(size=(*spatial, 2)).astype("float32")
    found = sliding_window(lambda windows: windows, sample, window, blending=blending)
    np.testing.assert_allclose(found, sample, atol=1e-5)
    one = sliding_window(lambda w: np.ones((*w.shape[:-1], 1)), sample, window, blending=blending)
    np.testing.assert_allclose(one, 1, rtol=1e-6)  # weights sum to one everywhere


def test_overlaps_are_weighted_averages():
    """Against sums by hand: windows say their own number."""
    sample, numbers = np.zeros((6, 1)), iter(range(10))
    weights = window_weights((4,))
    assert weights[0] == weights[3] == pytest.approx(np.exp(-4.5 + 0.5))  # in eighths of 4
    assert window_starts((6,), (4,)) == [(0,), (2,)]
    found = sliding_window(
        lambda windows: np.stack([np.full((4, 1), next(numbers)) for _ in windows]), sample, (4,)
    )
    # Places 2 and 3: the end of window 0, the start of window 1.
    expected = [weights[n] / (weights[n] + weights[n + 2]) for n in (0, 1)]
    np.testing.assert_allclose(found[:, 0], [0, 0, *expected, 1, 1], rtol=1e-6)


def test_windows_cover_all_with_at_least_the_overlap():
    starts = [start for (start,) in window_starts((29,), (8,), 0.25)]
    assert starts[0] == 0 and starts[-1] == 21 and max(np.diff(starts)) <= 6
    assert window_starts((8, 9), (8, 4), 0.0) == [(0, 0), (0, 2), (0, 5)]


def test_vectors_are_averaged_and_gaps_left_out():
    sample = np.arange(8.0).reshape(8, 1)
    mean = sliding_window(lambda w: w.mean(axis=1), sample, (4,), overlap=0)
    np.testing.assert_allclose(mean, [3.5])

    def half(windows):
        windows = windows.copy()
        windows[:, :2] = np.nan
        return windows

    found = sliding_window(half, sample, (4,))[:, 0]
    np.testing.assert_array_equal(found, [np.nan, np.nan, 2, 3, 4, 5, 6, 7])


def test_a_small_sample_is_padded_with_missing_values():
    seen = []

    def predict(windows):
        seen.append(np.isnan(windows).sum())
        return np.nan_to_num(windows)

    found = sliding_window(predict, np.ones((3, 5, 1), "uint8"), (4, 4))
    assert found.shape == (3, 5, 1) and (found == 1).all() and seen == [8]


def test_what_does_not_fit_is_named():
    sample = np.zeros((8, 8, 1))
    with pytest.raises(ValueError, match="`sample` must have 3 spatial axes"):
        sliding_window(lambda w: w, sample, (4, 4, 4))
    with pytest.raises(ValueError, match="`predict` must return values for each place"):
        sliding_window(lambda w: w[:, :2], sample, (4, 4))
    with pytest.raises(ValueError, match="`overlap` must be"):
        sliding_window(lambda w: w, sample, (4, 4), overlap=1)
