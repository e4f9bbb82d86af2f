"""Classifying image files with a fine-tuned classifier."""

import csv
import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mae_keras import data
from mae_keras.data.image_files import inspect_files
from mae_keras.files import replacing
from mae_keras.recipes.classifier_scores import names_of
from mae_keras.recipes.trained import images_of_folder, load_trained
from mae_keras.training import Interrupted

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
    """Classify image files, and say and write what they are.

    Files are read and classified in batches, so that there may be any number. One that cannot be
    read is named and counted, and the others go on. If the process is interrupted, what was
    predicted until then is written.

    Args:
        source: folder of a classifier's run, or the `.keras` file of an `ImageClassifier`.
        files: image files, and folders, whose image files at any depth are taken.
        csv_path: file to write, or `None`: a row for each image with its path, the predicted class,
            its probability, and the probability of each class.
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
    paths = list_image_files(files)
    recipe, model = load_trained(source)
    if not hasattr(model, "classify_batch"):
        raise ValueError(
            f"`run` must be a classifier run. Train one with `mae-keras fine-tune`. Received: "
            f"{os.fspath(source)!r}, whose model is a {type(model).__name__}"
        )
    if len(model.image_shape) != 3 or model.image_shape[-1] not in (1, 3):
        raise ValueError(
            f"`run` must be a run of a classifier of gray or color images to classify files. "
            f"Received: a model of samples of shape {tuple(model.image_shape)}"
        )
    names = names_of(model)
    reading = _Reading(model, recipe.resize)
    made = Predictions(counts=dict.fromkeys(names, 0))
    table = _Table(names, paths, announce)
    if csv_path is None:
        _predict(model, reading, paths, batch_size, made, [table.add])
    else:
        path = pathlib.Path(csv_path).expanduser()
        _write(model, reading, paths, batch_size, made, table, path)
    if not made.num_predicted:
        path, reason = made.unreadable[0]
        raise ValueError(
            f"None of the {len(paths):,} files can be read. The first, {path}: {reason}"
        )
    return made


def list_image_files(files: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Image files as they are, and those in folders at any depth, sorted within each.

    Args:
        files: paths of files and folders.

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
            found += images_of_folder(path)
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
    reading: "_Reading",
    paths: list[str],
    batch_size: int,
    made: Predictions,
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
                _predict(model, reading, paths, batch_size, made, [table.add, add])
            except KeyboardInterrupt as error:
                stopped = error
    if stopped is not None:
        cause = f"stopped by {stopped}" if str(stopped) else "interrupted"
        raise Interrupted(
            f"{cause} after {made.num_predicted:,} of {len(paths):,} files; {path} holds them"
        ) from stopped


def _predict(
    model: Any,
    reading: "_Reading",
    paths: list[str],
    batch_size: int,
    made: Predictions,
    sinks: list[Callable[[str, np.ndarray], None]],
) -> None:
    names = names_of(model)
    for start in range(0, len(paths), batch_size):
        readable, unreadable = reading.images(paths[start : start + batch_size])
        made.unreadable += unreadable
        if not readable:
            continue
        pixels = np.stack([image for _, image in readable])
        for (path, _), row in zip(readable, model.probabilities(pixels, batch_size), strict=True):
            for sink in sinks:
                sink(path, row)
            made.num_predicted += 1
            made.counts[names[int(row.argmax())]] += 1


class _Reading:
    """Image files as a model takes them, read as in training."""

    def __init__(self, model: Any, resize: str):
        self.shape, self.value_range = model.image_shape, model.value_range
        self.resize = resize

    def images(
        self, paths: list[str]
    ) -> tuple[list[tuple[str, np.ndarray]], list[tuple[str, str]]]:
        """Paths and images of the files that can be read, paths and reasons of the others."""
        files = inspect_files(paths)
        defects = [(file.path, file.defect) for file in files if file.defect]
        files = [file for file in files if not file.defect]
        if files and self._plain(files):
            split = data.FolderSplit(
                [file.path for file in files], self.shape, files=files, resize=self.resize
            )
            try:
                images = split.arrays()[0]
            except Exception:  # TensorFlow's own, where several files are gone by now
                images = None
            if images is not None and not split.num_unreadable:
                pairs = [(file.path, image) for file, image in zip(files, images, strict=True)]
                return pairs, defects
        pairs = []
        for file in files:
            try:
                pairs.append((file.path, self._one(file.path)))
            except (ValueError, OSError) as error:
                defects.append((file.path, str(error)))
        return pairs, defects

    def _plain(self, files: list[Any]) -> bool:
        """Whether pixels are bytes and stay bytes, so that files can be read together."""
        return self.value_range in (None, (0.0, 255.0)) and all(f.highest is None for f in files)

    def _one(self, path: str) -> np.ndarray:
        return data.read_image(path, self.shape, resize=self.resize, value_range=self.value_range)


class _Table:
    """The first files line by line."""

    def __init__(self, names: Sequence[str], paths: list[str], announce: Callable[[str], Any]):
        self.names, self.announce, self.count = names, announce, 0
        self.width = max(4, *(len(path) for path in paths[:_SHOWN]))
        self.class_width = max(5, *map(len, names))

    def add(self, path: str, probabilities: np.ndarray) -> None:
        if not self.count:
            self.announce(f"{'file':<{self.width}}  {'class':<{self.class_width}}  probability")
        self.count += 1
        if self.count <= _SHOWN:
            best = int(probabilities.argmax())
            name = f"{self.names[best]:<{self.class_width}}"
            self.announce(f"{path:<{self.width}}  {name}  {probabilities[best]:>11.3f}")
