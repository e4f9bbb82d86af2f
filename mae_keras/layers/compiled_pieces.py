"""A block's layers in the forms that are fast where XLA does not compile the step as a whole.

Half precision and wide models train faster on CPUs with TensorFlow's own matrix products than with
XLA's, but TensorFlow writes each of the dozen operations of a layer norm or a GELU to memory, and
more of them for the gradient. Here both, and their gradients, are one loop each, compiled by XLA.
Sums are matrix products, of which both make less work than of sums. TensorFlow is imported on use,
where it is Keras's backend.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

_IN_USE: contextvars.ContextVar[bool] = contextvars.ContextVar("compiled_pieces", default=False)


@contextlib.contextmanager
def compiled_pieces(in_use: bool) -> Iterator[None]:
    """What is traced inside takes its pieces compiled; a training step on TensorFlow.

    Args:
        in_use: bool, `False` changes nothing.

    Yields:
        Nothing.

    Example:
    >>> with compiled_pieces(True):
    ...     tuple(gelu(keras.ops.ones((1, 2, 4))).shape)
    (1, 2, 4)
    """
    token = _IN_USE.set(in_use)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def gelu(x: Any) -> Any:
    """Exact (erf) GELU, in float32 where it is compiled.

    Args:
        x: float tensor.

    Returns:
        Tensor of the shape and dtype of `x`.

    Example:
    >>> [round(float(y), 4) for y in gelu(keras.ops.convert_to_tensor([-1.0, 0.0, 1.0]))]
    [-0.1587, 0.0, 0.8413]

    References:
        - Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """
    return _pieces().gelu(x) if _IN_USE.get() else ops.gelu(x, approximate=False)


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
    if not _IN_USE.get():
        return norm(tokens)
    gamma, beta = (ops.cast(weight, "float32") for weight in (norm.gamma, norm.beta))
    return _pieces().norm(ops.cast(tokens, norm.compute_dtype), gamma, beta, norm.epsilon)


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
    if not _IN_USE.get() or not _is_affine(dense):
        return dense(tokens)
    taken = (tokens, dense.kernel, dense.bias)
    return _pieces().dense(*(ops.cast(each, dense.compute_dtype) for each in taken))


def _is_affine(dense: keras.layers.Dense) -> bool:
    """Whether a dense layer is a product and a bias, and nothing else."""
    if dense.bias is None or dense.quantization_mode or dense.activity_regularizer is not None:
        return False
    return dense.activation is keras.activations.linear


class _Pieces(NamedTuple):
    gelu: Callable
    norm: Callable
    dense: Callable


@functools.cache
def _pieces() -> _Pieces:
    """The functions, made once, so that all layers of a size share what XLA compiled."""
    import tensorflow as tf

    compiled = functools.partial(tf.function, jit_compile=True, autograph=False)
    gelu_forward, gelu_backward = compiled(_gelu), compiled(_gelu_gradient)
    norm_forward, norm_backward = compiled(_norm), compiled(_norm_gradient)

    @tf.custom_gradient
    def gelu(x: Any) -> tuple[Any, Callable]:
        return gelu_forward(x), lambda upstream: gelu_backward(x, upstream)

    def norm(tokens: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
        @tf.custom_gradient
        def apply(tokens: Any, gamma: Any, beta: Any) -> tuple[Any, Callable]:
            def gradient(upstream: Any) -> tuple[Any, ...]:
                to_tokens, product = norm_backward(tokens, gamma, upstream, epsilon)
                sums = (_sum_of_rows(rows) for rows in (product, _rows(upstream)))
                return to_tokens, *(ops.cast(total, "float32") for total in sums)

            return norm_forward(tokens, gamma, beta, epsilon), gradient

        return apply(tokens, gamma, beta)

    return _Pieces(gelu, norm, tf.custom_gradient(_dense))


def _gelu(x: Any) -> Any:
    # Below -6 it is 0 to eight digits, but XLA's erf misses -1 by 2e-7, which `x` would scale up.
    wide = ops.maximum(ops.cast(x, "float32"), -6.0)
    return ops.cast(wide * (0.5 + 0.5 * ops.erf(wide * 0.5**0.5)), x.dtype)


def _gelu_gradient(x: Any, upstream: Any) -> Any:
    """`upstream * (cdf(x) + x * pdf(x))` of the normal distribution."""
    wide = ops.cast(x, "float32")
    below = 0.5 + 0.5 * ops.erf(wide * 0.5**0.5)
    slope = below + wide * ops.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
    return ops.cast(ops.cast(upstream, "float32") * slope, x.dtype)


def _norm(tokens: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    standardised, _ = _standardised(_rows(ops.cast(tokens, "float32")), epsilon)
    return ops.reshape(ops.cast(standardised * gamma + beta, tokens.dtype), ops.shape(tokens))


def _norm_gradient(tokens: Any, gamma: Any, upstream: Any, epsilon: float) -> tuple[Any, Any]:
    """Gradient for the tokens, and what sums over them to that for the scale."""
    standardised, scale = _standardised(_rows(ops.cast(tokens, "float32")), epsilon)
    given = _rows(ops.cast(upstream, "float32"))
    inner = given * gamma
    # What changes the mean or the variance of a token is taken out again.
    slope = _mean_of_features(inner * standardised)
    to_tokens = scale * (inner - _mean_of_features(inner) - standardised * slope)
    # A scaled gradient times a large value may leave the range of float16.
    dtype = "float32" if tokens.dtype == "float16" else tokens.dtype
    to_tokens = ops.reshape(ops.cast(to_tokens, tokens.dtype), ops.shape(tokens))
    return to_tokens, ops.cast(given * standardised, dtype)


def _standardised(rows: Any, epsilon: float) -> tuple[Any, Any]:
    """Tokens with mean 0 and variance 1, and what they were multiplied by."""
    centred = rows - _mean_of_features(rows)
    scale = ops.rsqrt(_mean_of_features(centred * centred) + epsilon)
    return centred * scale, scale


def _rows(tokens: Any) -> Any:
    # (batch, num_tokens, hidden_dim) -> (batch * num_tokens, hidden_dim)
    return ops.reshape(tokens, (-1, tokens.shape[-1]))


def _mean_of_features(rows: Any) -> Any:
    width = rows.shape[-1]
    return ops.matmul(rows, ops.full((width, 1), 1 / width, dtype=rows.dtype))


def _sum_of_rows(rows: Any) -> Any:
    # Sums of thousands of scaled gradients may leave the range of float16.
    wide = ops.cast(rows, "float32") if rows.dtype == "float16" else rows
    return ops.matmul(ops.ones((1, ops.shape(wide)[0]), dtype=wide.dtype), wide)[0]


def _dense(tokens: Any, kernel: Any, bias: Any) -> tuple[Any, Callable]:
    """Two axes only, so that TensorFlow adds the bias within the product."""
    import tensorflow as tf

    rows = _rows(tokens)

    def gradient(upstream: Any) -> tuple[Any, Any, Any]:
        upstream = _rows(upstream)
        to_tokens = tf.matmul(upstream, kernel, transpose_b=True)
        to_kernel = tf.matmul(rows, upstream, transpose_a=True)
        return (
            ops.reshape(to_tokens, ops.shape(tokens)),
            to_kernel,
            ops.cast(_sum_of_rows(upstream), bias.dtype),
        )

    made = tf.nn.bias_add(tf.matmul(rows, kernel), bias)
    return ops.reshape(made, (-1, tokens.shape[1], kernel.shape[1])), gradient
