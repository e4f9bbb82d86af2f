"""The numbers that say, right after training, whether a run is any good."""

from typing import Any

import numpy as np

from mae_keras import evaluation
from mae_keras.recipes.comparison import Comparison, Features

_LOSS_IMAGES = 2000
QUICK = {"knn_accuracy": "20-NN", "linear_probe_accuracy": "linear probe"}


def score(model: Any, untrained: Any, images: Any) -> dict[str, Any]:
    """Loss against trivial predictors, and features against their rivals.

    At most 10,000 images of each split are used; `mae-keras evaluate` says more.

    Args:
        model: trained `MaskedAutoencoder`.
        untrained: the same model before training.
        images: `data.ImageData`.

    Returns:
        `hidden_loss`, `baseline_loss`, `knn_accuracy` and `linear_probe_accuracy` as in
        `metrics.json`; the accuracies are `None` without labels of at least two kinds, or when
        they cannot be measured (`notes` says why).

    Example:
    >>> from mae_keras import data
    >>> scores = score(model, untrained, data.load("digits"))  # doctest: +SKIP
    >>> sorted(scores["baseline_loss"])  # doctest: +SKIP
    ['mean_image', 'nearest_visible', 'visible_mean']
    """
    scores: dict[str, Any] = {**reconstruction_scores(model, images), **dict.fromkeys(QUICK)}
    if (images.num_classes or 0) < 2:
        return scores
    try:
        comparison = Comparison(model, untrained, images)
        accuracies = {name: _quick(made) for name, made in comparison.features.items()}
    except (ValueError, TypeError) as error:  # the trained model is not lost over its score
        return {**scores, "notes": [f"Features could not be scored: {error}"]}
    for key in QUICK:
        scores[key] = {name: round(made[key], 4) for name, made in accuracies.items()}
    return scores


def _quick(features: Features) -> dict[str, float]:
    """Accuracies of one encoder's features, nothing chosen but the probe's penalty."""
    train, validation, test = features
    k = min(20, len(train[0]))
    return {
        "knn_accuracy": evaluation.knn_accuracy(*train, *test, k=k).test_accuracy,
        "linear_probe_accuracy": evaluation.linear_probe(*train, *validation, *test).test_accuracy,
    }


def reconstruction_scores(model: Any, images: Any) -> dict[str, Any]:
    """Hidden-patch loss on held-out images, and the same loss for three trivial predictors.

    Args:
        model: `MaskedAutoencoder`.
        images: `data.ImageData`; its test split is used.

    Returns:
        `{"hidden_loss": float, "baseline_loss": {name: float}}`.
    """
    held_out, _ = images.test.arrays(limit=_LOSS_IMAGES)
    train, _ = images.train.arrays(limit=_LOSS_IMAGES)
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
