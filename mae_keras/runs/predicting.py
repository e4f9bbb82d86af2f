"""Classifying image files with a fine-tuned classifier, and how it does on labeled ones."""

import csv
import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mae_keras import data, evaluation, figures
from mae_keras.data.file_tree import IMAGES, VOLUMES, FileKind
from mae_keras.data.image_files import inspect_files
from mae_keras.files import replacing
from mae_keras.runs.comparison import test_interval
from mae_keras.runs.exporting import files_of, images_of_folder, load_trained, read_sample
from mae_keras.runs.folder import RunFolder
from mae_keras.runs.options import no_labels, preprocessing_of
from mae_keras.runs.resuming import Interrupted
from mae_keras.runs.whole_volumes import read_whole, volume_probabilities

_SCORING_BATCH_SIZE = 256


def score_classifier(model: Any, images: Any, part: str = "test") -> dict[str, Any]:
    """Score a classifier on one split of a data set.

    Args:
        model: `ImageClassifier`.
        images: `data.ImageData` with labels; its classes are found by name where both have names.
        part: `"train"`, `"validation"` or `"test"`.

    Returns:
        An entry of `evaluation.json`: `test_accuracy` with its 95 % `interval`, and `classes`, a
        `ClassReport` as a dict. `split` says which images they are of.

    Raises:
        ValueError: if there are no labels or no images, or classes that the model does not know.
    """
    numbers = class_numbers(model, images)
    split = getattr(images, part)
    if not len(split):
        raise ValueError(f"The {part} split of {images.name!r} must hold images. Received: none")
    probabilities, labels = [], []
    for batch, own in data.evaluation_batches(split, _SCORING_BATCH_SIZE, with_labels=True):
        probabilities.append(model.probabilities(np.asarray(batch)))
        labels.append(numbers[np.asarray(own)])
    predicted, true = np.concatenate(probabilities), np.concatenate(labels)
    names = names_of(model)
    report = evaluation.class_report(
        true, predicted.argmax(axis=1), model.num_classes, names, predicted
    )
    notes = [f"Scored on the {part} images, {len(true):,} of them, of {images.name}."]
    if report.absent:
        notes.append(f"No {part} images: {', '.join(report.absent)}.")
    return {
        "test_accuracy": report.accuracy,
        "accuracies": {"trained": report.accuracy},
        "interval": test_interval(report.accuracy, split, len(true)),
        "num_test": len(true),
        "most_frequent_class": float(np.bincount(true).max() / len(true)),
        "split": part,
        "dataset": str(images.name),
        "classes": report.as_dict(),
        "notes": notes,
    }


def class_numbers(model: Any, images: Any) -> np.ndarray:
    """What each class of a data set is numbered by a classifier.

    Args:
        model: `ImageClassifier`.
        images: `data.ImageData`.

    Returns:
        int array `(images.num_classes,)`.

    Raises:
        ValueError: if there are no labels, or the model does not know a class.
    """
    count = images.num_classes
    if not count:
        raise ValueError(no_labels(images.name))
    theirs = None if images.class_names is None else [str(name) for name in images.class_names]
    if model.class_names is None or theirs is None:
        if count > model.num_classes:
            raise ValueError(
                f"`dataset` must have the classes that the model was trained on, "
                f"{model.num_classes}. Received: {images.name!r} with {count}"
            )
        return np.arange(count)
    unknown = [name for name in theirs if name not in model.class_names]
    if unknown:
        raise ValueError(
            f"`dataset` must have classes that the model was trained on, "
            f"{_listed(model.class_names)}. Received: {images.name!r} with {_listed(unknown)}"
        )
    return np.array([model.class_names.index(name) for name in theirs])


def unscored_classes(names: Sequence[str], part: str) -> str:
    """The sentence on classes without images to score on, and what to do; empty if there are none.

    Args:
        names: names of the classes.
        part: split that the scores are of.

    Returns:
        str.

    Example:
    >>> unscored_classes(["cat"], "validation")
    'No validation image of cat: scores say nothing about it. Add images of it.'
    """
    if not names:
        return ""
    them = "it" if len(names) == 1 else "them"
    advice = f"Add images of {them}."
    if part == "test":
        advice = f"Add images of {them}, or score validation images with --splits 0.8 0.2 0."
    return f"No {part} image of {_listed(names)}: scores say nothing about {them}. {advice}"


