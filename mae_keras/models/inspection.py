"""Looking inside a model: attention to each patch, and operations counted from its sizes."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from mae_keras.arguments import check_int
from mae_keras.layers.transformer import MultiHeadSelfAttention
from mae_keras.models.checks import as_one_array, blind_samples, check_values, warn_of_blind
from mae_keras.models.encoder import ViTEncoder

if TYPE_CHECKING:
    from mae_keras.models.decoders import MAEDecoder
    from mae_keras.models.encoder import ViTEncoder
    from mae_keras.models.masked_autoencoder import MaskedAutoencoder


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
    encoder = encoder_of(model)
    images = read_inspected_images(images, encoder)
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
    grid = encoder.sample_inputs.grid_of(images.shape[1:])
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


def encoder_of(model: Any) -> ViTEncoder:
    """The encoder of a model, or of one that is an encoder; nothing is loaded."""
    encoder = model if isinstance(model, ViTEncoder) else getattr(model, "encoder", None)
    if not isinstance(encoder, ViTEncoder):
        raise TypeError(
            f"`model` must be a ViTEncoder or have one as its `encoder`. "
            f"Received: {type(model).__name__}"
        )
    return encoder


def read_inspected_images(images: Any, encoder: ViTEncoder) -> np.ndarray:
    """Images of any size that the encoder's patches divide, as a NumPy array, checked."""
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
        blind_samples(images, encoder.sample_inputs.grid_of(images.shape[1:])), len(images)
    )
    return images


@dataclasses.dataclass(frozen=True)
class FlopCount:
    """Floating-point operations of matrix products, two per multiply-add, by where they happen.

    Norms, activations, softmax, masking, biases and the optimizer are not counted: they cost
    memory traffic rather than arithmetic.

    Attributes:
        patch_projection: int, patches to tokens.
        encoder: int, dense layers of the encoder's blocks.
        encoder_attention: int, scores and weighted values of the encoder's blocks.
        embedding: int, encoded tokens to the decoder's width.
        decoder: int, dense layers of the decoder's blocks.
        decoder_attention: int, scores and weighted values of the decoder's blocks.
        head: int, tokens to pixels.
    """

    patch_projection: int
    encoder: int
    encoder_attention: int
    embedding: int = 0
    decoder: int = 0
    decoder_attention: int = 0
    head: int = 0

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(dataclasses.astuple(self))


def forward_flops(
    model: "MaskedAutoencoder | ViTEncoder",
    batch_size: int = 1,
    num_encoded: int | None = None,
    num_decoded: int | None = None,
) -> FlopCount:
    """Count one forward pass: of a masked autoencoder in training, or of an encoder.

    Args:
        model: `MaskedAutoencoder` or `ViTEncoder`.
        batch_size: int, images.
        num_encoded: int, patches that the encoder sees, or `None`: those that are visible in
            training; for a `ViTEncoder`, all. All of them is the cost of an encoder that is given
            mask tokens; all of them encoded and decoded that of `reconstruct`.
        num_decoded: int, patches that are predicted, or `None`: those that are in training. The
            reference predicts all of them in training too, and the class token, which nobody
            reads and is not counted.

    Returns:
        `FlopCount`.

    Raises:
        TypeError: if the model is another.
        ValueError: if a number is out of range.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", image_shape=(8, 8, 1), patch_size=2)
    >>> count = forward_flops(model)
    >>> count.patch_projection  # 4 visible patches of 4 pixels, 64 features
    2048
    >>> count.total == forward_flops(model, batch_size=32).total // 32
    True

    References:
        - He et al. 2021, arXiv:2111.06377, table 1c: ViT-L takes 3.3 times the FLOPs when its
          encoder is given mask tokens; 3.25 times by this count.
    """
    has_decoder = _has_decoder(model)
    encoder = model.encoder if has_decoder else model
    num_patches = math.prod(encoder.grid)
    if num_encoded is None:
        num_encoded = num_patches - (model.num_hidden if has_decoder else 0)
    if num_decoded is not None and not has_decoder:
        raise ValueError(
            f"`num_decoded` must be None for a ViTEncoder, which decodes nothing. Received: "
            f"num_decoded={num_decoded}"
        )
    if num_decoded is None:
        num_decoded = model.num_decoded if has_decoder else num_patches
    for name, number in {"num_encoded": num_encoded, "num_decoded": num_decoded}.items():
        check_int(name, number, 1, num_patches)
    check_int("batch_size", batch_size, 1)
    tokens = num_encoded + encoder.num_prefix_tokens
    patch_dim = encoder.sample_inputs.row_dim
    parts = {
        "patch_projection": _dense(num_encoded, patch_dim, encoder.hidden_dim),
        "encoder": _blocks(encoder, tokens),
        "encoder_attention": _attention(encoder, tokens),
    }
    if has_decoder:
        decoder = model.decoder
        parts |= {
            "embedding": _dense(tokens, encoder.hidden_dim, decoder.hidden_dim),
            **_decoder_parts(model, tokens, num_decoded),
            "head": _dense(num_decoded, decoder.hidden_dim, patch_dim),
        }
    return FlopCount(**{name: batch_size * count for name, count in parts.items()})


