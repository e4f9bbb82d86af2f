"""What the tests of compiled pieces share."""

import keras
import numpy as np
import pytest

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="pieces are TensorFlow's"
)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def value_and_gradients(function, upstream, *inputs):
    """What a function gives, and the gradient of its product with `upstream` for every input."""
    import tensorflow as tf

    tensors = [tf.constant(given) for given in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        made = function(*tensors)
        total = tf.reduce_sum(tf.cast(made, "float32") * upstream)
    return made.numpy(), [gradient.numpy() for gradient in tape.gradient(total, tensors)]


def with_weights(layer, function, *weights):
    """`function` of a layer that has these weights instead of its own."""
    own = [layer._kernel, layer.bias] if hasattr(layer, "_kernel") else [layer.gamma, layer.beta]
    with keras.StatelessScope(state_mapping=list(zip(own, weights, strict=True))):
        return function(layer)