def names_of(model: Any) -> tuple[str, ...]:
    """Names of a classifier's classes; their numbers where it has none."""
    return model.class_names or tuple(map(str, range(model.num_classes)))


def report_lines(entry: dict[str, Any]) -> str:
    """What `score_classifier` found, for people.

    Args:
        entry: what it returned.

    Returns:
        Several lines.
    """
    low, high = entry["interval"]
    lines = [
        f"{entry['split']} accuracy {_percent(entry['test_accuracy'])} % (95 % interval "
        f"{_percent(low)} to {_percent(high)}, {entry['num_test']:,} images); always the most "
        f"frequent class: {_percent(entry['most_frequent_class'])} %"
    ]
    classes = entry["classes"]["classes"]
    width = max(len("class"), *(len(one["name"]) for one in classes))
    lines.append(f"{'class':<{width}}  precision  recall     f1  images")
    for one in classes:
        cells = [
            "-" if one[key] is None else f"{one[key]:.3f}" for key in ("precision", "recall", "f1")
        ]
        lines.append(
            f"{one['name']:<{width}}  {cells[0]:>9}  {cells[1]:>6}  {cells[2]:>5}  "
            f"{one['support']:>6}"
        )
    return "\n".join(lines)


def draw_scores(entry: dict[str, Any], run: RunFolder) -> None:
    """Draw the confusion matrix and the calibration into `evaluation/`.

    Args:
        entry: what `score_classifier` returned.
        run: `RunFolder`.
    """
    classes = entry["classes"]
    names = [one["name"] for one in classes["classes"]]
    title = f"Classifier on {entry['split']} images"
    figure = figures.confusion_figure(classes["confusion"], names, title=title)
    figures.save_figure(figure, run.evaluation_pictures / "confusion.png")
    bins = [one for one in classes["calibration"]["bins"] if one["count"]]
    columns = ([one[key] for one in bins] for key in ("confidence", "accuracy", "count"))
    figure = figures.calibration_figure(*columns, title=title)
    figures.save_figure(figure, run.evaluation_pictures / "calibration.png")


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


_BATCH_SIZE = 64
_SHOWN = 20


@dataclasses.dataclass
class Predictions:
    """What `predict_files` found.

    Attributes:
        num_predicted: int, files that were classified.
        unreadable: list of `(path, reason)`, files that were not.
        counts: dict, class name to how many files were given it.
    """

    num_predicted: int = 0
    unreadable: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    counts: dict[str, int] = dataclasses.field(default_factory=dict)


def predict_files(
    source: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    csv_path: str | os.PathLike[str] | None = None,
    *,
    announce: Callable[[str], Any] = print,
    batch_size: int = _BATCH_SIZE,
) -> Predictions:
    """Classify files of images, sound, video, volumes or signals, and say and write what they are.

    Files are read and classified in batches, so that there may be any number. One that cannot be
    read is named and counted, and the others go on. If the process is interrupted, what was
    predicted until then is written.

    Args:
        source: folder of a classifier's run, or the `.keras` file of an `ImageClassifier`.
        files: image, sound, video or volume files, and folders, whose files at any depth are taken;
            for a classifier of signals files of signals. Probabilities of a volume larger than the
            model are the mean over windows that overlap by half.
        csv_path: file to write, or `None`: a row for each image with its path, the predicted class,
            its probability, and the probability of each class. The path of a signal ends in its
            number within the file, as `new.csv:1`.
        announce: called with every line of the table; the first 20 files are listed.
        batch_size: int, images per step.

    Returns:
        `Predictions`.

    Raises:
        ValueError: if there are no files, the model is no classifier, or none can be read.
        Interrupted: if the process is asked to stop.

    Example:
    >>> predict_files("runs/classifier", ["new/"], "predictions.csv")  # doctest: +SKIP
    """
    recipe, model = load_trained(source)
    if not hasattr(model, "classify_batch"):
        raise ValueError(
            f"`run` must be a classifier run. Train one with `mae-keras fine-tune`. Received: "
            f"{os.fspath(source)!r}, whose model is a {type(model).__name__}"
        )
    names = names_of(model)
    predictions = Predictions(counts=dict.fromkeys(names, 0))
    reading: _Reading | _SignalReading
    if len(model.image_shape) == 2:
        reading = _SignalReading(files, model, recipe.groups, announce)
        paths, predictions.unreadable = list(reading.signals), reading.unreadable
    elif files_of(model) is VOLUMES or (
        model.image_shape[-1] in (1, 3)
        and (len(model.image_shape) == 3 or files_of(model) is not IMAGES)
    ):
        reading = _Reading(model, recipe.resize)
        paths = list_image_files(files, files_of(model))
    else:
        raise ValueError(
            f"`run` must be a run of a classifier of signals, volumes, or gray or color images or "
            f"clips to classify files. Received: a model of samples of shape "
            f"{tuple(model.image_shape)}"
        )
    table = _Table(names, paths, announce)
    if csv_path is None:
        _predict(model, reading, paths, batch_size, predictions, [table.add])
    else:
        path = pathlib.Path(csv_path).expanduser()
        _write(model, reading, paths, batch_size, predictions, table, path)
    if not predictions.num_predicted:
        path, reason = predictions.unreadable[0]
        raise ValueError(
            f"None of the {len(predictions.unreadable):,} files can be read. The first, {path}: "
            f"{reason}"
        )
    return predictions