def training_flops(
    model: "MaskedAutoencoder",
    batch_size: int = 1,
    num_encoded: int | None = None,
    num_decoded: int | None = None,
) -> FlopCount:
    """Count one training step of a masked autoencoder: forward and backward.

    Backward, each product has two gradients of its own size, so a step is three forward passes;
    but nothing asks for the gradient of pixels, which saves the patch projection one of its three.

    Args:
        model: `MaskedAutoencoder`.
        batch_size: int, images.
        num_encoded: int or `None`, as in `forward_flops`.
        num_decoded: int or `None`, as in `forward_flops`.

    Returns:
        `FlopCount`.

    Raises:
        TypeError: if the model is another.
        ValueError: if a number is out of range.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("micro", image_shape=(48, 48, 3), patch_size=6)
    >>> f"{training_flops(model, batch_size=256).total / 1e9:.1f} GFLOP"
    '29.6 GFLOP'
    """
    if not _has_decoder(model):
        raise TypeError(f"`model` must be a MaskedAutoencoder. Received: {type(model).__name__}")
    forward = dataclasses.asdict(forward_flops(model, batch_size, num_encoded, num_decoded))
    passes = {"patch_projection": 2}
    return FlopCount(**{name: passes.get(name, 3) * count for name, count in forward.items()})


def _has_decoder(model: object) -> bool:
    from mae_keras.models.encoder import ViTEncoder
    from mae_keras.models.masked_autoencoder import MaskedAutoencoder

    if not isinstance(model, (MaskedAutoencoder, ViTEncoder)):
        raise TypeError(
            f"`model` must be a MaskedAutoencoder or a ViTEncoder. Received: {type(model).__name__}"
        )
    return isinstance(model, MaskedAutoencoder)


def _decoder_parts(model: "MaskedAutoencoder", tokens: int, decoded: int) -> dict[str, int]:
    decoder = model.decoder
    width = decoder.hidden_dim
    if not decoder.decodes_a_share:
        restored = model.num_patches + model.encoder.num_prefix_tokens
        # In the last block only what is decoded asks, and goes on to projection and MLP.
        unread = restored - decoded if decoder.num_layers else 0
        saved = _dense(unread, width, width + 2 * decoder.mlp_dim)
        return {
            "decoder": _blocks(decoder, restored) - saved,
            "decoder_attention": _attention(decoder, restored)
            - 2 * _dense(unread, width, restored),
        }
    # Queries, projection and MLP of what is decoded; keys and values of what was encoded.
    block = _dense(decoded, width, 2 * width + 2 * decoder.mlp_dim)
    block += _dense(tokens, width, 2 * width)
    return {
        "decoder": decoder.num_layers * block,
        "decoder_attention": decoder.num_layers * 2 * _dense(decoded, width, tokens),
    }


def _dense(rows: int, inputs: int, outputs: int) -> int:
    return 2 * rows * inputs * outputs


def _blocks(stack: "ViTEncoder | MAEDecoder", tokens: int) -> int:
    """Queries, keys, values and their projection: four squares; the MLP: there and back."""
    width = stack.hidden_dim
    return stack.num_layers * _dense(tokens, width, 4 * width + 2 * stack.mlp_dim)


def _attention(stack: "ViTEncoder | MAEDecoder", tokens: int) -> int:
    """Every token with every token, once for the scores and once for the values."""
    return stack.num_layers * 2 * _dense(tokens, stack.hidden_dim, tokens)
