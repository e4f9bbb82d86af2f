"""Evaluating a finished run: protocols in turn, each written as soon as it is done."""

import dataclasses
import os
import pathlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras import data, evaluation, figures
from mae_keras.arguments import renamed_argument
from mae_keras.console import unfailing_output
from mae_keras.runs.building import load_images, located, may_be_trained_on, untrained_model
from mae_keras.runs.comparison import Comparison, check_fit
from mae_keras.runs.exporting import load_run
from mae_keras.runs.folder import RunFolder
from mae_keras.runs.masks import augmentation_of, load_masks, test_split
from mae_keras.runs.options import DataOptions, load_labeled, preprocessing_of, same_place
from mae_keras.runs.predicting import draw_scores, score_classifier
from mae_keras.runs.protocols import (
    PROTOCOLS,
    EvaluationOptions,
    check_protocol,
    default_protocols,
)
from mae_keras.runs.report import write_classifier_card, write_model_card

# Sources of what may lie undivided on disk.
_READ_BY_PATH = ("folder", "arrays", "signals", "sound", "video", "volumes")


@unfailing_output()
@renamed_argument("labelled", "labeled")
def evaluate_run(
    path: str | os.PathLike[str],
    protocols: Sequence[str] | None = None,
    data_dir: str | None = None,
    options: EvaluationOptions | None = None,
    images: Any = None,
    announce: Callable[[str], Any] = lambda text: None,
    labeled: DataOptions | None = None,
) -> dict[str, Any]:
    """Score what a run learned, beside the untrained encoder, raw pixels and their PCA.

    Writes `evaluation.json`, the pictures in `evaluation/` and `model_card.md` into the run's
    folder. A protocol that fails is recorded with its error; the others go on, and what an
    earlier evaluation found stays. Without labels, protocols that need them are skipped, as are
    those that need pictures of a model whose target has none. Scores on another data set than the
    run's own have its name in theirs, `"knn on labeled"`, and their pictures in a folder of its
    name.

    The run of a classifier has one score, `"classifier"`: its accuracy on the test images (the
    validation images where there are none). Of a data set that is not divided yet, and not the one
    it was trained on, all images are test images.

    Args:
        path: folder of the run; for a classifier of a `.keras` file, use `score_classifier`.
        protocols: keys of `runs.PROTOCOLS`; defaults to those that train no network.
        data_dir: folder of TensorFlow Datasets.
        options: `EvaluationOptions`.
        images: `data.ImageData` to use in place of the run's own data set, cut otherwise.
        announce: called with a line when a protocol starts, and after every epoch of those that
            train a network.
        labeled: `DataOptions`, other images to evaluate on, or another way to divide them.

    Returns:
        What was added to `evaluation.json`: `{protocol: {"test_accuracy": ..., "accuracies":
        {"trained": ..., "untrained": ..., "pca": ..., "pixels": ...}, ...}}`, or `{"error": ...}`.

    Raises:
        ValueError: if a protocol is unknown or needs labels or pictures that are not there, the run
            is not finished, it was imported without a data set and there are no `images`, or they
            have another shape than the model.

    Example:
    >>> entries = evaluate_run("runs/digits", ["knn"])  # doctest: +SKIP
    >>> entries["knn"]["accuracies"]["trained"]  # doctest: +SKIP
    0.959
    """
    named, protocols = protocols, list(dict.fromkeys(protocols or default_protocols()))
    for protocol in protocols:
        check_protocol(protocol)
    options = EvaluationOptions() if options is None else options
    labeled = DataOptions() if labeled is None else labeled
    recipe, model = load_run(path)
    config = RunFolder(path).read_config()
    imported = "imported_from" in config
    if images is None and not labeled.given and "dataset" not in config and imported:
        raise ValueError("`evaluate` needs images: name them with --dataset. Received: none")
    if not RunFolder(path).is_sealed():
        announce("config.json has no checksum: an earlier version wrote it, or it was edited.")
    recipe = dataclasses.replace(recipe, dataset=located(recipe.dataset, config.get("data")))
    if hasattr(model, "segment_batch"):
        raise ValueError(
            "`path` must be a run of an autoencoder or a classifier: the scores of a segmenter are "
            f"in its evaluation.json. Received: {os.fspath(path)!r}"
        )
    if hasattr(model, "classify_batch"):
        if named:
            raise ValueError(
                f"`protocol` must be left out for a classifier, which has one score. Received: "
                f"protocol={named[0]!r}"
            )
        return _evaluate_classifier(
            path, model, recipe, config, data_dir, images, labeled, announce
        )
    on, warning = None, ""
    if images is None and labeled.given and not same_place(labeled.name, recipe.dataset):
        on = str(labeled.name).rstrip("/") or "/"
    if images is None and (labeled.given or labeled.splits is not None):
        images = load_labeled(
            labeled,
            recipe,
            model.image_shape,
            data_dir=data_dir,
            value_range=model.value_range,
            announce=announce,
            preprocessing=preprocessing_of(model),
        )
    images = load_images(recipe, data_dir, model) if images is None else images
    if on is None and labeled.splits is None:
        warning = may_be_trained_on(config.get("data"), images)
    if warning:
        announce(f"WARNING: {warning}")
    note = "" if on is None else f"On {on}, not the images of pretraining."
    if on is None and labeled.splits is not None:
        note = "Divided anew: the encoder may have been pretrained on test images."
    options = dataclasses.replace(options, pooling=options.pooling or recipe.pooling)
    check_fit(model, images)  # before a model is made for images of another shape
    protocols = _suitable(protocols, images, named is not None, announce)
    protocols = _with_labels(protocols, images, named is not None, announce)
    protocols = _with_reconstruction(protocols, model, announce)
    protocols = _with_whole_samples(protocols, images, named is not None, announce)
    masks = _masks(protocols, options, labeled.name or recipe.dataset, model, recipe, announce)
    masks = _noting_overlap(masks, images, announce)
    comparison = Comparison(
        model,
        _untrained_like(model, recipe, images, imported),
        images,
        max_train=options.max_train,
        max_test=options.max_test,
        pooling=options.pooling,
        num_blocks=options.num_blocks,
        announce=announce,
        masks=masks,
        mask_augmentation=None if masks is None else augmentation_of(recipe, model.image_shape),
    )
    with RunFolder(path).locked():
        return _evaluate(RunFolder(path), comparison, protocols, options, warning, on, note)


