"""Counts the floating-point operations of a model's matrix products, from its sizes alone."""

import dataclasses
import math
from typing import TYPE_CHECKING

from mae_keras.arguments import check_int

if TYPE_CHECKING:
    from mae_keras.models.mae_decoder import MAEDecoder
    from mae_keras.models.masked_autoencoder import MaskedAutoencoder
    from mae_keras.models.vit_encoder import ViTEncoder


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
    patch_dim = encoder.patch_projection.kernel.shape[0]
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
    from mae_keras.models.masked_autoencoder import MaskedAutoencoder
    from mae_keras.models.vit_encoder import ViTEncoder

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
