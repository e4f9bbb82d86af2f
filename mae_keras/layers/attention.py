"""Multi-head self-attention, and the one place that chooses how it is computed."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, check_int, check_tensor
from mae_keras.layers.compiled_attention import attended, by_heads
from mae_keras.layers.compiled_dense import added, in_parts, projected


def attend(query: Any, key: Any, value: Any, attention_mask: Any = None) -> Any:
    """Scaled dot-product attention, computed in the way measured fastest for the backend.

    TensorFlow: two batched matrix products. Keras's own op does the same arithmetic through
    `einsum`, which took 1.2 to 1.5 times as long without XLA and up to 1.1 times with it
    (docs/performance.md). JAX and PyTorch: `keras.ops.dot_product_attention`, which reaches their
    fused kernels.

    Args:
        query: tensor `(batch, num_queries, num_heads, head_dim)`.
        key: tensor `(batch, num_tokens, num_heads, head_dim)`.
        value: as `key`.
        attention_mask: bool `(batch, num_tokens)`, `True` where a key may be attended to, or
            `None`.

    Returns:
        Tensor of the shape of `query`.

    Example:
    >>> import numpy as np
    >>> x = np.ones((1, 5, 2, 4), "float32")
    >>> tuple(attend(x, x, x).shape)
    (1, 5, 2, 4)
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_tensor(name, tensor, 4, kinds="f")
    if len({tensor.shape[0] for tensor in (query, key, value)} - {None}) > 1:
        raise ValueError(
            "`query`, `key` and `value` must be of as many samples. Received: "
            f"query.shape={tuple(query.shape)}, key.shape={tuple(key.shape)}, "
            f"value.shape={tuple(value.shape)}"
        )
    sizes = [tuple(tensor.shape[2:]) for tensor in (query, key, value)]
    if sizes[0] != sizes[1] or sizes[1] != sizes[2] or key.shape[1] != value.shape[1]:
        raise ValueError(
            "`query`, `key` and `value` must have as many heads and features, `key` and `value` "
            f"as many tokens. Received: query.shape={tuple(query.shape)}, "
            f"key.shape={tuple(key.shape)}, value.shape={tuple(value.shape)}"
        )
    if attention_mask is not None:
        check_tensor("attention_mask", attention_mask, 2, kinds="b")
        _check_mask_shape(attention_mask.shape, key.shape)
        attention_mask = attention_mask[:, None, None, :]
    if keras.backend.backend() != "tensorflow":
        return ops.dot_product_attention(query, key, value, mask=attention_mask)
    scale = query.shape[-1] ** -0.5
    query = ops.transpose(query * scale, (0, 2, 1, 3))  # (batch, heads, tokens, head_dim)
    key = ops.transpose(key, (0, 2, 3, 1))  # (batch, heads, head_dim, tokens)
    scores = ops.matmul(query, key)
    if attention_mask is not None:
        # Finite, so that an image with nothing to attend to gives a mean and not NaN.
        scores = ops.where(attention_mask, scores, -3e4)
    # One token attends to itself; Keras warns of a softmax over one value.
    weights = ops.ones_like(scores) if scores.shape[-1] == 1 else ops.softmax(scores, axis=-1)
    made = ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3)))
    return ops.transpose(made, (0, 2, 1, 3))


def _check_mask_shape(mask: Sequence[int | None], key: Sequence[int | None]) -> None:
    for axis, (size, expected) in enumerate(zip(mask, key, strict=False)):
        broadcast = axis == 0 and size == 1
        if None in (size, expected) or size == expected or broadcast:
            continue
        raise ValueError(
            "`attention_mask` must have shape (batch, num_tokens), those of `key`. Received: "
            f"attention_mask.shape={tuple(mask)}, key.shape={tuple(key)}"
        )


def last_tokens(tokens: Any, count: int, axis: int = 1) -> Any:
    """The last `count` along an axis, with a faster gradient than TensorFlow's for a slice."""
    first = tokens.shape[axis] - count
    return ops.split(tokens, [first], axis=axis)[1] if first else tokens


def asked_tokens(tokens: Any, num_queries: int | None, dtype: str) -> keras.KerasTensor:
    """What a layer says beforehand of its output: the last `num_queries` tokens, `None`: all.

    Keras hands shapes alone to `compute_output_shape`, and no number.
    """
    check_num_queries(tokens, num_queries)
    batch, count, hidden_dim = tokens.shape
    count = count if num_queries is None else num_queries
    return keras.KerasTensor((batch, count, hidden_dim), dtype=dtype)


def check_num_queries(tokens: Any, num_queries: int | None) -> None:
    """Refuse a number of queries that the tokens do not have."""
    count = tokens.shape[1]
    if num_queries is not None and not 1 <= num_queries <= (count or num_queries):
        raise ValueError(
            f"`num_queries` must be 1 to the number of tokens, {count}. "
            f"Received: num_queries={num_queries}"
        )


