"""From a pretrained run to a classifier: training, numbers, pictures and a SavedModel."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras import data
from mae_keras.arguments import renamed_argument
from mae_keras.evaluation.fine_tune_settings import FineTuneSettings
from mae_keras.evaluation.fine_tuning import build_classifier, compile_classifier, fit_classifier
from mae_keras.run_contents import path_of_weights
from mae_keras.runs.building import fingerprint, path_of, source_digest
from mae_keras.runs.exporting import load_trained
from mae_keras.runs.finishing import (
    attempt,
    draw_loss,
    export_beside,
    finished_model,
    save_model,
    stopped_by,
)
from mae_keras.runs.folder import RunFolder
from mae_keras.runs.options import (
    DataOptions,
    FineTuneOptions,
    check_images,
    load_labeled,
    no_labels,
    preprocessing_of,
)
from mae_keras.runs.predicting import draw_scores, score_classifier, unscored_classes
from mae_keras.runs.pretraining import conditions
from mae_keras.runs.progress import EpochLines
from mae_keras.runs.protocols.fine_tune import augmentation_for
from mae_keras.runs.recipe import Recipe
from mae_keras.runs.report import worded, write_classifier_card
from mae_keras.runs.resuming import Interrupted, StopRequest, add_row
from mae_keras.runs.watching import Watching, ended_early, raising_failures
from mae_keras.training import explaining_out_of_memory

_VALIDATION_IMAGES = 2048
# What models have that are no autoencoders, on an encoder of patches.
_OF_OTHERS = ("classify_batch", "segment_batch", "forecast_batch")
# What a classifier's run keeps of the pretrained run's settings.
_KEPT = (
    *("preset", "image_size", "patch_size", "strict"),
    *("splits", "groups", "labels_from", "split_by", "resize", "kind"),
)


@renamed_argument("labelled", "labeled")
def fine_tune_run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: FineTuneOptions | None = None,
    *,
    labeled: DataOptions | None = None,
    overwrite: bool = False,
    data_dir: str | None = None,
    images: data.ImageData | None = None,
    announce: Callable[[str], Any] = print,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train a classifier from a pretrained encoder and write everything about it into a folder.

    The weights of the last epoch are the result: nothing is chosen on the test images, nor on the
    validation images. The classifier is written as soon as it is trained; what follows (scores,
    pictures, the SavedModel) can fail or be interrupted without losing it. Until then nothing is
    written, and an earlier run in `out` stays.

    Args:
        source: folder of a pretrained run, the `.keras` file of a masked autoencoder, or the name
            of weights that ship with the package.
        out: folder of the classifier's run: `model.keras`, `config.json`, `history.csv`,
            `metrics.json`, `loss.png`, `evaluation.json`, `evaluation/confusion.png`,
            `model_card.md` and `saved_model/`.
        options: `FineTuneOptions`, how it is trained.
        labeled: `DataOptions`, the images; defaults to those of the pretrained run.
        overwrite: bool, replace the run in `out`.
        data_dir: folder of TensorFlow Datasets; defaults to `TFDS_DATA_DIR`.
        images: `data.ImageData` to use in place of what `labeled` names.
        announce: called with every line about how it goes.
        callbacks: of `keras.callbacks.Callback`, called as in `fit`.
        tensorboard: bool, write an epoch's metrics to `tensorboard/` in the folder.

    Returns:
        What `metrics.json` holds. The scores are of the test images; of the validation images
        where there are no test images, which `scored_on` says.

    Raises:
        ValueError: if settings, images and folder do not fit together; nothing is written then.
        NonFiniteError: if the loss becomes NaN or infinite.
        CallbackError: if one of `callbacks` raises; nothing is written then, unless training was
            done.
        Interrupted: if the process is asked to stop.

    Example:
    >>> from mae_keras.runs import fine_tune_run
    >>> fine_tune_run("runs/digits", "runs/digit-classifier")["accuracy"]  # doctest: +SKIP
    0.985
    """
    began = time.perf_counter()
    options = FineTuneOptions() if options is None else options
    labeled = DataOptions() if labeled is None else labeled
    watching = Watching(callbacks, tensorboard=tensorboard)
    run = RunFolder(out)
    run.check({}, overwrite=overwrite, resumable=False)
    recipe, model = pretrained_encoder(source)
    seed = recipe.seed if options.seed is None else options.seed
    own = images is None and not labeled.given
    if images is None:
        images = _load(source, labeled, recipe, model, data_dir, seed, announce)
    else:
        for note in images.notes:
            announce(note)
    check_images(images, model.encoder.image_shape, model.value_range)
    split = _training_split(images, options, seed, own=own)
    batch_size, epochs = options.plan(len(split))
    options = dataclasses.replace(options, pooling=options.pooling or recipe.pooling)
    settings = _settings(options, model, batch_size, epochs, seed)
    classifier = build_classifier(
        model, images.num_classes, settings, class_names=_class_names(images)
    )
    unscored = _unscored(images)
    if unscored:
        announce(f"WARNING: {unscored}")
    config = _config(source, recipe, images, labeled, options, settings, seed)
    config["dtype_policy"] = classifier.dtype_policy.name
    stop = StopRequest()
    with run.locked():
        run.check(config, overwrite=overwrite, resumable=False)
        with watching.logs_aside(run.tensorboard) as logs:
            own = watching.guarded(logs, stop)
            with raising_failures(own):
                done, seconds = _train(
                    classifier, images, split, settings, options, announce, own, stop
                )
            run.start(config)
            save_model(classifier, run, "classifier")
            run.write_history(done.rows)
        with finished_model(run, "classifier"):
            metrics = _finish(
                classifier,
                images,
                run,
                announce,
                {
                    "epochs": done.epoch,
                    "steps": done.num_steps,
                    "batch_size": batch_size,
                    "base_learning_rate": settings.base_learning_rate,
                    "num_train": len(images.train),
                    "num_trained_weights": sum(
                        int(np.prod(v.shape)) for v in classifier.trainable_variables
                    ),
                    "train_seconds": round(seconds, 1),
                },
                began,
            )
    with raising_failures(own):
        if stop.requested is not None:  # too late to end training
            raise Interrupted(f"{stop.requested} failed; {run.path} holds the whole run")
    return metrics


