"""A decoder that fills in only the patches it is asked for."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.layers import CrossAttentionBlock, TransformerBlock
from mae_keras.layers.compiled_dense import projected
from mae_keras.layers.compiled_norm import normed
from mae_keras.models.mae_decoder import MAEDecoder
from mae_keras.models.vit_encoder import join_masks
from mae_keras.ops import gather_patches


@keras.saving.register_keras_serializable(package="mae_keras")
class CrossAttentionDecoder(MAEDecoder):
    """Decoder whose mask tokens look at the encoded tokens and not at each other.

    Each patch is predicted from the encoded tokens and its own position alone, so that predicting
    a few gives what predicting all gives for them, at the cost of a few.

    Args:
        hidden_dim: int, features per token.
        num_layers: int, blocks.
        num_heads: int, attention heads, must divide `hidden_dim`.
        mlp_dim: int, hidden units of each block's MLP, or `None`: `4 * hidden_dim`.
        layer_norm_epsilon: float. Defaults to `1e-6`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        tokens: tensor `(batch, num_prefix_tokens + num_tokens, encoder_dim)`.
        patch_mask: bool `(batch, num_patches)`, `True` = hidden: not looked at; `None` when all
            `tokens` may be looked at.
        indices: int `(batch, num_decoded)`, the patches to predict, or `None`: all.
        token_indices: int `(batch, num_tokens)`, the patches that `tokens` stand for, or `None`:
            there is a token for every patch.
        num_prefix_tokens: int, tokens before those of the patches (a class token).
        grid: ints, patches per axis; `None` means one axis.
        training: bool.

    Returns:
        Tensor `(batch, num_decoded, hidden_dim)`.

    Raises:
        ValueError: if heads do not divide the features, or nothing says how many patches there
            are.

    Example:
    >>> import numpy as np
    >>> decoder = CrossAttentionDecoder(hidden_dim=8, num_layers=1, num_heads=2, mlp_dim=16)
    >>> tokens, patch_mask = np.zeros((1, 4, 16)), np.array([[True, False, True, True]])
    >>> tuple(decoder(tokens, patch_mask, indices=np.array([[0, 3]]), grid=(2, 2)).shape)
    (1, 2, 8)

    References:
        - Fu et al. 2024, "Rethinking Patch Dependence for Masked Autoencoders", arXiv:2401.14391
          (CrossMAE). Here the encoded tokens are brought to the decoder's width once, not in every
          block, get their positions again, as in MAE's decoder, and are the encoder's last
          block's for all blocks.
    """

    decodes_a_share = True
    _block_class = CrossAttentionBlock

    def _build_block(self, block: TransformerBlock, tokens_shape: tuple[int | None, ...]) -> None:
        block.build(tokens_shape, tokens_shape)

    def call(
        self,
        tokens: Any,
        patch_mask: Any = None,
        indices: Any = None,
        token_indices: Any = None,
        num_prefix_tokens: int = 0,
        grid: Sequence[int] | None = None,
        training: bool = False,
    ) -> Any:
        grid = grid or (_num_patches(tokens, patch_mask, token_indices, num_prefix_tokens),)
        tokens = projected(self.embedding, tokens)
        prefix, tokens = tokens[:, :num_prefix_tokens], tokens[:, num_prefix_tokens:]
        context = self.positions(tokens, indices=token_indices, grid=grid)
        if num_prefix_tokens:
            context = ops.concatenate([prefix, context], axis=1)
        attended = self._attended(patch_mask, token_indices, num_prefix_tokens)
        queries = self._mask_tokens(tokens, indices, grid)
        for block in self.blocks:
            queries = block(queries, context, attention_mask=attended, training=training)
        return normed(self.norm, queries)

    def decode(
        self,
        tokens: Any,
        patch_mask: Any,
        missing: Any = None,
        visible_indices: Any = None,
        decoded_indices: Any = None,
        **options: Any,
    ) -> Any:
        """As `MAEDecoder.decode`."""
        # Visible patches that are gathered may all be looked at, but for missing ones.
        hidden = join_masks(patch_mask, missing) if visible_indices is None else missing
        places = {"indices": decoded_indices, "token_indices": visible_indices}
        return self(tokens, hidden, **places, **options)

    def compute_output_shape(
        self,
        tokens_shape: Sequence[int | None],
        patch_mask_shape: Sequence[int | None] | None = None,
        indices_shape: Sequence[int | None] | None = None,
        token_indices_shape: Sequence[int | None] | None = None,
    ) -> tuple[int | None, ...]:
        decoded = patch_mask_shape if indices_shape is None else indices_shape
        return tokens_shape[0], None if decoded is None else decoded[1], self.hidden_dim

    def _attended(self, patch_mask: Any, token_indices: Any, num_prefix_tokens: int) -> Any:
        """Which of the context may be looked at, `None`: all."""
        if patch_mask is None:
            return None
        if token_indices is not None:
            patch_mask = gather_patches(patch_mask[..., None], token_indices)[..., 0]
        prefix = ops.ones((ops.shape(patch_mask)[0], num_prefix_tokens), dtype="bool")
        seen = ops.logical_not(ops.cast(patch_mask, "bool"))
        return ops.concatenate([prefix, seen], axis=1)


def _num_patches(tokens: Any, patch_mask: Any, token_indices: Any, num_prefix_tokens: int) -> int:
    if patch_mask is not None:
        return patch_mask.shape[1]
    if token_indices is not None:
        raise ValueError(
            "`grid` must be given with `token_indices` and no `patch_mask`: nothing else says how "
            "many patches there are. Received: grid=None"
        )
    return tokens.shape[1] - num_prefix_tokens