def _evaluate(
    run: RunFolder,
    comparison: Comparison,
    protocols: Sequence[str],
    options: EvaluationOptions,
    warning: str = "",
    on: str | None = None,
    note: str = "",
) -> dict[str, Any]:
    entries = {}
    folder = run.evaluation_pictures
    if on is not None:
        folder = folder / (re.sub(r"[^\w.-]+", "_", on).strip("_.") or "other")
    for protocol in protocols:
        comparison.announce(f"{protocol} ...")
        entry = _attempt(protocol, comparison, options)
        if "error" not in entry:
            entry["notes"] = [text for text in (warning, note) if text] + entry["notes"]
            if warning:
                entry["data_changed"] = True
        name = protocol
        if on is not None:
            name = f"{protocol} on {on}"
            entry["dataset"] = on
        _picture(entry, draw, protocol, entry, comparison, folder)
        _record(run, name, entry)
        entries[name] = entry
    if comparison.num_classes:
        _picture(entry, draw_overview, comparison, folder)
    _noting(entry, "The model card could not be written", write_model_card, run)
    return entries


def _suitable(
    protocols: list[str], images: Any, by_name: bool, announce: Callable[[str], Any]
) -> list[str]:
    """The protocols that suit the samples."""
    is_signals = len(images.image_shape) == 2
    for_others = {
        name: "pictures, not recordings" if PROTOCOLS[name].needs_pictures else "signals"
        for name in protocols
        if (images.is_sound and PROTOCOLS[name].needs_pictures)
        or (PROTOCOLS[name].needs_signals and not is_signals)
    }
    left = [name for name in protocols if name not in for_others]
    if not left:
        kind = "recordings" if images.is_sound else "the samples"
        meant = "pictures" if images.is_sound else "signals"
        raise ValueError(
            f"`protocol` must suit {kind}. Received: {', '.join(protocols)}, for {meant}"
        )
    for name, meant in for_others.items():
        # Nobody who evaluates pictures waits for what is done with signals.
        if by_name or meant != "signals":
            announce(f"{name} is skipped: it is for {meant}")
    return left


def _with_labels(
    protocols: list[str], images: Any, by_name: bool, announce: Callable[[str], Any]
) -> list[str]:
    """The protocols that the images have what is needed for."""
    if images.num_classes and images.num_classes > 1:
        return protocols
    left = [protocol for protocol in protocols if not PROTOCOLS[protocol].needs_labels]
    if by_name and not left:
        raise ValueError(
            f"{', '.join(protocols)} {_need(protocols)} labels: evaluate on labeled images with "
            f"--dataset. "
            f"Received: {images.name!r}, which has none"
        )
    for protocol in protocols:
        if protocol not in left:
            announce(f"{protocol} is skipped: it needs labels, and {images.name} has none")
    return left


