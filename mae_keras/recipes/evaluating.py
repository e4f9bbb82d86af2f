"""Evaluating a finished run: protocols in turn, each written as soon as it is done."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras import evaluation
from mae_keras.console import unfailing_output
from mae_keras.recipes.building import load_images, untrained_model
from mae_keras.recipes.cards import write_model_card
from mae_keras.recipes.comparison import Comparison, check_fit
from mae_keras.recipes.evaluation_figures import draw, draw_overview
from mae_keras.recipes.fingerprints import located, may_be_trained_on
from mae_keras.recipes.protocols import (
    DEFAULT,
    NEED_LABELS,
    PROTOCOLS,
    EvaluationOptions,
    check_protocol,
)
from mae_keras.recipes.trained import load_autoencoder
from mae_keras.training import RunFolder


@unfailing_output()
def evaluate_run(
    path: str | os.PathLike[str],
    protocols: Sequence[str] | None = None,
    data_dir: str | None = None,
    options: EvaluationOptions | None = None,
    images: Any = None,
    announce: Callable[[str], Any] = lambda text: None,
) -> dict[str, Any]:
    """Score what a run learned, beside the untrained encoder, raw pixels and their PCA.

    Writes `evaluation.json`, the pictures in `evaluation/` and `model_card.md` into the run's
    folder. A protocol that fails is recorded with its error; the others go on, and what an
    earlier evaluation found stays.

    Args:
        path: folder of the run.
        protocols: keys of `recipes.PROTOCOLS`; defaults to those that train no network.
        data_dir: folder of TensorFlow Datasets.
        options: `EvaluationOptions`.
        images: `data.ImageData` to use in place of the run's own data set, cut otherwise.
        announce: called with a line when a protocol starts, and after every epoch of those that
            train a network.

    Returns:
        What was added to `evaluation.json`: `{protocol: {"test_accuracy": ..., "accuracies":
        {"trained": ..., "untrained": ..., "pca": ..., "pixels": ...}, ...}}`, or `{"error": ...}`.

    Raises:
        ValueError: if a protocol is unknown, the run is not finished or its model a classifier, it
            was imported without a data set and there are no `images`, or they have another shape
            than the model.

    Example:
    >>> made = evaluate_run("runs/digits", ["knn"])  # doctest: +SKIP
    >>> made["knn"]["accuracies"]["trained"]  # doctest: +SKIP
    0.959
    """
    protocols = list(dict.fromkeys(protocols or DEFAULT))
    for protocol in protocols:
        check_protocol(protocol)
    options = EvaluationOptions() if options is None else options
    recipe, model = load_autoencoder(path)
    config = RunFolder(path).read_config()
    imported = "imported_from" in config
    if images is None and imported and "dataset" not in config:
        raise ValueError("`evaluate` needs images: import again with --dataset. Received: none")
    if images is None:
        dataset = located(recipe.dataset, config.get("data"))
        images = load_images(dataclasses.replace(recipe, dataset=dataset), data_dir)
    warning = may_be_trained_on(config.get("data"), images)
    if warning:
        announce(f"WARNING: {warning}")
    if not RunFolder(path).is_sealed():
        announce("config.json has no checksum: an earlier version wrote it, or it was edited.")
    check_fit(model, images)  # before a model is made for images of another shape
    comparison = Comparison(
        model,
        _untrained_like(model, recipe, images, imported),
        images,
        max_train=options.max_train,
        max_test=options.max_test,
        pooling=options.pooling,
        num_blocks=options.num_blocks,
        announce=announce,
    )
    with RunFolder(path).locked():
        return _evaluate(RunFolder(path), comparison, protocols, options, warning)


def _evaluate(
    run: RunFolder,
    comparison: Comparison,
    protocols: Sequence[str],
    options: EvaluationOptions,
    warning: str,
) -> dict[str, Any]:
    made = {}
    for protocol in protocols:
        comparison.announce(f"{protocol} ...")
        made[protocol] = _attempt(protocol, comparison, options)
        if warning and "error" not in made[protocol]:
            made[protocol]["notes"] = [warning, *made[protocol]["notes"]]
            made[protocol]["data_changed"] = True
        _picture(made[protocol], draw, protocol, made[protocol], comparison, run)
        _record(run, protocol, made[protocol])
    if comparison.num_classes:
        _picture(made[protocols[-1]], draw_overview, comparison, run)
    _noting(made[protocols[-1]], "The model card could not be written", write_model_card, run)
    return made


def _untrained_like(model: Any, recipe: Any, images: Any, imported: bool) -> Any:
    """The run's model as its training began; of imported weights, one that differs in nothing else.

    The recipe of an import does not know its norms, heads and pixel constants; nor, where it has no
    preset, its sizes.
    """
    if not imported:
        rival = untrained_model(recipe, images)
        if [v.shape for v in rival.weights] == [v.shape for v in model.weights]:
            return rival
    keras.utils.set_random_seed(recipe.seed)
    return type(model).from_config(model.get_config())


def _attempt(protocol: str, comparison: Comparison, options: EvaluationOptions) -> dict[str, Any]:
    """One protocol's entry, or its error: what others found must not be lost with it."""
    started = time.perf_counter()
    settings = dataclasses.asdict(options)
    try:
        if protocol in NEED_LABELS:
            check_labels(comparison)
        entry = PROTOCOLS[protocol](comparison, options)
        notes = [*entry.pop("notes", []), *comparison.notes]
        if protocol in NEED_LABELS:
            notes += label_notes(comparison)
            entry["shared_images"] = comparison.shared_images
            if entry["shared_images"]:
                notes.append(
                    f"{entry['shared_images']} validation or test images are in an earlier split."
                )
    except Exception as error:  # whatever it is, hours of other protocols are worth more
        return {"error": f"{type(error).__name__}: {error}", "options": settings}
    seconds = round(time.perf_counter() - started, 1)
    return {**entry, "notes": notes, "options": settings, "seconds": seconds}


