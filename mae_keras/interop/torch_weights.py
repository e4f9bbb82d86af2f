"""PyTorch checkpoints into models, and models into Hugging Face's ViTMAE or ViT, with a report."""

import json
import math
import os
import pathlib
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.arguments import LARGEST_WIDTH, check_int, check_ints, check_number
from mae_keras.files import MOST_GROWTH, replacing
from mae_keras.interop.export import as_path
from mae_keras.interop.torch_mapping import (
    ABSENT,
    DECODER,
    HEAD,
    LOADED,
    UNEXPECTED,
    UNUSED,
    WRONG_SHAPE,
    NamedTensors,
    Place,
    TensorReport,
    TorchSizes,
    WeightsReport,
    check_config,
    check_settings,
    choose_heads,
    encoder_of,
    has_reference_decoder,
    looks_like,
    named_tensors,
    places_of,
    read_sizes,
)
from mae_keras.interop.torch_positions import (
    Positions,
    plan_positions,
    put_into,
    read_constants,
    read_positions,
)
from mae_keras.interop.torch_reading import Checkpoint, read_checkpoint, write_safetensors
from mae_keras.models import (
    ImageClassifier,
    MAEDecoder,
    MaskedAutoencoder,
    StandardizedPixels,
    ViTEncoder,
)
from mae_keras.ops import patch_grid, sincos_positions

_OF_DECODER = ("mask_token", "decoder_")
_OF_HEAD = ("head.", "fc_norm.")
_MISSING = {
    DECODER: "No decoder in this checkpoint: reconstructions will be noise, encode() is exact.",
    HEAD: "No classifier in this checkpoint: its head has initial weights and has to be trained.",
}
_CROSS = (
    "The model's decoder is one of cross-attention, which none of the formats read here "
    "holds: it keeps its initial weights, reconstructions will be noise, encode() is exact."
)


def load_torch_weights(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    strict: bool = True,
    prefix: str | None = None,
    max_bytes: int | None = None,
) -> WeightsReport:
    """Load a PyTorch checkpoint into a model; no code of the file is run, PyTorch is not needed.

    Reads facebookresearch/mae's `.pth` (encoder alone, with decoder, fine-tuned, linear probe),
    Hugging Face's ViTMAE and ViT (`model.safetensors` or `pytorch_model.bin`) and timm's ViT.
    Nothing is changed when the checkpoint is refused. Where the model has no `mean` and `std`, it
    gets those the checkpoint was trained with. `model_from_torch` builds the model as well.

    Positions: a model with learned ones gets the checkpoint's, interpolated if its grid of patches
    is another one; a model with fixed ones computes them, for which the checkpoint's must be the
    sin-cos table too.

    Args:
        model: `MaskedAutoencoder`, `ImageClassifier` or `ViTEncoder` of the checkpoint's sizes.
        path: `.safetensors`, `.pth`, `.pt` or `.bin` file, or a folder with one and `config.json`.
        strict: bool, refuse a checkpoint with a tensor of the wrong shape or without a place in
            the model, or that leaves a weight unfilled; a decoder or a classifier that is wholly
            absent is only warned of. `False` loads what fits; the report says what did not.
        prefix: str that the names in the file begin with, or `None`: found out.
        max_bytes: int, memory that the tensors may take, or `None`: what the machine has free.

    Returns:
        `WeightsReport`.

    Raises:
        ImportError: if a package for this kind of file is missing; the error names the extra.
        MemoryError: if the tensors take more than `max_bytes`.
        TypeError: if `model` is of another kind.
        ValueError: if the file is no checkpoint, asks to run code, or does not fit the model.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("base", (224, 224, 3), 16)  # doctest: +SKIP
    >>> print(load_torch_weights(model, "mae_pretrain_vit_base.pth"))  # doctest: +SKIP
    mae_pretrain_vit_base.pth (facebookresearch/mae or timm): 151 loaded, ...

    References:
        - facebookresearch/mae `models_mae.py`, `models_vit.py`, `util/pos_embed.py`; Hugging Face
          `convert_vit_mae_to_pytorch.py`; there a fixed table is interpolated for other sizes
          too, here only a learned one (`model_from_torch` then makes positions learned).
    """
    places_of(model)  # of the right kind, before anything is read
    checkpoint = read_checkpoint(path, max_bytes)
    check_config(checkpoint)
    named = named_tensors(checkpoint.tensors, checkpoint.path, prefix)
    return fill(model, named, checkpoint, strict)