def _with_reconstruction(
    protocols: list[str], model: Any, announce: Callable[[str], Any]
) -> list[str]:
    """The protocols that the model's target is fit for."""
    if model.reconstructs:
        return protocols
    left = [protocol for protocol in protocols if not PROTOCOLS[protocol].needs_reconstruction]
    if not left:
        model.check_reconstructs()
    for protocol in protocols:
        if protocol not in left:
            announce(
                f"{protocol} is skipped: target={model.target.name!r} cannot be turned back into "
                "pixels"
            )
    return left


def _masks(
    protocols: Sequence[str],
    options: EvaluationOptions,
    dataset: str,
    model: Any,
    recipe: Any,
    announce: Callable[[str], Any],
) -> Any:
    """The images with masks that protocols segment; `None` where no protocol needs them."""
    needing = [name for name in protocols if PROTOCOLS[name].needs_masks]
    if needing and options.masks is None:
        raise ValueError(
            f"`protocol` {', '.join(needing)} must have masks: name a folder of them with --masks. "
            "Received: none"
        )
    if options.masks is None:
        return None
    if not needing:
        fitting = [name for name, protocol in PROTOCOLS.items() if protocol.needs_masks]
        raise ValueError(
            f"`masks` is for protocols that segment, {', '.join(fitting)}. Received: "
            f"{options.masks!r} for {', '.join(protocols)}"
        )
    settings = {"unlabeled": options.unlabeled, "gap": options.gap}
    return load_masks(options.masks, dataset, model, recipe, announce, **settings)


def _noting_overlap(masks: Any, images: Any, announce: Callable[[str], Any]) -> Any:
    """Images with masks, with a note on test images that the encoder was pretrained on."""
    if masks is None:
        return None
    seen = set(getattr(images.train, "paths", ()))
    test = test_split(masks)
    count = sum(name in seen for name in test.names or ())
    if not count:
        return masks
    note = f"{count} of {len(test)} test images were used in pretraining, without their masks."
    announce(f"WARNING: {note}")
    return dataclasses.replace(masks, notes=(*masks.notes, note))


_LOOKED_AT = 128


def _with_whole_samples(
    protocols: list[str], images: Any, by_name: bool, announce: Callable[[str], Any]
) -> list[str]:
    """The protocols that the samples have no gaps for, unless one is asked for by name."""
    wanting = [protocol for protocol in protocols if PROTOCOLS[protocol].needs_whole_samples]
    if by_name or not wanting or images.test.dtype == "uint8":
        return protocols
    samples, _ = images.test.arrays(limit=_LOOKED_AT)
    if not np.isnan(samples.reshape(len(samples), -1)).any(axis=1).all():
        return protocols
    for protocol in wanting:
        announce(f"{protocol} is skipped: every test sample has missing values (NaN)")
    return [protocol for protocol in protocols if protocol not in wanting]


def _need(protocols: Sequence[str]) -> str:
    return "needs" if len(protocols) == 1 else "need"


def _evaluate_classifier(
    path: Any,
    model: Any,
    recipe: Any,
    config: dict[str, Any],
    data_dir: str | None,
    images: Any,
    labeled: DataOptions,
    announce: Callable[[str], Any],
) -> dict[str, Any]:
    run = RunFolder(path)
    other = images is None and labeled.given and not same_place(labeled.name, recipe.dataset)
    if images is None:
        if other:
            undivided = labeled.splits is None and labeled.train is None and labeled.test is None
            if undivided and data.kind(labeled.name) in _READ_BY_PATH:
                labeled = _all_to_test(labeled)
        else:  # as it was trained: another division would test on training images
            if labeled.splits is not None and "labelled" in config:
                raise ValueError(
                    f"`splits` must be left out for the images that the classifier was trained "
                    f"on, which it would be scored on otherwise. Received: {labeled.splits}"
                )
            labeled = DataOptions(**config.get("labelled", {}))
            if labeled.dataset is not None:  # where it lies now
                labeled = dataclasses.replace(labeled, dataset=recipe.dataset)
        images = load_labeled(
            labeled,
            recipe,
            model.image_shape,
            data_dir=data_dir,
            value_range=model.value_range,
            announce=announce,
            preprocessing=preprocessing_of(model),
        )
    warning = "" if other else may_be_trained_on(config.get("data"), images)
    part = "test" if len(images.test) else "validation"
    entry = score_classifier(model, images, part)
    if warning:
        announce(f"WARNING: {warning}")
        entry |= {"notes": [warning, *entry["notes"]], "data_changed": True}
    name = f"classifier on {str(labeled.name).rstrip('/')}" if other else "classifier"
    with run.locked():
        _record(run, name, entry)
        _noting(entry, "A picture could not be drawn", draw_scores, entry, run)
        _noting(entry, "The model card could not be written", write_classifier_card, run)
    return {name: entry}


