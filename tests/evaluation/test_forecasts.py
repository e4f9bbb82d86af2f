"""Windows, naive and linear forecasts, and their errors, beside loops and scikit-learn."""

import os
import pathlib

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mae_keras.evaluation import (
    LinearForecast,
    fit_linear_forecast,
    forecast_score,
    forecast_windows,
    naive_forecasts,
)

ETT = pathlib.Path(os.environ.get("MAE_KERAS_TEST_DATA") or "nowhere") / "forecasting/ETTh1.csv"


def series(steps=120, channels=2):
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(steps)[:, None] / np.array([2.0, 3.0])[:channels])
    return waves + 0.1 * rng.normal(size=(steps, channels))


@pytest.mark.parametrize("step", [1, 3])
def test_windows_are_those_of_a_loop(step):
    long = series(30)
    past, future = forecast_windows(long, 7, 4, step)
    starts = range(0, 30 - 11 + 1, step)
    np.testing.assert_array_equal(past, [long[s : s + 7] for s in starts])
    np.testing.assert_array_equal(future, [long[s + 7 : s + 11] for s in starts])


def test_naive_forecasts_are_what_they_say():
    past = series(12)[None]
    made = naive_forecasts(past, 7, season=5)
    for step in range(7):
        np.testing.assert_array_equal(made["last_value"][:, step], past[:, 11])
        np.testing.assert_array_equal(made["season"][:, step], past[:, 7 + step % 5])
        np.testing.assert_allclose(made["mean"][:, step], past.mean(axis=1))
    assert set(naive_forecasts(past, 3)) == {"last_value", "mean"}


def test_the_linear_forecast_is_ridge_regression():
    past, future = forecast_windows(series(), 8, 3)
    found = fit_linear_forecast((past[:60], future[:60]), (past[60:], future[60:]), (2.0,))
    level = past[:60, -1:]
    x = np.concatenate([(past[:60] - level)[..., channel] for channel in range(2)])
    y = np.concatenate([(future[:60] - level)[..., channel] for channel in range(2)])
    reference = Ridge(alpha=2.0 * len(x) / 1000, fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(found.weights, reference.coef_.T, atol=1e-8)
    moved = found(past[60:] + 100)
    np.testing.assert_allclose(moved, found(past[60:]) + 100, atol=1e-9)


def test_the_penalty_is_chosen_on_validation():
    past, future = forecast_windows(series(), 8, 3)
    split = (past[:60], future[:60]), (past[60:], future[60:])
    errors = {
        penalty: forecast_score(
            fit_linear_forecast(*split, (penalty,))(split[1][0]), split[1][1]
        ).mse
        for penalty in (0.01, 10.0, 1e5)
    }
    assert fit_linear_forecast(*split, tuple(errors)).penalty == min(errors, key=errors.get)


def test_errors_leave_out_what_is_not_known():
    future = np.array([[[1.0], [np.nan], [3.0]]])
    score = forecast_score(np.zeros((1, 3, 1)), future)
    assert score == (5.0, 2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: forecast_windows(np.zeros(5), 4, 2), "at least length . horizon = 6 time steps"),
        (lambda: forecast_windows(np.zeros((9, 2, 2)), 4, 2), "`series` must have shape"),
        (lambda: naive_forecasts(np.zeros((1, 4, 1)), 2, season=5), "`season` must be"),
        (lambda: naive_forecasts(np.full((1, 4, 1), np.nan), 2), "`past` must be finite"),
        (lambda: forecast_score(np.zeros((1, 2, 1)), np.zeros((1, 3, 1))), "shape of `future`"),
        (
            lambda: forecast_score(np.zeros((1, 1, 1)), np.full((1, 1, 1), np.nan)),
            "nothing but NaN",
        ),
        (
            lambda: fit_linear_forecast(
                (np.zeros((3, 4, 1)), np.zeros((2, 2, 1))), (np.zeros((1, 4, 1)),) * 2
            ),
            "`train` must be past and future of the same windows",
        ),
        (
            lambda: fit_linear_forecast(
                (np.zeros((3, 4, 1)), np.zeros((3, 2, 1))),
                (np.zeros((3, 4, 1)), np.zeros((3, 1, 1))),
            ),
            "`validation` must have as many time steps as `train`, 4 and 2",
        ),
        (
            lambda: LinearForecast(np.zeros((3, 2)), 1.0)(np.zeros((1, 4, 1))),
            "`past` must have the 3 time steps",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
@pytest.mark.skipif(not ETT.is_file(), reason="MAE_KERAS_TEST_DATA has no forecasting/ETTh1.csv")
def test_of_etth1_the_last_value_and_ridge_have_the_known_errors():
    """Months 1-12, 13-16, 17-20, standardized by the first; lookback 336, horizon 96."""
    columns = np.loadtxt(ETT, delimiter=",", skiprows=1, usecols=range(1, 8))
    month = 30 * 24
    train = columns[: 12 * month]
    long = (columns - train.mean(0)) / train.std(0)
    parts = {
        "train": forecast_windows(long[: 12 * month], 336, 96, step=2),
        "validation": forecast_windows(long[12 * month - 336 : 16 * month], 336, 96, step=4),
        "test": forecast_windows(long[16 * month - 336 : 20 * month], 336, 96),
    }
    past, future = parts["test"]
    assert len(past) == 2785
    last = forecast_score(naive_forecasts(past, 96)["last_value"], future)
    linear = fit_linear_forecast(parts["train"], parts["validation"])
    assert last.mse == pytest.approx(1.294, abs=0.003)
    assert forecast_score(linear(past), future).mse == pytest.approx(0.371, abs=0.005)
