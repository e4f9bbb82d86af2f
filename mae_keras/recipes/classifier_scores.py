"""How a fine-tuned classifier does on labelled images: numbers, words and pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_keras import data, evaluation, figures
from mae_keras.recipes.fine_tune_options import no_labels
from mae_keras.training import RunFolder

_BATCH_SIZE = 256


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
    for batch, own in data.evaluation_batches(split, _BATCH_SIZE, with_labels=True):
        probabilities.append(model.probabilities(np.asarray(batch)))
        labels.append(numbers[np.asarray(own)])
    made, true = np.concatenate(probabilities), np.concatenate(labels)
    names = names_of(model)
    report = evaluation.class_report(true, made.argmax(axis=1), model.num_classes, names, made)
    notes = [f"Scored on the {part} images, {len(true):,} of them, of {images.name}."]
    if report.absent:
        notes.append(f"No {part} images: {', '.join(report.absent)}.")
    return {
        "test_accuracy": report.accuracy,
        "accuracies": {"trained": report.accuracy},
        "interval": list(evaluation.accuracy_interval(report.accuracy, len(true))),
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
