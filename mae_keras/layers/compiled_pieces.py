"""What lies between a block's matrix products, compiled by XLA where the step as a whole is not.

Half precision and wide models train faster on CPUs with TensorFlow's own matrix products than with
XLA's, but TensorFlow writes each of the dozen operations of a layer norm or a GELU to memory, and
more of them for the gradient. Here both, and their gradients, are one loop each. TensorFlow is
imported on use, where it is Keras's backend.
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


class _Pieces(NamedTuple):
    gelu: Callable
    norm: Callable


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
            made = norm_forward(tokens, gamma, beta, epsilon)
            return made, lambda upstream: norm_backward(tokens, gamma, upstream, epsilon)

        return apply(tokens, gamma, beta)

    return _Pieces(gelu, norm)


def _gelu(x: Any) -> Any:
    return ops.cast(ops.gelu(ops.cast(x, "float32"), approximate=False), x.dtype)


def _gelu_gradient(x: Any, upstream: Any) -> Any:
    """`upstream * (cdf(x) + x * pdf(x))` of the normal distribution."""
    wide = ops.cast(x, "float32")
    below = 0.5 + 0.5 * ops.erf(wide * 0.5**0.5)
    slope = below + wide * ops.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
    return ops.cast(ops.cast(upstream, "float32") * slope, x.dtype)


def _standardised(tokens: Any, epsilon: float) -> tuple[Any, Any]:
    """Tokens with mean 0 and variance 1, and what they were multiplied by."""
    wide = ops.cast(tokens, "float32")
    mean = ops.mean(wide, axis=-1, keepdims=True)
    centred = wide - mean
    scale = ops.rsqrt(ops.mean(centred * centred, axis=-1, keepdims=True) + epsilon)
    return centred * scale, scale


def _norm(tokens: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    return ops.cast(_standardised(tokens, epsilon)[0] * gamma + beta, tokens.dtype)


def _norm_gradient(tokens: Any, gamma: Any, upstream: Any, epsilon: float) -> tuple[Any, Any, Any]:
    standardised, scale = _standardised(tokens, epsilon)
    upstream = ops.cast(upstream, "float32")
    product, inner = upstream * standardised, upstream * gamma
    # What changes the mean or the variance of a token is taken out again.
    level = ops.mean(inner, axis=-1, keepdims=True)
    slope = ops.mean(inner * standardised, axis=-1, keepdims=True)
    to_tokens = scale * (inner - level - standardised * slope)
    leading = tuple(range(len(tokens.shape) - 1))
    sums = ops.sum(product, axis=leading), ops.sum(upstream, axis=leading)
    return ops.cast(to_tokens, tokens.dtype), *sums
