"""Writing a model as Hugging Face's ViTMAE or ViT, with configuration and pixel constants."""

import json
import os
import pathlib
import re
from typing import Any

import keras
import numpy as np

from mae_keras.files import replacing
from mae_keras.interop.safetensors_files import write_safetensors
from mae_keras.interop.targets import as_path
from mae_keras.interop.weight_places import encoder_of, has_reference_decoder, places_of
from mae_keras.models import ImageClassifier, MaskedAutoencoder, ViTEncoder
from mae_keras.ops import sincos_positions

_FILES = {"config.json", "model.safetensors", "preprocessor_config.json"}
# The names of the files on the hub, which every version of transformers reads.
_NAMES = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "encoder.layer."),
    (r"^decoder_blocks\.", "decoder_layers."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^norm\.", "layernorm."),
)


def save_torch_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Write a folder that Hugging Face's `from_pretrained` reads, with equal outputs.

    A `MaskedAutoencoder` becomes `ViTMAEForPreTraining`, a `ViTEncoder` `ViTMAEModel` (which hides
    patches as its `mask_ratio` says: 0 is written), an `ImageClassifier` with `pooling="token"`
    `ViTForImageClassification`. `preprocessor_config.json` holds the pixel constants.

    Args:
        model: model with square images and patches and a class token.
        path: folder to write; must be new, empty or an earlier one of the kind.

    Raises:
        ImportError: if `safetensors` is not installed.
        TypeError: if `model` is of another kind.
        ValueError: if the format cannot express the model, saying what, or the folder holds
            something else.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 3), 2)
    >>> save_torch_weights(model, "for_pytorch")  # doctest: +SKIP

    References:
        - transformers `models/vit_mae` (5.24) and `models/vit`.
    """
    places = places_of(model)
    _check_expressible(model)
    path = as_path(path)
    if path.name in ("", ".."):
        raise ValueError(f"`path` must name a folder to write. Received: {str(path)!r}")
    _check_folder(path)
    arrays = {
        name: np.asarray(place.to_torch(keras.ops.convert_to_numpy(place.variable)), "float32")
        for name, place in places.items()
    }
    tensors = _hugging_face_names(model, {**arrays, **_tables(model)})
    with replacing(path) as aside:
        aside.mkdir()
        write_safetensors(str(aside / "model.safetensors"), tensors)
        for name, content in (
            ("config.json", _config(model)),
            ("preprocessor_config.json", _preprocessor(encoder_of(model))),
        ):
            (aside / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _check_expressible(model: keras.Model) -> None:
    """Refuse what Hugging Face's classes cannot compute."""
    encoder = encoder_of(model)
    sides = encoder.image_shape[:-1]
    faults = [
        (len(sides) != 2 or len(set(sides)) > 1, f"images of {sides} pixels: only squares"),
        (len(set(encoder.patch_size)) > 1, f"patches of {encoder.patch_size} pixels: only squares"),
        (not encoder.use_class_token, "no class token"),
    ]
    if isinstance(model, MaskedAutoencoder):
        epsilons = {encoder.layer_norm_epsilon, model.decoder.layer_norm_epsilon}
        faults.append((len(epsilons) > 1, f"norms with two epsilons: {sorted(epsilons)}"))
        faults.append((model.decoder.hidden_dim % 4 != 0, "a decoder width not divisible by 4"))
        faults.append((model.loss_on != "hidden", "a loss on all patches"))
        faults.append((not has_reference_decoder(model), "a decoder of cross-attention"))
    if isinstance(model, ImageClassifier):
        faults.append((model.pooling != "token", f"pooling={model.pooling!r}: only 'token'"))
    found = [words for wrong, words in faults if wrong]
    if found:
        raise ValueError(
            f"`model` must be one that Hugging Face's ViTMAE or ViT can express. "
            f"Received: {'; '.join(found)}"
        )


def _check_folder(path: pathlib.Path) -> None:
    held = {item.name for item in path.iterdir()} if path.is_dir() else set()
    if path.is_file() or held - _FILES:
        there = f"the file {str(path)!r}" if path.is_file() else f"{str(path)!r} with {held}"
        raise ValueError(
            f"`path` must be a new or empty folder, or an earlier one. Received: {there}"
        )


