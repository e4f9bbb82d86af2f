"""The transformer: attention, stochastic depth, and the two kinds of pre-norm block."""

import random
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import (
    LARGEST_SEED,
    LARGEST_WIDTH,
    check_epsilon,
    check_int,
    check_number,
    check_tensor,
)
from mae_keras.ops import counter_noise
from mae_keras.runtime import cpu_kernels
from mae_keras.runtime.replicas import count_batch, sample_ids


def dot_product_attention(query: Any, key: Any, value: Any, attention_mask: Any = None) -> Any:
    """Scaled dot-product attention, computed in the way measured fastest for the backend.

    TensorFlow: two batched matrix products. Keras's own op does the same arithmetic through
    `einsum`, which took 1.2 to 1.5 times as long without XLA and up to 1.1 times with it
    (docs/experiments.md). JAX and PyTorch: `keras.ops.dot_product_attention`, which reaches their
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
    >>> tuple(dot_product_attention(x, x, x).shape)
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
    attended = ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3)))
    return ops.transpose(attended, (0, 2, 1, 3))


def _check_mask_shape(mask: Sequence[int | None], key: Sequence[int | None]) -> None:
    for axis, (size, expected) in enumerate(zip(mask, key, strict=False)):
        broadcast = axis == 0 and size == 1
        if None in (size, expected) or size == expected or broadcast:
            continue
        raise ValueError(
            "`attention_mask` must have shape (batch, num_tokens), those of `key`. Received: "
            f"attention_mask.shape={tuple(mask)}, key.shape={tuple(key)}"
        )


def last_tokens(tokens: Any, count: int | None) -> Any:
    """The last `count` tokens, `None`: all; its gradient is faster than that of a slice."""
    first = 0 if count is None else tokens.shape[1] - count
    return ops.split(tokens, [first], axis=1)[1] if first else tokens


def query_output_spec(tokens: Any, num_queries: int | None, dtype: str) -> keras.KerasTensor:
    """The spec of a layer's output: the last `num_queries` tokens, `None`: all.

    Keras passes only shapes to `compute_output_shape`, and no number.
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
        kernel_initializer: initializer of the kernels. Defaults to `"glorot_uniform"`.
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
            # A seeded initializer shared by two layers would give them equal weights.
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, None, input_dim))
        return layer

    def _attend(self, query: Any, key: Any, value: Any, attention_mask: Any) -> Any:
        """Attention of `(batch, num_tokens, hidden_dim)`, heads merged and projected."""
        heads = (self._split_heads(part) for part in (query, key, value))
        attended = dot_product_attention(*heads, attention_mask)
        return self.projection(ops.reshape(attended, (-1, *query.shape[1:])))

    def _split_heads(self, tokens: Any) -> Any:
        # (batch, tokens, hidden_dim) -> (batch, tokens, heads, head_dim)
        count, hidden_dim = tokens.shape[1:]
        return ops.reshape(tokens, (-1, count, self.num_heads, hidden_dim // self.num_heads))

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
        kernel_initializer: initializer of both kernels. Defaults to `"glorot_uniform"`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_tokens, hidden_dim)`.
        attention_mask: bool `(batch, num_tokens)`, `True` where a token may be attended to, or
            `None`.
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
        self, tokens: Any, attention_mask: Any = None, *, num_queries: int | None = None
    ) -> Any:
        check_num_queries(tokens, num_queries)
        # Split before heads are: the gradient of five axes took XLA longer to put together.
        query, key, value = ops.split(self.qkv(tokens), 3, axis=-1)
        return self._attend(last_tokens(query, num_queries), key, value, attention_mask)

    def compute_output_spec(
        self, tokens: Any, *_: Any, num_queries: int | None = None, **__: Any
    ) -> keras.KerasTensor:
        return query_output_spec(tokens, num_queries, self.compute_dtype)


@keras.saving.register_keras_serializable(package="mae_keras")
class MultiHeadCrossAttention(MultiHeadAttention):
    """Multi-head attention from tokens to a context, with one projection for keys and values.

    Tokens do not see each other: what becomes of one does not depend on which others there are.

    Args:
        num_heads: int, must divide the number of features.
        use_bias: bool, whether the projections have biases. Defaults to `True`.
        kernel_initializer: initializer of the kernels. Defaults to `"glorot_uniform"`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_tokens, hidden_dim)`.
        context: tensor `(batch, num_context, context_dim)`, what is attended to.
        attention_mask: bool `(batch, num_context)`, `True` where the context may be attended to,
            or `None`.

    Returns:
        Tensor of the shape of `tokens`.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_dim`.

    Example:
    >>> import numpy as np
    >>> layer = MultiHeadCrossAttention(num_heads=2)
    >>> tuple(layer(np.zeros((1, 5, 8)), np.zeros((1, 3, 16))).shape)
    (1, 5, 8)

    References:
        - Vaswani et al. 2017, arXiv:1706.03762, section 3.2 ("encoder-decoder attention").
    """

    def build(
        self, tokens_shape: Sequence[int | None], context_shape: Sequence[int | None]
    ) -> None:
        if self.built:
            return
        hidden_dim = tokens_shape[-1]
        self._check_heads(hidden_dim)
        self.query = self._dense(hidden_dim, hidden_dim, "query")
        self.key_value = self._dense(context_shape[-1], 2 * hidden_dim, "key_value")
        self.projection = self._dense(hidden_dim, hidden_dim, "projection")
        self.built = True

    def call(self, tokens: Any, context: Any, attention_mask: Any = None) -> Any:
        key, value = ops.split(self.key_value(context), 2, axis=-1)
        return self._attend(self.query(tokens), key, value, attention_mask)

    def compute_output_shape(
        self, tokens_shape: Sequence[int | None], context_shape: Sequence[int | None], **_: Any
    ) -> tuple[int | None, ...]:
        return tuple(tokens_shape)


@keras.saving.register_keras_serializable(package="mae_keras")
class DropPath(keras.layers.Layer):
    """Leave out a residual branch for some samples, scaling it up for the others.

    Like the masks, what is dropped is a function of (seed, saved step, number of the sample), so
    that a resumed run goes on as if it had not stopped; Keras's own dropout forgets its state. The
    seed is saved as a weight too, since layers that hold this one do not keep its config.

    Args:
        drop_path_rate: float in [0, 1), probability to drop a sample's branch.
        seed: int in [0, 2**31), or `None` to draw one now (it is kept in the config).
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        inputs: tensor `(batch, ...)`, the branch's output.
        training: bool; nothing is dropped outside training.

    Returns:
        Tensor of the shape of `inputs`.

    Raises:
        ValueError: if `drop_path_rate` is not in [0, 1), or `seed` out of range.

    Example:
    >>> import numpy as np
    >>> float(DropPath(0.5)(np.ones((1, 2)))[0, 0])
    1.0

    References:
        - Huang et al. 2016, arXiv:1603.09382; scaling as timm `drop_path`.
    """

    def __init__(self, drop_path_rate: float = 0.0, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.drop_path_rate = check_number("drop_path_rate", drop_path_rate, 0, 1, below=True)
        check_int("seed", seed, 0, LARGEST_SEED, optional=True)
        self.seed = random.randrange(2**31) if seed is None else int(seed)
        self.micro_step = self.stream = None

    def build(self, input_shape: Any) -> None:
        if self.built:
            return
        if self.drop_path_rate > 0.0:
            self.micro_step = self._counter("micro_step", 0)
            self.stream = self._counter("stream", self.seed)
        self.built = True

    def _counter(self, name: str, value: int) -> keras.Variable:
        initializer = keras.initializers.Constant(value)
        return self.add_weight(
            shape=(), dtype="int32", initializer=initializer, trainable=False, name=name
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.micro_step is None:
            return inputs
        count_batch(self.micro_step)
        batch = ops.shape(inputs)[0]
        noise = counter_noise(self.stream, self.micro_step, sample_ids(batch), 1)
        kept = ops.reshape(noise >= self.drop_path_rate, (batch, *[1] * (len(inputs.shape) - 1)))
        return inputs * ops.cast(kept, inputs.dtype) / (1.0 - self.drop_path_rate)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {"drop_path_rate": self.drop_path_rate, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="mae_keras")
class TransformerBlock(keras.layers.Layer):
    """Pre-norm transformer block: attention and MLP, each on a residual path.

    `x + attention(norm(x))`, then `x + mlp(norm(x))`, with exact (erf) GELU.

    Args:
        num_heads: int, attention heads, must divide the number of features.
        mlp_dim: int, hidden units of the MLP.
        drop_path_rate: float in [0, 1), stochastic depth. Defaults to `0.0`.
        layer_norm_epsilon: float. Defaults to `1e-6`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_tokens, hidden_dim)`.
        attention_mask: bool `(batch, num_tokens)`, `True` where a token may be attended to, or
            `None`.
        training: bool, whether paths are dropped.
        num_queries: int, how many of the last tokens go on, or `None`: all. The others are
            attended to and end here, which saves a last block what nobody reads.

    Returns:
        Tensor of the shape of `tokens`, or of its last `num_queries` tokens.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_dim`.

    Example:
    >>> import numpy as np
    >>> tuple(TransformerBlock(num_heads=2, mlp_dim=16)(np.zeros((1, 5, 8))).shape)
    (1, 5, 8)

    References:
        - Dosovitskiy et al. 2020, arXiv:2010.11929, equations 2 and 3.
        - He et al. 2021, appendix A.1: Xavier uniform for all linear layers.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        drop_path_rate: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = check_int("num_heads", num_heads, 1, LARGEST_WIDTH)
        self.mlp_dim = check_int("mlp_dim", mlp_dim, 1, LARGEST_WIDTH)
        self.drop_path_rate = check_number("drop_path_rate", drop_path_rate, 0, 1, below=True)
        layer_norm_epsilon = check_epsilon("layer_norm_epsilon", layer_norm_epsilon)
        self.layer_norm_epsilon = layer_norm_epsilon
        policy = self.dtype_policy
        norm = {"epsilon": layer_norm_epsilon, "dtype": policy}
        self.attention_norm = keras.layers.LayerNormalization(**norm, name="attention_norm")
        self.attention = self._make_attention()
        self.mlp_norm = keras.layers.LayerNormalization(**norm, name="mlp_norm")
        self.mlp_in = keras.layers.Dense(self.mlp_dim, dtype=policy, name="mlp_in")
        self.attention_drop = DropPath(self.drop_path_rate, dtype=policy, name="attention_drop")
        self.mlp_drop = DropPath(self.drop_path_rate, dtype=policy, name="mlp_drop")

    def _make_attention(self) -> keras.layers.Layer:
        return MultiHeadSelfAttention(self.num_heads, dtype=self.dtype_policy, name="attention")

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        hidden_dim = input_shape[-1]
        shape = (None, None, hidden_dim)
        self.mlp_out = keras.layers.Dense(hidden_dim, dtype=self.dtype_policy, name="mlp_out")
        self._build_attention(shape)
        for layer in (self.attention_norm, self.attention_drop):
            layer.build(shape)
        for layer in (self.mlp_norm, self.mlp_in, self.mlp_drop):
            layer.build(shape)
        self.mlp_out.build((None, None, self.mlp_dim))
        self.built = True

    def _build_attention(self, shape: tuple[int | None, ...]) -> None:
        self.attention.build(shape)

    def call(
        self,
        tokens: Any,
        attention_mask: Any = None,
        training: bool = False,
        *,
        num_queries: int | None = None,
    ) -> Any:
        check_num_queries(tokens, num_queries)
        if cpu_kernels.apply_to(self):
            return cpu_kernels.transformer_block(
                self, tokens, attention_mask, training, num_queries
            )
        attended = self.attention(
            self.attention_norm(tokens), attention_mask, num_queries=num_queries
        )
        tokens = last_tokens(tokens, num_queries)
        tokens = tokens + self.attention_drop(attended, training=training)
        return tokens + self.mlp_drop(self.mlp(self.mlp_norm(tokens)), training=training)

    def mlp(self, tokens: Any) -> Any:
        """Two dense layers with an exact (erf) GELU between them."""
        return self.mlp_out(ops.gelu(self.mlp_in(tokens), approximate=False))

    def compute_output_shape(
        self, tokens_shape: Sequence[int | None], **_: Any
    ) -> tuple[int | None, ...]:
        return tuple(tokens_shape)

    def compute_output_spec(
        self, tokens: Any, *_: Any, num_queries: int | None = None, **__: Any
    ) -> keras.KerasTensor:
        return query_output_spec(tokens, num_queries, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        own = {
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "drop_path_rate": self.drop_path_rate,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="mae_keras")
class CrossAttentionBlock(TransformerBlock):
    """Pre-norm block: attention to a context and MLP, each on a residual path.

    `x + attention(norm(x), context)`, then `x + mlp(norm(x))`, with exact (erf) GELU.

    Args:
        num_heads: int, attention heads, must divide the number of features.
        mlp_dim: int, hidden units of the MLP.
        drop_path_rate: float in [0, 1), stochastic depth. Defaults to `0.0`.
        layer_norm_epsilon: float. Defaults to `1e-6`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_tokens, hidden_dim)`.
        context: tensor `(batch, num_context, context_dim)`.
        attention_mask: bool `(batch, num_context)`, `True` where the context may be attended to,
            or `None`.
        training: bool, whether paths are dropped.

    Returns:
        Tensor of the shape of `tokens`.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_dim`.

    Example:
    >>> import numpy as np
    >>> block = CrossAttentionBlock(num_heads=2, mlp_dim=16)
    >>> tuple(block(np.zeros((1, 5, 8)), np.zeros((1, 3, 8))).shape)
    (1, 5, 8)

    References:
        - Fu et al. 2024, "Rethinking Patch Dependence for Masked Autoencoders", arXiv:2401.14391.
    """

    def _make_attention(self) -> keras.layers.Layer:
        return MultiHeadCrossAttention(self.num_heads, dtype=self.dtype_policy, name="attention")

    def build(
        self, tokens_shape: Sequence[int | None], context_shape: Sequence[int | None]
    ) -> None:
        self._context_dim = context_shape[-1]
        super().build(tokens_shape)

    def _build_attention(self, shape: tuple[int | None, ...]) -> None:
        self.attention.build(shape, (None, None, self._context_dim))

    def call(
        self, tokens: Any, context: Any, attention_mask: Any = None, training: bool = False
    ) -> Any:
        if cpu_kernels.apply_to(self):
            return cpu_kernels.cross_attention_block(
                self, tokens, context, attention_mask, training
            )
        attended = self.attention(self.attention_norm(tokens), context, attention_mask)
        tokens = tokens + self.attention_drop(attended, training=training)
        return tokens + self.mlp_drop(self.mlp(self.mlp_norm(tokens)), training=training)

    def compute_output_shape(
        self, tokens_shape: Sequence[int | None], context_shape: Sequence[int | None], **_: Any
    ) -> tuple[int | None, ...]:
        return tuple(tokens_shape)
