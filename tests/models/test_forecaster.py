"""The forecaster: what it computes, units, missing values, files; and forecasts by hiding."""

import keras
import numpy as np
import pytest

from mae_keras.interop import export_saved_model
from mae_keras.models import (
    Forecaster,
    MaskedAutoencoder,
    ViTEncoder,
    forecast_hidden,
    load_model,
)


def make_encoder(channels=1, standardize="sample", **sizes):
    keras.utils.set_random_seed(0)
    return ViTEncoder(
        (16, channels), (4,), 16, 1, 2, 32, value_range=None, standardize=standardize, **sizes
    )


def walks(num_signals=6, length=16, channels=3, seed=0):
    steps = np.random.default_rng(seed).normal(size=(num_signals, length, channels))
    return np.cumsum(steps, axis=1).astype("float32")


@pytest.mark.every_backend
def test_channels_are_read_apart_and_scaled_by_their_own_past():
    encoder, past = make_encoder(), walks()
    model = Forecaster(encoder, horizon=5, num_channels=3)
    forecast = model.forecast(past)
    kernel, bias = model.head.get_weights()
    for channel in range(3):
        series = past[..., channel]
        mean, std = series.mean(axis=1, keepdims=True), series.std(axis=1, keepdims=True)
        scaled = ((series - mean) / np.sqrt(std**2 + 1e-5))[..., None]
        raw = ViTEncoder.from_config({**encoder.get_config(), "standardize": None})
        raw.set_weights(encoder.get_weights())
        tokens = keras.ops.convert_to_numpy(raw(scaled))[:, 1:].reshape(len(past), -1)
        expected = (tokens @ kernel + bias) * np.sqrt(std**2 + 1e-5) + mean
        np.testing.assert_allclose(forecast[..., channel], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.every_backend
def test_a_forecast_moves_and_stretches_with_the_past():
    model, past = Forecaster(make_encoder(), horizon=3, num_channels=3), walks()
    expected = 100 + 7 * model.forecast(past)
    np.testing.assert_allclose(model.forecast(100 + 7 * past), expected, rtol=1e-3)


def test_channels_that_are_read_together_are_predicted_together():
    model, past = Forecaster(make_encoder(3), horizon=2), walks()
    changed = past.copy()
    changed[..., 0] = walks(seed=1)[..., 0]
    assert model.forecast(past).shape == (6, 2, 3)
    assert np.abs(model.forecast(changed) - model.forecast(past))[..., 1].max() > 1e-3
    with pytest.raises(ValueError, match="`num_channels` must be 3 or None"):
        Forecaster(make_encoder(3), horizon=2, num_channels=2)


def test_what_is_missing_has_no_influence():
    model, past = Forecaster(make_encoder(), horizon=3, num_channels=3), walks()
    holed = past.copy()
    holed[:, 5] = np.nan
    other = holed.copy()
    other[:, 6] += 1e4  # in the same patch: known, but not seen
    forecast = model.forecast(holed)
    assert np.isfinite(forecast).all()
    np.testing.assert_array_equal(model.forecast(other), forecast)


@pytest.mark.parametrize("shape", [(6, 4, 1), (6, 1, 3), (6, 4)])
def test_a_future_of_another_shape_is_refused(shape):
    model = Forecaster(make_encoder(), horizon=4, num_channels=3)
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match=r"`y` must be futures of shape .*\(batch, 4, 3\)"):
        model.fit(walks(), np.zeros(shape, "float32"), verbose=0)


@pytest.mark.slow
def test_training_beats_the_last_value_and_unknown_future_is_left_out():
    time = np.arange(20) + np.random.default_rng(0).uniform(0, 6, (100, 1))
    waves = np.sin(time)[..., None].astype("float32")
    past, future = waves[:, :16], waves[:, 16:].copy()
    future[::2, 3] = np.nan
    model = Forecaster(make_encoder(), horizon=4, num_channels=1)
    model.compile(keras.optimizers.Adam(3e-3), metrics=["mae"])
    history = model.fit(past, future, batch_size=25, epochs=25, verbose=0).history
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["mae"]).all()
    error = np.mean((model.forecast(past) - waves[:, 16:]) ** 2)
    assert error < 0.1 * np.mean((past[:, -1:] - waves[:, 16:]) ** 2)


