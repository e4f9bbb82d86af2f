"""Loads a model on the backend of the process and writes its outputs. Not a test itself.

Usage: other_backend.py MODEL.keras INPUTS.npz OUTPUTS.npz
"""

import sys

import keras
import numpy as np

from mae_keras.models import load_model

path, inputs, outputs = sys.argv[1:]
given = np.load(inputs)
model = load_model(path)
made = model.reconstruct(given["images"], given["patch_mask"])
drawn = model.reconstruct(given["images"])
np.savez(
    outputs,
    features=model.encode(given["images"]),
    prediction=made.prediction,
    patch_mask=drawn.patch_mask,
    called=keras.ops.convert_to_numpy(model(given["images"])),
)
print(keras.backend.backend())
