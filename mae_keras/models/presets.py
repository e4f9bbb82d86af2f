"""Named model sizes as plain data."""

import dataclasses
import difflib
import inspect
from collections.abc import Sequence
from typing import Any

from mae_keras.layers import BlockMasking, GridMasking, PatchMasking, RandomMasking
from mae_keras.models.mae_decoder import MAEDecoder
from mae_keras.models.vit_encoder import ViTEncoder


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one model.

    Args:
        description: one line, what it is for.
        hidden_dim, num_layers, num_heads, mlp_dim: the encoder's.
        decoder_hidden_dim, decoder_num_layers, decoder_num_heads, decoder_mlp_dim: the decoder's.
        reference: image shape and patch size for which `num_parameters` is given.
        num_parameters: trainable weights with class token and sin-cos positions, at `reference`.
    """

    description: str
    hidden_dim: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    decoder_hidden_dim: int
    decoder_num_layers: int
    decoder_num_heads: int
    decoder_mlp_dim: int
    reference: tuple[tuple[int, ...], int]
    num_parameters: int


_DIGITS = ((8, 8, 1), 2)
_CIFAR = ((32, 32, 3), 4)
_IMAGENET = ((224, 224, 3), 16)

PRESETS: dict[str, Preset] = {
    "nano": Preset(
        "8x8 digits, seconds on a laptop", 64, 4, 4, 128, 64, 2, 4, 128, _DIGITS, 205_956
    ),
    "micro": Preset(
        "MNIST and CIFAR on a CPU; the size of the keras.io example",
        *(128, 6, 4, 256),
        *(64, 2, 4, 128),
        _CIFAR,
        880_048,
    ),
    "tiny": Preset("ViT-Ti: small images, one GPU", 192, 12, 3, 768, 192, 4, 3, 768, _CIFAR, 7_174_704),
    "small": Preset("ViT-S", 384, 12, 6, 1536, 192, 4, 3, 768, _IMAGENET, 23_592_192),
    "base": Preset("ViT-B of the paper", 768, 12, 12, 3072, 512, 8, 16, 2048, _IMAGENET, 111_655_680),
    "large": Preset("ViT-L of the paper", 1024, 24, 16, 4096, 512, 8, 16, 2048, _IMAGENET, 329_239_296),
    "huge": Preset(
        "ViT-H of the paper (patches of 14 pixels)",
        *(1280, 32, 16, 5120),
        *(512, 8, 16, 2048),
        ((224, 224, 3), 14),
        656_613_964,
    ),
}

_MASKINGS = {"random": RandomMasking, "block": BlockMasking, "grid": GridMasking}


def find_preset(name: str) -> Preset:
    """Look a preset up.

    Args:
        name: str, a key of `PRESETS`.

    Returns:
        `Preset`.

    Raises:
        ValueError: if there is none of that name; lists those there are.

    Example:
    >>> find_preset("base").hidden_dim
    768
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(str(name), PRESETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"`preset` must be one of {', '.join(PRESETS)}.{hint} Received: preset={name!r}"
        )
    return PRESETS[name]


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
            known = sorted({*encoder_names, *model_names, "mask_ratio", "masking"})
            raise TypeError(f"Unknown override {key!r} for preset {name!r}. Known: {known}")
    return cls(
        ViTEncoder(image_shape, patch_size, **encoder, **policy, name="encoder"),
        MAEDecoder(**decoder, **policy, name="decoder"),
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


def _arguments(cls: type) -> set[str]:
    return set(inspect.signature(cls.__init__).parameters) - {
        *("self", "kwargs", "encoder", "decoder", "image_shape", "patch_size"),
    }
