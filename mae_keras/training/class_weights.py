"""Weights of rare and frequent classes for Keras's `class_weight`. Imports NumPy only."""

from typing import Any

import numpy as np

from mae_keras.arguments import (
    LARGEST_WIDTH,
    check_array,
    check_choice,
    check_int,
    check_number,
)


def class_weights(
    labels: Any, num_classes: int, method: str = "inverse", beta: float = 0.999
) -> dict[int, float]:
    """Loss weights that make rare classes count more, with mean 1 over the samples.

    `"inverse"` weighs a class of `n` samples by `1 / n`: every class has the same total.
    `"effective"` weighs it by `(1 - beta) / (1 - beta ** n)`: as the inverse for
    `n << 1 / (1 - beta)`, alike for classes much larger than that.

    Both are then scaled so that the weights of the samples have mean 1, which keeps the size of
    the loss and so the meaning of the learning rate. Cui et al. scale the weights of the classes
    to mean 1 instead: the same ratios.

    Args:
        labels: int array `(num_samples,)`, the training labels in [0, num_classes).
        num_classes: int, at least 2.
        method: `"inverse"` or `"effective"`.
        beta: float in [0, 1), for `"effective"`: 0 weighs all alike, toward 1 it becomes the
            inverse. Defaults to `0.999`.

    Returns:
        Dict from every class to its weight, for `model.fit(class_weight=...)`.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if an argument is out of range, or a class has no sample: no weight would
            bring it back, and Keras would silently use 1.

    Example:
    >>> class_weights([0, 0, 0, 1], num_classes=2)
    {0: 0.6666666666666666, 1: 2.0}

    References:
        - Cui et al. 2019, "Class-balanced loss based on effective number of samples",
          arXiv:1901.05555, equation 2.
        - `"inverse"` is `compute_class_weight("balanced")` of scikit-learn.
    """
    check_choice("method", method, ("inverse", "effective"))
    check_number("beta", beta, 0, 1, below=True)
    counts = _class_counts(labels, num_classes)
    weights = 1 / counts if method == "inverse" else (1 - beta) / (1 - beta**counts)
    weights = weights * (counts.sum() / (counts * weights).sum())
    return {label: float(weight) for label, weight in enumerate(weights)}


def _class_counts(labels: Any, num_classes: int) -> np.ndarray:
    labels = check_array("labels", labels, empty=True)
    check_int("num_classes", num_classes, 2, LARGEST_WIDTH)
    if labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"`labels` must have shape (num_samples,), at least one sample. "
            f"Received: labels.shape={labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"`labels` must be integers. Received: labels.dtype={labels.dtype}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"`labels` must be in [0, {num_classes}). Received: values from {labels.min()} to "
            f"{labels.max()}"
        )
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        raise ValueError(
            f"`labels` must hold every class. Received: no sample of "
            f"{np.flatnonzero(counts == 0).tolist()} with num_classes={num_classes}"
        )
    return counts
