"""Gradients of one sample each, clipped and summed, and Gaussian noise: TensorFlow and JAX.

Samples come in micro-batches, one after the other in a loop, so that only one micro-batch's
gradients are in memory at a time, and the empty end of a padded batch costs nothing. Imports
nothing of the package.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


def clipped_gradient_sum(
    loss_of: Callable[[Sequence[Any], Any], Any],
    values: Sequence[Any],
    batch: Any,
    count: Any,
    micro_batch_size: int,
    max_norm: float,
) -> tuple[list[Any], Any]:
    """Sum over samples of gradients whose norm is clipped, and the sum of the losses.

    A sample whose gradient is not finite adds nothing.

    Args:
        loss_of: values and one sample, each tensor with a batch axis of 1, to a scalar loss.
        values: float tensors to differentiate by.
        batch: structure of tensors `(batch, ...)`; `micro_batch_size` must divide the batch.
        count: int scalar, so many samples count, the first ones; the rest is padding.
        micro_batch_size: int, samples whose gradients are in memory at a time.
        max_norm: float, largest norm of a sample's gradient, over all values together.

    Returns:
        float32 tensors of the shapes of `values`, and a float32 scalar.

    Raises:
        ValueError: on other backends than TensorFlow and JAX.

    Example:
    >>> import numpy as np
    >>> weights, rows = keras.ops.ones(2), np.array([[3.0, 4.0], [0.0, 0.5]], "float32")
    >>> (total,), _ = clipped_gradient_sum(
    ...     lambda values, row: keras.ops.sum(values[0] * row), [weights], rows, 2, 1, 1.0
    ... )
    >>> [round(float(x), 3) for x in total]  # (3, 4) was clipped to (0.6, 0.8)
    [0.6, 1.3]
    """
    sum_of = _implementation(_tensorflow_sum, _jax_sum)
    shapes = [tuple(value.shape) for value in values]
    total, losses = sum_of(loss_of, list(values), batch, count, micro_batch_size, max_norm)
    return split_vector(total, shapes), losses


def split_vector(vector: Any, shapes: Sequence[Sequence[int]]) -> list[Any]:
    """Cut a vector into tensors of these shapes.

    Args:
        vector: tensor of one axis.
        shapes: whose entries are as many together.

    Returns:
        List of tensors.

    Example:
    >>> [part.shape for part in split_vector(keras.ops.zeros(7), [(2, 3), ()])]
    [TensorShape([2, 3]), TensorShape([])]
    """
    ends = np.cumsum([math.prod(shape) for shape in shapes], dtype="int32")
    parts = keras.ops.split(vector, ends[:-1]) if len(shapes) > 1 else [vector]
    return [keras.ops.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def _implementation(tensorflow: Any, jax: Any) -> Any:
    backends = {"tensorflow": tensorflow, "jax": jax}
    backend = keras.backend.backend()
    if backend not in backends:
        raise ValueError(
            f"Private training needs TensorFlow or JAX. Received: KERAS_BACKEND={backend!r}"
        )
    return backends[backend]


def _chunks(batch: Any, size: int) -> Any:
    return keras.tree.map_structure(lambda x: keras.ops.reshape(x, (-1, size, *x.shape[1:])), batch)


def _flat(gradients: Sequence[Any]) -> Any:
    # One vector in place of a tensor for each weight: the graph is several times smaller.
    ops = keras.ops
    return ops.concatenate([ops.reshape(ops.cast(x, "float32"), (-1,)) for x in gradients])


def _add_clipped(
    so_far: Any, losses_so_far: Any, gradients: Any, losses: Any, counted: Any, max_norm: float
) -> tuple[Any, Any]:
    """Add the gradients `(samples, entries)` of a micro-batch to their sum, and the losses."""
    ops = keras.ops
    norms = ops.sqrt(ops.sum(ops.square(gradients), axis=1))
    counted = ops.logical_and(counted, ops.isfinite(norms))
    factors = ops.where(counted, ops.minimum(1.0, max_norm / ops.maximum(norms, 1e-12)), 0.0)
    gradients = ops.where(counted[:, None], gradients, 0.0)  # NaN times 0 is NaN
    losses = ops.where(counted, ops.cast(losses, "float32"), 0.0)
    return so_far + ops.matmul(factors, gradients), losses_so_far + ops.sum(losses)


def _tensorflow_sum(loss_of, values, batch, count, size, max_norm):
    import tensorflow as tf

    values = [tf.convert_to_tensor(value) for value in values]
    chunks = _chunks(batch, size)

    def of_sample(sample: Any) -> Any:
        sample = tf.nest.map_structure(lambda x: x[None], sample)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            loss = loss_of(values, sample)
        zero = tf.UnconnectedGradients.ZERO
        return loss, _flat(tape.gradient(loss, values, unconnected_gradients=zero))

    def add(index: Any, total: Any, losses_so_far: Any) -> Any:
        samples = tf.nest.map_structure(lambda x: x[index], chunks)
        losses, gradients = tf.vectorized_map(of_sample, samples, fallback_to_while_loop=False)
        counted = index * size + tf.range(size) < count
        added = _add_clipped(total, losses_so_far, gradients, losses, counted, max_norm)
        return index + 1, *added

    count = tf.cast(count, tf.int32)
    entries = sum(math.prod(value.shape) for value in values)
    _, total, losses = tf.while_loop(
        lambda index, *_: index * size < count,
        add,
        (tf.constant(0), tf.zeros(entries), tf.constant(0.0)),
        parallel_iterations=1,
    )
    return total, losses


def _jax_sum(loss_of, values, batch, count, size, max_norm):
    import jax
    from jax import numpy as jnp

    chunks = _chunks(batch, size)

    def of_sample(sample: Any) -> Any:
        sample = jax.tree.map(lambda x: x[None], sample)
        loss, gradients = jax.value_and_grad(loss_of)(values, sample)
        return loss, _flat(gradients)

    def add(index: Any, state: Any) -> Any:
        losses, gradients = jax.vmap(of_sample)(jax.tree.map(lambda x: x[index], chunks))
        counted = index * size + jnp.arange(size) < count
        return _add_clipped(*state, gradients, losses, counted, max_norm)

    entries = sum(math.prod(value.shape) for value in values)
    loops = (jnp.asarray(count, "int32") + size - 1) // size
    return jax.lax.fori_loop(0, loops, add, (jnp.zeros(entries), jnp.zeros(())))


def gaussian_noise(
    key: tuple[int, int], step: Any, shapes: Sequence[Sequence[int]], stddev: float
) -> list[Any]:
    """Gaussian noise that is a function of its arguments, other bits on each backend.

    Args:
        key: two ints in [0, 2**31): who knows them can take the noise off again.
        step: int scalar.
        shapes: of the tensors.
        stddev: float, standard deviation.

    Returns:
        float32 tensors, independent of each other and of those of other steps.

    Example:
    >>> noise = gaussian_noise((1, 2), 5, [(100, 100)], 0.5)[0]
    >>> round(float(keras.ops.std(noise)), 1)
    0.5
    """
    draw = _implementation(_tensorflow_noise, _jax_noise)
    entries = sum(math.prod(shape) for shape in shapes)
    return split_vector(stddev * draw(key, step, entries), shapes)


def _tensorflow_noise(key, step, entries):
    import tensorflow as tf

    seed = tf.random.experimental.stateless_fold_in(
        tf.constant(key, tf.int32), tf.cast(step, tf.int32), alg="philox"
    )
    return tf.random.stateless_normal([entries], seed, alg="philox")


def _jax_noise(key, step, entries):
    import jax

    seed = jax.random.fold_in(jax.random.key(key[0]), key[1])
    return jax.random.normal(jax.random.fold_in(seed, step), (entries,))