def list_image_files(files: Sequence[str | os.PathLike[str]], kind: FileKind = IMAGES) -> list[str]:
    """Image files as they are, and those in folders at any depth, sorted within each.

    Args:
        files: paths of files and folders.
        kind: other files to find in folders instead.

    Returns:
        List of paths, each once.

    Raises:
        ValueError: if a path does not exist, or there are no image files.

    Example:
    >>> list_image_files(["nowhere.png"])
    Traceback (most recent call last):
    ValueError: `images` must be image files or folders. Received: 'nowhere.png', not found
    """
    found: list[str] = []
    for file in files:
        path = pathlib.Path(file).expanduser()
        if path.is_dir():
            found += images_of_folder(path, kind)
        elif path.exists():
            found.append(str(path))
        else:
            raise ValueError(
                f"`images` must be image files or folders. Received: {os.fspath(file)!r}, not found"
            )
    if not found:
        raise ValueError("`images` must name at least one image file or folder. Received: none")
    return list(dict.fromkeys(found))


def _write(
    model: Any,
    reading: Any,
    paths: list[str],
    batch_size: int,
    predictions: Predictions,
    table: "_Table",
    path: pathlib.Path,
) -> None:
    names = names_of(model)
    stopped: KeyboardInterrupt | None = None
    with replacing(path) as aside:
        # A name that is no text in this encoding is written as the bytes it is.
        with aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "predicted_class", "probability", *names])

            def add(image: str, probabilities: np.ndarray) -> None:
                best = int(probabilities.argmax())
                cells = [f"{value:.6g}" for value in probabilities]
                writer.writerow([image, names[best], cells[best], *cells])

            try:
                _predict(model, reading, paths, batch_size, predictions, [table.add, add])
            except KeyboardInterrupt as error:
                stopped = error
    if stopped is not None:
        cause = f"stopped by {stopped}" if str(stopped) else "interrupted"
        raise Interrupted(
            f"{cause} after {predictions.num_predicted:,} of {len(paths):,} files; "
            f"{path} holds them"
        ) from stopped


def _predict(
    model: Any,
    reading: Any,
    paths: list[str],
    batch_size: int,
    predictions: Predictions,
    sinks: list[Callable[[str, np.ndarray], None]],
) -> None:
    names = names_of(model)
    for start in range(0, len(paths), batch_size):
        rows, unreadable = _classified(model, reading, paths[start : start + batch_size])
        predictions.unreadable += unreadable
        for path, row in rows:
            for sink in sinks:
                sink(path, row)
            predictions.num_predicted += 1
            predictions.counts[names[int(row.argmax())]] += 1


