"""Fine-tuning: what a pretrained encoder is worth as the start of a classifier. Imports Keras.

Trained on the train set, reported on the test set; nothing is chosen on either of the others.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.data import ArraySplit, ClassificationAugmentation, labeled_batches
from mae_keras.evaluation.fine_tune_settings import FineTuneSettings
from mae_keras.models import ImageClassifier
from mae_keras.models.checks import check_input, check_labels
from mae_keras.training import NonFiniteError, fine_tuning_optimizer


@dataclasses.dataclass(frozen=True, eq=False)
class FineTuneResult:
    """What `fine_tune` returns.

    Attributes:
        test_accuracy: float in [0, 1], measured once, with the weights of the end.
        validation_accuracy: float in [0, 1] of the same weights, or `None` without a set.
        test_probabilities: float32 array `(num_test, num_classes)`.
        history: training loss and accuracy of every epoch, on augmented images.
        epochs: int, epochs trained.
        train_seconds: float, wall time of the training, compilation included.
        num_trained_weights: int, numbers that were trained.
        model: `ImageClassifier`, with the weights that were tested.
    """

    test_accuracy: float
    validation_accuracy: float | None
    test_probabilities: np.ndarray
    history: dict[str, list[float]]
    epochs: int
    train_seconds: float
    num_trained_weights: int
    model: ImageClassifier

    @property
    def test_predictions(self) -> np.ndarray:
        """Predicted class numbers `(num_test,)`."""
        return self.test_probabilities.argmax(axis=1)


def fine_tune(
    model: keras.Model,
    train: Any,
    validation: tuple[Any, Any] | None,
    test: tuple[Any, Any],
    num_classes: int,
    *,
    augmentation: ClassificationAugmentation | None = None,
    steps_per_epoch: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = 0,
    **settings: Any,
) -> FineTuneResult:
    """Train a classifier from a copy of an encoder and score it on the test set, once.

    The weights of the last epoch are the result, averaged over steps if `ema_momentum` is given:
    the learning rate has come down to 0 by then, and no set is needed to choose an epoch. The
    validation set is scored beside the test set and changes nothing; choose settings by it.

    Args:
        model: `MaskedAutoencoder` or `ViTEncoder`; it is never changed.
        train: `(images, labels)`: pixels as stored and int labels from 0, every class there; or a
            `tf.data.Dataset` of batches of images and labels, as `labeled_batches` makes.
        validation: `(images, labels)`, or `None`.
        test: `(images, labels)`.
        num_classes: int.
        augmentation: `ClassificationAugmentation`, or `None`; not for datasets.
        steps_per_epoch: int, for a dataset of unknown or no end.
        callbacks: passed to `fit`.
        verbose: passed to `fit`.
        **settings: fields of `FineTuneSettings`, of which `epochs` is required.

    Returns:
        `FineTuneResult`.

    Raises:
        TypeError: if labels are missing or not integers, `model` has no encoder, or a setting is
            unknown.
        ValueError: if sets do not fit the encoder, labels do not fit `num_classes`, a class is
            absent from `train`, or a number is out of range.
        NonFiniteError: if the loss becomes NaN or infinite.

    Example:
    >>> from mae_keras.models import ViTEncoder
    >>> encoder = ViTEncoder((4, 4, 1), 2, hidden_dim=8, num_layers=1, num_heads=1)
    >>> images, labels = np.zeros((8, 4, 4, 1), "uint8"), np.arange(8) % 2
    >>> sets = [(images, labels)] * 3
    >>> fine_tune(encoder, *sets, 2, epochs=1, jit_compile=False).test_probabilities.shape
    (8, 2)

    References:
        - He et al. 2021, arXiv:2111.06377, section 4.3 and tables 9 and 11.
    """
    chosen = FineTuneSettings(**settings)
    classifier = build_classifier(model, num_classes, chosen)
    test = _labeled("test", test, classifier)
    if validation is not None:
        validation = _labeled("validation", validation, classifier)
    if hasattr(train, "element_spec"):
        batches, batch_size = _ready(train, augmentation), chosen.batch_size
        steps = _steps_of(train, steps_per_epoch)
    else:
        batches, batch_size, steps = _batches(train, classifier, chosen, augmentation)
        if steps_per_epoch not in (None, steps):
            raise ValueError(
                f"`steps_per_epoch` must be None where `train` is arrays: they make {steps}. "
                f"Received: steps_per_epoch={steps_per_epoch}"
            )
    compile_classifier(classifier, chosen, batch_size, steps)
    started = time.perf_counter()
    history = fit_classifier(classifier, batches, chosen.epochs, steps, callbacks, verbose)
    return _scored(classifier, validation, test, history, time.perf_counter() - started)


def build_classifier(
    model: keras.Model,
    num_classes: int,
    settings: FineTuneSettings,
    class_names: Sequence[str] | None = None,
) -> ImageClassifier:
    """A classifier on a copy of an encoder, as `settings` say."""
    return ImageClassifier.from_pretrained(
        model,
        num_classes,
        drop_path_rate=settings.drop_path_rate,
        copy_weights=not settings.from_scratch,
        seed=settings.seed,
        pooling=settings.pooling,
        train_blocks=settings.train_blocks,
        class_names=class_names,
    )


def compile_classifier(
    classifier: ImageClassifier, settings: FineTuneSettings, batch_size: int, steps: int
) -> None:
    """Compile for so many steps an epoch."""
    averaging = settings.ema_momentum is not None
    ema = {"use_ema": True, "ema_momentum": settings.ema_momentum} if averaging else {}
    optimizer = fine_tuning_optimizer(
        settings.base_learning_rate,
        batch_size,
        total_steps=settings.epochs * steps,
        num_layers=classifier.encoder.num_layers,
        warmup_steps=settings.warmup_steps(steps),
        layer_decay=settings.effective_layer_decay,
        weight_decay=settings.weight_decay,
        **ema,
    )
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=settings.label_smoothing
    )
    classifier.compile(optimizer, loss, jit_compile=settings.jit_compile)


def fit_classifier(
    classifier: ImageClassifier,
    batches: Any,
    epochs: int,
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = 0,
    validation_data: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, list[float]]:
    """Train a compiled classifier; refuses a loss that is not finite."""
    history = classifier.fit(
        batches,
        epochs=epochs,
        steps_per_epoch=steps,
        callbacks=[keras.callbacks.TerminateOnNaN(), *callbacks],
        verbose=verbose,
        **({} if validation_data is None else {"validation_data": validation_data}),
    ).history
    losses = history["loss"]
    if not np.isfinite(losses).all():
        raise NonFiniteError(
            f"The loss became {losses[-1]} in epoch {len(losses)} of fine-tuning. Try a lower "
            f"`base_learning_rate`, or float32 or bfloat16 instead of float16."
        )
    return {key: [float(value) for value in values] for key, values in history.items()}


def _scored(
    classifier: ImageClassifier,
    validation: tuple[np.ndarray, np.ndarray] | None,
    test: tuple[np.ndarray, np.ndarray],
    history: dict[str, list[float]],
    train_seconds: float,
) -> FineTuneResult:
    probabilities = classifier.probabilities(test[0])
    validation_accuracy = None
    if validation is not None:
        validation_accuracy = _accuracy(classifier.probabilities(validation[0]), validation[1])
    return FineTuneResult(
        test_accuracy=_accuracy(probabilities, test[1]),
        validation_accuracy=validation_accuracy,
        test_probabilities=probabilities,
        history=history,
        epochs=len(history["loss"]),
        train_seconds=train_seconds,
        num_trained_weights=sum(int(np.prod(v.shape)) for v in classifier.trainable_variables),
        model=classifier,
    )


def _accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def _batches(
    train: Any,
    classifier: ImageClassifier,
    settings: FineTuneSettings,
    augmentation: ClassificationAugmentation | None,
) -> tuple[Any, int, int]:
    """Endless training batches from arrays, images per batch, and how many are an epoch."""
    images, labels = _labeled("train", train, classifier)
    _check_classes(labels, classifier.num_classes)
    batch_size = min(settings.batch_size, len(images))
    batches = labeled_batches(
        ArraySplit(images, labels),
        batch_size,
        classifier.num_classes,
        seed=settings.seed,
        augmentation=augmentation,
        value_range=classifier.value_range,
    )
    return batches, batch_size, len(images) // batch_size


def _ready(dataset: Any, augmentation: ClassificationAugmentation | None) -> Any:
    if augmentation is not None:
        raise ValueError(
            "`augmentation` must be None where `train` is a dataset: augment in its pipeline, as "
            f"mae_keras.data.labeled_batches does. Received: {augmentation}"
        )
    return dataset


def _steps_of(dataset: Any, steps: int | None) -> int:
    found = int(dataset.cardinality()) if steps is None else steps
    if not hasattr(found, "__index__") or found < 1:
        raise ValueError(
            "`steps_per_epoch` must be a positive int where `train` is a dataset of unknown or no "
            f"end. Received: steps_per_epoch={steps!r}"
        )
    return int(found)


def _labeled(name: str, pair: Any, classifier: ImageClassifier) -> tuple[np.ndarray, np.ndarray]:
    """Images and class numbers of a set as arrays, or what is wrong with them."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(
            f"`{name}` must be a pair (images, labels). Received: {type(pair).__name__}"
        )
    images, labels = (None if part is None else np.asarray(part) for part in pair)
    try:
        check_input(images, classifier.image_shape, classifier.value_range)
    except (TypeError, ValueError) as error:
        raise type(error)(f"`{name}`: {error}") from error
    check_labels(labels, len(images), classifier.num_classes, f"{name} labels")
    if labels.size != len(images):
        raise ValueError(
            f"`{name} labels` must be class numbers, one for each image. Received: shape "
            f"{labels.shape}; a dataset as `train` may have shares of classes"
        )
    stored = images if images.dtype == np.uint8 else images.astype("float32")
    return stored, labels.reshape(-1)


def _check_classes(labels: np.ndarray, num_classes: int) -> None:
    absent = sorted(set(range(num_classes)) - set(np.unique(labels).tolist()))
    if absent:
        raise ValueError(
            f"`train` must have images of every class. Received: none of {absent} in "
            f"{len(labels)} images, num_classes={num_classes}"
        )
