"""Rare classes: six ways to treat them in a linear classifier on frozen features.

    TFDS_DATA_DIR=... python scripts/benchmarks/imbalance.py --run RUN [--pneumonia FILE.npz]
        [--seeds 3] [--ratio 100] [--pretrain-epochs N] [--out results.json]

Two tasks: a long-tailed version of RUN's data set (without a run, of `--dataset`) with the test set
as it is, and, with `--pneumonia`, chest X-rays in MedMNIST's format, of which nine in ten training
images are of one class. RUN's encoder stands beside the same encoder untrained and raw pixels;
`--pretrain-epochs` adds two encoders pretrained on the task itself, with plain and with balanced
sampling, for the same number of steps.

The penalty on the weights is chosen by balanced accuracy on the validation images, which are
long-tailed too, with the first seed. A seed stands for the images that are kept (long-tailed task),
the classifier's start and the order of its batches. Printed: mean and half of the 95 % interval.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

from mae_keras import data
from mae_keras.data.arrays import in_memory_data
from mae_keras.data.division import Division
from mae_keras.evaluation import class_report, mean_interval
from mae_keras.losses import LogitAdjustedCrossentropy
from mae_keras.runs import Recipe, find_recipe
from mae_keras.runs.building import (
    compile_model,
    load_images,
    training_augmentation,
    untrained_model,
)
from mae_keras.runs.comparison import pixel_values
from mae_keras.runs.exporting import load_run
from mae_keras.training import class_weights

STRENGTHS = (1e-1, 1e-2, 1e-3)
BATCH_SIZE = 1024
SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "worst_recall")

Pair = tuple[np.ndarray, np.ndarray]


class Treatment(NamedTuple):
    """One way to train on unequal classes."""

    loss: keras.losses.Loss
    class_weight: dict[int, float] | None = None
    balanced: bool = False


def treatments(labels: np.ndarray, num_classes: int) -> dict[str, Treatment]:
    """The six ways, by the labels to be trained on."""
    plain = keras.losses.CategoricalCrossentropy(from_logits=True)
    # alpha only scales the loss, and with it what the penalty on the weights means
    focal = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True)
    return {
        "plain": Treatment(plain),
        "inverse": Treatment(plain, class_weights(labels, num_classes)),
        "effective": Treatment(plain, class_weights(labels, num_classes, "effective")),
        "balanced": Treatment(plain, balanced=True),
        "adjusted": Treatment(LogitAdjustedCrossentropy(np.bincount(labels))),
        "focal": Treatment(focal),
    }


@keras.saving.register_keras_serializable(package="mae_keras_benchmarks")
class PenalisedDense(keras.layers.Dense):
    """A dense layer whose penalty is a weight, so that changing it compiles nothing."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.strength = self.add_weight((), "zeros", trainable=False, name="strength")

    def call(self, inputs: Any, training: Any = None) -> Any:
        self.add_loss(self.strength * ops.sum(ops.square(self.kernel)) / 2)
        return super().call(inputs, training=training)


class Head:
    """A linear classifier that is compiled once and trained from the start again and again."""

    def __init__(self, num_features: int, num_classes: int, treatment: Treatment, steps: int):
        self.treatment, self.steps = treatment, steps
        dense = PenalisedDense(num_classes, kernel_initializer="zeros")
        self.model = keras.Sequential([keras.layers.Input((num_features,)), dense])
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps))
        self.model.compile(optimizer, treatment.loss, jit_compile=False, steps_per_execution=20)
        optimizer.build(self.model.trainable_variables)
        variables = [*self.model.variables, *optimizer.variables]
        self.start = [(variable, ops.convert_to_numpy(variable)) for variable in variables]

    def fit(self, features: np.ndarray, labels: np.ndarray, strength: float, seed: int) -> None:
        """Train on standardized features."""
        for variable, value in self.start:
            variable.assign(value)
        self.model.layers[-1].strength.assign(strength)
        split = data.ArraySplit(features, labels)
        if self.treatment.balanced:
            split = data.balanced_split(split, seed)
        num_classes = self.model.output_shape[-1]
        batches = data.training_batches(
            split, min(BATCH_SIZE, len(split)), seed=seed, with_labels=True
        ).map(lambda x, y: (x, ops.one_hot(y, num_classes)))
        self.model.fit(
            batches,
            steps_per_epoch=self.steps,
            class_weight=self.treatment.class_weight,
            shuffle=False,
            verbose=0,
        )

    def report(self, features: np.ndarray, labels: np.ndarray, names: Any = None) -> Any:
        """The class report of the classifier as it is."""
        kernel, bias = map(ops.convert_to_numpy, self.model.trainable_variables)
        logits = features @ kernel + bias
        return class_report(labels, logits.argmax(axis=1), logits.shape[1], names)