def _all_to_test(labeled: DataOptions) -> DataOptions:
    """Nothing is trained on another data set: every image of it can be scored."""
    return dataclasses.replace(labeled, splits=(0.0, 0.0, 1.0))


def _untrained_like(model: Any, recipe: Any, images: Any, imported: bool) -> Any:
    """The run's model before training; of imported weights, one that differs in nothing else."""
    # The recipe of an import does not know its norms, heads and pixel constants; nor, where it has
    # no preset, its sizes.
    if not imported:
        fresh = untrained_model(recipe, images)
        if [v.shape for v in fresh.weights] == [v.shape for v in model.weights]:
            return fresh
    keras.utils.set_random_seed(recipe.seed)
    return type(model).from_config(model.get_config())


def _attempt(protocol: str, comparison: Comparison, options: EvaluationOptions) -> dict[str, Any]:
    """One protocol's entry, or its error: what others found must not be lost with it."""
    started = time.perf_counter()
    settings = dataclasses.asdict(options)
    try:
        needs_labels = PROTOCOLS[protocol].needs_labels
        if needs_labels:
            check_labels(comparison)
        entry = dict(PROTOCOLS[protocol](comparison, options))
        notes = [*entry.pop("notes", []), *comparison.notes]
        if needs_labels:
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


def draw(
    protocol: str, entry: dict[str, Any], comparison: Comparison, folder: pathlib.Path
) -> None:
    """Draw the figures that a protocol declares.

    Args:
        protocol: key of `runs.PROTOCOLS`.
        entry: its entry of `evaluation.json`; one with an error is not drawn.
        comparison: `Comparison`.
        folder: where pictures go.
    """
    make_figures = PROTOCOLS[protocol].figures
    if "error" in entry or make_figures is None:
        return
    for name, figure in make_figures(entry, comparison):
        figures.save_figure(figure, folder / f"{name}.png")


_SHOWN_IMAGES = 4
_MAP_IMAGES = 1000


def draw_overview(comparison: Comparison, folder: pathlib.Path) -> None:
    """Draw what needs no protocol: maps of the features, and where the encoder looks.

    Args:
        comparison: `Comparison`.
        folder: where pictures go.
    """
    features, labels = comparison.features["trained"].test
    if len(features) >= 5:  # fewer have no neighbors to speak of
        embeddings = {
            name: evaluation.embed_2d(features, name, max_samples=_MAP_IMAGES)
            for name in ("pca", "tsne")
        }
        points = {"PCA": embeddings["pca"].points, "t-SNE": embeddings["tsne"].points}
        figure = figures.feature_map_figure(
            points,
            labels[embeddings["pca"].indices],
            comparison.images.class_names,
            title="Features of test samples",
            note="t-SNE keeps neighbors together; distances between groups mean little.",
        )
        figures.save_figure(figure, folder / "features.png")
    from mae_keras.models import attention_maps

    shown = comparison.pixels.test[0][:_SHOWN_IMAGES]
    maps, grid, title = attention_maps(comparison.model, shown), comparison.model.grid, ""
    if comparison.images.is_sound:
        shown, maps, grid = _upright(shown, maps, grid)
        title = ": time to the right, frequency upward"
    if getattr(comparison.model.encoder.sample_inputs, "per_channel", False):
        maps, grid = maps.reshape(*maps.shape[:2], -1, grid[-1]).sum(axis=-1), grid[:-1]
        title += ", summed over channels"
    figure = figures.attention_figure(
        shown,
        maps,
        grid,
        value_range=comparison.value_range,
        title=f"Attention of the last block{title}",
    )
    figures.save_figure(figure, folder / "attention.png")


def _upright(samples: Any, maps: Any, grid: tuple[int, ...]) -> tuple[Any, Any, tuple[int, ...]]:
    """Spectrograms and maps of their patches, with time to the right and frequency upward."""
    samples = np.swapaxes(samples, 1, 2)[:, ::-1]
    maps = np.swapaxes(maps.reshape(*maps.shape[:2], *grid), 2, 3)[:, :, ::-1]
    return samples, maps.reshape(*maps.shape[:2], -1), grid[::-1]


def _picture(entry: dict[str, Any], make: Callable[..., Any], *arguments: Any) -> None:
    """Draw, or note in the entry why not."""
    _noting(entry, "A picture could not be drawn", make, *arguments)


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
