"""Pieces of a step that XLA compiles where it does not compile the step as a whole.

Half precision and wide models train faster on CPUs with TensorFlow's own matrix products than with
XLA's, but TensorFlow writes each of the dozen operations between two products to memory, and more
of them for the gradient. In pieces all that lies between two products is one loop or few
(`compiled_dense`, `compiled_norm`, `compiled_attention`). Sums are matrix products, of which both
make less work than of sums. TensorFlow is imported on use, where it is Keras's backend.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

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
    ...     pieces_in_use()
    True
    """
    token = _IN_USE.set(in_use)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def pieces_in_use() -> bool:
    """Whether `compiled_pieces` asked for them.

    Returns:
        bool.

    Example:
    >>> pieces_in_use()
    False
    """
    return _IN_USE.get()


@functools.cache
def compiled(function: Callable) -> Callable:
    """The function as XLA compiles it, made once, so that all layers of a size share it.

    Args:
        function: of tensors, and of numbers that stay the same.

    Returns:
        `tf.function`.

    Example:
    >>> float(compiled(wide)(ops.ones(())))
    1.0
    """
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def wide(x: Any) -> Any:
    """A tensor in float32.

    Args:
        x: tensor.

    Returns:
        float32 tensor of the shape of `x`.

    Example:
    >>> wide(ops.ones((), "bfloat16")).dtype.name
    'float32'
    """
    return ops.cast(x, "float32")


def narrow(x: Any, dtype: Any) -> Any:
    """float32 rounded to `dtype`, in a third of the time that XLA takes for bfloat16 on CPUs.

    Args:
        x: float32 tensor.
        dtype: of the result.

    Returns:
        Tensor of the shape of `x`.

    Example:
    >>> float(narrow(ops.full((), 1 + 2**-7 + 2**-8), "bfloat16"))
    1.015625
    """
    if dtype != "bfloat16":
        return ops.cast(x, dtype)
    import tensorflow as tf

    # bfloat16 is the upper half of float32. Half of its last digit is added, a little less where
    # that digit is even, so that ties go there. Infinity and NaN stay what they are, but for a NaN
    # with ones in all upper and half of the lower digits, which becomes 0; arithmetic makes none.
    bits = tf.bitcast(x, tf.uint32)
    bits += 0x7FFF + tf.bitwise.bitwise_and(_upper_half(bits), tf.constant(1, tf.uint32))
    return tf.bitcast(tf.cast(_upper_half(bits), tf.uint16), tf.bfloat16)


def rows_of(tokens: Any) -> Any:
    """`(batch, num_tokens, hidden_dim)` to `(batch * num_tokens, hidden_dim)`.

    Args:
        tokens: tensor of any rank.

    Returns:
        Tensor of two axes, the second the last of `tokens`.

    Example:
    >>> tuple(rows_of(ops.ones((2, 3, 4))).shape)
    (6, 4)
    """
    return ops.reshape(tokens, (-1, tokens.shape[-1]))


def sum_of_rows(rows: Any, dtype: Any) -> Any:
    """The sum over the first axis of a matrix, as a product with ones.

    Args:
        rows: tensor `(num_rows, hidden_dim)`.
        dtype: of the result.

    Returns:
        Tensor `(hidden_dim,)`.

    Example:
    >>> sum_of_rows(ops.ones((3, 2)), "float32").numpy().tolist()
    [3.0, 3.0]
    """
    # Sums of thousands of scaled gradients may leave the range of float16.
    rows = wide(rows) if rows.dtype == "float16" else rows
    return ops.cast(ops.matmul(ops.ones((1, ops.shape(rows)[0]), dtype=rows.dtype), rows)[0], dtype)


def _upper_half(bits: Any) -> Any:
    import tensorflow as tf

    return tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32))
