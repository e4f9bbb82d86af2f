"""The parts of a masked autoencoder of a named size."""

import re
from typing import Any

from mae_keras.arguments import check_choice
from mae_keras.layers import BlockMasking, GridMasking, PatchMasking, RandomMasking
from mae_keras.models.cross_attention_decoder import CrossAttentionDecoder
from mae_keras.models.mae_decoder import MAEDecoder
from mae_keras.models.presets import Preset

_MASKINGS = {"random": RandomMasking, "block": BlockMasking, "grid": GridMasking}
_DECODERS = {"self": MAEDecoder, "cross": CrossAttentionDecoder}


def fill_sizes(preset: Preset, prefix: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an encoder or decoder, those that are `None` and have a size in the preset."""
    return {
        key: getattr(preset, prefix + key, None) if value is None else value
        for key, value in arguments.items()
    }


def make_masking(masking: Any, mask_ratio: float | None, seed: int | None) -> PatchMasking:
    """A masking layer by name, or the layer that was given."""
    if isinstance(masking, PatchMasking):
        if mask_ratio is not None or seed is not None:
            raise ValueError(
                "`mask_ratio` and `seed` must be given to the masking layer when `masking` is "
                f"one. Received: mask_ratio={mask_ratio}, seed={seed}"
            )
        return masking
    if not isinstance(masking, str) or masking not in _MASKINGS:
        raise ValueError(
            f"`masking` must be one of {', '.join(_MASKINGS)} or a masking layer. "
            f"Received: masking={masking!r}"
        )
    return _MASKINGS[masking](0.75 if mask_ratio is None else mask_ratio, seed, name="masking")


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
