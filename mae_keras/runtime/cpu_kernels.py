"""Parts of a step that XLA compiles on a CPU where it does not compile the step as a whole.

Half precision and wide models train faster on CPUs with TensorFlow's own matrix products than with
XLA's, but TensorFlow writes each of the dozen operations between two products to memory, and more
of them for the gradient. Here all that lies between two products is one loop or few: layer norms,
activations with the bias before them, the softmax of attention. Sums are matrix products, of which
both make less work than of sums. TensorFlow is imported on use, where it is Keras's backend.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from mae_keras.runtime.replicas import num_replicas

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


def fused_adam_step(optimizer: Any, gradient: Any, variable: Any, learning_rate: Any) -> bool:
    """Update one variable by Adam's formula in one kernel, where there is one.

    Keras writes the update as a dozen operations, and each of them reads and writes arrays of the
    weight's size: as long as XLA compiles the step they become one loop, otherwise a step of a wide
    model waits for the memory. TensorFlow's kernel is used for dense float32 gradients on one
    device.

    Args:
        optimizer: built `keras.optimizers.Adam` or a subclass.
        gradient: tensor.
        variable: as Keras gives it to `update_step`.
        learning_rate: float scalar.

    Returns:
        bool, whether the variable was updated; if not, Keras's own `update_step` has to do it.

    Example:
    >>> optimizer = keras.optimizers.Adam()
    >>> fused_adam_step(optimizer, None, None, 0.1)
    False

    References:
        - Kingma and Ba 2014, arXiv:1412.6980, the form before section 2.1 (`epsilon` hat), as in
          Keras's `Adam.update_step` and TensorFlow's `ResourceApplyAdam`.
    """
    if keras.backend.backend() != "tensorflow" or optimizer.amsgrad or num_replicas() > 1:
        return False
    import tensorflow as tf

    dense = isinstance(gradient, tf.Tensor) and isinstance(variable, tf.Variable)
    if not dense or not gradient.dtype == variable.dtype == tf.float32:
        return False
    index = optimizer._get_variable_index(variable)
    moments = optimizer._momentums[index].value, optimizer._velocities[index].value
    step = tf.cast(optimizer.iterations + 1, "float32")
    beta_1 = tf.constant(optimizer.beta_1, "float32")
    beta_2 = tf.constant(optimizer.beta_2, "float32")
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=moments[0].handle,
        v=moments[1].handle,
        beta1_power=tf.pow(beta_1, step),
        beta2_power=tf.pow(beta_2, step),
        lr=tf.cast(learning_rate, "float32"),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=tf.constant(optimizer.epsilon, "float32"),
        grad=gradient,
    )
    return True
