"""Runs a SavedModel's signatures as a stranger would: TensorFlow alone, no Keras, not this package.

Its text runs in a process of its own: `python -c TEXT FOLDER INPUTS.npz OUTPUTS.npz`. Inputs are
arrays by name; outputs are named `COUNT/SIGNATURE/KEY`, for all images at once and for the first.
"""

import os
import sys

import numpy as np


def run_signatures(folder: str, inputs: str, outputs: str) -> None:
    """Run every signature on all images and on the first alone."""
    import tensorflow as tf

    with np.load(inputs) as file:
        arrays = dict(file)
    loaded = tf.saved_model.load(folder)
    results = {}
    for name, function in loaded.signatures.items():
        wanted = function.structured_input_signature[1]
        for count in {len(next(iter(arrays.values()))), 1}:
            feeds = {key: tf.constant(arrays[key][:count]) for key in wanted}
            for key, value in function(**feeds).items():
                array = value.numpy()
                if array.dtype == object:  # strings, as bytes: a file of arrays holds no objects
                    array = array.astype("S")
                results[f"{count}/{name}/{key}"] = array
    np.savez(outputs, **results)


if __name__ == "__main__":
    sys.modules["mae_keras"] = sys.modules["keras"] = None  # importing either is an error now
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the live model may hold the whole GPU
    run_signatures(*sys.argv[1:])
