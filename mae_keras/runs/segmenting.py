"""From a pretrained run to a segmenter: training, scores, pictures and a SavedModel; and masks."""

import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras import data, figures
from mae_keras.data.segmentation_files import holds_pairs, num_pages
from mae_keras.evaluation.segmenter_training import score_segmenter, train_segmenter
from mae_keras.files import replacing
from mae_keras.run_contents import path_of_weights
from mae_keras.runs.building import source_digest
from mae_keras.runs.exporting import load_trained
from mae_keras.runs.fine_tuning import pretrained_encoder
from mae_keras.runs.finishing import (
    attempt,
    draw_loss,
    export_beside,
    finished_model,
    save_model,
    stopped_by,
)
from mae_keras.runs.folder import RunFolder
from mae_keras.runs.masks import (
    SegmentOptions,
    augmentation_of,
    load_masks,
    scores_of,
    test_split,
)
from mae_keras.runs.predicting import list_image_files
from mae_keras.runs.pretraining import conditions
from mae_keras.runs.report import markdown_text
from mae_keras.runs.resuming import Interrupted
from mae_keras.training import explaining_out_of_memory

_SHOWN = 4
_LARGEST_VALUE = 65535  # of a mask file; it marks what was not seen


def segment_run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    masks: str | os.PathLike[str],
    options: SegmentOptions | None = None,
    *,
    dataset: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    announce: Callable[[str], Any] = print,
) -> dict[str, Any]:
    """Train a segmenter from a pretrained encoder and write everything about it into a folder.

    The weights of the last step are the result: nothing is chosen on the test images. The model is
    written as soon as it is trained; what follows (scores, pictures, the SavedModel) can fail or be
    interrupted without losing it. Until then nothing is written, and an earlier run in `out` stays.

    Args:
        source: folder of a pretrained run, the `.keras` file of a masked autoencoder, or the name
            of weights that ship with the package.
        out: folder of the segmenter's run: `model.keras`, `config.json`, `history.csv`,
            `metrics.json`, `loss.png`, `evaluation.json`, `evaluation/segment.png`,
            `evaluation/segment_classes.png`, `model_card.md` and `saved_model/`.
        masks: folder or file of masks, or a folder or `.npz` file with images and masks inside; see
            `data.load_segmentation`.
        options: `SegmentOptions`, how it is trained.
        dataset: folder or file of the images, where the masks come without; defaults to those of
            the pretrained run.
        overwrite: bool, replace the run in `out`.
        announce: called with every line about how it goes.

    Returns:
        What `metrics.json` holds. The scores are of the test images; of the validation images
        where there are no test images, which `scored_on` says.

    Raises:
        ValueError: if settings, images, masks and folder do not fit together; nothing is written
            then.
        NonFiniteError: if the loss becomes NaN or infinite.
        Interrupted: if the process is asked to stop.

    Example:
    >>> from mae_keras.runs import segment_run
    >>> segment_run("runs/cells", "runs/segmenter", "cells/masks")["mean_iou"]  # doctest: +SKIP
    0.81
    """
    began = time.perf_counter()
    options = SegmentOptions() if options is None else options
    run = RunFolder(out)
    run.check({}, overwrite=overwrite, resumable=False)
    recipe, model = pretrained_encoder(source)
    seed = recipe.seed if options.seed is None else options.seed
    if dataset is None:
        dataset = _dataset_of(source)
    elif holds_pairs(pathlib.Path(masks).expanduser()):
        raise ValueError(
            "`dataset` must be left out where `masks` holds images too. Received: dataset="
            f"{os.fspath(dataset)!r}, masks={os.fspath(masks)!r}"
        )
    masked = load_masks(
        masks,
        dataset,
        model,
        recipe,
        announce,
        unlabeled=options.unlabeled,
        gap=options.gap,
        split_seed=seed,
    )
    config = _config(source, recipe, masked, masks, options, seed)
    with run.locked():
        run.check(config, overwrite=overwrite, resumable=False)
        training = _train(model, masked, recipe, options, seed, announce)
        run.start({**config, "dtype_policy": training.model.dtype_policy.name})
        save_model(training.model, run, "segmenter")
        with finished_model(run, "segmenter"):
            run.write_history(training.history)
            metrics = {
                "steps": training.steps,
                "num_trained_weights": training.num_trained_weights,
                "train_seconds": round(training.train_seconds, 1),
            }
            return _finish(training.model, masked, run, metrics, announce, began)


