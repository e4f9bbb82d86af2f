"""Transformer blocks in fused operations, for a training step on a CPU that XLA does not compile.

Half precision and wide models train faster on CPUs with TensorFlow's own matrix products than with
XLA's. But between two products TensorFlow runs a dozen operations, each of which writes its result
to memory, and more of them for the gradient. Here XLA compiles what lies between two products into
one or two loops: layer norms, GELU with the bias before it, the split into heads. Sums are written
as matrix products, because both TensorFlow and XLA compute those faster than sums.

`TransformerBlock` and `CrossAttentionBlock` call `transformer_block` and `cross_attention_block`
where `apply_to` says so; the results are those of the blocks' own lines. A kernel needs at least
3 % of a training step to be kept (docs/performance.md). TensorFlow is imported on use.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

_ENABLED: contextvars.ContextVar[bool] = contextvars.ContextVar("cpu_kernels", default=False)


@contextlib.contextmanager
def enabled(value: bool) -> Iterator[None]:
    """Blocks that are traced inside use these kernels; `False` changes nothing."""
    token = _ENABLED.set(value)
    try:
        yield
    finally:
        _ENABLED.reset(token)


def apply_to(block: Any) -> bool:
    """Whether to compute a block here: kernels are enabled and its parts compute what they repeat.

    A class of a user's own may compute something else: its lines are then the only ones.
    """
    if not _ENABLED.get():
        return False
    attention = block.attention
    ours = (block, attention, block.attention_drop, block.mlp_drop)
    norms = [block.attention_norm, block.mlp_norm]
    if not all(map(_is_plain_norm, norms)) or not all(map(_is_of_this_package, ours)):
        return False
    own = hasattr(attention, "qkv")
    projections = [attention.qkv] if own else [attention.query, attention.key_value]
    products = [*projections, block.mlp_in]
    if any(part.compute_dtype != block.compute_dtype for part in [*norms, *products]):
        return False
    return all(map(_is_product_and_bias, products))


def _is_of_this_package(layer: keras.layers.Layer) -> bool:
    return type(layer).__module__.startswith("mae_keras.")


def _is_plain_norm(norm: keras.layers.Layer) -> bool:
    if type(norm) is not keras.layers.LayerNormalization or norm.gamma is None or norm.beta is None:
        return False
    return norm.axis in (-1, 2, [-1], [2])  # tokens are (batch, tokens, width)


def _is_product_and_bias(dense: keras.layers.Layer) -> bool:
    if type(dense) is not keras.layers.Dense or dense.bias is None or dense.quantization_mode:
        return False
    return dense.activity_regularizer is None and dense.activation is keras.activations.linear


def transformer_block(
    block: Any, tokens: Any, attention_mask: Any, training: bool, num_queries: int | None
) -> Any:
    """`TransformerBlock.call`."""
    attention = block.attention
    tokens, normed = norm_residual(block.attention_norm, tokens)
    query, key, value = split_heads(attention.qkv, normed, 3, attention.num_heads, scaled=True)
    if num_queries is not None:
        tokens, query = _last(tokens, num_queries, axis=1), _last(query, num_queries, axis=2)
    attended = dot_product_attention(query, key, value, attention_mask)
    return _residual_paths(block, tokens, attended, training)


def cross_attention_block(
    block: Any, tokens: Any, context: Any, attention_mask: Any, training: bool
) -> Any:
    """`CrossAttentionBlock.call`."""
    attention, heads = block.attention, block.attention.num_heads
    context = ops.cast(context, block.compute_dtype)
    tokens, normed = norm_residual(block.attention_norm, tokens)
    (query,) = split_heads(attention.query, normed, 1, heads, scaled=True)
    key, value = split_heads(attention.key_value, context, 2, heads, scaled=False)
    attended = dot_product_attention(query, key, value, attention_mask)
    return _residual_paths(block, tokens, attended, training)


def _residual_paths(block: Any, tokens: Any, attended: Any, training: bool) -> Any:
    attended = _merge_heads(attended)
    tokens = _residual(tokens, block.attention.projection, attended, block.attention_drop, training)
    tokens, normed = norm_residual(block.mlp_norm, tokens)
    hidden = dense_gelu(block.mlp_in, normed)
    return _residual(tokens, block.mlp_out, hidden, block.mlp_drop, training)


def _residual(tokens: Any, dense: Any, inputs: Any, drop: Any, training: bool) -> Any:
    if drop.drop_path_rate or dense.compute_dtype == "float32" or not _is_product_and_bias(dense):
        return tokens + drop(dense(inputs), training=training)
    return dense_add(tokens, dense, inputs)


@functools.cache
def compiled(function: Callable) -> Callable:
    """The function compiled by XLA, created once, so that all layers of one size share it."""
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def wide(x: Any) -> Any:
    """A tensor in float32."""
    return ops.cast(x, "float32")


def narrow(x: Any, dtype: Any) -> Any:
    """float32 rounded to `dtype`, for bfloat16 in a third of the time that XLA takes on CPUs."""
    if dtype != "bfloat16":
        return ops.cast(x, dtype)
    import tensorflow as tf

    # bfloat16 is the upper half of float32. Half of its last digit is added, a little less where
    # that digit is even, so that ties go there. Infinity and NaN stay what they are, but for a NaN
    # with ones in all upper and half of the lower digits, which becomes 0; arithmetic makes none.
    bits = tf.bitcast(x, tf.uint32)
    bits += 0x7FFF + tf.bitwise.bitwise_and(_upper_half(bits), tf.constant(1, tf.uint32))
    return tf.bitcast(tf.cast(_upper_half(bits), tf.uint16), tf.bfloat16)


def _upper_half(bits: Any) -> Any:
    import tensorflow as tf

    return tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32))


def sum_of_rows(rows: Any, dtype: Any) -> Any:
    """The sum over the first axis of a matrix, as a product with ones."""
    # Sums of thousands of scaled gradients may leave the range of float16.
    rows = wide(rows) if rows.dtype == "float16" else rows
    return ops.cast(ops.matmul(ops.ones((1, ops.shape(rows)[0]), dtype=rows.dtype), rows)[0], dtype)


def _rows(tokens: Any) -> Any:
    # (batch, num_tokens, hidden_dim) -> (batch * num_tokens, hidden_dim)
    return ops.reshape(tokens, (-1, tokens.shape[-1]))


def _last(tokens: Any, count: int, axis: int) -> Any:
    first = tokens.shape[axis] - count
    return ops.split(tokens, [first], axis=axis)[1] if first else tokens


def _product(dense: keras.layers.Dense, tokens: Any) -> tuple[Any, Any]:
    """What a dense layer makes of tokens before its bias, `(rows, units)`, and the bias."""
    kernel, bias = (ops.cast(each, dense.compute_dtype) for each in (dense.kernel, dense.bias))
    return ops.matmul(_rows(tokens), kernel), bias


def dense_gelu(dense: keras.layers.Dense, tokens: Any) -> Any:
    """Exact (erf) GELU of a dense layer."""
    import tensorflow as tf

    @tf.custom_gradient
    def apply(rows: Any, bias: Any) -> tuple[Any, Callable]:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            to_rows = compiled(_gelu_gradient)(rows, bias, upstream)
            return to_rows, sum_of_rows(to_rows, bias.dtype)

        return compiled(_gelu)(rows, bias), gradient

    hidden = apply(*_product(dense, tokens))
    return ops.reshape(hidden, (-1, tokens.shape[1], hidden.shape[-1]))


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


def dense_add(residual: Any, dense: keras.layers.Dense, tokens: Any) -> Any:
    """A dense layer plus residual; in float32 TensorFlow's own operations are faster."""
    import tensorflow as tf

    @tf.custom_gradient
    def apply(rows: Any, bias: Any, residual: Any) -> tuple[Any, Callable]:
        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            return upstream, sum_of_rows(upstream, bias.dtype), upstream

        return compiled(_sum)(rows, bias, residual), gradient

    rows = apply(*_product(dense, tokens), _rows(residual))
    return ops.reshape(rows, (-1, *residual.shape[1:]))


