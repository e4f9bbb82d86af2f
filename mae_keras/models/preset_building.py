"""Building a masked autoencoder of a named size."""

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

from mae_keras.layers import BlockMasking, GridMasking, PatchMasking, RandomMasking
from mae_keras.models.cross_attention_decoder import CrossAttentionDecoder
from mae_keras.models.mae_decoder import MAEDecoder
from mae_keras.models.presets import find_preset
from mae_keras.models.vit_encoder import ViTEncoder

_MASKINGS = {"random": RandomMasking, "block": BlockMasking, "grid": GridMasking}
_DECODERS = {"self": MAEDecoder, "cross": CrossAttentionDecoder}


def build_from_preset(
    cls: type,
    name: str,
    image_shape: Sequence[int],
    patch_size: int | Sequence[int],
    overrides: dict[str, Any],
) -> Any:
    """Build a masked autoencoder of a named size; see `MaskedAutoencoder.from_preset`."""
    sizes = dataclasses.asdict(find_preset(name))
    overrides = dict(overrides)
    encoder_names, decoder_names = _arguments(ViTEncoder), _arguments(MAEDecoder)
    encoder = {key: sizes[key] for key in encoder_names if key in sizes}
    decoder = {key: sizes[f"decoder_{key}"] for key in decoder_names if f"decoder_{key}" in sizes}
    masking = _masking(overrides)
    decoder_class = _decoder_class(overrides)
    policy = {"dtype": overrides.pop("dtype", None)}
    model_names = _arguments(cls) | {"name"}
    model: dict[str, Any] = {}
    for key, value in overrides.items():
        if key.startswith("decoder_") and key[8:] in decoder_names:
            decoder[key[8:]] = value
        elif key in encoder_names:
            encoder[key] = value
        elif key in model_names:
            model[key] = value
        else:
            apart = {"decoder_attention", "mask_ratio", "masking"}
            known = sorted({*encoder_names, *model_names, *apart})
            raise TypeError(f"Unknown override {key!r} for preset {name!r}. Known: {known}")
    return cls(
        ViTEncoder(image_shape, patch_size, **encoder, **policy, name="encoder"),
        decoder_class(**decoder, **policy, name="decoder"),
        masking=masking,
        **model,
    )


def _masking(overrides: dict[str, Any]) -> PatchMasking:
    """Take what concerns masking out of the overrides."""
    masking = overrides.pop("masking", "random")
    ratio, seed = overrides.pop("mask_ratio", None), overrides.pop("seed", None)
    if isinstance(masking, PatchMasking):
        if ratio is not None or seed is not None:
            raise ValueError(
                "`mask_ratio` and `seed` must be given to the masking layer when `masking` is "
                f"one. Received: mask_ratio={ratio}, seed={seed}"
            )
        return masking
    if masking not in _MASKINGS:
        raise ValueError(
            f"`masking` must be one of {', '.join(_MASKINGS)} or a masking layer. "
            f"Received: masking={masking!r}"
        )
    return _MASKINGS[masking](0.75 if ratio is None else ratio, seed, name="masking")


def _decoder_class(overrides: dict[str, Any]) -> type[MAEDecoder]:
    """Take the kind of decoder out of the overrides."""
    attention = overrides.pop("decoder_attention", "self")
    if not isinstance(attention, str) or attention not in _DECODERS:
        raise ValueError(
            f"`decoder_attention` must be one of {', '.join(_DECODERS)}. "
            f"Received: decoder_attention={attention!r}"
        )
    return _DECODERS[attention]


def _arguments(cls: type) -> set[str]:
    return set(inspect.signature(cls.__init__).parameters) - {
        *("self", "kwargs", "encoder", "decoder", "image_shape", "patch_size"),
    }