class MultiHeadAttention(keras.layers.Layer):
    """Base of the attention layers: heads, projections, config.

    Args:
        num_heads: int, must divide the number of features.
        use_bias: bool, whether the projections have biases. Defaults to `True`.
        kernel_initializer: initialiser of the kernels. Defaults to `"glorot_uniform"`.
        **kwargs: passed to `keras.layers.Layer`.
    """

    def __init__(
        self,
        num_heads: int,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = check_int("num_heads", num_heads, 1, LARGEST_WIDTH)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def _check_heads(self, hidden_dim: int) -> None:
        if hidden_dim % self.num_heads:
            raise ValueError(
                f"`num_heads` must divide `hidden_dim`. Received: num_heads={self.num_heads}, "
                f"hidden_dim={hidden_dim}"
            )

    def _dense(self, input_dim: int, units: int, name: str) -> keras.layers.Dense:
        """A projection, built."""
        layer = keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            # A seeded initialiser shared by two layers would give them equal weights.
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, None, input_dim))
        return layer

    def _attended(
        self, query: Any, key: Any, value: Any, attention_mask: Any, residual: Any
    ) -> Any:
        """Attention of `(batch, tokens, hidden_dim)`, projected."""
        parts = (self._by_heads(part) for part in (query, key, value))
        return self._projected(attend(*parts, attention_mask), residual)

    def _attended_in_pieces(self, query: Any, key: Any, value: Any, residual: Any) -> Any:
        """Attention of `(batch, heads, tokens, head_dim)`, queries scaled, projected."""
        made = ops.transpose(attended(query, key, value), (0, 2, 1, 3))
        return self._projected(made, residual)

    def _projected(self, made: Any, residual: Any) -> Any:
        # (batch, tokens, heads, head_dim) -> (batch, tokens, hidden_dim)
        made = ops.reshape(made, (-1, made.shape[1], made.shape[2] * made.shape[3]))
        if residual is None:
            return projected(self.projection, made)
        return added(residual, self.projection, made)

    def _by_heads(self, part: Any) -> Any:
        # (batch, tokens, hidden_dim) -> (batch, tokens, heads, head_dim)
        count, hidden_dim = part.shape[1:]
        return ops.reshape(part, (-1, count, self.num_heads, hidden_dim // self.num_heads))

    def compute_output_shape(
        self, tokens_shape: Sequence[int | None], **_: Any
    ) -> tuple[int | None, ...]:
        return tuple(tokens_shape)

    def get_config(self) -> dict[str, Any]:
        own = {
            "num_heads": self.num_heads,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="mae_keras")
class MultiHeadSelfAttention(MultiHeadAttention):
    """Multi-head self-attention with one projection for queries, keys and values.

    Args:
        num_heads: int, must divide the number of features.
        use_bias: bool, whether the projections have biases. Defaults to `True`.
        kernel_initializer: initialiser of both kernels. Defaults to `"glorot_uniform"`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_tokens, hidden_dim)`.
        attention_mask: bool `(batch, num_tokens)`, `True` where a token may be attended to, or
            `None`.
        residual: tensor of the shape of what is returned, added to it, or `None`.
        num_queries: int, how many of the last tokens attend to all, or `None`: all of them do.

    Returns:
        Tensor of the shape of `tokens`, or of its last `num_queries` tokens.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_dim`, or there are fewer tokens than
            `num_queries`.

    Example:
    >>> import numpy as np
    >>> tuple(MultiHeadSelfAttention(num_heads=2)(np.zeros((1, 5, 8))).shape)
    (1, 5, 8)

    References:
        - Vaswani et al. 2017, arXiv:1706.03762, section 3.2; layout as timm `Attention`.
    """

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        hidden_dim = input_shape[-1]
        self._check_heads(hidden_dim)
        self.qkv = self._dense(hidden_dim, 3 * hidden_dim, "qkv")
        self.projection = self._dense(hidden_dim, hidden_dim, "projection")
        self.built = True

    def call(
        self,
        tokens: Any,
        attention_mask: Any = None,
        residual: Any = None,
        *,
        num_queries: int | None = None,
    ) -> Any:
        check_num_queries(tokens, num_queries)
        count = tokens.shape[1] if num_queries is None else num_queries
        if attention_mask is None and in_parts(self.qkv):
            parts = by_heads(self.qkv, tokens, 3, self.num_heads, scaled=True)
            parts[0] = last_tokens(parts[0], count, axis=2)
            return self._attended_in_pieces(*parts, residual)
        # Cut before it is reshaped: a gradient of five axes took XLA longer to put together.
        query, key, value = ops.split(projected(self.qkv, tokens), 3, axis=-1)
        return self._attended(last_tokens(query, count), key, value, attention_mask, residual)

    def compute_output_spec(
        self, tokens: Any, *_: Any, num_queries: int | None = None, **__: Any
    ) -> keras.KerasTensor:
        return asked_tokens(tokens, num_queries, self.compute_dtype)