def _dataset_of(source: Any) -> str | None:
    """Where the images lie that a run was pretrained on, if that is a place."""
    run = RunFolder(path_of_weights(source))
    config = run.read_config() if run.config.exists() else {}
    about = config.get("data")
    place = about.get("path") if isinstance(about, dict) else None
    return place or config.get("dataset")


def _config(
    source: Any,
    recipe: Any,
    masked: data.SegmentationData,
    masks: Any,
    options: SegmentOptions,
    seed: int,
) -> dict[str, Any]:
    values = list(masked.class_values)
    if min(values) < 0 or max(values) >= _LARGEST_VALUE:  # which no mask file could hold
        values = list(range(masked.num_classes))
    return {
        "task": "segmentation",
        "fine_tuned_from": os.fspath(source),
        "fine_tuned_from_sha256": source_digest(source),
        "pretrained_on": recipe.dataset,
        "preset": recipe.preset,
        "patch_size": recipe.patch_size,
        "dataset": str(masked.name),
        "masks": os.path.abspath(masks),
        "unlabeled": options.unlabeled,
        "gap": options.gap,
        "class_names": list(masked.class_names),
        "class_values": values,
        "seed": seed,
        "segment": {
            name: getattr(options, name)
            for name in (
                *("head", "steps", "batch_size", "learning_rate", "weight_decay"),
                *("train_blocks", "from_scratch"),
            )
        },
        "backend": keras.backend.backend(),
        "data": {part: len(getattr(masked, part)) for part in ("train", "validation", "test")},
    }


def _train(
    model: Any,
    masked: data.SegmentationData,
    recipe: Any,
    options: SegmentOptions,
    seed: int,
    announce: Callable[[str], Any],
) -> Any:
    announce(
        f"{len(masked.train):,} training images of {masked.num_classes} classes, "
        f"{len(masked.validation):,} validation, {len(masked.test):,} test; {options.steps} steps "
        f"of {options.batch_size} crops"
    )

    def say(epoch: int, logs: dict[str, float]) -> None:
        values = ", ".join(f"{name} {value:.4g}" for name, value in logs.items())
        announce(f"{10 * (epoch + 1)} % of the steps: {values}")

    try:
        with explaining_out_of_memory(options.batch_size, 1):
            return train_segmenter(
                model,
                masked.train,
                masked.num_classes,
                head=options.head,
                steps=options.steps,
                batch_size=options.batch_size,
                learning_rate=options.learning_rate,
                weight_decay=options.weight_decay,
                train_blocks=options.train_blocks,
                from_scratch=options.from_scratch,
                augmentation=augmentation_of(recipe, model.image_shape),
                class_names=masked.class_names,
                seed=seed,
                callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=say)],
            )
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"{stopped_by(error)} before the segmenter was trained; nothing was written"
        ) from error


def _finish(
    segmenter: Any,
    masked: data.SegmentationData,
    run: RunFolder,
    metrics: dict[str, Any],
    announce: Callable[[str], Any],
    began: float,
) -> dict[str, Any]:
    part = "test" if len(masked.test) else "validation"
    if part == "validation":
        announce("There are no test images: scores are of the validation images.")
    report, predictions = score_segmenter(segmenter, test_split(masked))
    run.write_json(
        run.evaluation,
        {"segmenter": {"scored_on": part, "segmentation": report.as_dict(), "notes": masked.notes}},
    )
    metrics |= {"scored_on": part, "num_scored": len(predictions), **scores_of(report)}
    metrics["run_id"] = run.run_id()
    metrics |= {"wall_seconds": round(time.perf_counter() - began, 1), **conditions(segmenter)}
    run.check_held()
    run.write_json(run.metrics, metrics)
    attempt(announce, "The picture of the losses", draw_loss, run)
    attempt(announce, "The pictures of the scores", _draw, masked, report, predictions, run)
    attempt(announce, "The model card", write_segmenter_card, run)
    export_beside(segmenter, run, announce)
    metrics["wall_seconds"] = round(time.perf_counter() - began, 1)
    run.write_json(run.metrics, metrics)
    for line in report.text().splitlines():
        announce(line)
    return metrics


def _draw(
    masked: data.SegmentationData, report: Any, predictions: list[np.ndarray], run: RunFolder
) -> None:
    for name, figure in score_figures(masked, report.as_dict(), predictions):
        figures.save_figure(figure, run.evaluation_pictures / f"segment{name}.png")


