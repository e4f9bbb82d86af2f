"""Layer norms over features, few loops each where XLA compiles pieces.

TensorFlow is imported on use, where it is Keras's backend.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from mae_keras.layers.compiled_pieces import (
    compiled,
    narrow,
    pieces_in_use,
    rows_of,
    sum_of_rows,
    wide,
)


def normed(norm: keras.layers.LayerNormalization, tokens: Any) -> Any:
    """A layer norm over features, applied.

    Args:
        norm: built layer, with scale and offset, over the last axis.
        tokens: tensor `(batch, num_tokens, hidden_dim)`.

    Returns:
        Tensor of the shape of `tokens`, in the layer's compute dtype.

    Example:
    >>> norm = keras.layers.LayerNormalization()
    >>> tuple(normed(norm, keras.ops.ones((1, 2, 4))).shape)
    (1, 2, 4)
    """
    return parted(norm, tokens)[1] if pieces_in_use() else norm(tokens)


def parted(norm: keras.layers.LayerNormalization, tokens: Any) -> tuple[Any, Any]:
    """Where a residual path begins: tokens as they are, and normed.

    The gradients of both are added where that of the norm is computed.

    Args:
        norm: built layer, with scale and offset, over the last axis.
        tokens: tensor `(batch, num_tokens, hidden_dim)`.

    Returns:
        Two tensors of the shape of `tokens`, in the layer's compute dtype.

    Example:
    >>> norm = keras.layers.LayerNormalization()
    >>> [tuple(each.shape) for each in parted(norm, keras.ops.ones((1, 2, 4)))]
    [(1, 2, 4), (1, 2, 4)]
    """
    if not pieces_in_use():
        return tokens, norm(tokens)
    import tensorflow as tf

    @tf.custom_gradient
    def apply(tokens: Any, gamma: Any, beta: Any) -> tuple[Any, Callable]:
        rows = rows_of(tokens)
        made, *moments = compiled(_norm)(rows, gamma, beta, norm.epsilon)

        def gradient(past: Any, upstream: Any) -> tuple[Any, ...]:
            upstream = rows_of(upstream)
            given = rows, gamma, *moments, rows_of(past), upstream
            to_rows, product = compiled(_norm_gradient)(*given)
            sums = (sum_of_rows(each, "float32") for each in (product, upstream))
            return ops.reshape(to_rows, ops.shape(tokens)), *sums

        return (tokens, ops.reshape(made, ops.shape(tokens))), gradient

    return apply(ops.cast(tokens, norm.compute_dtype), wide(norm.gamma), wide(norm.beta))


def _norm(rows: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """The norm, and what its gradient takes up again: the mean, and the factor of each token."""
    x = wide(rows)
    mean = _mean_of_features(x)
    centred = x - mean
    factor = ops.rsqrt(_mean_of_features(centred * centred) + epsilon)
    return narrow(centred * factor * gamma + beta, rows.dtype), mean, factor


def _norm_gradient(
    rows: Any, gamma: Any, mean: Any, factor: Any, past: Any, upstream: Any
) -> tuple[Any, Any]:
    """Gradient for the tokens, and what sums over them to that for the scale."""
    standardised = (wide(rows) - mean) * factor
    given = wide(upstream)
    inner = given * gamma
    # What changes the mean or the variance of a token is taken out again.
    slope = _mean_of_features(inner * standardised)
    to_rows = factor * (inner - _mean_of_features(inner) - standardised * slope) + wide(past)
    # A scaled gradient times a large value may leave the range of float16.
    dtype = "float32" if rows.dtype == "float16" else rows.dtype
    return narrow(to_rows, rows.dtype), narrow(given * standardised, dtype)


def _mean_of_features(rows: Any) -> Any:
    width = rows.shape[-1]
    return ops.matmul(rows, ops.full((width, 1), 1 / width, dtype=rows.dtype))
