"""Which tensor of a PyTorch checkpoint is which weight of a model, and what sizes tensors tell.

Names are brought to one form, facebookresearch/mae's and timm's (`blocks.0.attn.qkv.weight`);
Hugging Face's ViT and ViTMAE, in the names of their files and those of transformers 5, are
translated into it. PyTorch keeps dense kernels as (out, in) and cuts patches by a strided
convolution, channels first.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from mae_keras.interop.torch_reading import Checkpoint, StoredTensor, joined, stored_tensor
from mae_keras.models import (
    CrossAttentionDecoder,
    ImageClassifier,
    MaskedAutoencoder,
    Pixels,
    StandardizedPixels,
    ViTEncoder,
)

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
    found.tensors["head.weight"] = stored_tensor(kernel.astype("float32"))
    found.tensors["head.bias"] = stored_tensor(
        (bias.numpy() - kernel @ mean.numpy()).astype("float32")
    )
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
        found.tensors[biases[name]] = stored_tensor(
            np.zeros(found.tensors[name].shape[0], "float32")
        )
        found.sources[biases[name]] = ()
    found.notes.append(
        "Queries, keys and values have no biases in this checkpoint: zeros, which is the same."
    )


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
    """Whether a decoder of facebookresearch/mae fits: one without cross-attention, of pixels."""
    return (
        isinstance(model, MaskedAutoencoder)
        and not isinstance(model.decoder, CrossAttentionDecoder)
        and isinstance(model.target, Pixels | StandardizedPixels)
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


def check_settings(model: keras.Model, checkpoint: Checkpoint) -> list[str]:
    """Compare heads, epsilons and targets.

    Args:
        model: model of a kind that `places_of` takes.
        checkpoint: with its `config.json` and training arguments, where it has them.

    Returns:
        A sentence for each difference that changes outputs a little, or only the loss.

    Raises:
        ValueError: if the number of attention heads differs, which changes everything.
    """
    encoder, config, notes = encoder_of(model), checkpoint.config, []
    _check_heads("num_heads", encoder.num_heads, config.get("num_attention_heads"))
    epsilon, own = config.get("layer_norm_eps"), encoder.layer_norm_epsilon
    if epsilon is not None and not math.isclose(float(epsilon), own, rel_tol=1e-6):
        notes.append(
            f"The checkpoint's norms have an epsilon of {epsilon:g} (config.json), the model's "
            f"{own:g}: outputs differ a little."
        )
    if has_reference_decoder(model):
        heads = config.get("decoder_num_attention_heads")
        _check_heads("decoder_num_heads", model.decoder.num_heads, heads)
        told = {**checkpoint.settings, **config}.get("norm_pix_loss")
        if told is not None and bool(told) != isinstance(model.target, StandardizedPixels):
            notes.append(
                f"The checkpoint was trained with norm_pix_loss={told}, the model has "
                f"target={model.target.name!r}: its pictures will be wrong."
            )
    return notes


def _check_heads(name: str, ours: int, theirs: Any) -> None:
    if theirs is not None and int(theirs) != ours:
        raise ValueError(
            f"`{name}` of the model must be {theirs}, as in the checkpoint's config.json. "
            f"Received: {name}={ours}"
        )


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
        **_block_sizes(named, "blocks", checkpoint.path),
        "use_class_token": "cls_token" in named.tensors,
        "layer_norm_epsilon": epsilon,
    }
    decoder = None
    if "decoder_embed.weight" in named.tensors:
        decoder = {
            "hidden_dim": _shape(named, "decoder_embed.weight", checkpoint.path)[0],
            **_block_sizes(named, "decoder_blocks", checkpoint.path),
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
    hidden_dim: int, config: Mapping[str, Any], num_heads: int | None, decoder: bool = False
) -> tuple[int, str]:
    """How many attention heads, which no tensor tells.

    Args:
        hidden_dim: int.
        config: the `config.json`, or `{}`.
        num_heads: int that the user gave, or `None`.
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
    if num_heads is not None:
        return int(num_heads), "as given"
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


def _block_sizes(named: NamedTensors, prefix: str, path: str) -> dict[str, int]:
    matches = [re.match(rf"{prefix}\.(\d+)\.", name) for name in named.tensors]
    numbers = {int(match[1]) for match in matches if match}
    if numbers != set(range(len(numbers))):
        # no further than this, whatever the numbers are
        lacking = [number for number in range(len(numbers)) if number not in numbers]
        raise ValueError(f"{path!r} lacks whole blocks: {prefix} {lacking[:5]}")
    mlp = _shape(named, f"{prefix}.0.mlp.fc1.weight", path)
    return {"num_layers": len(numbers), "mlp_dim": mlp[0]}


LOADED, ABSENT, UNEXPECTED = "loaded", "absent", "unexpected"
WRONG_SHAPE, UNUSED = "wrong shape", "unused"


@dataclasses.dataclass(frozen=True)
class TensorReport:
    """What became of one tensor.

    Attributes:
        name: str, its name in facebookresearch/mae, or in the file where it has none there.
        status: `"loaded"`; `"absent"`: a weight of the model that the file does not hold;
            `"unexpected"`: a tensor that the model has no place for; `"wrong shape"`; `"unused"`:
            of a part that this model does not have, such as a decoder.
        sources: names in the file.
        note: str, what else there is to say.
    """

    name: str
    status: str
    sources: tuple[str, ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class WeightsReport:
    """What was loaded from a checkpoint, and what was not.

    Attributes:
        path: str.
        style: str, whose names the tensors had.
        tensors: a `TensorReport` for every tensor of the file and every weight of the model.
        normalization: str, which pixel constants the model has, and where from.
        notes: sentences on what was decided on the way: heads, positions, prefixes, precision.
        missing_parts: `"decoder"` or `"head"` where the file holds nothing of it: initial weights.
    """

    path: str
    style: str
    tensors: tuple[TensorReport, ...]
    normalization: str
    notes: tuple[str, ...]
    missing_parts: tuple[str, ...] = ()

    def names(self, status: str) -> list[str]:
        """Names of the tensors of a status.

        Args:
            status: one of those of `TensorReport`.

        Returns:
            List of str.
        """
        return [tensor.name for tensor in self.tensors if tensor.status == status]

    @property
    def complete(self) -> bool:
        """Whether every weight of the model is loaded, and nothing of the file is left over."""
        return {tensor.status for tensor in self.tensors} <= {LOADED}

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON takes it."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        counts = ", ".join(
            f"{len(self.names(status))} {status}"
            for status in (LOADED, ABSENT, UNEXPECTED, WRONG_SHAPE, UNUSED)
            if self.names(status)
        )
        lines = [f"{self.path} ({self.style}): {counts}", self.normalization, *self.notes]
        for tensor in self.tensors:
            if tensor.status != LOADED or tensor.note:
                note = f": {tensor.note}" if tensor.note else ""
                lines.append(f"  {tensor.status}: {tensor.name}{note}")
        return "\n".join(lines)
