"""Starting a new run from the weights of another."""

import hashlib
import operator
import os
import pathlib
from typing import Any

import keras

from mae_keras.files import open_regular
from mae_keras.models import load_model
from mae_keras.training import CheckpointStore, RunFolder


def initialize_from(model: keras.Model, source: str | os.PathLike[str]) -> str:
    """Copy the weights of another run's model, and nothing else: no optimizer, no step count.

    Args:
        model: `MaskedAutoencoder`, untrained.
        source: folder of a run, finished or not, or a `.keras` file.

    Returns:
        A sentence that says where the weights came from.

    Raises:
        ValueError: if there is no model, or it is built differently: other names or shapes of
            weights, another number of heads, another patch size.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2)
    >>> initialize_from(model, "runs/digits")  # doctest: +SKIP
    'Weights from runs/digits/model.keras'
    """
    path = _model_file(pathlib.Path(source))
    other = load_model(path, compile=False)
    own, theirs = _trained(model), _trained(other)
    difference = (
        _other_decoder(model, other)
        or _first_difference(own, theirs)
        or _unseen_difference(model, other)
    )
    if difference:
        raise ValueError(
            f"`init_from` must be a model of the same sizes. Received: {str(path)!r}, which "
            f"differs in {difference}"
        )
    for variable, value in zip(own, theirs, strict=True):
        variable.assign(value)
    return f"Weights from {path}"


def source_digest(source: str | os.PathLike[str]) -> str:
    """SHA-256 of the file that `initialize_from` takes weights from now.

    A run that is still training, or is finished later, gives others tomorrow.

    Args:
        source: folder of a run, finished or not, or a `.keras` file.

    Returns:
        str of 64 hexadecimal digits.

    Raises:
        OSError, ValueError: if there is no model.

    Example:
    >>> source_digest("runs/digits")  # doctest: +SKIP
    '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'
    """
    digest = hashlib.sha256()
    with open_regular(_model_file(pathlib.Path(source))) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _model_file(source: pathlib.Path) -> pathlib.Path:
    source = source.expanduser()
    if source.suffix == ".keras":
        if not source.is_file():
            raise ValueError(
                f"`init_from` must be a run's folder or a `.keras` file. Received: no such file: "
                f"{str(source)!r}"
            )
        return source
    run = RunFolder(source)
    run.check_kinds()
    if run.model.is_file():
        return run.model
    checkpoint = CheckpointStore(run.checkpoints).newest_whole(run_id=run.run_id())
    if checkpoint is None:
        raise ValueError(
            f"`init_from` must be a run's folder or a `.keras` file. Received: {str(source)!r}, "
            f"which holds neither model.keras nor a checkpoint"
        )
    return checkpoint.model


def _trained(model: keras.Model) -> list[Any]:
    return list(model.trainable_variables)


def _other_decoder(model: keras.Model, other: keras.Model) -> str:
    here, there = (type(getattr(one, "decoder", one)).__name__ for one in (model, other))
    return "" if here == there else f"its decoder: {there} there, {here} here"


def _first_difference(own: list[Any], theirs: list[Any]) -> str:
    for one, two in zip(own, theirs, strict=False):
        if one.shape != two.shape:
            return f"{one.path}: {tuple(two.shape)} there, {tuple(one.shape)} here"
        if _name(one) != _name(two):
            return f"a weight: {two.path} there, {one.path} here"
    if len(own) != len(theirs):
        return f"the number of weights: {len(theirs)} there, {len(own)} here"
    return ""


def _name(variable: Any) -> list[str]:
    # What stands before counts the models that were made in this process.
    return variable.path.split("/")[-2:]


def _unseen_difference(model: keras.Model, other: keras.Model) -> str:
    """What weights of equal shapes may still mean differently."""
    for name in ("encoder.num_heads", "decoder.num_heads", "encoder.patch_size"):
        here, there = (operator.attrgetter(name)(one) for one in (model, other))
        if here != there:
            return f"{name}: {there} there, {here} here"
    return ""