def score_figures(
    masked: data.SegmentationData, report: dict[str, Any], predictions: Sequence[np.ndarray]
) -> list[tuple[str, Any]]:
    """Test images beside truth, prediction and errors; and the scores of the classes.

    Args:
        masked: `data.SegmentationData`.
        report: `SegmentationReport.as_dict()`.
        predictions: predicted classes of the test images.

    Returns:
        Pairs of the end of a name, `""` and `"_classes"`, and a figure.
    """
    test = test_split(masked, len(predictions))
    # Figures hold images of one size.
    alike = [n for n, image in enumerate(test.images) if image.shape == test.images[0].shape]
    shown = alike[:_SHOWN]
    images, masks = ([each[number] for number in shown] for each in (test.images, test.masks))
    images, masks = list(images), list(masks)
    ends = [float(np.nanmin(images)), float(np.nanmax(images))]
    if ends[0] == ends[1]:
        ends[1] += 1.0
    overview = figures.segmentation_figure(
        images,
        masks,
        [predictions[number] for number in shown],
        class_names=masked.class_names,
        value_range=masked.value_range or tuple(ends),
    )
    scores = {"IoU": "iou", "Dice": "dice"}
    bars = figures.class_bar_figure(
        {name: [one[key] for one in report["classes"]] for name, key in scores.items()},
        class_names=masked.class_names,
    )
    return [("", overview), ("_classes", bars)]


def write_segmenter_card(run: RunFolder) -> None:
    """Write `model_card.md` beside a segmenter, out of the run's own files.

    Args:
        run: `RunFolder` of a segmenter.
    """
    with replacing(run.model_card) as aside:
        aside.write_text(segmenter_card(run), encoding="utf-8", errors="backslashreplace")


def segmenter_card(run: RunFolder) -> str:
    """The text of a segmenter's `model_card.md`.

    Args:
        run: `RunFolder` with `config.json`, `metrics.json` and `evaluation.json`.

    Returns:
        Markdown.
    """
    config, metrics = run.read_json(run.config), run.read_json(run.metrics)
    report = run.read_evaluation()["segmenter"]["segmentation"]
    sizes, part = config["data"], metrics["scored_on"]
    lines = [
        f"# Segmenter of {len(config['class_names'])} classes, trained on "
        f"{markdown_text(config['dataset'])}",
        "",
        "Written by `mae-keras` from the files beside it. Only the results below were measured: "
        "not other images, or groups of people or things within the data.",
        "",
        f"## Scores on {metrics['num_scored']} {part} images",
        "",
        "| class | IoU | Dice | F1 of borders | Hausdorff 95 %, pixels | pixels |",
        "|---|---|---|---|---|---|",
    ]
    for one in report["classes"]:
        values = (one[name] for name in ("iou", "dice", "boundary_f1"))
        far = "-" if one["hausdorff95"] is None else f"{one['hausdorff95']:.1f}"
        lines.append(
            f"| {markdown_text(one['name'])} | {' | '.join(map(_three, values))} | {far} | "
            f"{one['support']:,} |"
        )
    for name, shown in (
        ("mean_iou", "Mean IoU"),
        ("mean_dice", "Mean Dice"),
        ("roc_auc", "ROC-AUC"),
    ):
        ends = metrics["intervals"].get(name)
        if metrics[name] is not None:
            interval = (
                f" (95 % interval over images {ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
            )
            lines += ["", f"{shown}: {metrics[name]:.3f}{interval}"]
    if report["absent"]:
        absent = ", ".join(map(markdown_text, report["absent"]))
        lines += ["", f"**No labeled {part} pixel of {absent}: scores say nothing about it.**"]
    settings = {
        "pretrained weights": config["fine_tuned_from"],
        "pretrained on": config["pretrained_on"],
        **{f"{name} images": sizes[name] for name in ("train", "validation", "test")},
        **{name.replace("_", " "): value for name, value in config["segment"].items()},
        **{name: metrics[name] for name in ("num_trained_weights", "train_seconds", "device")},
    }
    lines += ["", "![Truth, prediction, errors](evaluation/segment.png)"]
    lines += ["", "## Training", "", "| setting | value |", "|---|---|"]
    lines += [f"| {n} | {markdown_text(v)} |" for n, v in settings.items() if v is not None]
    lines += [
        "",
        "## Use",
        "",
        "```sh\nmae-keras predict . new/ --masks-out masks/\n```",
        "",
        "`saved_model/` gives `probabilities` and `logits` of images of the model's size with "
        "TensorFlow alone.",
    ]
    return "\n".join(lines) + "\n"


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def segment_files(
    source: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    announce: Callable[[str], Any] = print,
) -> list[tuple[str, str]]:
    """Segment image files of any size and write a mask for each, a PNG with a palette.

    A mask has the values that the training masks had; 255, or the largest value free, where nothing
    is there to see. Its colors are those of figures. Files of one name in several folders keep
    apart by the names of the folders.

    Args:
        source: folder of a segmenter's run, or its `.keras` file.
        files: image files, and folders, whose files at any depth are taken.
        out: folder of the masks.
        announce: called with a line for each file.

    Returns:
        List of `(path, reason)`, files that could not be read.

    Raises:
        ValueError: if there are no files, the model is no segmenter of images, masks exist, or none
            of the files can be read.

    Example:
    >>> segment_files("runs/segmenter", ["new/"], "masks")  # doctest: +SKIP
    """
    _, model = load_trained(source)
    if not hasattr(model, "segment_batch") or len(model.image_shape) != 3:
        raise ValueError(
            f"`run` must be a run of a segmenter of images. Received: {os.fspath(source)!r}, whose "
            f"model is a {type(model).__name__} of samples of shape {tuple(model.image_shape)}"
        )
    run = RunFolder(path_of_weights(source))
    config = run.read_config() if run.config.exists() else {}
    values = config.get("class_values") or list(range(model.num_classes))
    names = model.class_names or tuple(map(str, range(model.num_classes)))
    paths = list_image_files(files)
    folder = pathlib.Path(out).expanduser()
    targets = _targets(paths, folder)
    existing = next((target for target in targets if target.exists()), None)
    if existing is not None:
        raise ValueError(
            f"`out` must not hold masks yet. Received: {str(existing)!r}, which exists"
        )
    folder.mkdir(parents=True, exist_ok=True)
    unreadable = []
    for path, target in zip(paths, targets, strict=True):
        try:
            image = _whole_image(path, model)
            classes = model.segment(image)
        except (ValueError, OSError) as error:
            unreadable.append((path, str(error)))
            continue
        _write_mask(classes, values, target)
        shares = [(classes == number).mean() for number in range(model.num_classes)]
        parts = ", ".join(
            f"{name} {100 * share:.1f} %"
            for name, share in zip(names, shares, strict=True)
            if share
        )
        announce(f"{target}: {parts or 'nothing to see'}")
    if len(unreadable) == len(paths):
        path, reason = unreadable[0]
        raise ValueError(
            f"None of the {len(paths):,} files can be read. The first, {path}: {reason}"
        )
    return unreadable