def pretrained_encoder(source: str | os.PathLike[str]) -> tuple[Recipe, Any]:
    """The recipe of a pretrained run and its model, which has an encoder of patches.

    Args:
        source: as for `fine_tune_run`.

    Returns:
        `Recipe`, and the model.

    Raises:
        ValueError: if the model is of another kind.
    """
    recipe, model = load_trained(source)
    if not hasattr(model, "encoder") or any(hasattr(model, step) for step in _OF_OTHERS):
        raise ValueError(
            f"`run` must be one of a masked autoencoder with an encoder of patches. Received: "
            f"{os.fspath(source)!r}, whose model is a {type(model).__name__}"
        )
    return recipe, model


def _load(
    source: Any,
    labeled: DataOptions,
    recipe: Recipe,
    model: Any,
    data_dir: str | None,
    seed: int,
    announce: Callable[[str], Any],
) -> Any:
    run = RunFolder(path_of_weights(source))
    has_data = run.config.exists() and "dataset" in run.read_config()
    if not labeled.given and not has_data:
        raise ValueError(
            f"`dataset` must name labeled images: nothing says what {os.fspath(source)!r} was "
            f"trained on. Received: none"
        )
    return load_labeled(
        labeled,
        recipe,
        model.encoder.image_shape,
        data_dir=data_dir,
        seed=seed,
        value_range=model.value_range,
        announce=announce,
        preprocessing=preprocessing_of(model),
    )


def _training_split(
    images: Any, options: FineTuneOptions, seed: int, own: bool = False
) -> data.Split:
    if not images.num_classes:
        raise ValueError(no_labels(images.name, own))
    if images.num_classes < 2:
        raise ValueError(
            f"`dataset` must have at least two classes. Received: {images.name!r} with "
            f"{images.num_classes}"
        )
    labels = images.train.labels
    if labels is not None:
        present = set(np.unique(labels).tolist())
        absent = [n for n in range(images.num_classes) if n not in present]
        if absent:
            names = _class_names(images) or tuple(map(str, range(images.num_classes)))
            raise ValueError(
                f"`dataset` must have training images of every class: leave more of them to train, "
                f"with splits such as 0.8 0.2 0. Received: {len(labels)} training images, none of "
                f"{', '.join(names[number] for number in absent[:10])}"
            )
    if not options.balance:
        return images.train
    return data.balanced_split(images.train, seed=seed, power=options.balance)


def _unscored(images: Any) -> str:
    """A sentence on the classes that the images to score on leave out; empty if there are none."""
    part = "test" if len(images.test) else "validation"
    labels = getattr(images, part).labels
    if labels is None or not len(labels):
        return ""
    names = _class_names(images) or tuple(map(str, range(images.num_classes)))
    present = set(np.unique(labels).tolist())
    return unscored_classes([name for n, name in enumerate(names) if n not in present], part)


