"""Which variable of a model a tensor of facebookresearch/mae's names belongs to, and its layout.

PyTorch keeps dense kernels as (out, in) and cuts patches by a strided convolution, channels first.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mae_keras.models import CrossAttentionDecoder, ImageClassifier, MaskedAutoencoder, ViTEncoder

ENCODER, DECODER, HEAD = "encoder", "decoder", "head"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a tensor goes.

    Attributes:
        variable: the model's variable.
        part: `"encoder"`, `"decoder"` or `"head"` (of a classifier).
        shape: tuple of ints, the shape the tensor has in PyTorch.
        to_ours, to_torch: array in one layout to array in the other.
        needed: bool, whether the model uses it.
    """

    variable: Any
    part: str
    shape: tuple[int, ...]
    to_ours: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]
    needed: bool = True


def places_of(model: keras.Model) -> dict[str, Place]:
    """Names of tensors to their places, positions left out.

    Args:
        model: `MaskedAutoencoder`, `ImageClassifier` or `ViTEncoder`.

    Returns:
        Name to `Place`.

    Raises:
        TypeError: if the model is of another kind.
    """
    if not isinstance(model, (MaskedAutoencoder, ImageClassifier, ViTEncoder)):
        raise TypeError(
            "`model` must be a MaskedAutoencoder, an ImageClassifier or a ViTEncoder. "
            f"Received: {type(model).__name__}"
        )
    encoder = encoder_of(model)
    places = _encoder_places(encoder)
    if has_reference_decoder(model):
        places |= _decoder_places(model)
    if isinstance(model, ImageClassifier):
        places |= _dense("head", model.head, HEAD)
        if model.fc_norm is not None:
            places |= _norm("fc_norm", model.fc_norm, HEAD)
            places |= _norm("norm", encoder.norm, ENCODER, needed=False)
    return places


def has_reference_decoder(model: keras.Model) -> bool:
    """Whether a decoder of facebookresearch/mae fits: one of cross-attention is built otherwise."""
    return isinstance(model, MaskedAutoencoder) and not isinstance(
        model.decoder, CrossAttentionDecoder
    )


def encoder_of(model: keras.Model) -> ViTEncoder:
    """The encoder inside a model, or the model itself."""
    return getattr(model, "encoder", model)


def _encoder_places(encoder: ViTEncoder) -> dict[str, Place]:
    places = _projection(encoder) | _blocks("blocks", encoder.blocks, ENCODER)
    places |= _norm("norm", encoder.norm, ENCODER)
    if encoder.use_class_token:
        places |= _plain("cls_token", encoder.class_token, ENCODER)
    return places


def _decoder_places(model: MaskedAutoencoder) -> dict[str, Place]:
    decoder = model.decoder
    return {
        **_plain("mask_token", decoder.mask_token, DECODER),
        **_dense("decoder_embed", decoder.embedding, DECODER),
        **_blocks("decoder_blocks", decoder.blocks, DECODER),
        **_norm("decoder_norm", decoder.norm, DECODER),
        **_dense("decoder_pred", model.head, DECODER),
    }


def _projection(encoder: ViTEncoder) -> dict[str, Place]:
    layer, patch = encoder.patch_projection, encoder.patch_size
    shape = (encoder.hidden_dim, encoder.image_shape[-1], *patch)

    def to_ours(array: np.ndarray) -> np.ndarray:
        # (out, channels, *patch) -> (*patch, channels, out) -> (patch_dim, out)
        return np.moveaxis(array, (0, 1), (-1, -2)).reshape(-1, shape[0])

    def to_torch(array: np.ndarray) -> np.ndarray:
        cut = array.reshape(*patch, shape[1], shape[0])
        return np.moveaxis(cut, (-1, -2), (0, 1))

    return {
        "patch_embed.proj.weight": Place(layer.kernel, ENCODER, shape, to_ours, to_torch),
        **_plain("patch_embed.proj.bias", layer.bias, ENCODER),
    }


def _blocks(prefix: str, blocks: list[Any], part: str) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for index, block in enumerate(blocks):
        name = f"{prefix}.{index}"
        places |= _norm(f"{name}.norm1", block.attention_norm, part)
        places |= _dense(f"{name}.attn.qkv", block.attention.qkv, part)
        places |= _dense(f"{name}.attn.proj", block.attention.projection, part)
        places |= _norm(f"{name}.norm2", block.mlp_norm, part)
        places |= _dense(f"{name}.mlp.fc1", block.mlp_in, part)
        places |= _dense(f"{name}.mlp.fc2", block.mlp_out, part)
    return places


def _dense(name: str, layer: Any, part: str) -> dict[str, Place]:
    shape = tuple(layer.kernel.shape)[::-1]
    weight = Place(layer.kernel, part, shape, np.transpose, np.transpose)
    return {f"{name}.weight": weight, **_plain(f"{name}.bias", layer.bias, part)}


def _norm(name: str, layer: Any, part: str, needed: bool = True) -> dict[str, Place]:
    return {
        **_plain(f"{name}.weight", layer.gamma, part, needed),
        **_plain(f"{name}.bias", layer.beta, part, needed),
    }


def _plain(name: str, variable: Any, part: str, needed: bool = True) -> dict[str, Place]:
    shape = tuple(variable.shape)
    return {name: Place(variable, part, shape, np.asarray, np.asarray, needed)}
