"""The numbers that say whether a run is any good."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mae_keras import evaluation

_LOSS_IMAGES = 2000
_TRAIN_IMAGES = 10_000
_TEST_IMAGES = 10_000
# Most values of one array of images: what stays small enough in memory as float32 (256 MB).
_MOST_VALUES = 2**26
# Raw pixels are compared at this many values at most: more makes the probe slow and no better.
_PIXEL_VALUES = 1024
PROTOCOLS = ("knn", "linear-probe")


def score(model: Any, untrained: Any, images: Any) -> dict[str, Any]:
    """Loss against trivial predictors, and features against untrained ones and raw pixels.

    Args:
        model: trained `MaskedAutoencoder`.
        untrained: the same model before training.
        images: `data.ImageData`.

    Returns:
        `hidden_loss`, `baseline_loss`, `knn_accuracy` and `linear_probe_accuracy` as in
        `metrics.json`; the accuracies are `None` without labels of at least two kinds.

    Example:
    >>> from mae_keras import data
    >>> scores = score(model, untrained, data.load("digits"))  # doctest: +SKIP
    >>> sorted(scores["baseline_loss"])  # doctest: +SKIP
    ['mean_image', 'nearest_visible', 'visible_mean']
    """
    scores: dict[str, Any] = reconstruction_scores(model, images)
    scores["knn_accuracy"] = scores["linear_probe_accuracy"] = None
    if (images.num_classes or 0) < 2:
        return scores
    for name, encode in encoders(model, untrained).items():
        features = extract(encode, images)
        for protocol, key in (("knn", "knn_accuracy"), ("linear-probe", "linear_probe_accuracy")):
            accuracy = evaluate(protocol, features)["test_accuracy"]
            scores[key] = {**(scores[key] or {}), name: round(accuracy, 4)}
    return scores


def encoders(model: Any, untrained: Any) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The feature extractors that are always reported beside each other."""
    return {
        "trained": lambda x: model.encode(x, batch_size=256),
        "untrained": lambda x: untrained.encode(x, batch_size=256),
        "pixels": lambda x: evaluation.pixel_features(_shrunk(x)),
    }


def _shrunk(images: np.ndarray) -> np.ndarray:
    """Images of at most 1024 values, averaged over the smallest squares that make them so."""
    *sides, channels = images.shape[1:]
    factor = 1
    while math.prod(max(side // factor, 1) for side in sides) * channels > _PIXEL_VALUES:
        if factor >= max(sides):
            break
        factor += 1
    for axis, side in enumerate(sides, 1):
        step = min(factor, side)
        if step > 1:
            kept = np.take(images, range(side - side % step), axis=axis)
            shape = (*kept.shape[:axis], side // step, step, *kept.shape[axis + 1 :])
            images = kept.reshape(shape).mean(axis=axis + 1, dtype="float32")
    return images


def _arrays(split: Any, limit: int, image_shape: tuple[int, ...]) -> tuple[Any, Any]:
    return split.arrays(limit=max(1, min(limit, _MOST_VALUES // math.prod(image_shape))))


def reconstruction_scores(model: Any, images: Any) -> dict[str, Any]:
    """Hidden-patch loss on held-out images, and the same loss for three trivial predictors.

    Args:
        model: `MaskedAutoencoder`.
        images: `data.ImageData`; its test split is used.

    Returns:
        `{"hidden_loss": float, "baseline_loss": {name: float}}`.
    """
    held_out, _ = _arrays(images.test, _LOSS_IMAGES, images.image_shape)
    train, _ = _arrays(images.train, _LOSS_IMAGES, images.image_shape)
    made = model.predict_patches(held_out, batch_size=256)
    per_patch = np.mean((made.predictions - made.targets) ** 2, axis=-1)
    seen = model.predict_patches(train, batch_size=256)
    baselines = evaluation.trivial_losses(
        _mean_target(seen),
        made.targets,
        made.patch_mask,
        model.grid,
        channels=model.image_shape[-1],
        missing_mask=made.missing,
    )
    return {
        "hidden_loss": mean_over_images(per_patch, made.counted),
        "baseline_loss": {name: float(value) for name, value in baselines.items()},
    }


def _mean_target(seen: Any) -> np.ndarray:
    """Mean target of each place over the images in which it is not missing."""
    present = ~seen.missing[..., None]
    return (seen.targets * present).sum(axis=0) / np.maximum(present.sum(axis=0), 1)


def mean_over_images(per_patch: np.ndarray, counted: np.ndarray) -> float:
    """Mean over images of each image's mean over its counted patches.

    Args:
        per_patch: `(batch, num_patches)`.
        counted: bool `(batch, num_patches)`.

    Returns:
        float.

    Example:
    >>> mean_over_images(np.array([[1.0, 3.0]]), np.array([[True, False]]))
    1.0
    """
    totals = np.maximum(counted.sum(axis=1), 1)
    return float(np.mean((per_patch * counted).sum(axis=1) / totals))


class Features(NamedTuple):
    """Features and labels of three splits that share no image.

    Attributes:
        train: features and labels to fit on.
        validation: features and labels to choose on.
        test: features and labels to report on.
    """

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def extract(encode: Callable[[np.ndarray], np.ndarray], images: Any) -> Features:
    """Features of a data set, of its first 10,000 images of each split at most.

    Args:
        encode: images to features.
        images: `data.ImageData` with labels.

    Returns:
        `Features`.

    Raises:
        ValueError: if there are no labels.
    """
    if images.num_classes is None:
        raise ValueError("`protocol` needs labels. Received: a data set without")
    made = []
    for split, limit in (
        (images.train, _TRAIN_IMAGES),
        (images.validation, _TEST_IMAGES),
        (images.test, _TEST_IMAGES),
    ):
        pixels, labels = _arrays(split, limit, images.image_shape)
        made.append((encode(pixels), labels))
    return Features(*made)


def evaluate(protocol: str, features: Features) -> dict[str, Any]:
    """Score features by one protocol: fitted on train, tuned on validation, scored on test.

    Args:
        protocol: `"knn"` or `"linear-probe"`.
        features: `Features`.

    Returns:
        Dict with `test_accuracy` and the protocol's own entries.

    Raises:
        ValueError: if the protocol is unknown.
    """
    check_protocol(protocol)
    if protocol == "knn":
        k = min(20, len(features.train[0]))
        result = evaluation.knn_accuracy(*features.train, *features.test, k=k)
    else:
        result = evaluation.linear_probe(*features.train, *features.validation, *features.test)
    sizes = {"num_train": len(features.train[0]), "num_test": len(features.test[0])}
    return {**_as_dict(result), **sizes}


def check_protocol(protocol: str) -> None:
    """Refuse a protocol that is not known."""
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"`protocol` must be one of {', '.join(PROTOCOLS)}. Received: protocol={protocol!r}"
        )


def _as_dict(result: Any) -> dict[str, Any]:
    return dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result._asdict()
