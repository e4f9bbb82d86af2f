"""The light transformers that fill in the hidden tokens.

`MAEDecoder` attends among all tokens, as the paper does; `CrossAttentionDecoder` computes only the
patches that it is asked for.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import check_choice, check_epsilon
from mae_keras.layers import CrossAttentionBlock, PositionEmbedding, TransformerBlock
from mae_keras.layers.transformer import last_tokens
from mae_keras.models.encoder import check_sizes, join_masks
from mae_keras.ops import counter_noise, gather_patches, restore_indices


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
        tokens = self.embedding(tokens)
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
        return self.norm(tokens if self.blocks else last_tokens(tokens, num_queries))

    def _in_place(self, tokens: Any, patch_mask: Any, restore: Any, grid: Any) -> Any:
        """A token for every patch, in raster order."""
        if restore is not None:  # (batch, num_visible, dim) -> (batch, num_patches, dim)
            tokens = gather_patches(tokens, restore)
        tokens = ops.where(patch_mask[..., None], self._mask_token(tokens.dtype), tokens)
        return self.positions(tokens, grid=grid or (patch_mask.shape[1],))

    def _hidden_last(
        self, tokens: Any, patch_mask: Any, indices: Any, token_indices: Any, grid: Any
    ) -> Any:
        """A token for every patch: first the encoder's, then mask tokens of those to predict."""
        # Attention has no order of its own, so the tokens need not return to their places.
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
        tokens = self.embedding(tokens)
        prefix, tokens = tokens[:, :num_prefix_tokens], tokens[:, num_prefix_tokens:]
        context = self.positions(tokens, indices=token_indices, grid=grid)
        if num_prefix_tokens:
            context = ops.concatenate([prefix, context], axis=1)
        attended = self._attended(patch_mask, token_indices, num_prefix_tokens)
        queries = self._mask_tokens(tokens, indices, grid)
        for block in self.blocks:
            queries = block(queries, context, attention_mask=attended, training=training)
        return self.norm(queries)

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


# Keeps the draw apart from that of the masks, which has the same seed.
_STREAM = 0x2545F491


def num_decoded(num_counted: int, decode_ratio: float) -> int:
    """How many of the patches in the loss are decoded.

    Args:
        num_counted: int, patches in the loss.
        decode_ratio: float in (0, 1].

    Returns:
        int, at least 1.

    Example:
    >>> num_decoded(48, 0.25), num_decoded(3, 0.1)
    (12, 1)
    """
    return max(1, math.floor(num_counted * decode_ratio + 0.5))


def draw_decoded(counted: Any, count: int, seed: int, step: Any, samples: Any) -> Any:
    """Draw patches to decode among those that count, as many in every image.

    A function of (seed, step, number of the sample) alone, as masks are.

    Args:
        counted: bool `(batch, num_patches)`, patches in the loss.
        count: int, patches to draw; where fewer count, others are drawn too.
        seed: int, that of the masks.
        step: int scalar.
        samples: int tensor `(batch,)`, position of each sample in the global batch.

    Returns:
        int32 tensor `(batch, count)`, in the order of the draw.

    Example:
    >>> import keras, numpy as np
    >>> counted = np.array([[True, False, True, False]])
    >>> drawn = draw_decoded(counted, 2, 0, 1, np.arange(1))
    >>> sorted(keras.ops.convert_to_numpy(drawn)[0].tolist())
    [0, 2]
    """
    noise = counter_noise(seed ^ _STREAM, step, samples, counted.shape[-1])
    order = ops.argsort(ops.where(counted, noise, noise + 1.0), axis=-1)
    return ops.cast(order[:, :count], "int32")


_DECODERS = {"self": MAEDecoder, "cross": CrossAttentionDecoder}


def find_decoder(attention: str) -> type[MAEDecoder]:
    """The class of a kind of decoder."""
    return _DECODERS[check_choice("decoder_attention", attention, _DECODERS)]


def build_decoder(cls: type[MAEDecoder], arguments: dict[str, Any]) -> MAEDecoder:
    """A decoder whose errors name the arguments as `from_preset` calls them."""
    try:
        return cls(**arguments, name="decoder")
    except ValueError as error:
        names = "|".join(set(arguments) - {"dtype"})
        message = re.sub(rf"(?<!\w)({names})(?!\w)", r"decoder_\1", str(error))
        raise ValueError(message) from None
