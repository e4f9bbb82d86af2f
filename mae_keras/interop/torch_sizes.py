"""The sizes of a vision transformer, read from the shapes of its tensors and from `config.json`."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from mae_keras.interop.stored_tensors import Checkpoint
from mae_keras.interop.torch_names import HUGGING_FACE, NamedTensors, looks_like

# Heads as published for the widths of ViT-Ti, S, B, L and H (Dosovitskiy 2020, Touvron 2020) and
# of MAE's decoder; no tensor tells them.
_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
_DECODER_HEADS = {512: 16}
_TRANSFORMERS_KINDS = ("vit_mae", "vit")


@dataclasses.dataclass(frozen=True)
class TorchSizes:
    """Sizes of a checkpoint's model.

    Attributes:
        patch_size: tuple of ints, pixels per axis.
        channels: int.
        encoder: arguments of `ViTEncoder` that tensors tell, and the epsilon.
        decoder: the same of `MAEDecoder`, or `None` without one.
        num_classes: int, or `None` without a classifier.
        pooling: `"mean"` or `"token"`, what the classifier takes.
        epsilon_source: str, where the norms' epsilon is from.
    """

    patch_size: tuple[int, ...]
    channels: int
    encoder: dict[str, Any]
    decoder: dict[str, Any] | None
    num_classes: int | None
    pooling: str
    epsilon_source: str


def read_sizes(named: NamedTensors, checkpoint: Checkpoint) -> TorchSizes:
    """Read the sizes.

    Args:
        named: the tensors.
        checkpoint: where they come from.

    Returns:
        `TorchSizes`.

    Raises:
        ValueError: if tensors are missing without which there is no such model.
    """
    check_config(checkpoint)
    kernel = _shape(named, "patch_embed.proj.weight", checkpoint.path)
    if not 3 <= len(kernel) <= 5:
        raise ValueError(
            f"{checkpoint.path!r}: 'patch_embed.proj.weight' must have one to three spatial axes. "
            f"Received: shape {kernel}"
        )
    epsilon, source = _epsilon(named.style, checkpoint.config)
    encoder = {
        "hidden_dim": kernel[0],
        **_blocks(named, "blocks", checkpoint.path),
        "use_class_token": "cls_token" in named.tensors,
        "layer_norm_epsilon": epsilon,
    }
    decoder = None
    if "decoder_embed.weight" in named.tensors:
        decoder = {
            "hidden_dim": _shape(named, "decoder_embed.weight", checkpoint.path)[0],
            **_blocks(named, "decoder_blocks", checkpoint.path),
        }
    head = named.tensors.get("head.weight")
    return TorchSizes(
        kernel[2:],
        kernel[1],
        encoder,
        decoder,
        None if head is None else head.shape[0],
        "mean" if "fc_norm.weight" in named.tensors else "token",
        source,
    )


def check_config(checkpoint: Checkpoint) -> None:
    """Refuse a `config.json` of a model that is not computed here.

    Args:
        checkpoint: with `config`, which may be empty.

    Raises:
        ValueError: if it names another kind of model or another activation.
    """
    kind = checkpoint.config.get("model_type")
    if kind is not None and kind not in _TRANSFORMERS_KINDS:
        raise ValueError(
            f"{checkpoint.path!r} must hold one of {', '.join(_TRANSFORMERS_KINDS)}, or names of "
            f"facebookresearch/mae or timm. Received: model_type={kind!r} in its config.json"
        )
    activation = checkpoint.config.get("hidden_act", "gelu")
    if activation != "gelu":
        raise ValueError(
            f"{checkpoint.path!r} must have hidden_act='gelu' (exact). Received: "
            f"hidden_act={activation!r} in its config.json"
        )


def choose_heads(
    hidden_dim: int, config: Mapping[str, Any], given: int | None, decoder: bool = False
) -> tuple[int, str]:
    """How many attention heads, which no tensor tells.

    Args:
        hidden_dim: int.
        config: the `config.json`, or `{}`.
        given: int that the user gave, or `None`.
        decoder: bool, whether they are the decoder's.

    Returns:
        The number, and where it is from.

    Raises:
        ValueError: if nothing tells it, naming the argument to give.

    Example:
    >>> choose_heads(768, {}, None)
    (12, 'published for a width of 768')
    """
    argument = "decoder_num_heads" if decoder else "num_heads"
    if given is not None:
        return int(given), "as given"
    entry = "decoder_num_attention_heads" if decoder else "num_attention_heads"
    timm = config.get("model_args") or {}
    named = config.get(entry, None if decoder else timm.get("num_heads"))
    if named is not None:
        return int(named), "config.json"
    table = _DECODER_HEADS if decoder else _HEADS
    if hidden_dim not in table:
        raise ValueError(
            f"`{argument}` must be given: no tensor tells the number of heads, there is no "
            f"config.json that does, and widths of published models are "
            f"{', '.join(map(str, table))}. Received: a width of {hidden_dim}"
        )
    return table[hidden_dim], f"published for a width of {hidden_dim}"


def _epsilon(style: str, config: Mapping[str, Any]) -> tuple[float, str]:
    if "layer_norm_eps" in config:
        return float(config["layer_norm_eps"]), "config.json"
    if style == HUGGING_FACE:
        return 1e-12, "the default of Hugging Face"
    return 1e-6, "that of facebookresearch/mae and timm"


def _shape(named: NamedTensors, name: str, path: str) -> tuple[int, ...]:
    if name not in named.tensors:
        kind = looks_like(named.unknown)
        raise ValueError(
            f"{path!r} has no tensor {name!r}, without which it is no vision transformer"
            f"{f'; it looks like {kind}' if kind else ''}"
        )
    return named.tensors[name].shape


def _blocks(named: NamedTensors, prefix: str, path: str) -> dict[str, int]:
    matches = [re.match(rf"{prefix}\.(\d+)\.", name) for name in named.tensors]
    numbers = {int(match[1]) for match in matches if match}
    if numbers != set(range(len(numbers))):
        # no further than this, whatever the numbers are
        lacking = [number for number in range(len(numbers)) if number not in numbers]
        raise ValueError(f"{path!r} lacks whole blocks: {prefix} {lacking[:5]}")
    mlp = _shape(named, f"{prefix}.0.mlp.fc1.weight", path)
    return {"num_layers": len(numbers), "mlp_dim": mlp[0]}
