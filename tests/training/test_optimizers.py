"""Which weights decay, and how the learning rate goes."""

import math

import keras
import numpy as np
import pytest

from mae_keras.models import MaskedAutoencoder
from mae_keras.training import MaskedAdamW, pretraining_optimizer, warmup_cosine


def _tiny_model():
    model = MaskedAutoencoder.from_preset(
        "nano",
        (4, 4, 1),
        2,
        hidden_dim=8,
        num_layers=1,
        num_heads=2,
        mlp_dim=8,
        decoder_hidden_dim=8,
        decoder_num_layers=1,
        decoder_num_heads=2,
        decoder_mlp_dim=8,
        position_embedding="learned",
        seed=0,
    )
    return model


def _decayed_paths(optimizer, variables):
    """Apply zero gradients: what changes, changes by decay alone."""
    optimizer.build(variables)
    for variable in variables:
        variable.assign(keras.ops.ones_like(variable))
    optimizer.apply([keras.ops.zeros_like(v) for v in variables], variables)
    changed = [v for v in variables if np.any(keras.ops.convert_to_numpy(v) != 1.0)]
    return {"/".join(v.path.split("/")[-2:]) for v in changed}


def test_decay_touches_kernels_only():
    model = _tiny_model()
    changed = _decayed_paths(MaskedAdamW(0.1, weight_decay=0.5), model.trainable_variables)
    assert changed
    assert all(path.endswith("kernel") for path in changed)
    names = {v.name for v in model.trainable_variables}
    assert {"class_token", "mask_token", "positions", "bias", "gamma", "beta"} <= names


def test_every_kernel_decays():
    model = _tiny_model()
    kernels = [v for v in model.trainable_variables if v.name == "kernel"]
    optimizer = MaskedAdamW(0.1, weight_decay=0.5)
    optimizer.build(model.trainable_variables)
    before = [keras.ops.convert_to_numpy(v) for v in kernels]
    zeros = [keras.ops.zeros_like(v) for v in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    for kernel, old in zip(kernels, before, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel), old * 0.95, rtol=1e-6)


@pytest.mark.slow
def test_exclusions_survive_saving(tmp_path):
    model = _tiny_model()
    model.compile(MaskedAdamW(0.1, weight_decay=0.5), jit_compile=False)
    images = np.zeros((4, 4, 4, 1), "uint8")
    model.fit(images, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    changed = _decayed_paths(loaded.optimizer, loaded.trainable_variables)
    # Adam's momentum moves weights too, so ask the optimizer itself.
    assert changed
    spared = [v for v in loaded.trainable_variables if not loaded.optimizer._use_weight_decay(v)]
    assert {v.name for v in spared} == {
        *("class_token", "mask_token", "positions", "bias", "gamma", "beta")
    }


def test_config_round_trip():
    optimizer = MaskedAdamW(0.1, no_decay=("special",))
    assert MaskedAdamW.from_config(optimizer.get_config()).no_decay == ("special",)


def test_rate_is_scaled_by_images_per_update():
    optimizer = pretraining_optimizer(1e-3, 128, 100, gradient_accumulation_steps=4)
    assert float(optimizer.learning_rate) == pytest.approx(1e-3 * 512 / 256)


@pytest.mark.parametrize("step", [0, 3, 10, 25, 60, 100])
def test_warmup_then_half_a_cosine(step):
    schedule = warmup_cosine(2.0, total_steps=100, warmup_steps=10)
    if step < 10:
        expected = 2.0 * step / 10
    else:
        expected = 1.0 + math.cos(math.pi * (step - 10) / 90)
    assert float(schedule(step)) == pytest.approx(expected, abs=1e-5)


def test_the_schedule_runs_over_steps_when_gradients_are_accumulated():
    """What Keras really uses is looked at: its schedules count every accumulated step."""
    optimizer = pretraining_optimizer(
        1e-3, 256, total_steps=80, warmup_steps=8, gradient_accumulation_steps=4
    )
    variable = keras.Variable([[1.0]])
    optimizer.build([variable])
    rates = []
    for _ in range(80):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([keras.ops.ones((1, 1))])
    assert int(optimizer.iterations) == 20
    assert rates[0] == 0.0
    assert rates[8] == max(rates) == pytest.approx(4e-3)
    assert rates[44] == pytest.approx(2e-3, rel=1e-3)
    assert float(optimizer.learning_rate) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 256, 10), "`base_learning_rate` must be"),
        ((1e-3, 256, 10, 10), "`warmup_steps` must be .*less than `total_steps`"),
    ],
)
def test_bad_numbers_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        pretraining_optimizer(*arguments)
