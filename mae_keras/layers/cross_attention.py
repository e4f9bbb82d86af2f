"""Multi-head attention of some tokens to others."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.layers.attention import attend


@keras.saving.register_keras_serializable(package="mae_keras")
class MultiHeadCrossAttention(keras.layers.Layer):
    """Multi-head attention from tokens to a context, with one projection for keys and values.

    Tokens do not see each other: what becomes of one does not depend on which others there are.

    Args:
        num_heads: int, must divide the number of features.
        use_bias: bool, whether the projections have biases. Defaults to `True`.
        kernel_initializer: initialiser of the kernels. Defaults to `"glorot_uniform"`.
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

    def __init__(
        self,
        num_heads: int,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not hasattr(num_heads, "__index__") or num_heads < 1:
            raise ValueError(
                f"`num_heads` must be a positive int. Received: num_heads={num_heads!r}"
            )
        self.num_heads = int(num_heads)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(
        self, tokens_shape: Sequence[int | None], context_shape: Sequence[int | None]
    ) -> None:
        if self.built:
            return
        hidden_dim, context_dim = tokens_shape[-1], context_shape[-1]
        if hidden_dim % self.num_heads:
            raise ValueError(
                f"`num_heads` must divide `hidden_dim`. Received: num_heads={self.num_heads}, "
                f"hidden_dim={hidden_dim}"
            )
        self.query = self._dense(hidden_dim, "query")
        self.key_value = self._dense(2 * hidden_dim, "key_value")
        self.projection = self._dense(hidden_dim, "projection")
        self.query.build((None, None, hidden_dim))
        self.key_value.build((None, None, context_dim))
        self.projection.build((None, None, hidden_dim))
        self.built = True

    def _dense(self, units: int, name: str) -> keras.layers.Dense:
        # A seeded initialiser shared by two layers would give them equal weights.
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, tokens: Any, context: Any, attention_mask: Any = None) -> Any:
        key, value = ops.split(self.key_value(context), 2, axis=-1)
        parts = (self._by_heads(part) for part in (self.query(tokens), key, value))
        attended = attend(*parts, attention_mask)
        return self.projection(ops.reshape(attended, (-1, *tokens.shape[1:])))

    def _by_heads(self, part: Any) -> Any:
        """`(batch, tokens, hidden_dim)` to `(batch, tokens, heads, head_dim)`."""
        count, hidden_dim = part.shape[1:]
        return ops.reshape(part, (-1, count, self.num_heads, hidden_dim // self.num_heads))

    def compute_output_shape(
        self, tokens_shape: Sequence[int | None], context_shape: Sequence[int | None], **_: Any
    ) -> tuple[int | None, ...]:
        return tuple(tokens_shape)

    def get_config(self) -> dict[str, Any]:
        own = {
            "num_heads": self.num_heads,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
        return {**super().get_config(), **own}