class Draw(NamedTuple):
    """What one seed trains, chooses and reports on."""

    train: Pair
    validation: Pair
    test: Pair


@dataclasses.dataclass(frozen=True)
class Task:
    """Images, the recipe of their encoders, and the rows of train and validation of each seed."""

    name: str
    images: Any
    recipe: Recipe
    rows: list[tuple[np.ndarray, np.ndarray]]
    max_test: int
    augmentation: Any = None

    def draws(self, encode: Callable[[np.ndarray], np.ndarray]) -> list[Draw]:
        """Features for every seed; no image is encoded twice."""
        train = encode_rows(encode, self.images.train, [train for train, _ in self.rows])
        tuning = encode_rows(encode, self.images.validation, [tuning for _, tuning in self.rows])
        images, labels = self.images.test.arrays(limit=self.max_test)
        test = encode(images), labels
        return [standardized(*pairs, test) for pairs in zip(train, tuning, strict=True)]


def encode_rows(encode: Any, split: Any, rows: list[np.ndarray]) -> list[Pair]:
    """Features and labels of several choices of rows."""
    images, labels = split.arrays()
    union, places = np.unique(np.concatenate(rows), return_inverse=True)
    features, labels = encode(images[union]), labels[union]
    ends = np.cumsum([len(own) for own in rows])[:-1]
    return [(features[own], labels[own]) for own in np.split(places, ends)]


def standardized(*pairs: Pair) -> Draw:
    """All three by the mean and standard deviation of the training features."""
    features = pairs[0][0]
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-6 * (1 + np.abs(mean)), scale, 1)
    return Draw(*(((x - mean) / scale, labels) for x, labels in pairs))


def long_tailed_task(recipe: Recipe, options: argparse.Namespace) -> Task:
    """Train and validation long-tailed, test as it is."""
    images = load_images(recipe)
    rows = [
        tuple(
            data.long_tailed_rows(split.labels, options.ratio, seed)
            for split in (images.train, images.validation)
        )
        for seed in range(options.seeds)
    ]
    name = f"{images.name}, long-tailed 1:{options.ratio:g}"
    return Task(name, images, recipe, rows, options.max_test, training_augmentation(recipe, images))


def pneumonia_task(recipe: Recipe, shape: Any, options: argparse.Namespace) -> Task:
    """The images of a MedMNIST file as they are, brought to the shape of the encoder."""
    with np.load(options.pneumonia) as archive:
        arrays = {name: archive[name] for name in archive.files}
    height, width, channels = shape or (*arrays["train_images"].shape[1:3], 1)
    train, validation, test = (
        (np.repeat(arrays[f"{part}_images"][..., None], channels, -1), arrays[f"{part}_labels"])
        for part in ("train", "val", "test")
    )
    names = ("normal", "pneumonia")
    images = in_memory_data(
        "pneumonia",
        *train,
        division=Division(by="order"),
        validation=validation,
        test=test,
        class_names=names,
        image_size=(height, width),
    )
    for note in images.notes:
        print(note)
    rows = (np.arange(len(images.train)), np.arange(len(images.validation)))
    return Task("pneumonia", images, recipe, [rows] * options.seeds, options.max_test)


def pretrained(task: Task, epochs: int, balanced: bool) -> Any:
    """The task's encoder, pretrained on the training images of the first seed."""
    train = data.SelectedSplit(task.images.train, task.rows[0][0])
    recipe = dataclasses.replace(
        task.recipe,
        epochs=epochs,
        warmup_epochs=min(task.recipe.warmup_epochs, epochs - 1),
        batch_size=min(task.recipe.batch_size, len(train)),
        mask_ratio_start=None,
    )
    model = untrained_model(recipe, dataclasses.replace(task.images, train=train))
    steps = data.steps_per_epoch(train, recipe.batch_size)
    compile_model(model, recipe, steps)
    batches = data.training_batches(
        data.balanced_split(train, recipe.seed) if balanced else train,
        recipe.batch_size,
        seed=recipe.seed,
        augmentation=task.augmentation,
    )
    model.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=0)
    return model


