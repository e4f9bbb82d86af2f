"""Dense layers, their biases left to the loop behind them where XLA compiles pieces.

TensorFlow adds a bias within the product, which in bfloat16 takes it up to three times as long as
the product alone (docs/performance.md). TensorFlow is imported on use, where it is Keras's backend.
"""

import math
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


def projected(dense: keras.layers.Dense, tokens: Any) -> Any:
    """A dense layer, applied.

    Args:
        dense: built layer.
        tokens: tensor `(batch, num_tokens, input_dim)`.

    Returns:
        Tensor `(batch, num_tokens, units)`, in the layer's compute dtype.

    Example:
    >>> dense = keras.layers.Dense(3)
    >>> tuple(projected(dense, keras.ops.ones((1, 2, 4))).shape)
    (1, 2, 3)
    """
    if not in_parts(dense):
        return dense(tokens)
    if dense.compute_dtype == "float32":
        return _by_tokens(_biased_product(rows_of(tokens), *_weights(dense)), tokens)
    return _by_tokens(_biased_sum(*product(dense, tokens)), tokens)


def activated(dense: keras.layers.Dense, tokens: Any) -> Any:
    """Exact (erf) GELU of a dense layer.

    Args:
        dense: built layer.
        tokens: tensor `(batch, num_tokens, input_dim)`.

    Returns:
        Tensor `(batch, num_tokens, units)`, in the layer's compute dtype.

    Example:
    >>> dense = keras.layers.Dense(1, kernel_initializer="ones")
    >>> made = activated(dense, keras.ops.convert_to_tensor([[[-1.0], [0.0], [1.0]]]))
    >>> [round(float(y), 4) for y in made[0, :, 0]]
    [-0.1587, 0.0, 0.8413]

    References:
        - Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """
    if not in_parts(dense):
        return ops.gelu(dense(tokens), approximate=False)
    return _by_tokens(_biased_gelu(*product(dense, tokens)), tokens)


def added(residual: Any, dense: keras.layers.Dense, tokens: Any) -> Any:
    """A dense layer, applied and added to what goes past it.

    Args:
        residual: tensor `(batch, num_tokens, units)`.
        dense: built layer.
        tokens: tensor `(batch, num_tokens, input_dim)`.

    Returns:
        Tensor of the shape of `residual`.

    Example:
    >>> dense = keras.layers.Dense(1, kernel_initializer="ones")
    >>> float(added(keras.ops.ones((1, 1, 1)), dense, keras.ops.ones((1, 1, 4)))[0, 0, 0])
    5.0
    """
    if not in_parts(dense) or dense.compute_dtype == "float32":
        # TensorFlow's bias within the product is the faster way in float32, also to a sum.
        return residual + projected(dense, tokens)
    past = rows_of(ops.cast(residual, dense.compute_dtype))
    return _by_tokens(_biased_sum(*product(dense, tokens), past), tokens)


def in_parts(dense: keras.layers.Dense) -> bool:
    """Whether pieces are in use and a dense layer is a product and a bias, and nothing else.

    Args:
        dense: built layer.

    Returns:
        bool.

    Example:
    >>> dense = keras.layers.Dense(3)
    >>> dense.build((None, 2, 4))
    >>> in_parts(dense)
    False
    """
    if not pieces_in_use() or dense.bias is None or dense.quantization_mode:
        return False
    return dense.activity_regularizer is None and dense.activation is keras.activations.linear


def product(dense: keras.layers.Dense, tokens: Any) -> tuple[Any, Any]:
    """What a dense layer makes of tokens before its bias, and the bias, in its compute dtype.

    Args:
        dense: built layer.
        tokens: tensor `(batch, num_tokens, input_dim)`.

    Returns:
        Tensors `(batch * num_tokens, units)` and `(units,)`.

    Example:
    >>> dense = keras.layers.Dense(3)
    >>> dense.build((None, 2, 4))
    >>> [tuple(each.shape) for each in product(dense, keras.ops.ones((1, 2, 4)))]
    [(2, 3), (3,)]
    """
    kernel, bias = _weights(dense)
    return ops.matmul(rows_of(ops.cast(tokens, dense.compute_dtype)), kernel), bias


def _weights(dense: keras.layers.Dense) -> tuple[Any, Any]:
    kernel, bias = (ops.cast(each, dense.compute_dtype) for each in (dense.kernel, dense.bias))
    return kernel, bias


def _biased_product(rows: Any, kernel: Any, bias: Any) -> Any:
    """With nothing between product and bias, so that TensorFlow makes one kernel of them."""
    import tensorflow as tf

    @tf.custom_gradient
    def apply(rows: Any, kernel: Any, bias: Any) -> tuple[Any, Callable]:
        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            return (
                tf.matmul(upstream, kernel, transpose_b=True),
                tf.matmul(rows, upstream, transpose_a=True),
                sum_of_rows(upstream, bias.dtype),
            )

        return tf.nn.bias_add(tf.matmul(rows, kernel), bias), gradient

    return apply(rows, kernel, bias)


def _biased_sum(rows: Any, bias: Any, *past: Any) -> Any:
    """A product, its bias and, where there is one, what goes past both."""
    import tensorflow as tf

    @tf.custom_gradient
    def apply(rows: Any, bias: Any, *past: Any) -> tuple[Any, Callable]:
        def gradient(upstream: Any) -> tuple[Any, ...]:
            return upstream, sum_of_rows(upstream, bias.dtype), *(upstream for _ in past)

        return compiled(_sum)(rows, bias, *past), gradient

    return apply(rows, bias, *past)


def _biased_gelu(rows: Any, bias: Any) -> Any:
    import tensorflow as tf

    @tf.custom_gradient
    def apply(rows: Any, bias: Any) -> tuple[Any, Callable]:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            to_rows = compiled(_gelu_gradient)(rows, bias, upstream)
            return to_rows, sum_of_rows(to_rows, bias.dtype)

        return compiled(_gelu)(rows, bias), gradient

    return apply(rows, bias)


def _sum(rows: Any, *others: Any) -> Any:
    return narrow(sum(map(wide, others), wide(rows)), rows.dtype)


def _gelu(rows: Any, bias: Any) -> Any:
    # Below -6 it is 0 to eight digits, but XLA's erf misses -1 by 2e-7, which `x` would scale up.
    x = ops.maximum(wide(rows) + wide(bias), -6.0)
    return narrow(x * (0.5 + 0.5 * ops.erf(x * 0.5**0.5)), rows.dtype)


def _gelu_gradient(rows: Any, bias: Any, upstream: Any) -> Any:
    """`upstream * (cdf(x) + x * pdf(x))` of the normal distribution."""
    x = wide(rows) + wide(bias)
    below = 0.5 + 0.5 * ops.erf(x * 0.5**0.5)
    slope = below + x * ops.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return narrow(wide(upstream) * slope, rows.dtype)


def _by_tokens(rows: Any, tokens: Any) -> Any:
    # (batch * num_tokens, units) -> (batch, num_tokens, units)
    return ops.reshape(rows, (-1, tokens.shape[1], rows.shape[-1]))
