"""Named model sizes as plain data. Imports no Keras."""

import dataclasses
from typing import Any

from mae_keras.arguments import check_choice


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
        "small digits, minutes on a laptop", 64, 4, 4, 128, 64, 2, 4, 128, _DIGITS, 205_956
    ),
    "micro": Preset(
        "MNIST and CIFAR on a CPU; the size of the keras.io example",
        *(128, 6, 4, 256),
        *(64, 2, 4, 128),
        _CIFAR,
        880_048,
    ),
    "tiny": Preset(
        "ViT-Ti: small images, one GPU", 192, 12, 3, 768, 192, 4, 3, 768, _CIFAR, 7_174_704
    ),
    "small": Preset("ViT-S", 384, 12, 6, 1536, 192, 4, 3, 768, _IMAGENET, 23_592_192),
    "base": Preset(
        "ViT-B of the paper", 768, 12, 12, 3072, 512, 8, 16, 2048, _IMAGENET, 111_655_680
    ),
    "large": Preset(
        "ViT-L of the paper", 1024, 24, 16, 4096, 512, 8, 16, 2048, _IMAGENET, 329_239_296
    ),
    "huge": Preset(
        "ViT-H of the paper (patches of 14 pixels)",
        *(1280, 32, 16, 5120),
        *(512, 8, 16, 2048),
        ((224, 224, 3), 14),
        656_613_964,
    ),
}


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
    return PRESETS[check_choice("preset", name, PRESETS)]


def fill_sizes(preset: Preset, prefix: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an encoder or decoder, those that are `None` and have a size in the preset."""
    return {
        key: getattr(preset, prefix + key, None) if value is None else value
        for key, value in arguments.items()
    }
