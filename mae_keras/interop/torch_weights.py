"""Loading PyTorch checkpoints into a model that exists, with a report of every tensor."""

import os
import warnings
from typing import Any

import keras
import numpy as np

from mae_keras.interop.checkpoint_files import read_checkpoint
from mae_keras.interop.position_loading import Positions, plan_positions
from mae_keras.interop.settings_check import check_settings
from mae_keras.interop.stored_tensors import Checkpoint
from mae_keras.interop.torch_names import NamedTensors, looks_like, named_tensors
from mae_keras.interop.torch_normalization import put_into, read_constants
from mae_keras.interop.torch_sizes import check_config
from mae_keras.interop.weight_places import (
    DECODER,
    HEAD,
    Place,
    encoder_of,
    has_reference_decoder,
    places_of,
)
from mae_keras.interop.weights_report import (
    ABSENT,
    LOADED,
    UNEXPECTED,
    UNUSED,
    WRONG_SHAPE,
    TensorReport,
    WeightsReport,
)
from mae_keras.models import MaskedAutoencoder

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
        _refuse(entries, missing, checkpoint.path)
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


def _refuse(entries: list[TensorReport], missing: list[str], path: str) -> None:
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
        f"`path` must be a checkpoint of the model's sizes. Received: {path!r}, with "
        f"{len(wrong)} tensors that do not fit{f' (it looks like {kind})' if kind else ''}: "
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
    """Functions that were compiled hold the old normalisation."""
    model.train_function = model.test_function = model.predict_function = None
    for name in ("_endpoints", "_train_functions"):
        if hasattr(model, name):
            setattr(model, name, type(getattr(model, name))())
