"""What lies between the products of attention, where XLA compiles pieces.

Around the softmax, which stays TensorFlow's: cutting into heads, and gradients. TensorFlow is
imported on use, where it is Keras's backend.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from mae_keras.layers.compiled_dense import product
from mae_keras.layers.compiled_pieces import compiled, narrow, sum_of_rows, wide


def by_heads(
    dense: keras.layers.Dense, tokens: Any, num_parts: int, num_heads: int, scaled: bool
) -> list[Any]:
    """Queries, keys or values of tokens, each head apart; bias, cut and turn are one loop.

    Args:
        dense: built layer that projects to all parts, one behind the other.
        tokens: tensor `(batch, num_tokens, input_dim)`.
        num_parts: int, 3 for queries, keys and values from one projection.
        num_heads: int.
        scaled: bool, whether the first part are queries, to be divided by the root of head_dim.

    Returns:
        `num_parts` tensors `(batch, num_heads, num_tokens, head_dim)`.

    Example:
    >>> dense = keras.layers.Dense(12)
    >>> dense.build((None, 5, 4))
    >>> made = by_heads(dense, keras.ops.ones((1, 5, 4)), 3, num_heads=2, scaled=True)
    >>> [tuple(part.shape) for part in made]
    [(1, 2, 5, 2), (1, 2, 5, 2), (1, 2, 5, 2)]
    """
    import tensorflow as tf

    sizes = tokens.shape[1], num_parts, num_heads, scaled

    @tf.custom_gradient
    def apply(rows: Any, bias: Any) -> tuple[Any, Callable]:
        def gradient(*upstream: Any) -> tuple[Any, Any]:
            to_rows = compiled(_together)(scaled, *upstream)
            return to_rows, sum_of_rows(to_rows, bias.dtype)

        return tf.unstack(compiled(_cut)(rows, bias, *sizes), num_parts), gradient

    return apply(*product(dense, tokens))


def attended(query: Any, key: Any, value: Any) -> Any:
    """Attention of scaled queries.

    Args:
        query: tensor `(batch, num_heads, num_queries, head_dim)`.
        key: tensor `(batch, num_heads, num_tokens, head_dim)`.
        value: as `key`.

    Returns:
        Tensor of the shape of `query`.

    Example:
    >>> x = keras.ops.ones((1, 2, 5, 4))
    >>> tuple(attended(x, x, x).shape)
    (1, 2, 5, 4)

    References:
        - Dao et al. 2022, arXiv:2205.14135, appendix B.2: the sum in a softmax's gradient is that
          of the attended values times their gradient, which are fewer.
    """
    import tensorflow as tf

    def forward(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True))
        return weights, tf.matmul(weights, value)

    @tf.custom_gradient
    def apply(query: Any, key: Any, value: Any) -> tuple[Any, Callable]:
        weights, made = forward(query, key, value)

        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            to_weights = tf.matmul(upstream, value, transpose_b=True)
            to_scores = compiled(_softmax_gradient)(weights, to_weights, made, upstream)
            return (
                tf.matmul(to_scores, key),
                tf.matmul(to_scores, query, transpose_a=True),
                tf.matmul(weights, upstream, transpose_a=True),
            )

        return made, gradient

    # TensorFlow's own gradient is the faster one in float32, and exactly 0 with a single key.
    plain = query.dtype == "float32" or key.shape[2] == 1
    return forward(query, key, value)[1] if plain else apply(query, key, value)


def _cut(
    rows: Any, bias: Any, num_tokens: int, num_parts: int, num_heads: int, scaled: bool
) -> Any:
    made = wide(rows) + wide(bias)
    head_dim = rows.shape[-1] // (num_parts * num_heads)
    made = ops.reshape(made, (-1, num_tokens, num_parts, num_heads, head_dim))
    made = made * _scales(num_parts, head_dim) if scaled else made
    # (batch, tokens, parts, heads, head_dim) -> (parts, batch, heads, tokens, head_dim)
    return ops.transpose(narrow(made, rows.dtype), (2, 0, 3, 1, 4))


def _together(scaled: bool, *parts: Any) -> Any:
    """The gradient of `_cut`."""
    num_heads, head_dim = parts[0].shape[1], parts[0].shape[3]
    turned = [ops.transpose(part, (0, 2, 1, 3)) for part in parts]
    made = ops.stack(turned, axis=2)  # (batch, tokens, parts, heads, head_dim)
    if scaled:
        made = narrow(wide(made) * _scales(len(parts), head_dim), parts[0].dtype)
    return ops.reshape(made, (-1, len(parts) * num_heads * head_dim))


def _scales(num_parts: int, head_dim: int) -> Any:
    # (parts, 1, 1), of a dtype of its own whatever Keras's `floatx` is
    return ops.convert_to_tensor([[[head_dim**-0.5]], *[[[1.0]]] * (num_parts - 1)], "float32")


def _softmax_gradient(weights: Any, to_weights: Any, made: Any, upstream: Any) -> Any:
    head_dim = made.shape[-1]
    products = ops.reshape(wide(made) * wide(upstream), (-1, head_dim))
    # (batch * heads * queries, 1) -> (batch, heads, queries, 1)
    sums = ops.reshape(
        ops.matmul(products, ops.ones((head_dim, 1), "float32")), (-1, *made.shape[1:3], 1)
    )
    return narrow(wide(weights) * (wide(to_weights) - sums), weights.dtype)
