"""Multi-head attention of some tokens to others."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.layers.attention import MultiHeadAttention
from mae_keras.layers.compiled_attention import by_heads
from mae_keras.layers.compiled_dense import in_parts, projected


@keras.saving.register_keras_serializable(package="mae_keras")
class MultiHeadCrossAttention(MultiHeadAttention):
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
        residual: tensor of the shape of `tokens`, added to what is returned, or `None`.

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

    def call(
        self, tokens: Any, context: Any, attention_mask: Any = None, residual: Any = None
    ) -> Any:
        if attention_mask is None and in_parts(self.query) and in_parts(self.key_value):
            (query,) = by_heads(self.query, tokens, 1, self.num_heads, scaled=True)
            key, value = by_heads(self.key_value, context, 2, self.num_heads, scaled=False)
            return self._attended_in_pieces(query, key, value, residual)
        key, value = ops.split(projected(self.key_value, context), 2, axis=-1)
        query = projected(self.query, tokens)
        return self._attended(query, key, value, attention_mask, residual)

    def compute_output_shape(
        self, tokens_shape: Sequence[int | None], context_shape: Sequence[int | None], **_: Any
    ) -> tuple[int | None, ...]:
        return tuple(tokens_shape)
