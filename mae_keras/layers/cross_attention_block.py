"""One pre-norm transformer block whose tokens look at a context and not at each other."""

from collections.abc import Sequence
from typing import Any

import keras

from mae_keras.layers.compiled_norm import parted
from mae_keras.layers.cross_attention import MultiHeadCrossAttention
from mae_keras.layers.transformer_block import TransformerBlock


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
        tokens, asking = parted(self.attention_norm, tokens)
        asked = {"attention_mask": attention_mask}
        tokens = self._with_attention(tokens, training, asking, context, **asked)
        return self._with_mlp(tokens, training)

    def compute_output_shape(
        self, tokens_shape: Sequence[int | None], context_shape: Sequence[int | None], **_: Any
    ) -> tuple[int | None, ...]:
        return tuple(tokens_shape)
