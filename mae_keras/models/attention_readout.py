"""How much an encoder attends to each patch, read from its own weights."""

from typing import Any

import numpy as np
from keras import ops

from mae_keras.arguments import check_int
from mae_keras.layers.attention import MultiHeadSelfAttention
from mae_keras.models.input_checks import (
    as_one_array,
    blind_samples,
    check_values,
    warn_of_blind,
)
from mae_keras.models.vit_encoder import ViTEncoder
from mae_keras.ops import patch_grid


def attention_weights(
    attention: MultiHeadSelfAttention, tokens: Any, attention_mask: Any = None
) -> Any:
    """The softmax weights with which a layer mixes the values of its tokens.

    The layer itself never gives them: fused kernels do not compute them at all.

    Args:
        attention: built `MultiHeadSelfAttention`.
        tokens: tensor `(batch, num_tokens, hidden_dim)`, the layer's input.
        attention_mask: bool `(batch, num_tokens)`, `True` where a token may be attended to, or
            `None`.

    Returns:
        float32 tensor `(batch, num_heads, num_queries, num_keys)`; sums to 1 over the keys.

    Example:
    >>> layer = MultiHeadSelfAttention(num_heads=2)
    >>> tokens = np.zeros((1, 5, 8), "float32")
    >>> _ = layer(tokens)
    >>> weights = attention_weights(layer, tokens)
    >>> tuple(weights.shape), round(float(weights[0, 0, 0, 0]), 3)
    ((1, 2, 5, 5), 0.2)
    """
    num_tokens, hidden_dim = tokens.shape[1], tokens.shape[2]
    head_dim = hidden_dim // attention.num_heads
    # Queries, keys and values stand in this order: see `MultiHeadSelfAttention.call`.
    queries_keys = ops.cast(attention.qkv(tokens)[..., : 2 * hidden_dim], "float32")
    shape = (-1, num_tokens, 2, attention.num_heads, head_dim)
    query, key = ops.unstack(ops.reshape(queries_keys, shape), 2, axis=2)
    query = ops.transpose(query, (0, 2, 1, 3))  # (batch, heads, tokens, head_dim)
    key = ops.transpose(key, (0, 2, 3, 1))  # (batch, heads, head_dim, tokens)
    scores = ops.matmul(query, key) * head_dim**-0.5
    if attention_mask is not None:
        scores = ops.where(ops.cast(attention_mask, "bool")[:, None, None, :], scores, -3e4)
    # One token attends to itself; Keras warns of a softmax over one value.
    return ops.ones_like(scores) if num_tokens == 1 else ops.softmax(scores, axis=-1)


def attention_maps(model: Any, images: Any, block: int = -1, batch_size: int = 32) -> np.ndarray:
    """How much the class token of a block attends to each patch, nothing hidden.

    Without a class token: the mean over the patches that look. Weights are as the block uses
    them, not scaled to sum to 1: what is missing from 1 is the class token's attention to itself.
    Patches with missing pixels get 0 and do not count among those that look.

    Args:
        model: `ViTEncoder`, or a model that has one as its `encoder`.
        images: array `(batch, *spatial, channels)` of pixels as stored; NaN means missing. Other
            sizes than the encoder's are accepted as long as its patches divide them.
        block: int, which of the encoder's blocks, from 0; negative ones count from the last.
        batch_size: int, images at a time.

    Returns:
        float32 NumPy array `(batch, num_heads, num_patches)`, patches in raster order;
        `mae_keras.figures.attention_figure` draws it.

    Raises:
        TypeError: if the model has no such encoder, or images are not an array.
        ValueError: if the block does not exist or the images do not fit the encoder.

    Example:
    >>> encoder = ViTEncoder((8, 8, 1), 2, hidden_dim=16, num_layers=2, num_heads=4, mlp_dim=32)
    >>> attention_maps(encoder, np.zeros((3, 8, 8, 1), "uint8")).shape
    (3, 4, 16)

    References:
        - Caron et al. 2021, arXiv:2104.14294, figure 1: class token of the last block.
    """
    encoder = _encoder_of(model)
    images = _checked(images, encoder)
    if not hasattr(block, "__index__") or not -encoder.num_layers <= block < encoder.num_layers:
        raise ValueError(
            f"`block` must be one of the encoder's {encoder.num_layers} blocks, counted from 0 or, "
            f"below 0, from the last. Received: block={block!r}"
        )
    batch_size = check_int("batch_size", batch_size, 1)
    starts = range(0, len(images), batch_size)
    batches = [_batch_maps(encoder, images[start : start + batch_size], block) for start in starts]
    return np.concatenate(batches)


def _batch_maps(encoder: ViTEncoder, images: np.ndarray, block: int) -> np.ndarray:
    grid = patch_grid(images.shape[1:], encoder.patch_size)
    patches, missing = encoder.to_patches(ops.convert_to_tensor(images))
    tokens, attended = encoder._embed(patches, missing, grid=grid)
    chosen = encoder.blocks[block]
    for earlier in encoder.blocks[: encoder.blocks.index(chosen)]:
        tokens = earlier(tokens, attention_mask=attended)
    weights = attention_weights(chosen.attention, chosen.attention_norm(tokens), attended)
    if encoder.use_class_token:
        # (batch, heads, queries, keys) -> (batch, heads, patches)
        return ops.convert_to_numpy(weights[:, :, 0, 1:])
    if attended is None:
        return ops.convert_to_numpy(ops.mean(weights, axis=2))
    looking = ops.cast(attended, "float32")[:, None, :, None]
    number = ops.maximum(ops.sum(looking, axis=2), 1.0)
    return ops.convert_to_numpy(ops.sum(weights * looking, axis=2) / number)


def _encoder_of(model: Any) -> ViTEncoder:
    encoder = model if isinstance(model, ViTEncoder) else getattr(model, "encoder", None)
    if not isinstance(encoder, ViTEncoder):
        raise TypeError(
            f"`model` must be a ViTEncoder or have one as its `encoder`. "
            f"Received: {type(model).__name__}"
        )
    return encoder


def _checked(images: Any, encoder: ViTEncoder) -> np.ndarray:
    images = as_one_array(images)
    if not hasattr(images, "shape"):
        raise TypeError(
            f"`images` must be an array. Received: {type(images).__name__}; take a batch of it"
        )
    images = ops.convert_to_numpy(images)
    *_, channels = encoder.image_shape
    fits = images.ndim == len(encoder.image_shape) + 1 and images.shape[-1] == channels
    if not fits or not len(images):
        raise ValueError(
            f"`images` must have shape {('batch', *encoder.image_shape)}, channels last, or other "
            f"sizes with as many axes and channels. Received: images.shape={images.shape}"
        )
    check_values(images, encoder.normalization.value_range)
    warn_of_blind(
        blind_samples(images, patch_grid(images.shape[1:], encoder.patch_size)), len(images)
    )
    return images