def _targets(paths: Sequence[str], folder: pathlib.Path) -> list[pathlib.Path]:
    """A file for each mask, named as the image; by its whole path where names are the same."""
    stems = [pathlib.Path(path).stem for path in paths]
    if len(set(stems)) < len(stems):
        root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
        inner = [os.path.relpath(os.path.abspath(path), root) for path in paths]
        stems = [name.replace(os.sep, "_") for name in inner]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        first, second = [path for path, stem in zip(paths, stems, strict=True) if stem == twice][:2]
        raise ValueError(
            "`images` must have names that differ, with those of their folders before them. "
            f"Received: {first!r} and {second!r}"
        )
    return [folder / f"{stem}.png" for stem in stems]


def _whole_image(path: str, model: Any) -> np.ndarray:
    """An image file of any size, in the model's channels and range."""
    from mae_keras.data.image_files import inspect_file

    file = inspect_file(path)
    if file.defect:
        raise ValueError(file.defect)
    pages = num_pages(path)
    if pages > 1:
        raise ValueError(f"has {pages} pages: save each as a file")
    shape = (*file.size, model.image_shape[-1])
    return data.read_image(path, shape, value_range=model.value_range)


def _write_mask(classes: np.ndarray, values: Sequence[int], target: pathlib.Path) -> None:
    from matplotlib.colors import to_rgb
    from PIL import Image

    from mae_keras.figures.style import CLASS_COLORS

    unseen = next((value for value in range(255, -1, -1) if value not in values), 65535)
    wide = max(values) > 255 or unseen > 255
    unseen = 65535 if wide else unseen
    numbers = np.append(values, unseen)[classes]  # -1 is the last
    mask = Image.fromarray(numbers.astype("uint16" if wide else "uint8"))
    if not wide:
        palette = np.zeros((256, 3), "uint8")
        for place, value in enumerate(values):
            color = to_rgb(CLASS_COLORS[place % len(CLASS_COLORS)])
            palette[value] = np.round(255 * np.array(color))
        mask.putpalette(palette.ravel().tolist())
    with replacing(target) as aside:
        mask.save(aside, format="PNG")
