"""An encoder's weights in KerasHub's `ViTBackbone`, with equal outputs."""

from typing import Any

import keras
import numpy as np

from mae_keras.interop.export import check_equal, import_extra
from mae_keras.models import ViTEncoder
from mae_keras.ops import sincos_positions

_TOLERANCE = 1e-4


def to_keras_hub(model: Any) -> keras.Model:
    """Build a `keras_hub.models.ViTBackbone` that gives the tokens of an encoder.

    The architecture is the same once positions are a table (sin-cos ones are written into its
    learned positions, the class token's being zero) and the normalization of pixels is multiplied
    into its patch embedding: the backbone takes pixels as stored, so give it no `ImageConverter`
    that scales them. Missing pixels (NaN) are the one thing it does not understand.

    Args:
        model: `ViTEncoder`, or a model that has one as `encoder`; two spatial axes.

    Returns:
        `keras_hub.models.ViTBackbone` with weights of its own; `(batch, height, width, channels)`
        pixels to tokens `(batch, [1 +] num_patches, hidden_dim)`.

    Raises:
        ImportError: if the extra `keras-hub` is not installed.
        TypeError: if there is no encoder in `model`.
        ValueError: if it does not have two spatial axes.
        VerificationError: if the backbone's tokens are not the encoder's.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 3), 2)
    >>> tuple(to_keras_hub(model)(np.zeros((1, 8, 8, 3))).shape)  # doctest: +SKIP
    (1, 17, 64)
    >>> to_keras_hub(model.decoder)
    Traceback (most recent call last):
    TypeError: `model` must be a ViTEncoder or have one as `encoder`. Received: MAEDecoder

    References:
        - keras-hub `models/vit/vit_layers.py` (`ViTPatchingAndEmbedding`, `ViTEncoderBlock`).
    """
    encoder = getattr(model, "encoder", model)
    if not isinstance(encoder, ViTEncoder):
        raise TypeError(
            f"`model` must be a ViTEncoder or have one as `encoder`. "
            f"Received: {type(model).__name__}"
        )
    if len(encoder.image_shape) != 3:
        raise ValueError(
            f"KerasHub's ViTBackbone takes images of two spatial axes. "
            f"Received: image_shape={encoder.image_shape}"
        )
    if encoder.sample_inputs.per_channel:
        raise ValueError(
            "KerasHub's ViTBackbone has one token for all channels of a patch. Received: "
            "per_channel=True"
        )
    keras_hub = import_extra("keras_hub", "keras-hub", "A KerasHub backbone")
    backbone = keras_hub.models.ViTBackbone(
        image_shape=encoder.image_shape,
        patch_size=encoder.patch_size,
        num_layers=encoder.num_layers,
        num_heads=encoder.num_heads,
        hidden_dim=encoder.hidden_dim,
        mlp_dim=encoder.mlp_dim,
        layer_norm_epsilon=encoder.layer_norm_epsilon,
        use_class_token=encoder.use_class_token,
        data_format="channels_last",
        dtype=encoder.dtype_policy,
    )
    _fill_embedding(backbone.get_layer("vit_patching_and_embedding"), encoder)
    theirs = backbone.get_layer("vit_encoder")
    for block, layer in zip(encoder.blocks, theirs.encoder_layers, strict=True):
        _fill_block(layer, block)
    theirs.layer_norm.set_weights(encoder.norm.get_weights())
    _verify(backbone, encoder)
    return backbone


def _fill_embedding(theirs: keras.layers.Layer, encoder: ViTEncoder) -> None:
    kernel, bias = encoder.patch_projection.get_weights()
    kernel = kernel.reshape(*encoder.patch_size, encoder.image_shape[-1], -1).astype("float64")
    # normalized = pixels * scale + offset, so both can move into the projection that follows
    low, high = encoder.normalization.value_range or (0.0, 1.0)
    black, white = (_normalized(encoder, value) for value in (low, high))
    scale = (white - black) / (high - low)
    folded = bias + np.einsum("ijcd,c->d", kernel, black - low * scale)
    kernel = kernel * scale[:, None]
    theirs.patch_embedding.set_weights([kernel.astype("float32"), folded.astype("float32")])
    if encoder.positions.kind == "learned":
        positions = keras.ops.convert_to_numpy(encoder.positions.positions)
    else:
        positions = np.asarray(sincos_positions(encoder.grid, encoder.hidden_dim))
    if encoder.use_class_token:
        positions = np.concatenate([np.zeros_like(positions[:1]), positions])
        theirs.class_token.assign(keras.ops.copy(encoder.class_token))
    theirs.position_embedding.set_weights([positions])


def _normalized(encoder: ViTEncoder, value: float) -> np.ndarray:
    """What the encoder makes of a pixel, for each channel."""
    pixel = np.full((1, encoder.image_shape[-1]), value, "float32")
    return keras.ops.convert_to_numpy(encoder.normalization(pixel))[0].astype("float64")


def _fill_block(theirs: keras.layers.Layer, block: keras.layers.Layer) -> None:
    theirs.layer_norm_1.set_weights(block.attention_norm.get_weights())
    theirs.layer_norm_2.set_weights(block.mlp_norm.get_weights())
    theirs.mlp.dense_1.set_weights(block.mlp_in.get_weights())
    theirs.mlp.dense_2.set_weights(block.mlp_out.get_weights())
    kernel, bias = block.attention.qkv.get_weights()
    out, out_bias = block.attention.projection.get_weights()
    heads, hidden_dim = block.num_heads, kernel.shape[0]
    kernels = kernel.reshape(hidden_dim, 3, heads, -1).transpose(1, 0, 2, 3)
    biases = bias.reshape(3, heads, -1)
    attention = theirs.mha
    for index, dense in enumerate(
        (attention.query_dense, attention.key_dense, attention.value_dense)
    ):
        dense.set_weights([kernels[index], biases[index]])
    attention.output_dense.set_weights([out.reshape(heads, -1, hidden_dim), out_bias])


def _verify(backbone: keras.Model, encoder: ViTEncoder) -> None:
    low, high = encoder.normalization.value_range or (-1.0, 1.0)
    images = np.random.default_rng(0).uniform(low, high, (2, *encoder.image_shape))
    images = images.astype("float32")
    exported, live = (
        {"tokens": keras.ops.convert_to_numpy(keras.ops.cast(each(images), "float32"))}
        for each in (backbone, encoder)
    )
    check_equal(exported, live, _TOLERANCE, encoder.compute_dtype)
