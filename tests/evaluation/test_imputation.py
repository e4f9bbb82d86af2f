"""Gaps in signals: where they are, how they are filled without a model, how fillings are scored."""

import numpy as np
import pandas as pd
import pytest

from mae_keras.evaluation import imputation_scores, naive_imputations, random_gaps
from mae_keras.models import MaskedAutoencoder

rng = np.random.default_rng(0)
SIGNALS = np.cumsum(rng.normal(size=(8, 32, 2)), axis=1).astype("float32")


class Oracle:
    """Fills with what it is told."""

    def __init__(self, filling):
        self.filling = filling

    def impute(self, samples, batch_size):
        assert np.isnan(samples).any()
        return np.where(np.isnan(samples), self.filling, samples)


def test_a_gap_is_one_stretch_of_what_is_known():
    signals = np.repeat(SIGNALS, 20, axis=0)
    signals[:, 20:] = np.nan
    signals[:, :4] = np.nan
    missing = random_gaps(signals, fraction=0.25, seed=1)
    assert (missing.sum(axis=1) == 4).all()
    assert (np.diff(missing.astype(int), axis=1) == 1).sum(axis=1).tolist() == [1] * len(signals)
    assert np.flatnonzero(missing.any(axis=0)).tolist() == list(range(4, 20))
    np.testing.assert_array_equal(missing[3:5], random_gaps(signals, 0.25, seed=1)[3:5])
    assert not np.array_equal(missing, random_gaps(signals, 0.25, seed=2))
    np.testing.assert_array_equal(random_gaps(signals[:3], 0.25, seed=1), missing[:3])


def test_naive_fillings_are_those_of_pandas():
    signals = np.where(rng.random(SIGNALS.shape) < 0.4, np.nan, SIGNALS)
    signals[0, :3, 0] = signals[1, -3:, 1] = np.nan
    filled = naive_imputations(signals)
    for row, signal in enumerate(signals):
        table = pd.DataFrame(signal)
        expected = {
            "mean": table.fillna(table.mean()),
            "last_value": table.ffill().bfill(),
            "linear": table.interpolate(limit_direction="both"),
        }
        for name, values in expected.items():
            np.testing.assert_allclose(filled[name][row], values, rtol=1e-4, atol=1e-5)


def test_a_channel_without_any_value_stays_missing():
    signals = SIGNALS.copy()
    signals[2, :, 1] = np.nan
    for values in naive_imputations(signals).values():
        np.testing.assert_array_equal(np.isnan(values), np.isnan(signals))


def test_errors_are_in_standard_deviations_and_of_hidden_known_values_alone():
    signals = SIGNALS * np.array([1.0, 1000.0], "float32")
    signals[:, 5, 0] = np.nan
    missing = random_gaps(signals, 0.3)
    spread = np.nanstd(signals, axis=(0, 1))
    scores = imputation_scores(Oracle(signals + 0.5 * spread), signals, missing)
    assert scores["model"].mse == pytest.approx(0.25, rel=1e-4)
    assert scores["model"].mae == pytest.approx(0.5, rel=1e-4)
    counted = np.broadcast_to(missing[..., None], signals.shape) & ~np.isnan(signals)
    line = naive_imputations(np.where(missing[..., None], np.nan, signals))["linear"]
    expected = np.mean(((line - signals) / spread)[counted] ** 2)
    assert scores["linear"].mse == pytest.approx(expected, rel=1e-4)
    assert imputation_scores(Oracle(signals), signals, missing)["model"].mse == 0


def test_a_model_fills_gaps_and_nothing_else():
    model = MaskedAutoencoder.from_preset("nano", (32, 2), (4,), value_range=None, seed=0)
    gappy = np.where(random_gaps(SIGNALS)[..., None], np.nan, SIGNALS)
    filled = model.impute(gappy)
    assert np.isfinite(filled).all()
    known = ~np.isnan(gappy)
    np.testing.assert_array_equal(filled[known], SIGNALS[known])
    np.testing.assert_array_equal(filled, model.inpaint(SIGNALS, np.isnan(gappy)))


@pytest.mark.parametrize(
    ("missing", "error", "message"),
    [
        (np.zeros((8, 32)), TypeError, "`missing` must be boolean"),
        (np.zeros((8, 32), bool), ValueError, "must hide something that is known"),
        (np.ones((8, 32), bool), ValueError, "a channel hidden altogether in 8 of 8"),
        (np.ones((8, 31), bool), ValueError, r"must have shape \(8, 32\) or"),
    ],
)
def test_what_cannot_be_scored_is_refused(missing, error, message):
    with pytest.raises(error, match=message):
        imputation_scores(Oracle(0), SIGNALS, missing)