def fill(
    model: keras.Model,
    named: NamedTensors,
    checkpoint: Checkpoint,
    strict: bool,
    notes: tuple[str, ...] = (),
) -> WeightsReport:
    """Put named tensors into a model; see `load_torch_weights`.

    Args:
        model: model of a kind that `places_of` takes.
        named: the tensors.
        checkpoint: where they come from.
        strict: bool, refuse what does not fit.
        notes: sentences to begin the report's with.

    Returns:
        `WeightsReport`.
    """
    places = places_of(model)
    differences = check_settings(model, checkpoint)
    positions = plan_positions(model, named)
    entries = [*_compare(places, named), *positions.entries]
    missing = _missing_parts(places, named)
    if strict:
        _refuse(entries, missing, checkpoint)
    encoder = encoder_of(model)
    layer = encoder.normalization
    constants = read_constants(checkpoint, named.style, encoder.image_shape[-1])
    normalization, trouble = put_into(layer, constants)
    strange = _assign(places, entries, named, positions)
    _forget_compiled(model)
    kept = "" if _decoder_may_fit(model) else _CROSS
    warned = [*(_MISSING[part] for part in missing), kept, *differences, trouble, strange]
    warned = [sentence for sentence in warned if sentence]
    for sentence in warned:
        warnings.warn(sentence, stacklevel=3)
    return WeightsReport(
        checkpoint.path,
        named.style,
        tuple(entries),
        normalization,
        (*notes, *checkpoint.notes, *named.notes, *positions.notes, *warned),
        tuple(missing),
    )


def _decoder_may_fit(model: keras.Model) -> bool:
    """Whether there is no decoder that is left as it is."""
    return not isinstance(model, MaskedAutoencoder) or has_reference_decoder(model)


def _compare(places: dict[str, Place], named: NamedTensors) -> list[TensorReport]:
    """What becomes of every tensor but positions, before anything is done."""
    entries = []
    for name, place in places.items():
        if name not in named.tensors:
            if place.needed:
                entries.append(TensorReport(name, ABSENT))
            continue
        shape = named.tensors[name].shape
        fits = shape == place.shape
        note = "" if fits else f"{shape} in the file, {place.shape} in the model"
        status = LOADED if fits else WRONG_SHAPE
        entries.append(TensorReport(name, status, named.sources[name], note))
    parts = {place.part for place in places.values()}
    for name in named.tensors:
        if name not in places and not name.endswith("pos_embed"):
            entries.append(TensorReport(name, _without_place(name, parts), named.sources[name]))
    return entries + [TensorReport(name, UNEXPECTED, (name,)) for name in named.unknown]


def _without_place(name: str, parts: set[str]) -> str:
    """Of a part that the model does not have, or of none at all."""
    if name.startswith(_OF_DECODER):
        return UNEXPECTED if DECODER in parts else UNUSED
    if name.startswith(_OF_HEAD):
        return UNEXPECTED if HEAD in parts else UNUSED
    return UNEXPECTED


def _missing_parts(places: dict[str, Place], named: NamedTensors) -> list[str]:
    missing = []
    for part in (DECODER, HEAD):
        names = [name for name, place in places.items() if place.part == part]
        if names and not any(name in named.tensors for name in names):
            missing.append(part)
    return missing


def _refuse(entries: list[TensorReport], missing: list[str], checkpoint: Checkpoint) -> None:
    excused = tuple(
        prefix
        for part, prefixes in ((DECODER, _OF_DECODER), (HEAD, _OF_HEAD))
        if part in missing
        for prefix in prefixes
    )
    wrong = [
        entry
        for entry in entries
        if entry.status in (UNEXPECTED, WRONG_SHAPE)
        or (entry.status == ABSENT and not entry.name.startswith(excused))
    ]
    if not wrong:
        return
    kind = looks_like(entry.name for entry in wrong)
    listed = "; ".join(
        f"{entry.status}: {entry.name}{f' ({entry.note})' if entry.note else ''}"
        for entry in wrong[:5]
    )
    raise ValueError(
        f"`{checkpoint.argument}` must be a checkpoint of the model's sizes. Received: "
        f"{checkpoint.path!r}, with {len(wrong)} tensors that do not fit"
        f"{f' (it looks like {kind})' if kind else ''}: "
        f"{listed}{', ...' if len(wrong) > 5 else ''}. In Python `strict=False` loads the others"
    )


def _assign(
    places: dict[str, Place],
    entries: list[TensorReport],
    named: NamedTensors,
    positions: Positions,
) -> str:
    """Fill the variables; says which tensors hold NaN or infinity, if any does."""
    strange = []
    for entry in entries:
        place = places.get(entry.name)
        if place is None or entry.status != LOADED:
            continue
        array = named.tensors[entry.name].numpy()
        if entry.name == "cls_token" and positions.class_row is not None:
            array = array + positions.class_row
        if not np.isfinite(array).all():
            strange.append(entry.name)
        place.variable.assign(np.ascontiguousarray(place.to_ours(array)))
    if positions.table is not None:
        positions.variable.assign(positions.table)
    return f"Not finite (NaN or infinity): {', '.join(strange[:5])}." if strange else ""