def test_it_starts_from_a_copy_or_from_scratch():
    trained = MaskedAutoencoder.from_preset("nano", (16, 1), (4,), value_range=None, seed=0)
    before = trained.encoder.get_weights()
    copied = Forecaster.from_pretrained(trained, 4, num_channels=2, seed=1)
    fresh = Forecaster.from_pretrained(trained, 4, num_channels=2, seed=1, copy_weights=False)
    for ours, theirs in zip(copied.encoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(fresh.encoder.get_weights()[0], before[0])
    np.testing.assert_array_equal(copied.head.get_weights()[0], fresh.head.get_weights()[0])


@pytest.mark.slow
def test_files_and_saved_models_forecast_the_same(tmp_path):
    import tensorflow as tf

    model, past = Forecaster(make_encoder(), horizon=3, num_channels=3), walks()
    model.save(tmp_path / "model.keras")
    expected = model.forecast(past)
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras").forecast(past), expected)
    export_saved_model(model, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["forecast"]
    future = served(past=tf.constant(past))["future"]
    np.testing.assert_allclose(future.numpy(), expected, atol=1e-5)


def test_hiding_the_future_is_imputing_it():
    model = MaskedAutoencoder.from_preset(
        *("nano", (16, 2), (4,)), value_range=None, seed=0, standardize="sample"
    )
    past = walks(channels=2)[:, :10]
    forecast = forecast_hidden(model, past)
    assert forecast.shape == (6, 6, 2)
    # The third patch holds steps 8 to 11 and is hidden whole: the known half of it is not seen.
    other = past.copy()
    other[:, 8:] = 1e6
    np.testing.assert_array_equal(forecast_hidden(model, other), forecast)
    np.testing.assert_allclose(
        forecast_hidden(model, 5 + 3 * past), 5 + 3 * forecast, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Forecaster("mnist", 3), "`encoder` must be a ViTEncoder. Received: str"),
        (lambda: Forecaster(make_encoder(), 0), "`horizon` must be an int"),
        (lambda: Forecaster(make_encoder(), 3, num_channels=0), "`num_channels` must be an int"),
        (lambda: Forecaster.from_pretrained("mnist", 3), r"of signals, \(length, channels\)"),
        (lambda: forecast_hidden(make_encoder(), walks()), "must be a MaskedAutoencoder"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("shape", [(2, 16, 1), (2, 3, 1), (2, 8, 2), (16, 1)])
def test_a_past_that_does_not_fit_is_refused(shape):
    model = MaskedAutoencoder.from_preset("nano", (16, 1), (4,), value_range=None)
    with pytest.raises(ValueError, match=r"`past` must have shape \(num_signals, steps, 1\)"):
        forecast_hidden(model, np.zeros(shape))


@pytest.mark.every_backend
@pytest.mark.parametrize("own", [1, 3])
@pytest.mark.parametrize("standardize", ["sample", None])
def test_the_head_is_solved_as_scikit_learn_does(own, standardize):
    from sklearn.linear_model import Ridge

    signals = np.cumsum(np.random.default_rng(2).normal(size=(60, 19, 3)), axis=1)
    signals = (signals * np.array([1, 5, 20])).astype("float32")
    past, future = signals[:, :16], signals[:, 16:]
    encoder = make_encoder(own, standardize)
    model = Forecaster(encoder, horizon=3, num_channels=3)
    validation = past[40:], future[40:]
    errors = {}
    for penalty in (1.0, 30.0, 1000.0):
        assert model.fit_head(past[:40], future[:40], validation, [penalty]) == penalty
        errors[penalty] = np.mean((model.forecast(past[40:]) - future[40:]) ** 2)
        # The same from tokens, one series after the other, by scikit-learn.
        rows = [past[:40, :, c : c + own] for c in range(0, 3, own)]
        ahead = np.concatenate([future[:40, :, c : c + own] for c in range(0, 3, own)])
        tokens = [keras.ops.convert_to_numpy(encoder(row))[:, 1:] for row in rows]
        features = np.concatenate(tokens).reshape(-1, 4 * 16)
        series = np.concatenate(rows)
        center, scale = 0.0, np.ones((len(series), 1, own))
        if standardize:
            center = series.mean(axis=1, keepdims=True)
            scale = np.sqrt(series.var(axis=1, keepdims=True) + 1e-5)
        for c in range(own):
            weights = (scale[:, 0, c] / np.sqrt(np.mean(scale[:, 0, c] ** 2))) ** 2
            ridge = Ridge(penalty * len(series) / 1000)
            ridge.fit(features, ((ahead - center) / scale)[..., c], weights)
            kernel = model.head.get_weights()[0].reshape(len(features[0]), 3, own)[..., c]
            np.testing.assert_allclose(kernel, ridge.coef_.T, rtol=2e-2, atol=5e-3)
    best = model.fit_head(past[:40], future[:40], validation, list(errors))
    assert best == min(errors, key=errors.get)


def test_futures_that_do_not_fit_the_head_are_refused():
    model, past = Forecaster(make_encoder(), horizon=3, num_channels=3), walks()
    future = walks(length=3)
    for wrong in (future[:5], future[:, :2], future[..., :1]):
        with pytest.raises(ValueError, match=r"`future` must have the shape \(6, 3, 3\)"):
            model.fit_head(past, wrong, (past, future))
    with pytest.raises(ValueError, match="`penalties` must name at least one"):
        model.fit_head(past, future, (past, future), [])
    with pytest.raises(ValueError, match=r"`validation\[0\]` must have the shape \(6, 16, 3\)"):
        model.fit_head(past, future, (past[:, :8], future))
    with pytest.raises(TypeError, match="`validation` must be a pair"):
        model.fit_head(past, future, None)
    with pytest.raises(ValueError, match="`future`"):
        model.fit_head(past, np.full_like(future, np.nan), (past, future))


@pytest.mark.every_backend
def test_constant_pasts_at_a_high_level_spoil_no_head():
    past, future = walks(40), walks(40, length=3, seed=1)
    past[3], past[39] = 101_325.0, 70_000.0
    future[3], future[39] = 101_325.0, 70_000.0
    model = Forecaster(make_encoder(), horizon=3, num_channels=3)
    model.fit_head(past[:30], future[:30], (past[30:], future[30:]))
    forecast = model.forecast(past)
    assert np.isfinite(forecast).all()
    np.testing.assert_allclose(forecast[39], 70_000, rtol=1e-4)
