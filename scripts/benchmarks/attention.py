"""Attention by two matrix products against Keras's own operation; `docs/experiments.md`.

    KERAS_BACKEND=tensorflow python scripts/benchmarks/attention.py [--rounds 15]

Forward and backward pass on TensorFlow, with XLA and without, in turn, A B A B. Printed: median
milliseconds of each and the median of the ratios round by round.
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from keras import ops

from mae_keras.layers.transformer import dot_product_attention

# (batch, tokens, heads, features per head): encoder and decoder of micro on MNIST, of tiny on
# 32 x 32 with patch 2, of base on 224 x 224 with patch 16
SHAPES = [(128, 13, 4, 32), (128, 50, 4, 32), (32, 65, 3, 64), (32, 257, 3, 64), (8, 197, 12, 64)]


def keras_attention(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Keras's operation."""
    return ops.dot_product_attention(query, key, value)


def with_gradient(function, jit: bool):
    """A compiled function that also computes gradients."""

    @tf.function(jit_compile=jit)
    def run(query, key, value):
        with tf.GradientTape() as tape:
            tape.watch([query, key, value])
            total = tf.reduce_sum(tf.square(function(query, key, value)))
        return tape.gradient(total, [query, key, value])

    return run


def milliseconds(function, inputs) -> float:
    """Mean over enough calls to fill 0.2 s."""
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < 0.2:
        outputs = function(*inputs)
        calls += 1
    outputs[0].numpy()
    return 1000 * (time.perf_counter() - started) / calls


def measure(shape: tuple, jit: bool, rounds: int) -> dict:
    """Both ways for one shape, in turn."""
    rng = np.random.default_rng(0)
    inputs = [tf.constant(rng.normal(size=shape).astype("float32")) for _ in range(3)]
    ours, theirs = with_gradient(dot_product_attention, jit), with_gradient(keras_attention, jit)
    for one, two in zip(ours(*inputs), theirs(*inputs), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3)
    taken = [(milliseconds(ours, inputs), milliseconds(theirs, inputs)) for _ in range(rounds)]
    ratios = [b / a for a, b in taken]
    return {
        "shape": shape,
        "xla": jit,
        "attend_ms": round(statistics.median(a for a, _ in taken), 2),
        "keras_ms": round(statistics.median(b for _, b in taken), 2),
        "keras_over_attend": round(statistics.median(ratios), 2),
        "range": [round(min(ratios), 2), round(max(ratios), 2)],
    }


def main() -> None:
    """Measure every shape and print one line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for shape in SHAPES:
        for jit in (False, True):
            print(json.dumps(measure(shape, jit, rounds)), flush=True)


if __name__ == "__main__":
    main()