def _class_names(images: Any) -> tuple[str, ...] | None:
    """The data set's own names, or the numbers; none if two classes share one."""
    names = images.class_names or range(images.num_classes)
    names = tuple(map(str, names))
    return names if len(set(names)) == len(names) and all(names) else None


def _settings(
    options: FineTuneOptions, model: Any, batch_size: int, epochs: int, seed: int
) -> FineTuneSettings:
    return FineTuneSettings(
        epochs=epochs,
        batch_size=batch_size,
        base_learning_rate=options.rate(model.encoder.hidden_dim),
        layer_decay=options.layer_decay,
        weight_decay=options.weight_decay,
        warmup_epochs=options.warmup_epochs,
        drop_path_rate=options.drop_path_rate,
        label_smoothing=options.label_smoothing,
        ema_momentum=options.ema_momentum,
        train_blocks=options.train_blocks,
        from_scratch=options.from_scratch,
        pooling=options.pooling,
        jit_compile={"auto": "auto", "true": True, "false": False}[options.jit_compile],
        seed=seed,
    )


def augmentation_of(options: FineTuneOptions, images: Any) -> data.ClassificationAugmentation:
    """The random changes that are made to the training images.

    Args:
        options: `FineTuneOptions`.
        images: `data.ImageData`.

    Returns:
        `data.ClassificationAugmentation`.

    Example:
    >>> augmentation_of(FineTuneOptions(mixup=0.4), data.load("digits")).mixup_alpha
    0.4
    """
    if options.augmentation == "auto":
        chosen = augmentation_for(images)
    else:
        chosen = data.ClassificationAugmentation.preset(options.augmentation, _kind_of(images))
    if chosen.samples is not None or images.is_sound:
        _refuse_mixing(options)
    changes = {"mixup_alpha": options.mixup, "cutmix_alpha": options.cutmix}
    values = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(chosen, **values)


def _kind_of(images: Any) -> str:
    """What the named augmentations are chosen by."""
    if images.is_sound:
        return "sound"
    return "signals" if len(images.image_shape) == 2 else "images"


def _refuse_mixing(options: FineTuneOptions) -> None:
    """Refuse mixtures of samples that may be padded: what is missing in one is missing in both."""
    for name, value in {"mixup": options.mixup, "cutmix": options.cutmix}.items():
        if value not in (None, 0):
            raise ValueError(
                f"`{name}` is for images, not recordings or augmented signals. "
                f"Received: {name}={value!r}"
            )


def _config(
    source: Any,
    recipe: Recipe,
    images: Any,
    labeled: DataOptions,
    options: FineTuneOptions,
    settings: FineTuneSettings,
    seed: int,
) -> dict[str, Any]:
    return {
        "task": "classification",
        "fine_tuned_from": os.fspath(source),
        "fine_tuned_from_sha256": source_digest(source),
        "pretrained_on": recipe.dataset,
        "dataset": str(images.name),
        **{name: getattr(recipe, name) for name in _KEPT if hasattr(recipe, name)},
        "seed": seed,
        "labelled": {
            name: os.path.abspath(value) if name in ("train", "validation", "test") else value
            for name, value in labeled.as_dict().items()
        },
        "class_names": _class_names(images),
        "fine_tune": {
            **dataclasses.asdict(settings),
            "layer_decay": settings.effective_layer_decay,
            "balance": options.balance,
            "augmentation": dataclasses.asdict(augmentation_of(options, images)),
        },
        "backend": keras.backend.backend(),
        "data": {**fingerprint(images), **_place(images)},
    }


def _place(images: Any) -> dict[str, str]:
    """Where the images lie, so that they are found from another folder too."""
    path = path_of(str(images.name))
    return {"path": path} if path is not None and os.path.exists(path) else {}


def _train(
    classifier: Any,
    images: Any,
    split: data.Split,
    settings: FineTuneSettings,
    options: FineTuneOptions,
    announce: Callable[[str], Any],
    own: Sequence[keras.callbacks.Callback],
    stop: StopRequest,
) -> tuple["_Done", float]:
    steps = len(split) // settings.batch_size
    batches = data.labeled_batches(
        split,
        settings.batch_size,
        classifier.num_classes,
        seed=settings.seed,
        augmentation=augmentation_of(options, images),
        value_range=classifier.value_range,
    )
    compile_classifier(classifier, settings, settings.batch_size, steps)
    line = (
        f"{len(images.train):,} training images of {images.num_classes} classes, "
        f"{len(images.validation):,} validation, {len(images.test):,} test; "
        f"{settings.epochs} epochs of {steps} steps, {settings.batch_size} images a step"
    )
    announce(worded(line, images.image_shape, images.kind))
    started = time.perf_counter()
    progress, done = EpochLines(settings.epochs, steps), _Done(settings.epochs, steps, stop)
    lines = progress if announce is print else _Announced(announce, done)
    try:
        with explaining_out_of_memory(settings.batch_size, 1):
            fit_classifier(
                classifier,
                batches,
                settings.epochs,
                steps,
                # What comes later reads in the logs what comes earlier puts there.
                callbacks=[*own, lines, done],
                validation_data=_validation(images),
            )
    except Interrupted:  # by a callback that fails before the first step, and says so
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"{stopped_by(error)} before fine-tuning was done; nothing was written"
        ) from error
    finally:
        progress.close()
    if done.num_steps < settings.epochs * steps:
        announce(ended_early(done.epoch, settings.epochs, done.step, steps))
    return done, time.perf_counter() - started


