"""Accumulation on one device is Keras's own; on several see `tests/test_replicas.py`."""

import keras
import numpy as np
import pytest

from mae_keras.training import MaskedAdamW


@pytest.mark.every_backend
def test_on_one_device_nothing_changes():
    made = []
    for optimizer in (MaskedAdamW, keras.optimizers.AdamW):
        weight = keras.Variable([1.0, -2.0])
        settings = {"weight_decay": 0.0, "beta_1": 0.9, "beta_2": 0.99}
        chosen = optimizer(0.1, gradient_accumulation_steps=2, **settings)
        values = []
        for gradient in ([1.0, 1.0], [3.0, -1.0], [1.0, 2.0]):
            chosen.apply([keras.ops.convert_to_tensor(gradient)], [weight])
            values.append(weight.numpy().copy())
        made.append(values)
    np.testing.assert_allclose(*made, rtol=1e-6)
    np.testing.assert_array_equal(made[0][0], [1.0, -2.0])  # the first step only accumulates
