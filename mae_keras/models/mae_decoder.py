"""The light transformer that fills in the hidden tokens."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import check_epsilon
from mae_keras.layers import PositionEmbedding, TransformerBlock
from mae_keras.layers.attention import last_tokens
from mae_keras.layers.compiled_dense import projected
from mae_keras.layers.compiled_norm import normed
from mae_keras.models.vit_encoder import check_sizes, join_masks
from mae_keras.ops import gather_patches, restore_indices


@keras.saving.register_keras_serializable(package="mae_keras")
class MAEDecoder(keras.Model):
    """Decoder of a masked autoencoder: encoded tokens in, one token for every patch out.

    Hidden positions start from one learned mask token; every position gets its sin-cos vector.
    The head that turns tokens into pixels belongs to the autoencoder.

    Args:
        hidden_dim: int, features per token.
        num_layers: int, transformer blocks.
        num_heads: int, attention heads, must divide `hidden_dim`.
        mlp_dim: int, hidden units of each block's MLP, or `None`: `4 * hidden_dim`.
        layer_norm_epsilon: float. Defaults to `1e-6`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        tokens: tensor `(batch, num_prefix_tokens + num_tokens, encoder_dim)`.
        patch_mask: bool `(batch, num_patches)`, `True` = hidden: starts from the mask token.
            `None`, with `indices` only: none but those.
        restore: int `(batch, num_patches)`, for every patch the place of its token among
            `tokens` (`ops.restore_indices`), or `None`: there is a token for every patch.
        indices: int `(batch, num_decoded)`, the hidden patches to predict, all of them, when
            nobody asks for the others, or `None`.
        token_indices: int `(batch, num_tokens)`, with `indices`: the patches that `tokens` stand
            for.
        num_prefix_tokens: int, tokens before those of the patches (a class token).
        grid: ints, patches per axis; `None` means one axis.
        training: bool.

    Returns:
        Tensor `(batch, num_patches, hidden_dim)`, or `(batch, num_decoded, hidden_dim)`.

    Raises:
        ValueError: if heads do not divide the features, nothing says what is to be predicted, or
            `indices` come without `token_indices` or `grid` or are not all hidden patches.

    Example:
    >>> import numpy as np
    >>> decoder = MAEDecoder(hidden_dim=8, num_layers=1, num_heads=2, mlp_dim=16)
    >>> tokens, patch_mask = np.zeros((1, 4, 16)), np.array([[True, False, True, True]])
    >>> tuple(decoder(tokens, patch_mask, grid=(2, 2)).shape)
    (1, 4, 8)

    References:
        - He et al. 2021, arXiv:2111.06377, section 3 ("MAE decoder").
        - facebookresearch/mae `forward_decoder`; there an image has one square grid.
    """

    # Whether it can predict some patches and leave the others out.
    decodes_a_share = False
    _block_class: type[TransformerBlock] = TransformerBlock

    def __init__(
        self,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        mlp_dim: int | None = None,
        layer_norm_epsilon: float = 1e-6,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        hidden_dim, num_layers, num_heads, self.mlp_dim = check_sizes(
            hidden_dim, num_layers, num_heads, mlp_dim
        )
        self.hidden_dim, self.num_layers, self.num_heads = hidden_dim, num_layers, num_heads
        layer_norm_epsilon = check_epsilon("layer_norm_epsilon", layer_norm_epsilon)
        self.layer_norm_epsilon = layer_norm_epsilon
        policy = self.dtype_policy
        self.embedding = keras.layers.Dense(hidden_dim, dtype=policy, name="embedding")
        self.positions = PositionEmbedding((1,), dtype=policy, name="positions")
        self.blocks = [
            self._block_class(
                num_heads,
                self.mlp_dim,
                layer_norm_epsilon=layer_norm_epsilon,
                dtype=policy,
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=policy, name="norm"
        )

    def build(self, tokens_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        self.embedding.build(tuple(tokens_shape))
        tokens = (None, tokens_shape[1], self.hidden_dim)
        for layer in (self.positions, self.norm):
            layer.build(tokens)
        for block in self.blocks:
            self._build_block(block, tokens)
        self.mask_token = self.add_weight(
            shape=(1, 1, self.hidden_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="mask_token",
        )
        self.built = True

    def _build_block(self, block: TransformerBlock, tokens_shape: tuple[int | None, ...]) -> None:
        block.build(tokens_shape)

    def call(
        self,
        tokens: Any,
        patch_mask: Any = None,
        restore: Any = None,
        indices: Any = None,
        token_indices: Any = None,
        num_prefix_tokens: int = 0,
        grid: Sequence[int] | None = None,
        training: bool = False,
    ) -> Any:
        tokens = projected(self.embedding, tokens)
        prefix, tokens = tokens[:, :num_prefix_tokens], tokens[:, num_prefix_tokens:]
        if indices is None:
            if patch_mask is None:
                raise ValueError(
                    "`patch_mask` must be given without `indices`: nothing else says what is to "
                    "be predicted. Received: patch_mask=None"
                )
            tokens = self._in_place(tokens, patch_mask, restore, grid)
            num_queries = patch_mask.shape[1]
        else:
            tokens = self._hidden_last(tokens, patch_mask, indices, token_indices, grid)
            num_queries = indices.shape[1]
        if num_prefix_tokens:  # its position is zero, as in the reference
            tokens = ops.concatenate([prefix, tokens], axis=1)
        for number, block in enumerate(self.blocks, 1):
            last = number == self.num_layers
            tokens = block(tokens, num_queries=num_queries if last else None, training=training)
        return normed(self.norm, tokens if self.blocks else last_tokens(tokens, num_queries))

    def _in_place(self, tokens: Any, patch_mask: Any, restore: Any, grid: Any) -> Any:
        """A token for every patch, in raster order."""
        if restore is not None:  # (batch, num_visible, dim) -> (batch, num_patches, dim)
            tokens = gather_patches(tokens, restore)
        tokens = ops.where(patch_mask[..., None], self._mask_token(tokens.dtype), tokens)
        return self.positions(tokens, grid=grid or (patch_mask.shape[1],))

    def _hidden_last(
        self, tokens: Any, patch_mask: Any, indices: Any, token_indices: Any, grid: Any
    ) -> Any:
        """A token for every patch, first those that came and then those to predict.

        Blocks do not see an order, so that nothing has to be put back in its place.
        """
        if token_indices is None or grid is None:
            raise ValueError(
                "`token_indices` and `grid` must be given with `indices`: nothing else says where "
                f"the tokens belong. Received: token_indices={token_indices}, grid={grid}"
            )
        given, asked, patches = token_indices.shape[1], indices.shape[1], math.prod(grid)
        if given + asked != patches:
            raise ValueError(
                "`indices` must be all patches that have no token, since mask tokens look at each "
                f"other: {given} tokens of {patches} patches leave {patches - given}. "
                f"Received: indices.shape={tuple(indices.shape)}"
            )
        if patch_mask is not None:
            starting = gather_patches(patch_mask[..., None], token_indices)
            tokens = ops.where(starting, self._mask_token(tokens.dtype), tokens)
        tokens = self.positions(tokens, indices=token_indices, grid=grid)
        return ops.concatenate([tokens, self._mask_tokens(tokens, indices, grid)], axis=1)

    def _mask_token(self, dtype: str) -> Any:
        return ops.cast(ops.convert_to_tensor(self.mask_token), dtype)

    def _mask_tokens(self, tokens: Any, indices: Any, grid: Sequence[int]) -> Any:
        """Mask tokens `(batch, num_decoded, hidden_dim)` that know their places."""
        count = math.prod(grid) if indices is None else indices.shape[1]
        shape = (ops.shape(tokens)[0], count, self.hidden_dim)
        mask_tokens = ops.broadcast_to(self._mask_token(tokens.dtype), shape)
        return self.positions(mask_tokens, indices=indices, grid=grid)

    def decode(
        self,
        tokens: Any,
        patch_mask: Any,
        missing: Any = None,
        visible_indices: Any = None,
        decoded_indices: Any = None,
        **options: Any,
    ) -> Any:
        """What an autoencoder calls, whichever decoder it has.

        Args:
            tokens: as in `call`.
            patch_mask: bool `(batch, num_patches)`, `True` = hidden.
            missing: bool `(batch, num_patches)`, patches without data, or `None`.
            visible_indices: int `(batch, num_tokens)`, the patches that `tokens` stand for, or
                `None`: there is a token for every patch.
            decoded_indices: int `(batch, num_decoded)`, the patches to predict, or `None`: all.
                Without a share (`decodes_a_share`): the hidden ones.
            **options: further arguments of `call`.

        Returns:
            Tensor `(batch, num_decoded, hidden_dim)`.
        """
        if decoded_indices is None:
            restore = None if visible_indices is None else restore_indices(patch_mask)
            return self(tokens, join_masks(patch_mask, missing), restore=restore, **options)
        places = {"indices": decoded_indices, "token_indices": visible_indices}
        return self(tokens, missing, **places, **options)

    def compute_output_shape(
        self,
        tokens_shape: Sequence[int | None],
        patch_mask_shape: Sequence[int | None] | None = None,
        restore_shape: Sequence[int | None] | None = None,
        indices_shape: Sequence[int | None] | None = None,
        token_indices_shape: Sequence[int | None] | None = None,
    ) -> tuple[int | None, ...]:
        # Keras gives the first alone when it prints a summary.
        decoded = patch_mask_shape if indices_shape is None else indices_shape
        return tokens_shape[0], None if decoded is None else decoded[1], self.hidden_dim

    def get_config(self) -> dict[str, Any]:
        own = {
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }
        return {**super().get_config(), **own}
