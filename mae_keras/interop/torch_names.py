"""The names that PyTorch libraries give the tensors of a vision transformer, brought to one form.

That form is facebookresearch/mae's and timm's (`blocks.0.attn.qkv.weight`); Hugging Face's ViT and
ViTMAE, in the names of their files and those of transformers 5, are translated into it.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np

from mae_keras.interop.stored_tensors import StoredTensor, joined, made

META = "facebookresearch/mae or timm"
HUGGING_FACE = "Hugging Face"
_ANCHORS = {
    "patch_embed.proj.weight": META,
    "embeddings.patch_embeddings.projection.weight": HUGGING_FACE,
}
_KNOWN_PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.")
_BLOCK = r"(?:norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(?:weight|bias)"
_OURS = re.compile(
    r"cls_token|pos_embed|mask_token|decoder_pos_embed"
    rf"|(?:blocks|decoder_blocks)\.\d+\.{_BLOCK}"
    r"|(?:patch_embed\.proj|norm|fc_norm|head|decoder_embed|decoder_norm|decoder_pred)"
    r"\.(?:weight|bias)"
)
_TRANSLATIONS = (
    (r"^vit\.", ""),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^decoder\.(?:decoder_layers|decoder_encoder\.layer)\.", "decoder_blocks."),
    (r"^decoder\.", ""),
    (r"^(?:encoder\.layer|layers)\.", "blocks."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.(?:attention\.)?(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.q_proj\.", ".attn.query."),
    (r"\.attention\.k_proj\.", ".attn.key."),
    (r"\.attention\.v_proj\.", ".attn.value."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)
_LOOKS = (
    (r"lora_[AB]", "LoRA weights without the model they change"),
    (r"layers\.\d+\.blocks\.\d+\..*relative_position", "a Swin transformer"),
    (r"relative_position_bias", "BEiT (relative positions)"),
    (r"dist_token|distillation_token", "a distilled DeiT (two class tokens)"),
    (r"\bls1\.gamma|layer_scale1|reg_token|register_tokens", "DINOv2 (layer scale or registers)"),
    (r"encoder_to_decoder", "VideoMAE"),
    (r"q_norm|k_norm", "a transformer with norms on queries and keys"),
    (r"text_model|token_embedding|visual\.", "CLIP"),
    (r"word_embeddings|embed_tokens|\bwte\b|lm_head", "a language model"),
    (r"layer[1-4]\.\d+\.(?:conv|bn)\d", "a ResNet"),
    (r"stages\.\d+\..*(?:dwconv|conv_dw|gamma)", "a ConvNeXt"),
    (r"(?:^|\.)(?:conv\d*|bn\d*|features\.\d+)\.", "a convolutional network"),
)


@dataclasses.dataclass
class NamedTensors:
    """Tensors under the names of facebookresearch/mae.

    Attributes:
        tensors: name to `StoredTensor`.
        sources: the same names to those in the file; several where q, k and v came apart.
        unknown: names in the file that no vision transformer of ours has.
        style: str, whose names they were.
        notes: sentences on what was done to them.
    """

    tensors: dict[str, StoredTensor]
    sources: dict[str, tuple[str, ...]]
    unknown: list[str]
    style: str
    notes: list[str]


def named_tensors(
    tensors: Mapping[str, StoredTensor], path: str, prefix: str | None = None
) -> NamedTensors:
    """Bring the tensors of a checkpoint to one form of names.

    Args:
        tensors: name to `StoredTensor`.
        path: str, where they come from, for errors.
        prefix: str in front of the names, or `None`: found out.

    Returns:
        `NamedTensors`.

    Raises:
        ValueError: if this is no vision transformer, saying what it looks like, or the names
            begin with something unknown.
    """
    style, prefix = _style_and_prefix(tensors, path, prefix)
    found = NamedTensors({}, {}, [], style, [])
    if prefix:
        found.notes.append(f"The prefix {prefix!r} was taken off the names.")
    for name, tensor in tensors.items():
        ours = _translated(name.removeprefix(prefix), style)
        # the one tensor without axes that has a place counts the batches of a linear probe
        axes = tensor.shape or ours.endswith("num_batches_tracked")
        if not name.startswith(prefix) or not axes or ours in found.tensors:
            found.unknown.append(name)
        else:
            found.tensors[ours] = tensor
            found.sources[ours] = (name,)
    _join_heads(found)
    _fold_linear_probe(found)
    for name in [name for name in found.tensors if not _OURS.fullmatch(name)]:
        found.unknown += found.sources.pop(name)
        del found.tensors[name]
    _fill_in_biases(found)
    return found


def looks_like(names: Iterable[str]) -> str | None:
    """What model the names of tensors belong to, as far as it can be guessed.

    Args:
        names: names of tensors.

    Returns:
        A noun phrase, or `None`.

    Example:
    >>> looks_like(["layer1.0.conv1.weight", "fc.weight"])
    'a ResNet'
    """
    names = list(names)
    for pattern, kind in _LOOKS:
        if any(re.search(pattern, name) for name in names):
            return kind
    return None


def _style_and_prefix(
    tensors: Mapping[str, StoredTensor], path: str, prefix: str | None
) -> tuple[str, str]:
    places = []
    for name in tensors:
        for anchor, style in _ANCHORS.items():
            if name == anchor or name.endswith("." + anchor):
                # Hugging Face's own `vit.` belongs to the names
                before = re.sub(r"(^|\.)vit\.$", r"\1", name.removesuffix(anchor))
                places.append((style, before))
    if not places:
        kind = looks_like(tensors)
        raise ValueError(
            f"{path!r} is no vision transformer that is known here"
            f"{f'; it looks like {kind}' if kind else ''}. It holds {len(tensors)} tensors, such "
            f"as {', '.join(sorted(tensors)[:3])}"
        )
    if prefix is not None:
        places = [place for place in places if place[1] == prefix] or places
    if len(places) > 1 or (prefix is not None and places[0][1] != prefix):
        raise ValueError(
            f"`prefix` must be one of {sorted({place[1] for place in places})}, with which the "
            f"names of the vision transformers in {path!r} begin. Received: prefix={prefix!r}"
        )
    if prefix is None and _unknown_part(places[0][1]):
        raise ValueError(
            f"The names in {path!r} begin with {places[0][1]!r}, which is not known here (known "
            f"are {', '.join(_KNOWN_PREFIXES)}); pass prefix={places[0][1]!r} to take it off"
        )
    return places[0]


def _unknown_part(prefix: str) -> str:
    for known in _KNOWN_PREFIXES:
        prefix = prefix.replace(known, "")
    return prefix


def _translated(name: str, style: str) -> str:
    if style == HUGGING_FACE:
        for pattern, replacement in _TRANSLATIONS:
            name = re.sub(pattern, replacement, name)
    return name


def _join_heads(found: NamedTensors) -> None:
    """One tensor for queries, keys and values where there are three, of equal shapes."""
    for name in [name for name in found.tensors if ".attn.query." in name]:
        parts = [name.replace("query", part) for part in ("query", "key", "value")]
        shapes = [found.tensors[part].shape for part in parts if part in found.tensors]
        if len(shapes) == 3 and len(set(shapes)) == 1:
            whole = name.replace("query", "qkv")
            found.tensors[whole] = joined([found.tensors.pop(part) for part in parts])
            found.sources[whole] = tuple(found.sources.pop(part)[0] for part in parts)


def _fold_linear_probe(found: NamedTensors) -> None:
    """A norm without weights before a linear head, as facebookresearch/mae probes, as one head."""
    names = ("head.0.running_mean", "head.0.running_var", "head.1.weight", "head.1.bias")
    if not all(name in found.tensors for name in names):
        return
    mean, variance, weight, bias = (found.tensors.pop(name) for name in names)
    sources = [found.sources.pop(name)[0] for name in names]
    counter = "head.0.num_batches_tracked"
    if found.tensors.pop(counter, None) is not None:
        sources += found.sources.pop(counter)
    scale = 1.0 / np.sqrt(variance.numpy().astype("float64") + 1e-6)
    kernel = weight.numpy() * scale
    found.tensors["head.weight"] = made(kernel.astype("float32"))
    found.tensors["head.bias"] = made((bias.numpy() - kernel @ mean.numpy()).astype("float32"))
    found.sources["head.weight"] = found.sources["head.bias"] = tuple(sources)
    found.notes.append("A linear probe: its batch norm was folded into the head.")


def _fill_in_biases(found: NamedTensors) -> None:
    """Zeros for the biases of queries, keys and values where a checkpoint has none."""
    weights = [name for name in found.tensors if name.endswith(".attn.qkv.weight")]
    biases = {name: name.removesuffix("weight") + "bias" for name in weights}
    lacking = [name for name, bias in biases.items() if bias not in found.tensors]
    if not weights or len(lacking) != len(weights):
        return  # some have biases: that a few lack them is an error
    for name in lacking:
        found.tensors[biases[name]] = made(np.zeros(found.tensors[name].shape[0], "float32"))
        found.sources[biases[name]] = ()
    found.notes.append(
        "Queries, keys and values have no biases in this checkpoint: zeros, which is the same."
    )
