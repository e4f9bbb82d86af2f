"""Refusing labels that do not fit a classifier, before Keras sees them."""

from typing import Any

import keras
import numpy as np

from mae_keras.arguments import check_array
from mae_keras.models.input_checks import filled_array


def check_labels(labels: Any, num_images: int, num_classes: int, name: str = "labels") -> None:
    """Refuse labels that are no class numbers from 0 on and no shares of classes either.

    Args:
        labels: int array `(num_images,)` or `(num_images, 1)`, or float array
            `(num_images, num_classes)` of shares that sum to 1 (one-hot, mixed, smoothed).
        num_images: int.
        num_classes: int.
        name: str, the argument's name, for errors.

    Raises:
        TypeError: if there are no labels, or class numbers are not integers.
        ValueError: if the shape or a value does not fit.

    Example:
    >>> check_labels(np.array([0, 2, 1]), num_images=3, num_classes=3)
    """
    if labels is None:
        raise TypeError(f"`{name}` must be given: one label for each image. Received: None")
    if isinstance(labels, np.ma.MaskedArray):
        labels = filled_array(labels, name)
    if isinstance(labels, (list, tuple)):
        labels = check_array(name, labels, empty=True)
    labels = labels if isinstance(labels, np.ndarray) else keras.ops.convert_to_numpy(labels)
    if labels.shape[:1] != (num_images,):
        raise ValueError(
            f"`{name}` must have one label for each of the {num_images} images. "
            f"Received: {name}.shape={labels.shape}"
        )
    if labels.ndim == 1 or labels.shape[1:] == (1,):
        _check_numbers(labels, num_classes, name)
    elif labels.shape[1:] == (num_classes,):
        _check_shares(labels, name)
    else:
        raise ValueError(
            f"`{name}` must have shape ({num_images},), class numbers, or ({num_images}, "
            f"{num_classes}), shares of the classes. Received: {name}.shape={labels.shape}"
        )


def check_labelled(x: Any, y: Any, num_classes: int) -> None:
    """Check the labels of what was given to `fit` or `evaluate`, as far as they are there.

    Of `tf.data` sets of known length the first batch is looked at. Everything else is checked as
    it comes, by `batch_checks`, since reading it may consume it.

    Args:
        x: images, or a dataset of (images, labels).
        y: labels, or `None` where `x` brings them.
        num_classes: int.

    Raises:
        TypeError, ValueError: saying what does not fit.
    """
    if hasattr(x, "element_spec"):
        spec = x.element_spec
        if not isinstance(spec, (tuple, list)) or len(spec) < 2:
            raise TypeError(
                "`labels` must be given: a dataset of (images, labels). Received: a dataset of "
                "images alone"
            )
        known = hasattr(x, "take") and int(x.cardinality()) > 0
        for images, labels, *_ in x.take(1) if known else ():
            check_labels(labels, int(images.shape[0]), num_classes)
    elif hasattr(x, "shape"):
        check_labels(y, x.shape[0], num_classes)


def _check_numbers(labels: np.ndarray, num_classes: int, name: str) -> None:
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"`{name}` must be integers from 0 to {num_classes - 1}. "
            f"Received: {name}.dtype={labels.dtype}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"`{name}` must be integers from 0 to {num_classes - 1} for num_classes={num_classes}; "
            f"numpy.unique(labels, return_inverse=True) numbers any labels from 0. "
            f"Received: values from {labels.min()} to {labels.max()}"
        )


def _check_shares(labels: np.ndarray, name: str) -> None:
    totals = labels.sum(axis=1, dtype="float64")
    # written so that NaN is refused too
    if not (np.all(labels >= 0) and np.all(np.abs(totals - 1) < 1e-2)):
        raise ValueError(
            f"`{name}` must hold shares of the classes: at least 0, summing to 1 for each image. "
            f"Received: values from {labels.min():.6g} and sums from {totals.min():.6g} to "
            f"{totals.max():.6g}"
        )
