"""Fine-tuning: of the whole encoder, of its last blocks, and from scratch as the baseline."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mae_keras import data
from mae_keras.runs.protocols import EvaluationOptions, register_protocol

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison

_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 2000, 5, 50
# Narrow networks bear larger steps, and a few epochs need them.
_RATE, _NARROW_RATE, _NARROW = 1e-3, 4e-3, 384
# Below it an epoch has too few steps for the paper's batch of images.
_SMALLEST_EPOCH = 16
_DETAIL = ("epochs", "epochs", "for how long a network was trained")


@register_protocol(
    "fine-tune",
    "encoder and head trained on the labels, with layer-wise learning-rate decay",
    trains=True,
    detail=_DETAIL,
)
def fine_tune(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Train encoder and head on the labels."""
    return _tuned(comparison, options)


@register_protocol(
    "partial-fine-tune",
    "the same, but only the last `--train-blocks` blocks and the head are trained",
    trains=True,
    detail=_DETAIL,
)
def partial_fine_tune(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Train the last blocks and the head, `options.train_blocks` of them."""
    entry = _tuned(comparison, options, train_blocks=options.train_blocks)
    return {**entry, "train_blocks": options.train_blocks}


@register_protocol(
    "from-scratch",
    "the same network and number of steps without pretraining",
    trains=True,
    detail=_DETAIL,
)
def from_scratch(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Train the same classifier at the same cost; the accuracy stands under `untrained`."""
    entry = _tuned(comparison, options, from_scratch=True)
    return {**entry, "accuracies": {"untrained": entry["test_accuracy"]}}


def _tuned(comparison: "Comparison", options: EvaluationOptions, **settings: Any) -> dict[str, Any]:
    from mae_keras import evaluation
    from mae_keras.runs.comparison import entry_of

    train, validation, test = comparison.pixels
    batch_size = max(1, min(options.batch_size, len(train[0]) // _SMALLEST_EPOCH))
    epochs = options.fine_tune_epochs or _epochs(len(train[0]) // batch_size)
    narrow = comparison.model.encoder.hidden_dim <= _NARROW
    rate = options.learning_rate or (_NARROW_RATE if narrow else _RATE)
    result = evaluation.fine_tune(
        comparison.model,
        train,
        validation,
        test,
        comparison.num_classes,
        epochs=epochs,
        batch_size=batch_size,
        base_learning_rate=rate,
        augmentation=augmentation_for(comparison.images),
        pooling=options.pooling,
        seed=options.seed,
        callbacks=[_epoch_lines(comparison.announce, epochs)],
        **settings,
    )
    report = evaluation.class_report(
        test[1],
        result.test_predictions,
        comparison.num_classes,
        comparison.images.class_names,
    )
    own = {
        "test_accuracy": result.test_accuracy,
        "validation_accuracy": result.validation_accuracy,
        "epochs": epochs,
        "batch_size": batch_size,
        "base_learning_rate": rate,
        "num_trained_weights": result.num_trained_weights,
        "train_seconds": round(result.train_seconds, 1),
        "history": result.history,
    }
    return {**entry_of({"trained": own}, comparison), "classes": report.as_dict()}


def _epoch_lines(announce: Callable[[str], Any], epochs: int) -> Any:
    """A callback that reports after every epoch: fine-tuning may take an hour."""
    import keras

    def say(epoch: int, logs: dict[str, float]) -> None:
        values = ", ".join(f"{name} {value:.3f}" for name, value in logs.items())
        announce(f"  epoch {epoch + 1} of {epochs}: {values}")

    return keras.callbacks.LambdaCallback(on_epoch_end=say)


def _epochs(steps: int) -> int:
    return max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, round(_STEPS / max(steps, 1))))


def augmentation_for(images: Any) -> Any:
    """Augmentation of labeled images that suits a data set.

    Where images of its kind are mirrored and cropped in pretraining, so are they here; elsewhere
    small shifts and rotations. None for what is no picture: signals, volumes, recordings.

    Args:
        images: `data.ImageData`.

    Returns:
        `data.ClassificationAugmentation`.

    Example:
    >>> from mae_keras import data
    >>> augmentation_for(data.load("digits")).flip
    False
    """
    if images.is_sound or len(images.image_shape) != 3:
        return data.ClassificationAugmentation.preset("none")
    try:
        own = data.default_augmentation(images.name)
    except ValueError:  # made by hand, under a name that says nothing
        own = None
    light = data.ClassificationAugmentation.preset("light")
    if own is None:
        return light
    if own.crop_scale is None:
        return dataclasses.replace(light, flip=own.flip)
    return data.ClassificationAugmentation(
        crop_scale=(0.5, 1.0), flip=own.flip, mixup_alpha=0.2, cutmix_alpha=0.0
    )
