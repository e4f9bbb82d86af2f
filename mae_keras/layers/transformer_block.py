"""One pre-norm transformer block."""

from collections.abc import Sequence
from typing import Any

import keras

from mae_keras.arguments import LARGEST_WIDTH, check_epsilon, check_int, check_number
from mae_keras.layers.attention import (
    MultiHeadSelfAttention,
    asked_tokens,
    check_num_queries,
    last_tokens,
)
from mae_keras.layers.compiled_dense import activated, added, projected
from mae_keras.layers.compiled_norm import parted
from mae_keras.layers.drop_path import DropPath


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
        tokens, branch = parted(self.attention_norm, tokens)
        if num_queries is not None:
            tokens = last_tokens(tokens, num_queries)
        asked = {"attention_mask": attention_mask, "num_queries": num_queries}
        return self._with_mlp(self._with_attention(tokens, training, branch, **asked), training)

    def _with_attention(self, tokens: Any, training: bool, *seen: Any, **asked: Any) -> Any:
        """Tokens and attention to what is seen, on a residual path."""
        if not self.drop_path_rate:
            return self.attention(*seen, residual=tokens, **asked)
        branch = self.attention(*seen, **asked)
        return tokens + self.attention_drop(branch, training=training)

    def _with_mlp(self, tokens: Any, training: bool) -> Any:
        tokens, branch = parted(self.mlp_norm, tokens)
        branch = activated(self.mlp_in, branch)
        if not self.drop_path_rate:
            return added(tokens, self.mlp_out, branch)
        return tokens + self.mlp_drop(projected(self.mlp_out, branch), training=training)

    def compute_output_shape(
        self, tokens_shape: Sequence[int | None], **_: Any
    ) -> tuple[int | None, ...]:
        return tuple(tokens_shape)

    def compute_output_spec(
        self, tokens: Any, *_: Any, num_queries: int | None = None, **__: Any
    ) -> keras.KerasTensor:
        return asked_tokens(tokens, num_queries, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        own = {
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "drop_path_rate": self.drop_path_rate,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }
        return {**super().get_config(), **own}