def _tables(model: keras.Model) -> dict[str, np.ndarray]:
    """Position tables, which Hugging Face stores; the class token's row is zero."""
    encoder = encoder_of(model)
    if encoder.position_embedding == "learned":
        table = keras.ops.convert_to_numpy(encoder.positions.positions)
    else:
        table = sincos_positions(encoder.grid, encoder.hidden_dim)
    tables = {"pos_embed": table}
    if isinstance(model, MaskedAutoencoder):
        tables["decoder_pos_embed"] = sincos_positions(model.grid, model.decoder.hidden_dim)
    return {
        name: np.pad(table, ((1, 0), (0, 0)))[None].astype("float32")
        for name, table in tables.items()
    }


def _hugging_face_names(model: keras.Model, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    apart: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if ".attn.qkv." in name:
            parts = zip(("query", "key", "value"), np.split(array, 3), strict=True)
            apart.update({name.replace("qkv", part): piece for part, piece in parts})
        else:
            apart[name] = array
    within = "" if isinstance(model, ViTEncoder) else "vit."
    return {_hugging_face_name(name, within): array for name, array in apart.items()}


def _hugging_face_name(name: str, within: str) -> str:
    if name.startswith("head."):
        return name.replace("head.", "classifier.")
    within = "decoder." if name.startswith(("decoder_", "mask_token")) else within
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return within + name


def _config(model: keras.Model) -> dict[str, Any]:
    encoder = encoder_of(model)
    classifier = isinstance(model, ImageClassifier)
    config = {
        "model_type": "vit" if classifier else "vit_mae",
        "architectures": ["ViTForImageClassification" if classifier else "ViTMAEModel"],
        "hidden_size": encoder.hidden_dim,
        "num_hidden_layers": encoder.num_layers,
        "num_attention_heads": encoder.num_heads,
        "intermediate_size": encoder.mlp_dim,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": encoder.layer_norm_epsilon,
        "image_size": encoder.image_shape[0],
        "patch_size": encoder.patch_size[0],
        "num_channels": encoder.image_shape[-1],
        "qkv_bias": True,
        "dtype": "float32",
    }
    if classifier:
        names = [f"LABEL_{index}" for index in range(model.num_classes)]
        config["id2label"] = {str(index): name for index, name in enumerate(names)}
        config["label2id"] = {name: index for index, name in enumerate(names)}
    if isinstance(model, ViTEncoder):
        config["mask_ratio"] = 0.0
    if isinstance(model, MaskedAutoencoder):
        config |= _decoder_config(model)
    return config


def _decoder_config(model: MaskedAutoencoder) -> dict[str, Any]:
    decoder = model.decoder
    return {
        "architectures": ["ViTMAEForPreTraining"],
        "decoder_hidden_size": decoder.hidden_dim,
        "decoder_num_hidden_layers": decoder.num_layers,
        "decoder_num_attention_heads": decoder.num_heads,
        "decoder_intermediate_size": decoder.mlp_dim,
        "mask_ratio": model.masking.mask_ratio,
        "norm_pix_loss": model.normalize_targets,
    }


def _preprocessor(encoder: ViTEncoder) -> dict[str, Any]:
    """Pixels times a factor, minus mean, divided by std: the same numbers as the model's own."""
    layer, channels = encoder.normalization, encoder.image_shape[-1]
    low, high = layer.value_range or (0.0, 1.0)
    mean = np.zeros(channels) + (0.0 if layer.mean is None else layer.mean)
    std = np.zeros(channels) + (1.0 if layer.std is None else layer.std)
    side = {"height": encoder.image_shape[0], "width": encoder.image_shape[1]}
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": side,
        "do_rescale": layer.value_range is not None,
        "rescale_factor": 1 / (high - low),
        "do_normalize": True,
        "image_mean": [float(value) for value in mean + low / (high - low)],
        "image_std": [float(value) for value in std],
    }