class _Done(keras.callbacks.Callback):
    """What has been trained: rows of whole epochs, steps; leaves when a callback has failed."""

    async_safe = True

    def __init__(self, epochs: int, steps: int, stop: StopRequest):
        super().__init__()
        self.epochs, self.steps, self.stop = epochs, steps, stop
        self.rows: dict[str, list[float | None]] = {}
        self.epoch = self.step = 0

    @property
    def num_steps(self) -> int:
        """Steps taken."""
        return self.epoch * self.steps + self.step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step = batch + 1
        if self.step < self.steps:
            self._leave()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.step == self.steps:  # a part of an epoch is no row
            add_row(self.rows, epoch, logs or {})
            self.epoch, self.step = epoch + 1, 0
        if self.epoch < self.epochs:
            self._leave()

    def _leave(self) -> None:
        if self.stop.requested is not None:
            raise KeyboardInterrupt(self.stop.requested)


class _Announced(keras.callbacks.Callback):
    """A line after every epoch for whoever does not want them printed."""

    def __init__(self, announce: Callable[[str], Any], done: _Done):
        super().__init__()
        self.announce, self.done = announce, done

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        numbers = ", ".join(f"{name} {float(value):.4g}" for name, value in (logs or {}).items())
        step, steps = self.done.step, self.done.steps
        part = "" if step == steps else f", {step} of {steps} steps"
        self.announce(f"epoch {epoch + 1}{part}: {numbers}")


def _validation(images: Any) -> tuple[np.ndarray, np.ndarray] | None:
    if not len(images.validation):
        return None
    return images.validation.arrays(limit=_VALIDATION_IMAGES)


def _finish(
    classifier: Any,
    images: Any,
    run: RunFolder,
    announce: Callable[[str], Any],
    training: dict[str, Any],
    began: float,
) -> dict[str, Any]:
    metrics: dict[str, Any] = {"scored_on": None, **training}
    part = "test" if len(images.test) else "validation"
    if not len(getattr(images, part)):
        announce("There are neither test nor validation images: the classifier was not scored.")
    else:
        if part == "validation":
            announce("There are no test images: scores are of the validation images.")
        entry = score_classifier(classifier, images, part)
        metrics |= _summary(entry)
        if part == "test" and len(images.validation):
            validation = score_classifier(classifier, images, "validation")
            metrics["validation_accuracy"] = validation["test_accuracy"]
        run.write_json(run.evaluation, {"classifier": entry})
    metrics["run_id"] = run.run_id()
    metrics |= {"wall_seconds": round(time.perf_counter() - began, 1), **conditions(classifier)}
    run.check_held()
    run.write_json(run.metrics, metrics)
    attempt(announce, "The picture of the losses", draw_loss, run)
    if part and metrics["scored_on"]:
        attempt(announce, "The confusion matrix", draw_scores, entry, run)
    attempt(announce, "The model card", write_classifier_card, run)
    export_beside(classifier, run, announce)
    metrics["wall_seconds"] = round(time.perf_counter() - began, 1)
    run.write_json(run.metrics, metrics)
    return metrics


def _summary(entry: dict[str, Any]) -> dict[str, Any]:
    classes = entry["classes"]
    return {
        "scored_on": entry["split"],
        "accuracy": entry["test_accuracy"],
        "accuracy_interval": entry["interval"],
        "num_scored": entry["num_test"],
        "most_frequent_class_accuracy": entry["most_frequent_class"],
        **{name: classes[name] for name in ("balanced_accuracy", "macro_f1", "worst_class")},
        "worst_recall": classes["worst_recall"],
        "classes": classes["classes"],
        "confusion": classes["confusion"],
        "calibration_error": classes["calibration"]["error"],
    }
