"""Golden files of Hugging Face's ViTMAE: the model they describe, and whose weight is whose."""

import json
import pathlib

import numpy as np

from mae_keras.models import MAEDecoder, MaskedAutoencoder, ViTEncoder

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def load(name):
    """Arrays of a golden file by name, and its metadata."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads(str(arrays.pop("metadata")))


def by_name(arrays, kind):
    """Parameters or gradients, which the file holds as one vector, under Hugging Face's names."""
    shapes = json.loads(str(arrays["parameters"]))
    ends = np.cumsum([np.prod(shape) for shape in shapes.values()])
    parts = np.split(arrays[kind], ends[:-1])
    return {name: part.reshape(shapes[name]) for name, part in zip(shapes, parts, strict=True)}


def build_encoder(config, **overrides):
    return ViTEncoder(
        (*config["image_size"], config["num_channels"]),
        config["patch_size"],
        hidden_dim=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        mlp_dim=config["intermediate_size"],
        layer_norm_epsilon=config["layer_norm_eps"],
        value_range=config.get("value_range"),
        mean=config.get("mean"),
        std=config.get("std"),
        **overrides,
    )


def build_autoencoder(config):
    decoder = MAEDecoder(
        hidden_dim=config["decoder_hidden_size"],
        num_layers=config["decoder_num_hidden_layers"],
        num_heads=config["decoder_num_attention_heads"],
        mlp_dim=config["decoder_intermediate_size"],
        layer_norm_epsilon=config["layer_norm_eps"],
    )
    return MaskedAutoencoder(
        build_encoder(config),
        decoder,
        masking=config["mask_ratio"],
        normalize_targets=config["norm_pix_loss"],
        seed=0,
    )


def _linear(layer, named, *names):
    """A dense layer; with several names, their outputs side by side."""
    yield layer.kernel, np.concatenate([named[f"{name}.weight"].T for name in names], axis=1)
    yield layer.bias, np.concatenate([named[f"{name}.bias"] for name in names])


def _norm(layer, named, name):
    yield layer.gamma, named[f"{name}.weight"]
    yield layer.beta, named[f"{name}.bias"]


def _blocks(blocks, named, prefix):
    for index, block in enumerate(blocks):
        name = f"{prefix}.{index}"
        heads = [f"{name}.attention.{part}_proj" for part in "qkv"]
        yield from _norm(block.attention_norm, named, f"{name}.layernorm_before")
        yield from _linear(block.attention.qkv, named, *heads)
        yield from _linear(block.attention.projection, named, f"{name}.attention.o_proj")
        yield from _norm(block.mlp_norm, named, f"{name}.layernorm_after")
        yield from _linear(block.mlp_in, named, f"{name}.mlp.fc1")
        yield from _linear(block.mlp_out, named, f"{name}.mlp.fc2")


def match_encoder(encoder, named):
    """Pairs of a variable and its array; every step is linear, so gradients go the same way."""
    patches = "vit.embeddings.patch_embeddings.projection"
    kernel = named[f"{patches}.weight"]  # (out, channels, height, width)
    yield encoder.class_token, named["vit.embeddings.cls_token"]
    yield encoder.patch_projection.kernel, kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))
    yield encoder.patch_projection.bias, named[f"{patches}.bias"]
    yield from _blocks(encoder.blocks, named, "vit.layers")
    yield from _norm(encoder.norm, named, "vit.layernorm")
    if encoder.position_embedding == "learned":
        # the class token's position, the first row, is zero in Hugging Face's tables
        yield encoder.positions.positions, named["vit.embeddings.position_embeddings"][0, 1:]


def match_autoencoder(model, named):
    """As `match_encoder`, for the whole model."""
    yield from match_encoder(model.encoder, named)
    yield model.decoder.mask_token, named["decoder.mask_token"]
    yield from _linear(model.decoder.embedding, named, "decoder.decoder_embed")
    yield from _blocks(model.decoder.blocks, named, "decoder.decoder_layers")
    yield from _norm(model.decoder.norm, named, "decoder.decoder_norm")
    yield from _linear(model.head, named, "decoder.decoder_pred")


def assign(pairs):
    for variable, array in pairs:
        variable.assign(array)