def _forget_compiled(model: Any) -> None:
    """Functions that were compiled hold the old normalization."""
    model.train_function = model.test_function = model.predict_function = None
    for name in ("_endpoints", "_train_functions"):
        if hasattr(model, name):
            setattr(model, name, type(getattr(model, name))())


_KINDS = ("autoencoder", "classifier", "encoder")
# What a checkpoint without a decoder gets: the paper's.
_DECODER = {"hidden_dim": 512, "num_layers": 8, "mlp_dim": 2048}
_MASK_RATIO = 0.75
_ALWAYS_ALLOWED = 2**26  # bytes of positions, whatever the weights are


def model_from_torch(
    path: str | os.PathLike[str] | Checkpoint,
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
        normalize_targets: bool, whether the decoder predicts standardized patches.
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
    checkpoint = path if isinstance(path, Checkpoint) else read_checkpoint(path, max_bytes)
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


# What a checkpoint may need that `from_pretrained` does not take.
_OPTIONS = re.compile(r"\b(num_heads|decoder_num_heads|image_shape|prefix|strict)\b")


def pretrained_from_torch(path: str | os.PathLike[str], kind: str, argument: str) -> keras.Model:
    """The model of a checkpoint, for callers without options who name the path `argument`."""
    try:
        return model_from_torch(read_checkpoint(path, argument=argument), kind=kind)[0]
    except ValueError as error:
        option = _OPTIONS.search(str(error))
        if option is None:
            raise
        raise ValueError(
            f"{error}. `mae_keras.interop.model_from_torch` takes `{option[1]}`"
        ) from error


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
    shape = image_shape or _configured_image(checkpoint.config, sizes)
    if shape is not None:
        shape = tuple(shape)
        if len(shape) != rank + 1 or shape[-1] != sizes.channels:
            raise ValueError(
                f"`image_shape` must have {rank} spatial axes and the {sizes.channels} channels "
                f"of the checkpoint. Received: image_shape={shape}"
            )
    grid = None if shape is None else patch_grid(shape, sizes.patch_size)
    if grid is not None and not image_shape:
        _check_configured(checkpoint, sizes, grid)
    if "pos_embed" not in named.tensors:
        if shape is None:
            raise ValueError(
                f"`image_shape` must be given: {checkpoint.path!r} has no position table"
            )
        return shape, "sincos"
    tensor = named.tensors["pos_embed"]
    stored = read_positions(tensor, sizes.encoder["use_class_token"], rank, grid)
    if stored.grid is None:
        raise ValueError(
            f"`image_shape` must be given: the {len(stored.table)} positions in "
            f"{checkpoint.path!r} are no square. Received: image_shape={image_shape}"
        )
    if shape is None:
        pixels = (n * size for n, size in zip(stored.grid, sizes.patch_size, strict=True))
        shape = (*pixels, sizes.channels)
    fixed = stored.fixed and grid in (None, stored.grid)
    return shape, "sincos" if fixed else "learned"


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
    return MaskedAutoencoder(encoder, decoder, ratio, normalize_targets=bool(targets))


def _mask_ratio(mask_ratio: float | None, checkpoint: Checkpoint, notes: list[str]) -> float:
    """Encoders are saved with 0, which is no ratio to train with."""
    ratio, source = _told(mask_ratio, checkpoint, "mask_ratio", _MASK_RATIO)
    ratio = float(ratio)
    if mask_ratio is None and not 0 < ratio < 1:
        source = f"the default: {ratio} in {source} hides none or all"
        ratio = _MASK_RATIO
    notes.append(f"mask_ratio={ratio} ({source}).")
    return ratio


def _told(argument: Any, checkpoint: Checkpoint, name: str, default: Any) -> tuple[Any, str]:
    """A setting, from the argument, `config.json`, the training arguments, or the default."""
    if argument is not None:
        return argument, "as given"
    for settings, source in (
        (checkpoint.config, "config.json"),
        (checkpoint.settings, "the arguments saved with the weights"),
    ):
        if name in settings:
            return settings[name], source
    return default, "not told by the checkpoint: the default"


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
        (encoder.sample_inputs.per_channel, "a token for each channel"),
    ]
    if isinstance(model, MaskedAutoencoder):
        epsilons = {encoder.layer_norm_epsilon, model.decoder.layer_norm_epsilon}
        faults.append((len(epsilons) > 1, f"norms with two epsilons: {sorted(epsilons)}"))
        faults.append((model.decoder.hidden_dim % 4 != 0, "a decoder width not divisible by 4"))
        faults.append((model.loss_on != "hidden", "a loss on all patches"))
        wanted = "a decoder of cross-attention, or a target other than pixels"
        faults.append((not has_reference_decoder(model), wanted))
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
        "norm_pix_loss": isinstance(model.target, StandardizedPixels),
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
