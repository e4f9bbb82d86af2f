"""Building a model from a PyTorch checkpoint alone; heads, which it does not tell, apart."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mae_keras.archives import MOST_GROWTH
from mae_keras.arguments import LARGEST_WIDTH, check_int, check_ints, check_number
from mae_keras.interop.checkpoint_files import read_checkpoint
from mae_keras.interop.stored_tensors import Checkpoint
from mae_keras.interop.torch_names import NamedTensors, named_tensors
from mae_keras.interop.torch_normalization import read_constants
from mae_keras.interop.torch_positions import read_positions
from mae_keras.interop.torch_sizes import TorchSizes, choose_heads, read_sizes
from mae_keras.interop.torch_weights import fill
from mae_keras.interop.weights_report import WeightsReport
from mae_keras.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder
from mae_keras.ops import patch_grid

_KINDS = ("autoencoder", "classifier", "encoder")
# What a checkpoint without a decoder gets: the paper's.
_DECODER = {"hidden_dim": 512, "num_layers": 8, "mlp_dim": 2048}
_MASK_RATIO = 0.75
_ALWAYS_ALLOWED = 2**26  # bytes of positions, whatever the weights are


def model_from_torch(
    path: str | os.PathLike[str],
    *,
    kind: str | None = None,
    image_shape: Sequence[int] | None = None,
    num_heads: int | None = None,
    decoder_num_heads: int | None = None,
    normalize_targets: bool | None = None,
    mask_ratio: float | None = None,
    prefix: str | None = None,
    max_bytes: int | None = None,
    strict: bool = True,
    **overrides: Any,
) -> tuple[keras.Model, WeightsReport]:
    """Build the model that a PyTorch checkpoint holds, with its weights.

    Sizes are read from the tensors. What no tensor tells is taken from the argument, else from
    `config.json`, else from what was published for that width; the report says which. Files and
    their kinds are those of `load_torch_weights`.

    Args:
        path: checkpoint, or a folder with one and `config.json`.
        kind: `"autoencoder"`, `"classifier"` or `"encoder"`; by default a classifier where the
            checkpoint has a head, else an autoencoder, whose decoder has initial weights where
            the checkpoint has none.
        image_shape: ints `(*spatial, channels)`; by default what the position table is for. For
            another one positions are interpolated, and then learned.
        num_heads: int, the encoder's attention heads.
        decoder_num_heads: int, the decoder's.
        normalize_targets: bool, whether the decoder predicts standardised patches.
        mask_ratio: float in (0, 1), for an autoencoder; by default the checkpoint's, else 0.75,
            also where the checkpoint's hides nothing or everything.
        prefix: as for `load_torch_weights`.
        max_bytes: as for `load_torch_weights`.
        strict: as for `load_torch_weights`.
        **overrides: arguments of `ViTEncoder`, such as `mean`, `std` and `dtype`.

    Returns:
        `MaskedAutoencoder`, `ImageClassifier` or `ViTEncoder`, and a `WeightsReport`.

    Raises:
        ImportError, MemoryError: as `load_torch_weights` does.
        ValueError: as `load_torch_weights` does; and if something has to be given that cannot be
            told from the checkpoint.

    Example:
    >>> model, report = model_from_torch("mae_pretrain_vit_base.pth")  # doctest: +SKIP
    >>> model.encode(images).shape  # doctest: +SKIP
    (16, 768)

    References:
        - Sizes: He et al. 2021, arXiv:2111.06377, appendix A.1; facebookresearch/mae
          `models_mae.py` (ViT-B, L, H; decoders of 8 blocks, 512 wide, 16 heads).
    """
    if kind not in (None, *_KINDS):
        raise ValueError(f"`kind` must be one of {', '.join(_KINDS)}, or None. Received: {kind!r}")
    num_heads = check_int("num_heads", num_heads, 1, LARGEST_WIDTH, optional=True)
    decoder_num_heads = check_int(
        "decoder_num_heads", decoder_num_heads, 1, LARGEST_WIDTH, optional=True
    )
    check_number("mask_ratio", mask_ratio, 0, 1, above=True, below=True, optional=True)
    checkpoint = read_checkpoint(path, max_bytes)
    named = named_tensors(checkpoint.tensors, checkpoint.path, prefix)
    sizes = read_sizes(named, checkpoint)
    kind = kind or ("autoencoder" if sizes.num_classes is None else "classifier")
    notes: list[str] = []
    encoder = _encoder(named, checkpoint, sizes, image_shape, num_heads, overrides, notes)
    if kind == "encoder":
        model: keras.Model = encoder
    elif kind == "classifier":
        model = _classifier(encoder, sizes, checkpoint)
    else:
        settings = {"normalize_targets": normalize_targets, "mask_ratio": mask_ratio}
        model = _autoencoder(encoder, sizes, checkpoint, decoder_num_heads, settings, notes)
    return model, fill(model, named, checkpoint, strict, tuple(notes))


def _encoder(
    named: NamedTensors,
    checkpoint: Checkpoint,
    sizes: TorchSizes,
    image_shape: Sequence[int] | None,
    num_heads: int | None,
    overrides: Mapping[str, Any],
    notes: list[str],
) -> ViTEncoder:
    heads, source = choose_heads(sizes.encoder["hidden_dim"], checkpoint.config, num_heads)
    notes.append(f"Heads: {heads} ({source}); epsilon: {sizes.epsilon_source}.")
    image_shape, positions = _image_and_positions(named, checkpoint, sizes, image_shape)
    constants = read_constants(checkpoint, named.style, sizes.channels)
    own = {
        **sizes.encoder,
        "num_heads": heads,
        "position_embedding": positions,
        "value_range": constants.value_range,
        "mean": constants.mean,
        "std": constants.std,
        "name": "encoder",
    }
    return ViTEncoder(image_shape, sizes.patch_size, **{**own, **overrides})


def _image_and_positions(
    named: NamedTensors,
    checkpoint: Checkpoint,
    sizes: TorchSizes,
    image_shape: Sequence[int] | None,
) -> tuple[tuple[int, ...], str]:
    """The image shape, and whether positions are the fixed ones or have to be kept."""
    rank = len(sizes.patch_size)
    if image_shape is not None:
        check_ints("image_shape", image_shape, 1)
    asked = image_shape or _configured_image(checkpoint.config, sizes)
    if asked is not None:
        asked = tuple(asked)
        if len(asked) != rank + 1 or asked[-1] != sizes.channels:
            raise ValueError(
                f"`image_shape` must have {rank} spatial axes and the {sizes.channels} channels "
                f"of the checkpoint. Received: image_shape={asked}"
            )
    grid = None if asked is None else patch_grid(asked, sizes.patch_size)
    if grid is not None and not image_shape:
        _check_configured(checkpoint, sizes, grid)
    if "pos_embed" not in named.tensors:
        if asked is None:
            raise ValueError(
                f"`image_shape` must be given: {checkpoint.path!r} has no position table"
            )
        return asked, "sincos"
    tensor = named.tensors["pos_embed"]
    stored = read_positions(tensor, sizes.encoder["use_class_token"], rank, grid)
    if stored.grid is None:
        raise ValueError(
            f"`image_shape` must be given: the {len(stored.table)} positions in "
            f"{checkpoint.path!r} are no square. Received: image_shape={image_shape}"
        )
    if asked is None:
        pixels = (n * size for n, size in zip(stored.grid, sizes.patch_size, strict=True))
        asked = (*pixels, sizes.channels)
    fixed = stored.fixed and grid in (None, stored.grid)
    return asked, "sincos" if fixed else "learned"


def _check_configured(checkpoint: Checkpoint, sizes: TorchSizes, grid: tuple[int, ...]) -> None:
    """Refuse an image of a `config.json` whose positions would dwarf the weights beside it."""
    widths = [part["hidden_dim"] for part in (sizes.encoder, sizes.decoder or _DECODER)]
    table = 4 * math.prod(grid) * max(widths)
    held = sum(tensor.num_bytes for tensor in checkpoint.tensors.values())
    if table > max(_ALWAYS_ALLOWED, MOST_GROWTH * held):
        raise ValueError(
            f"`image_shape` must be given: the config.json of {checkpoint.path!r} asks for a grid "
            f"of {grid} patches, whose positions take {table / 1e6:.1f} MB beside weights of "
            f"{held / 1e6:.1f} MB"
        )


def _configured_image(config: Mapping[str, Any], sizes: TorchSizes) -> tuple[int, ...] | None:
    """The image shape that Hugging Face's or timm's `config.json` tells."""
    timm = (config.get("pretrained_cfg") or {}).get("input_size")
    side = config.get("image_size") or (timm[1:] if timm else None)
    if side is None:
        return None
    rank = len(sizes.patch_size)
    sides = tuple(side) if isinstance(side, (list, tuple)) else (side,) * rank
    return (*sides, sizes.channels)


def _classifier(encoder: ViTEncoder, sizes: TorchSizes, checkpoint: Checkpoint) -> ImageClassifier:
    if sizes.num_classes is None:
        raise ValueError(
            f"`kind='classifier'` needs a checkpoint with a head; {checkpoint.path!r} has none. "
            f"Load it as an encoder and use ImageClassifier.from_pretrained"
        )
    return ImageClassifier(encoder, sizes.num_classes, pooling=sizes.pooling)


def _autoencoder(
    encoder: ViTEncoder,
    sizes: TorchSizes,
    checkpoint: Checkpoint,
    num_heads: int | None,
    settings: Mapping[str, Any],
    notes: list[str],
) -> MaskedAutoencoder:
    arguments = sizes.decoder or _DECODER
    heads, source = choose_heads(
        arguments["hidden_dim"], checkpoint.config, num_heads, decoder=True
    )
    if sizes.decoder is not None:
        notes.append(f"The decoder's heads: {heads} ({source}).")
    targets, source = _told(settings["normalize_targets"], checkpoint, "norm_pix_loss", False)
    notes.append(f"normalize_targets={bool(targets)} ({source}).")
    ratio = _mask_ratio(settings["mask_ratio"], checkpoint, notes)
    decoder = MAEDecoder(
        **arguments,
        num_heads=heads,
        layer_norm_epsilon=encoder.layer_norm_epsilon,
        dtype=encoder.dtype_policy,
        name="decoder",
    )
    return MaskedAutoencoder(encoder, decoder, masking=ratio, normalize_targets=bool(targets))


def _mask_ratio(given: float | None, checkpoint: Checkpoint, notes: list[str]) -> float:
    """Encoders are saved with 0, which is no ratio to train with."""
    ratio, source = _told(given, checkpoint, "mask_ratio", _MASK_RATIO)
    ratio = float(ratio)
    if given is None and not 0 < ratio < 1:
        source = f"the default: {ratio} in {source} hides none or all"
        ratio = _MASK_RATIO
    notes.append(f"mask_ratio={ratio} ({source}).")
    return ratio


def _told(given: Any, checkpoint: Checkpoint, name: str, default: Any) -> tuple[Any, str]:
    """A setting, from the argument, `config.json`, the training arguments, or the default."""
    if given is not None:
        return given, "as given"
    for settings, source in (
        (checkpoint.config, "config.json"),
        (checkpoint.settings, "the arguments saved with the weights"),
    ):
        if name in settings:
            return settings[name], source
    return default, "not told by the checkpoint: the default"
