"""One kernel for Adam's update, against Keras's own dozen operations and the formula."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mae_keras.training import MaskedAdamW


def trained(optimizer, steps=4, compiled=True, dtype="float32"):
    """A matrix after some steps with gradients drawn from a seed."""
    rng = np.random.default_rng(0)
    weight = keras.Variable(rng.normal(size=(5, 3)), dtype=dtype, name="kernel")
    gradients = rng.normal(size=(steps, 5, 3)).astype("float32")
    optimizer.build([weight])

    def apply(gradient):
        optimizer.apply([tf.cast(gradient, dtype)], [weight])

    step = tf.function(apply) if compiled else apply
    for gradient in gradients:
        step(tf.constant(gradient))
    return keras.ops.convert_to_numpy(weight)


@pytest.mark.parametrize("compiled", [False, True])
def test_weights_are_those_of_keras(compiled):
    settings = {"learning_rate": 0.01, "weight_decay": 0.1, "beta_1": 0.8, "beta_2": 0.95}
    ours = trained(MaskedAdamW(**settings), compiled=compiled)
    theirs = trained(keras.optimizers.AdamW(**settings), compiled=compiled)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_step_is_the_formula_of_the_paper():
    rng = np.random.default_rng(0)
    before = rng.normal(size=(5, 3)).astype("float32")
    gradient = rng.normal(size=(1, 5, 3))[0]
    made = trained(MaskedAdamW(0.01, weight_decay=0.0, epsilon=1e-3), steps=1)
    rate = 0.01 * np.sqrt(1 - 0.95) / (1 - 0.9)
    update = rate * 0.1 * gradient / (np.sqrt(0.05 * gradient**2) + 1e-3)
    np.testing.assert_allclose(made, before - update, rtol=1e-5)


def test_a_schedule_and_accumulation_go_through_it():
    def schedule():
        return keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)

    ours = trained(MaskedAdamW(schedule(), beta_2=0.999, gradient_accumulation_steps=2))
    theirs = trained(
        keras.optimizers.AdamW(schedule(), weight_decay=0.05, gradient_accumulation_steps=2)
    )
    # The kernel takes 1 - 0.999 in float32, where it is off by 5e-5; steps are of size 0.1.
    np.testing.assert_allclose(ours, theirs, atol=5e-6)


@pytest.mark.parametrize(
    ("optimizer", "dtype"),
    [(MaskedAdamW(0.01, amsgrad=True), "float32"), (MaskedAdamW(0.01), "float64")],
)
def test_what_has_no_kernel_is_left_to_keras(optimizer, dtype, monkeypatch):
    monkeypatch.setattr(tf.raw_ops, "ResourceApplyAdam", None)
    assert np.isfinite(trained(optimizer, dtype=dtype)).all()


def test_the_kernel_is_used(monkeypatch):
    monkeypatch.setattr(tf.raw_ops, "ResourceApplyAdam", None)
    with pytest.raises(TypeError, match="NoneType"):
        trained(MaskedAdamW(0.01), compiled=False)