def _picture(entry: dict[str, Any], make: Callable[..., Any], *arguments: Any) -> None:
    """Draw, or note in the entry why not."""
    *given, run = arguments
    _noting(entry, "A picture could not be drawn", make, *given, run.evaluation_pictures)


def _noting(entry: dict[str, Any], failure: str, make: Callable[..., Any], *arguments: Any) -> None:
    """Make something, or note in the entry why not."""
    try:
        make(*arguments)
    except Exception as error:  # whatever it is, it is worth less than the numbers
        entry["notes"] = [*entry.get("notes", []), f"{failure}: {error}"]


def _record(run: RunFolder, protocol: str, entry: dict[str, Any]) -> None:
    """Write an entry; an error is put beside what an earlier evaluation found."""
    done = run.read_evaluation()
    if "error" in entry and "error" not in done.get(protocol, entry):
        entry = {**done[protocol], "last_error": entry["error"]}
    run.write_json(run.evaluation, {**done, protocol: entry})


def check_labels(comparison: Comparison) -> None:
    """Refuse labels that no protocol could use.

    Args:
        comparison: `Comparison`.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if there are none, or they are not numbers of the classes.
    """
    for name, (_, labels) in zip(("train", "validation", "test"), comparison.pixels, strict=True):
        if labels is None:
            raise ValueError(f"Evaluation needs labels. Received: a {name} split without")
        labels = np.asarray(labels)
        if not np.issubdtype(labels.dtype, np.integer):
            raise TypeError(f"Labels must be integers. Received: {name} labels of {labels.dtype}")
        if labels.min() < 0 or labels.max() >= comparison.num_classes:
            raise ValueError(
                f"Labels must be in [0, {comparison.num_classes}). Received: {name} labels from "
                f"{labels.min()} to {labels.max()}"
            )


def label_notes(comparison: Comparison) -> list[str]:
    """Sentences on classes that the accuracies cannot speak of.

    Args:
        comparison: `Comparison`.

    Returns:
        List of str.
    """
    (_, train), _, (_, test) = comparison.pixels
    names, present = comparison.images.class_names, {*map(int, train), *map(int, test)}
    absent = [number for number in range(comparison.num_classes) if number not in present]
    notes = evaluation.class_notes(train, test, names)
    if absent:
        shown = ", ".join(str(names[number] if names else number) for number in absent[:10])
        notes.append(f"{len(absent)} classes have no image at all: {shown}.")
    return notes