def _sum(rows: Any, bias: Any, residual: Any) -> Any:
    return narrow(wide(rows) + wide(bias) + wide(residual), rows.dtype)


def norm_residual(norm: keras.layers.LayerNormalization, tokens: Any) -> tuple[Any, Any]:
    """Tokens as they are, for the residual path, and normalized.

    The gradients of both are added in the loop that computes that of the norm.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def apply(tokens: Any, gamma: Any, beta: Any) -> tuple[Any, Callable]:
        rows = _rows(tokens)
        normed, *moments = compiled(_norm)(rows, gamma, beta, norm.epsilon)

        def gradient(residual: Any, upstream: Any) -> tuple[Any, ...]:
            upstream = _rows(upstream)
            inputs = rows, gamma, *moments, _rows(residual), upstream
            to_rows, product = compiled(_norm_gradient)(*inputs)
            sums = (sum_of_rows(each, "float32") for each in (product, upstream))
            return ops.reshape(to_rows, ops.shape(tokens)), *sums

        return (tokens, ops.reshape(normed, ops.shape(tokens))), gradient

    return apply(ops.cast(tokens, norm.compute_dtype), wide(norm.gamma), wide(norm.beta))


def _norm(rows: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """The norm, and what its gradient reuses: the mean and the inverse deviation of each row."""
    x = wide(rows)
    mean = _mean_of_features(x)
    centered = x - mean
    factor = ops.rsqrt(_mean_of_features(centered * centered) + epsilon)
    return narrow(centered * factor * gamma + beta, rows.dtype), mean, factor


def _norm_gradient(
    rows: Any, gamma: Any, mean: Any, factor: Any, residual: Any, upstream: Any
) -> tuple[Any, Any]:
    """Gradient of the rows, and what sums over them to the gradient of the scale."""
    standardized = (wide(rows) - mean) * factor
    upstream = wide(upstream)
    inner = upstream * gamma
    # What changes the mean or the variance of a token is taken out again.
    slope = _mean_of_features(inner * standardized)
    to_rows = factor * (inner - _mean_of_features(inner) - standardized * slope) + wide(residual)
    # A scaled gradient times a large value may leave the range of float16.
    dtype = "float32" if rows.dtype == "float16" else rows.dtype
    return narrow(to_rows, rows.dtype), narrow(upstream * standardized, dtype)


def _mean_of_features(rows: Any) -> Any:
    width = rows.shape[-1]
    return ops.matmul(rows, ops.full((width, 1), 1 / width, dtype=rows.dtype))


def split_heads(
    dense: keras.layers.Dense, tokens: Any, num_parts: int, num_heads: int, scaled: bool
) -> list[Any]:
    """Queries, keys or values `(batch, num_heads, num_tokens, head_dim)` from one projection.

    Bias, scaling of the first part (where `scaled`), split and transposition are one loop.
    """
    import tensorflow as tf

    sizes = tokens.shape[1], num_parts, num_heads, scaled

    @tf.custom_gradient
    def apply(rows: Any, bias: Any) -> tuple[Any, Callable]:
        def gradient(*upstream: Any) -> tuple[Any, Any]:
            to_rows = compiled(_join)(scaled, *upstream)
            return to_rows, sum_of_rows(to_rows, bias.dtype)

        return tf.unstack(compiled(_split)(rows, bias, *sizes), num_parts), gradient

    return apply(*_product(dense, tokens))


def _split(
    rows: Any, bias: Any, num_tokens: int, num_parts: int, num_heads: int, scaled: bool
) -> Any:
    parts = wide(rows) + wide(bias)
    head_dim = rows.shape[-1] // (num_parts * num_heads)
    parts = ops.reshape(parts, (-1, num_tokens, num_parts, num_heads, head_dim))
    parts = parts * _scales(num_parts, head_dim) if scaled else parts
    # (batch, tokens, parts, heads, head_dim) -> (parts, batch, heads, tokens, head_dim)
    return ops.transpose(narrow(parts, rows.dtype), (2, 0, 3, 1, 4))


def _join(scaled: bool, *parts: Any) -> Any:
    """The gradient of `_split`."""
    num_heads, head_dim = parts[0].shape[1], parts[0].shape[3]
    by_tokens = [ops.transpose(part, (0, 2, 1, 3)) for part in parts]
    joined = ops.stack(by_tokens, axis=2)  # (batch, tokens, parts, heads, head_dim)
    if scaled:
        joined = narrow(wide(joined) * _scales(len(parts), head_dim), parts[0].dtype)
    return ops.reshape(joined, (-1, len(parts) * num_heads * head_dim))


def _scales(num_parts: int, head_dim: int) -> Any:
    # (parts, 1, 1), of a dtype of its own whatever Keras's `floatx` is
    return ops.convert_to_tensor([[[head_dim**-0.5]], *[[[1.0]]] * (num_parts - 1)], "float32")


def _merge_heads(attended: Any) -> Any:
    # (batch, heads, tokens, head_dim) -> (batch, tokens, hidden_dim)
    attended = ops.transpose(attended, (0, 2, 1, 3))
    return ops.reshape(attended, (-1, attended.shape[1], attended.shape[2] * attended.shape[3]))


def dot_product_attention(query: Any, key: Any, value: Any, attention_mask: Any) -> Any:
    """Attention of scaled queries; all of shape `(batch, num_heads, num_tokens, head_dim)`.

    References:
        - Dao et al. 2022, arXiv:2205.14135, appendix B.2: the sum in a softmax's gradient is that
          of the attended values times their gradient, which are fewer.
    """
    import tensorflow as tf

    def forward(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
        scores = tf.matmul(query, key, transpose_b=True)
        if attention_mask is not None:
            # Finite, so that an image with nothing to attend to gives a mean and not NaN.
            scores = ops.where(attention_mask[:, None, None, :], scores, -3e4)
        weights = tf.nn.softmax(scores)
        return weights, tf.matmul(weights, value)

    @tf.custom_gradient
    def apply(query: Any, key: Any, value: Any) -> tuple[Any, Callable]:
        weights, attended = forward(query, key, value)

        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            to_weights = tf.matmul(upstream, value, transpose_b=True)
            to_scores = compiled(_softmax_gradient)(weights, to_weights, attended, upstream)
            return (
                tf.matmul(to_scores, key),
                tf.matmul(to_scores, query, transpose_a=True),
                tf.matmul(weights, upstream, transpose_a=True),
            )

        return attended, gradient

    # TensorFlow's own gradient is faster in float32, and exactly 0 with a single key.
    plain = query.dtype == "float32" or key.shape[2] == 1 or attention_mask is not None
    return forward(query, key, value)[1] if plain else apply(query, key, value)


def _softmax_gradient(weights: Any, to_weights: Any, attended: Any, upstream: Any) -> Any:
    head_dim = attended.shape[-1]
    products = ops.reshape(wide(attended) * wide(upstream), (-1, head_dim))
    # (batch * heads * queries, 1) -> (batch, heads, queries, 1)
    sums = ops.reshape(
        ops.matmul(products, ops.ones((head_dim, 1), "float32")), (-1, *attended.shape[1:3], 1)
    )
    return narrow(wide(weights) * (wide(to_weights) - sums), weights.dtype)
