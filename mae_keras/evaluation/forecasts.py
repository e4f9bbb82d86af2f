"""Forecasts beside the simplest ones: windows of long series, naive forecasts, a linear one.

Imports NumPy only. No forecast says anything without these beside it: on some series nothing beats
the last value.
"""

from typing import Any, NamedTuple

import numpy as np

from mae_keras.arguments import check_array, check_int, check_penalties


class ForecastScore(NamedTuple):
    """How far forecasts are from what came.

    Attributes:
        mse: float, mean squared error over samples, time steps and channels.
        mae: float, mean absolute error.

    Example:
    >>> ForecastScore(mse=0.25, mae=0.5).mae
    0.5
    """

    mse: float
    mae: float


def forecast_windows(
    series: Any, length: int, horizon: int, step: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a long series into pairs of past and future.

    Divide the series into train, validation and test first, one after the other: windows of one
    part that overlap those of another would give its future away. Only the past of the first
    windows may reach back into the part before.

    Args:
        series: array `(time, channels)` or `(time,)`, of one channel.
        length: int, time steps of the past.
        horizon: int, time steps of the future.
        step: int, time steps from one window to the next. Defaults to `1`.

    Returns:
        Past `(num_windows, length, channels)` and future `(num_windows, horizon, channels)`: views
        of the series that cost no memory.

    Raises:
        ValueError: if the series is too short, or sizes are not positive.

    Example:
    >>> past, future = forecast_windows(np.arange(10), length=4, horizon=2, step=3)
    >>> past[..., 0].tolist(), future[..., 0].tolist()
    ([[0, 1, 2, 3], [3, 4, 5, 6]], [[4, 5], [7, 8]])
    """
    series = check_array("series", series)
    if series.ndim == 1:
        series = series[:, np.newaxis]
    length, horizon = check_int("length", length, 1), check_int("horizon", horizon, 1)
    step = check_int("step", step, 1)
    if series.ndim != 2 or len(series) < length + horizon:
        raise ValueError(
            f"`series` must have shape (time, channels), with at least length + horizon = "
            f"{length + horizon} time steps. Received: series.shape={series.shape}"
        )
    windows = np.lib.stride_tricks.sliding_window_view(series, length + horizon, axis=0)[::step]
    windows = windows.transpose(0, 2, 1)  # (num_windows, length + horizon, channels)
    return windows[:, :length], windows[:, length:]


def forecast_score(forecast: Any, future: Any) -> ForecastScore:
    """Errors of forecasts; what is NaN in the future is not counted.

    Args:
        forecast: array `(num_windows, horizon, channels)`.
        future: array of the same shape, what came.

    Returns:
        `ForecastScore`.

    Raises:
        ValueError: if shapes differ, a forecast is not finite, or nothing is known of the future.

    Example:
    >>> forecast_score(np.zeros((1, 2, 1)), [[[1.0], [3.0]]])
    ForecastScore(mse=5.0, mae=2.0)
    """
    forecast = check_array("forecast", forecast, 3, finite=True).astype("float64")
    future = check_array("future", future, 3).astype("float64")
    if forecast.shape != future.shape:
        raise ValueError(
            f"`forecast` must have the shape of `future`, {future.shape}. "
            f"Received: forecast.shape={forecast.shape}"
        )
    error = (forecast - future)[~np.isnan(future)]
    if not error.size:
        raise ValueError("`future` must hold numbers. Received: nothing but NaN")
    return ForecastScore(float(np.mean(error**2)), float(np.mean(np.abs(error))))


def naive_forecasts(past: Any, horizon: int, season: int | None = None) -> dict[str, np.ndarray]:
    """What needs no training: the last value, the mean of the past, the last season again.

    Args:
        past: array `(num_windows, length, channels)` without NaN.
        horizon: int, time steps to forecast.
        season: int, time steps after which the series resembles itself, such as 24 for hours, at
            most `length`; or `None`: none is known.

    Returns:
        `{"last_value", "mean"[, "season"]}` to arrays `(num_windows, horizon, channels)`.

    Raises:
        ValueError: if `past` has another rank or NaN, or the season is longer than the past.

    Example:
    >>> past = np.arange(6.0).reshape(1, 6, 1)
    >>> forecasts = naive_forecasts(past, horizon=4, season=3)
    >>> forecasts["last_value"].ravel().tolist(), forecasts["season"].ravel().tolist()
    ([5.0, 5.0, 5.0, 5.0], [3.0, 4.0, 5.0, 3.0])
    """
    past = check_array("past", past, 3, finite=True)
    horizon = check_int("horizon", horizon, 1)
    forecasts = {
        "last_value": np.repeat(past[:, -1:], horizon, axis=1),
        "mean": np.repeat(past.mean(axis=1, keepdims=True), horizon, axis=1),
    }
    if season is not None:
        season = check_int("season", season, 1, past.shape[1])
        forecasts["season"] = past[:, -season:][:, np.arange(horizon) % season]
    return forecasts


class LinearForecast(NamedTuple):
    """A linear map from the past to the future, found in closed form.

    Attributes:
        weights: float64 `(length, horizon)`, the same for all channels.
        penalty: float, the ridge penalty that was chosen.

    Example:
    >>> repeat_last = LinearForecast(np.zeros((3, 2)), penalty=1.0)
    >>> repeat_last(np.array([[[1.0], [2.0], [5.0]]])).ravel().tolist()
    [5.0, 5.0]
    """

    weights: np.ndarray
    penalty: float

    def __call__(self, past: Any) -> np.ndarray:
        """The forecast `(num_windows, horizon, channels)` after a past."""
        past = check_array("past", past, 3)
        if past.shape[1] != len(self.weights):
            raise ValueError(
                f"`past` must have the {len(self.weights)} time steps that the forecast was fitted "
                f"on. Received: past.shape={past.shape}"
            )
        level = past[:, -1:].astype("float64")
        return np.einsum("nlc,lh->nhc", past - level, self.weights, optimize=True) + level


def fit_linear_forecast(
    train: tuple[Any, Any],
    validation: tuple[Any, Any],
    penalties: tuple[float, ...] = (0.01, 1.0, 100.0, 10_000.0),
) -> LinearForecast:
    """Ridge regression of the future on the past, both less the last value of the past.

    Each channel of each window is a sample; the penalty is chosen on the validation windows. On
    many series this is as good as deep networks (Zeng et al. 2023), so it belongs beside them.

    Args:
        train: past `(num_windows, length, channels)` and future, without NaN.
        validation: the same, of later time steps.
        penalties: floats above 0, per 1,000 samples, to choose from.

    Returns:
        `LinearForecast`.

    Raises:
        ValueError: if there is NaN, or shapes do not fit.

    Example:
    >>> time = np.arange(200.0)[:, None]
    >>> past, future = forecast_windows(np.sin(time), 8, 2)
    >>> linear = fit_linear_forecast((past[:100], future[:100]), (past[100:], future[100:]))
    >>> bool(forecast_score(linear(past), future).mse < 1e-4)
    True

    References:
        - Zeng et al. 2023 (DLinear, NLinear), arXiv:2205.13504; the subtraction is NLinear's.
    """
    penalties = check_penalties(penalties)
    past, future = _pair("train", train)
    held_out = _pair("validation", validation)
    if any(
        one.shape[1] != other.shape[1] for one, other in zip(held_out, (past, future), strict=True)
    ):
        raise ValueError(
            f"`validation` must have as many time steps as `train`, {past.shape[1]} and "
            f"{future.shape[1]}. Received: shapes {held_out[0].shape} and {held_out[1].shape}"
        )
    squares = np.zeros((past.shape[1], past.shape[1]))
    products = np.zeros((past.shape[1], future.shape[1]))
    for start in range(0, len(past), _CHUNK):
        chunk = past[start : start + _CHUNK].astype("float64")
        level = chunk[:, -1:]
        # (windows * channels, steps)
        x = (chunk - level).transpose(0, 2, 1).reshape(-1, past.shape[1])
        y = future[start : start + _CHUNK] - level
        squares += x.T @ x
        products += x.T @ y.transpose(0, 2, 1).reshape(-1, future.shape[1])
    thousands = past.shape[0] * past.shape[2] / 1000
    candidates = []
    for penalty in penalties:
        ridge = penalty * thousands * np.eye(len(squares))
        candidates.append(LinearForecast(np.linalg.solve(squares + ridge, products), penalty))
    return min(candidates, key=lambda one: forecast_score(one(held_out[0]), held_out[1]).mse)


_CHUNK = 1024


def _pair(name: str, windows: Any) -> tuple[np.ndarray, np.ndarray]:
    past, future = (check_array(name, part, 3, finite=True) for part in windows)
    if len(past) != len(future) or past.shape[2] != future.shape[2]:
        raise ValueError(
            f"`{name}` must be past and future of the same windows and channels. Received: shapes "
            f"{past.shape} and {future.shape}"
        )
    return past, future
