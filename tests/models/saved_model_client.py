"""Runs a SavedModel's signatures as a stranger would: without mae_keras. Not a test itself.

Usage: saved_model_client.py FOLDER INPUTS.npz OUTPUTS.npz
"""

import sys

import numpy as np
import tensorflow as tf

sys.modules["mae_keras"] = None  # importing it is an error from here on
folder, inputs, outputs = sys.argv[1:]
given = np.load(inputs)
signatures = tf.saved_model.load(folder).signatures
images, patch_mask = tf.constant(given["images"]), tf.constant(given["patch_mask"])
results = {}
for name in sorted(signatures):
    masks = {"patch_mask": patch_mask} if name == "reconstruct" else {}
    for key, value in signatures[name](images=images, **masks).items():
        results[f"{name}/{key}"] = value.numpy()
np.savez(outputs, **results)
print(" ".join(sorted(signatures)))