def _classified(
    model: Any, reading: Any, paths: list[str]
) -> tuple[list[tuple[str, np.ndarray]], list[tuple[str, str]]]:
    """Paths and probabilities of what can be read, paths and reasons of the others."""
    if files_of(model) is VOLUMES and len(model.image_shape) == 4:
        return _classified_volumes(model, paths)
    readable, unreadable = reading.images(paths)
    if not readable:
        return [], unreadable
    pixels = np.stack([image for _, image in readable])
    rows = model.probabilities(pixels, len(pixels))
    return [(path, row) for (path, _), row in zip(readable, rows, strict=True)], unreadable


def _classified_volumes(model: Any, paths: list[str]) -> tuple[list[Any], list[Any]]:
    rows, unreadable = [], []
    for path in paths:
        try:
            rows.append((path, volume_probabilities(model, read_whole(path, model))))
        except (ValueError, OSError) as error:
            unreadable.append((path, str(error)))
    return rows, unreadable


class _Reading:
    """Image files as a model takes them, read as in training."""

    def __init__(self, model: Any, resize: str):
        self.model, self.resize = model, resize

    def images(
        self, paths: list[str]
    ) -> tuple[list[tuple[str, np.ndarray]], list[tuple[str, str]]]:
        """Paths and images of the files that can be read, paths and reasons of the others."""
        if files_of(self.model) is not IMAGES:
            return self._one_by_one(paths, [])
        files = inspect_files(paths)
        defects = [(file.path, file.defect) for file in files if file.defect]
        files = [file for file in files if not file.defect]
        if files and self._plain(files):
            split = data.FolderSplit(
                [file.path for file in files],
                self.model.image_shape,
                files=files,
                resize=self.resize,
            )
            try:
                images = split.arrays()[0]
            except Exception:  # TensorFlow's own, where several files are gone by now
                images = None
            if images is not None and not split.num_unreadable:
                pairs = [(file.path, image) for file, image in zip(files, images, strict=True)]
                return pairs, defects
        return self._one_by_one([file.path for file in files], defects)

    def _one_by_one(self, paths, defects):
        pairs = []
        for path in paths:
            try:
                pairs.append((path, read_sample(path, self.model, self.resize)))
            except (ValueError, OSError) as error:
                defects.append((path, str(error)))
        return pairs, defects

    def _plain(self, files: list[Any]) -> bool:
        """Whether pixels are bytes and stay bytes, so that files can be read together."""
        plain = self.model.value_range in (None, (0.0, 255.0))
        return plain and all(file.highest is None for file in files)


class _SignalReading:
    """Signals as a model takes them, each named by its file and its number there."""

    def __init__(
        self,
        files: Sequence[Any],
        model: Any,
        groups: str | None,
        announce: Callable[[str], Any],
    ):
        made = preprocessing_of(model)
        if not files:
            raise ValueError("`files` must name at least one file of signals. Received: none")
        self.signals: dict[str, np.ndarray] = {}
        self.unreadable: list[tuple[str, str]] = []
        for file in map(os.fspath, files):
            try:
                signals = data.read_signals(
                    file, model.image_shape, groups, preprocessing=made, announce=announce
                )
            except (ValueError, OSError) as error:
                self.unreadable.append((file, str(error)))
                continue
            self.signals |= {f"{file}:{n}": signal for n, signal in enumerate(signals, 1)}

    def images(self, paths: list[str]) -> tuple[list[tuple[str, np.ndarray]], list[Any]]:
        """Names and signals; all of them could be read."""
        return [(path, self.signals[path]) for path in paths], []


class _Table:
    """The first files line by line."""

    def __init__(self, names: Sequence[str], paths: list[str], announce: Callable[[str], Any]):
        self.names, self.announce, self.count = names, announce, 0
        self.width = max([4, *(len(path) for path in paths[:_SHOWN])])
        self.class_width = max(5, *map(len, names))

    def add(self, path: str, probabilities: np.ndarray) -> None:
        if not self.count:
            self.announce(f"{'file':<{self.width}}  {'class':<{self.class_width}}  probability")
        self.count += 1
        if self.count <= _SHOWN:
            best = int(probabilities.argmax())
            name = f"{self.names[best]:<{self.class_width}}"
            self.announce(f"{path:<{self.width}}  {name}  {probabilities[best]:>11.3f}")
