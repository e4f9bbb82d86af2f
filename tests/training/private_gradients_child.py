"""Clipped gradients of a saved model without noise, on the backend of the environment."""

import sys

import numpy as np

from mae_keras.models import load_model
from mae_keras.models.private_training import _private_gradients
from mae_keras.training import Privacy

model = load_model(sys.argv[1])
privacy = Privacy(
    1e-12, 0.05, delta=1e-4, num_samples=64, batch_size=16, seed=7, micro_batch_size=8
)
model.compile("sgd", privacy=privacy, jit_compile=False)
numbers = privacy.numbers(0)
images = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1)).astype("uint8")
values = [variable.value for variable in model.trainable_variables]
data = images[np.maximum(numbers, 0)], numbers
gradients, _ = _private_gradients(model, values, [], data)
np.savez(sys.argv[2], *map(np.asarray, gradients))
