"""Differentially private training: gradients, noise, batches, budget, refusals."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from mae_keras.accounting import epsilon_spent, noise_for_epsilon, steps_within
from mae_keras.models import DenseMaskedAutoencoder, MaskedAutoencoder, load_model
from mae_keras.models.private_training import _private_gradients
from mae_keras.runtime.poisson import poisson_numbers
from mae_keras.runtime.sample_gradients import clipped_gradient_sum, gaussian_noise
from mae_keras.training import Privacy

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("dp_accounting") is None,
    reason="dp-accounting is not installed: pip install '.[privacy]'",
)
ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = {"delta": 1e-4, "num_samples": 64, "batch_size": 16, "seed": 7, "micro_batch_size": 8}


def images_of(count=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 1)).astype("uint8")


def dense(seed=1):
    keras.utils.set_random_seed(seed)
    return DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,), mask_ratio=0.5, seed=seed)


class WithStatistics(DenseMaskedAutoencoder):
    """A model with a layer that mixes the samples of a batch."""

    def build(self, input_shape):
        self.statistics = keras.layers.BatchNormalization()
        super().build(input_shape)


def privacy_of(**changes):
    return Privacy(**{"noise_multiplier": 1.0, **SETTINGS, **changes})


def compiled(optimizer="sgd", **changes):
    model = dense()
    model.compile(optimizer, privacy=privacy_of(**changes), jit_compile=False)
    return model


def weights_of(model):
    return np.concatenate([np.ravel(w) for w in model.get_weights()])


@pytest.mark.every_backend
def test_clipped_sums_equal_a_loop_over_samples():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(3, 2)).astype("float32"), rng.normal(size=2).astype("float32")]
    rows = rng.normal(size=(12, 3)).astype("float32")
    rows[4] = np.nan  # adds nothing

    def loss_of(values, row):
        return keras.ops.sum(keras.ops.square(keras.ops.matmul(row, values[0]) + values[1]))

    values = [keras.ops.convert_to_tensor(w) for w in weights]
    (first, second), losses = clipped_gradient_sum(loss_of, values, rows, 10, 4, 3.0)
    expected, total = [np.zeros((3, 2)), np.zeros(2)], 0.0
    for row in rows[:10].astype("float64"):
        if np.isnan(row).any():
            continue
        outputs = row @ weights[0] + weights[1]
        gradients = [2 * np.outer(row, outputs), 2 * outputs]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        expected = [e + g * min(1, 3.0 / norm) for e, g in zip(expected, gradients, strict=True)]
        total += (outputs**2).sum()
    np.testing.assert_allclose(first, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(second, expected[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(losses, total, rtol=1e-5)


def raw_gradients(model, numbers):
    """Sums over samples without noise worth the name, of a model compiled with SGD."""
    data = images_of()[np.maximum(numbers, 0)], numbers
    values = [variable.value for variable in model.trainable_variables]
    return [np.asarray(g) for g in _private_gradients(model, values, [], data)[0]]


@pytest.mark.every_backend
def test_without_clipping_and_noise_the_gradient_is_that_of_plain_training():
    model = compiled(noise_multiplier=1e-12, max_grad_norm=1e6)
    numbers = np.full(model.privacy.padded_batch_size, -1, "int32")
    numbers[:16] = np.arange(16)  # masks are by number, as in a plain batch of the first images
    gradients = raw_gradients(model, numbers)
    plain = dense()
    plain.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    before = [keras.ops.convert_to_numpy(v) for v in plain.trainable_variables]
    plain.train_on_batch(images_of()[:16])
    for one, variable, gradient in zip(before, plain.trainable_variables, gradients, strict=True):
        moved = one - keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(gradient, moved, atol=1e-5)


@pytest.mark.every_backend
def test_a_sample_moves_the_sum_by_at_most_the_norm_wherever_it_is_in_the_batch():
    model = compiled(noise_multiplier=1e-12, max_grad_norm=0.01)
    size = model.privacy.padded_batch_size
    with_it, without = np.full((2, size), -1, "int32")
    with_it[:9], without[:8] = np.arange(9), np.arange(1, 9)
    moved = [
        a - b
        for a, b in zip(raw_gradients(model, with_it), raw_gradients(model, without), strict=True)
    ]
    norm = 16 * np.sqrt(sum((part**2).sum() for part in moved))
    np.testing.assert_allclose(norm, 0.01, rtol=1e-3)


@pytest.mark.every_backend
def test_noise_has_the_stated_variance_and_is_a_function_of_seed_and_step():
    noise = [np.asarray(x) for x in gaussian_noise((5, 6), 3, [(200, 300), (7,)], 2.5)]
    assert [x.shape for x in noise] == [(200, 300), (7,)]
    # 60,000 draws: the variance is known within 0.6 % (one standard error)
    assert abs(noise[0].var() / 2.5**2 - 1) < 0.03 and abs(noise[0].mean()) < 0.05
    again = np.asarray(gaussian_noise((5, 6), 3, [(200, 300), (7,)], 2.5)[0])
    np.testing.assert_array_equal(noise[0], again)
    for key, step in (((5, 6), 4), ((5, 7), 3), ((4, 6), 3)):
        other = np.asarray(gaussian_noise(key, step, [(200, 300)], 2.5)[0])
        assert abs(np.corrcoef(noise[0].ravel(), other.ravel())[0, 1]) < 0.03


def test_noise_in_a_step_has_the_stated_size():
    model = compiled(noise_multiplier=3.0, max_grad_norm=0.5)
    empty = np.full(model.privacy.padded_batch_size, -1, "int32")
    noise = np.concatenate([g.ravel() for g in raw_gradients(model, empty)])
    assert abs(noise.std() / (3.0 * 0.5 / 16) - 1) < 0.2


def test_sampling_is_poisson():
    draws = [poisson_numbers((1, 2), step, 200, 0.1, 90) for step in range(2000)]
    counts = np.array([(numbers >= 0).sum() for numbers in draws])
    # Binomial(200, 0.1): mean 20, variance 18
    assert abs(counts.mean() - 20) < 0.4 and abs(counts.var() / 18 - 1) < 0.15
    frequency = np.bincount(np.concatenate([n[n >= 0] for n in draws]), minlength=200) / 2000
    assert abs(frequency - 0.1).max() < 4.5 * np.sqrt(0.09 / 2000)
    pairs = np.mean([(0 in numbers) and (1 in numbers) for numbers in draws])
    assert abs(pairs - 0.01) < 0.009  # independent of each other
    np.testing.assert_array_equal(draws[5], poisson_numbers((1, 2), 5, 200, 0.1, 90))


def test_a_batch_that_is_too_large_is_cut_and_reported(caplog):
    numbers = poisson_numbers((1, 2), 0, 10, 1.0, 4)
    assert numbers.tolist() == [0, 1, 2, 3] and "6 are left out" in caplog.text


@pytest.mark.parametrize(
    ("noise", "probability", "steps"), [(1.0, 0.01, 1000), (0.7, 64 / 4096, 900), (2.0, 1.0, 10)]
)
def test_epsilon_is_that_of_dp_accounting(noise, probability, steps):
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    event = dp_accounting.GaussianDpEvent(noise)
    if probability < 1:
        event = dp_accounting.PoissonSampledDpEvent(probability, event)
    accountant = PLDAccountant()
    accountant.compose(event, steps)
    expected = accountant.get_epsilon(1e-5)
    assert abs(epsilon_spent(noise, probability, steps, 1e-5) / expected - 1) < 0.01


def test_noise_and_steps_are_the_least_and_most_that_fit():
    noise = noise_for_epsilon(2.0, 0.05, 20, 1e-5)
    assert epsilon_spent(noise, 0.05, 20, 1e-5) <= 2.0
    assert epsilon_spent(0.998 * noise, 0.05, 20, 1e-5) > 2.0
    steps = steps_within(2.0, noise, 0.05, 1e-5)
    assert epsilon_spent(noise, 0.05, steps, 1e-5) <= 2.0
    assert epsilon_spent(noise, 0.05, steps + 1, 1e-5) > 2.0


@pytest.mark.every_backend
def test_training_reports_epsilon_no_loss_and_stops_at_the_budget():
    model = compiled(target_epsilon=6.0)
    most = model.privacy.max_steps
    assert 4 < most < 40
    history = model.fit(images_of(), epochs=100, verbose=0).history
    assert set(history) == {"epsilon", "private_steps"}
    assert history["private_steps"][-1] == most == int(model.micro_step)
    assert history["epsilon"][-1] == model.privacy.epsilon(most) <= 6.0
    with pytest.raises(ValueError, match="must have budget left"):
        model.fit(images_of(), verbose=0)


@pytest.mark.slow
@pytest.mark.every_backend
def test_the_loss_is_reported_on_request_and_falls():
    model = compiled("adam", noise_multiplier=0.8, report_loss=True)
    model.optimizer.learning_rate = 0.01
    history = model.fit(images_of(), epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.slow
@pytest.mark.every_backend
def test_a_saved_model_goes_on_as_an_unbroken_one_and_counts_on(tmp_path):
    unbroken, broken = (compiled("adam") for _ in range(2))
    unbroken.fit(images_of(), epochs=4, verbose=0)
    broken.fit(images_of(), epochs=2, verbose=0)
    broken.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.privacy.key != broken.privacy.key  # the seed is no part of the file
    loaded.privacy.use_seed(7)
    history = loaded.fit(images_of(), epochs=2, verbose=0).history
    np.testing.assert_array_equal(weights_of(loaded), weights_of(unbroken))
    assert history["private_steps"] == [12, 16]
    assert history["epsilon"][-1] == unbroken.privacy.epsilon(16)


def test_steps_before_private_training_are_not_counted():
    model = dense()
    model.compile("sgd", jit_compile=False)
    model.fit(images_of(), epochs=1, batch_size=32, verbose=0)
    model.compile("sgd", privacy=privacy_of(), jit_compile=False)
    history = model.fit(images_of(), epochs=1, verbose=0).history
    assert history["private_steps"] == [4]
    model.compile("sgd", privacy=model.privacy, jit_compile=False)  # another optimizer
    assert model.fit(images_of(), epochs=1, verbose=0).history["private_steps"] == [8]
    with pytest.raises(ValueError, match="cannot be replaced once part of its budget is spent"):
        model.compile("sgd", privacy=privacy_of())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delta": 0.02}, "`delta` must be less than 1 / 64"),
        ({"batch_size": 65}, "`batch_size` must be an int from 1 to 64"),
        ({"noise_multiplier": None}, "`noise_multiplier` must be given, or `target_epsilon`"),
        ({"max_grad_norm": 0}, "`max_grad_norm` must be"),
        (
            {"target_epsilon": 2.0, "steps": 4, "noise_multiplier": 0.8},
            r"cannot be kept in 4 steps.*noise_multiplier=.* would do",
        ),
        ({"target_epsilon": 3.0, "steps": 20, "noise_multiplier": 1.2}, "or at most .* steps"),
        ({"target_epsilon": 1e-4, "steps": 10_000, "noise_multiplier": None}, "must be larger"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        privacy_of(**changes)


def test_a_missing_extra_is_named_and_models_load_without_it(monkeypatch, tmp_path):
    model = compiled()
    model.save(tmp_path / "model.keras")
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    assert load_model(tmp_path / "model.keras").encode(images_of(2)).shape == (2, 8)
    with pytest.raises(ImportError, match=r"needs dp-accounting.*privacy\]"):
        privacy_of()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["mse"]}, "`metrics` must be None"),
        ({"skip_nonfinite": True}, "`skip_nonfinite` must be False"),
        ({"steps_per_execution": 2}, "`steps_per_execution` must be 1"),
        (
            {"optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2)},
            "`gradient_accumulation_steps` must be None",
        ),
        (
            {"optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())},
            "mixed_float16",
        ),
    ],
)
def test_what_would_break_the_guarantee_is_not_compiled(options, message):
    with pytest.raises(ValueError, match=message):
        dense().compile(**{"optimizer": "sgd", **options}, privacy=privacy_of())


def test_models_that_mix_samples_are_refused():
    nano = {"image_shape": (8, 8, 1), "patch_size": 4, "num_layers": 1}
    model = MaskedAutoencoder.from_preset("nano", uniformity_weight=0.1, **nano)
    with pytest.raises(ValueError, match="`uniformity_weight` must be 0"):
        model.compile(privacy=privacy_of())
    model = MaskedAutoencoder.from_preset("nano", drop_path_rate=0.1, **{**nano, "num_layers": 2})
    with pytest.raises(ValueError, match="excludes dropout and stochastic depth"):
        model.compile(privacy=privacy_of())
    with pytest.raises(ValueError, match="excludes batch normalization"):
        WithStatistics((4, 4, 1)).compile(privacy=privacy_of())


def test_constants_measured_from_the_images_are_refused():
    model = dense()
    model.adapt(images_of())
    with pytest.raises(ValueError, match="excludes `adapt`"):
        model.compile(privacy=privacy_of())
    with pytest.raises(ValueError, match="`adapt` must not be called"):
        compiled().adapt(images_of())


def test_one_object_trains_one_model():
    model = compiled()
    with pytest.raises(ValueError, match="an object of its own for each model"):
        dense().compile("sgd", privacy=model.privacy)
    with pytest.raises(TypeError, match="`privacy` must be a Privacy"):
        dense().compile("sgd", privacy=8.0)


def test_batches_that_are_not_accounted_for_are_refused():
    import tensorflow as tf

    model = compiled()
    with pytest.raises(ValueError, match="`images` must be as many"):
        model.fit(images_of(63), verbose=0)
    with pytest.raises(ValueError, match="batches of `data.poisson_batches`"):
        model.fit(tf.data.Dataset.from_tensor_slices(images_of()).batch(16), verbose=0)
    with pytest.raises(ValueError, match="`batch_size` must be that of `privacy`"):
        model.fit(images_of(), batch_size=32, verbose=0)
    with pytest.raises(ValueError, match="`validation_split` must be left out"):
        model.fit(images_of(), validation_split=0.5, verbose=0)
    with pytest.raises(ValueError, match="`train_on_batch` must not be used"):
        model.train_on_batch(images_of())


def test_the_seed_is_not_saved_and_drawn_anew():
    first, second = (Privacy(1.0, **{**SETTINGS, "seed": None}) for _ in range(2))
    assert first.key != second.key
    assert "seed" not in first.get_config()
    assert Privacy.from_config(first.get_config()).noise_multiplier == 1.0


@pytest.mark.slow
def test_jax_gives_the_gradients_of_tensorflow(tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    model = MaskedAutoencoder.from_preset(
        "nano", (4, 4, 1), 2, num_layers=1, decoder_num_layers=1, mean=[0.5], std=[0.25], seed=3
    )
    model.save(tmp_path / "model.keras")
    outputs = []
    for backend in ("tensorflow", "jax"):
        path = tmp_path / f"{backend}.npz"
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
        child = pathlib.Path(__file__).with_name("private_gradients_child.py")
        command = [sys.executable, str(child), str(tmp_path / "model.keras"), str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        outputs.append(list(np.load(path).values()))
    for one, two in zip(*outputs, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