def encoders(task: Task, trained: Any, pretrain_epochs: int) -> dict[str, Callable]:
    """What is compared, by name."""
    models = {} if trained is None else {"pretrained": trained}
    if pretrain_epochs:
        for name, balanced in (("plain MAE", False), ("balanced MAE", True)):
            models[name] = pretrained(task, pretrain_epochs, balanced)
    models["untrained"] = untrained_model(task.recipe, task.images)
    made = {name: encoder_of(model) for name, model in models.items()}
    return {**made, "pixels": pixel_values}


def encoder_of(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Images to features."""
    return lambda images: model.encode(images, batch_size=256)


def measure(head: Head, draws: list[Draw], names: Any) -> dict[str, Any]:
    """Choose the penalty with the first seed's validation images, then score every seed's test."""
    accuracies = {}
    for strength in STRENGTHS:
        head.fit(*draws[0].train, strength, seed=0)
        accuracies[strength] = head.report(*draws[0].validation).balanced_accuracy
    strength = max(accuracies, key=accuracies.get)
    reports = []
    for seed, draw in enumerate(draws):
        head.fit(*draw.train, strength, seed)
        reports.append(head.report(*draw.test, names))
    worst = collections.Counter(report.worst_class for report in reports)
    scores = {name: mean_interval([getattr(one, name) for one in reports]) for name in SCORES}
    return {
        **{name: score._asdict() for name, score in scores.items()},
        "worst_class": worst.most_common(1)[0][0],
        "strength": strength,
    }


def run(task: Task, trained: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Print and return every encoder's scores under every treatment."""
    num_classes, names = task.images.num_classes, task.images.class_names
    counts = np.bincount(task.images.train.labels[task.rows[0][0]])
    print(f"\n{task.name}: training images of each class {counts.tolist()}")
    print(f"{'features':<13}{'treatment':<11}" + "".join(f"{name:>19}" for name in SCORES))
    results = []
    for name, encode in encoders(task, trained, options.pretrain_epochs).items():
        draws = task.draws(encode)
        features, labels = draws[0].train
        for kind, treatment in treatments(labels, num_classes).items():
            head = Head(features.shape[1], num_classes, treatment, options.steps)
            scores = measure(head, draws, names)
            cells = "".join(f"{cell(scores[score]):>19}" for score in SCORES)
            print(f"{name:<13}{kind:<11}{cells}  {scores['worst_class']}", flush=True)
            results.append({"task": task.name, "features": name, "treatment": kind, **scores})
    return results


def cell(score: dict[str, float | None]) -> str:
    """Mean and half of the interval."""
    half = "" if score["low"] is None else f" ±{score['mean'] - score['low']:.3f}"
    return f"{score['mean']:.3f}{half}"


def main() -> None:
    """Run both tasks and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", help="folder of a pretraining run")
    parser.add_argument("--dataset", default="mnist", help="what to load without a run")
    parser.add_argument("--pneumonia", help=".npz file in MedMNIST's format, of two classes")
    parser.add_argument("--ratio", type=float, default=100.0, help="largest over smallest class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="steps of each classifier")
    parser.add_argument("--max-test", type=int, default=10_000, help="test images at most")
    parser.add_argument("--pretrain-epochs", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, help=".json file for the results")
    options = parser.parse_args()
    started = time.perf_counter()
    recipe, trained = find_recipe(dataset=options.dataset), None
    recipe = dataclasses.replace(recipe, dataset=options.dataset)
    if options.run:
        recipe, trained = load_run(options.run)
    tasks = [long_tailed_task(recipe, options)]
    if options.pneumonia:
        shape = None if trained is None else trained.image_shape
        tasks.append(pneumonia_task(recipe, shape, options))
    results = [result for task in tasks for result in run(task, trained, options)]
    print(f"\n{options.seeds} seeds, {time.perf_counter() - started:.0f} s")
    if options.out:
        options.out.write_text(json.dumps({**vars(options), "results": results}, default=str))


if __name__ == "__main__":
    main()
