"""Whether a classifier is right as often as it says. Imports NumPy only."""

import dataclasses
from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_int


@dataclasses.dataclass(frozen=True)
class CalibrationBin:
    """The predictions whose confidence lies in `(low, high]`; 0 belongs to the first bin.

    Attributes:
        low: float, lower edge.
        high: float, upper edge.
        count: int, predictions in the bin.
        confidence: float, their mean confidence, or `None` in an empty bin.
        accuracy: float, the share that is right, or `None` in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What `expected_calibration_error` returns.

    Attributes:
        error: float in [0, 1], the expected calibration error.
        bins: tuple of `CalibrationBin`, from low confidence to high; what a reliability diagram
            shows.
    """

    error: float
    bins: tuple[CalibrationBin, ...]


def expected_calibration_error(confidence: Any, correct: Any, num_bins: int = 15) -> Calibration:
    """Mean distance between confidence and accuracy, over bins of equal width.

    Each bin adds `|mean confidence - accuracy|`, weighted by its share of the predictions. The
    value depends on the bins: compare it only with values of as many.

    Args:
        confidence: array `(num_samples,)` in [0, 1], the probability given to each prediction.
        correct: bool array `(num_samples,)`, whether the prediction is right.
        num_bins: int, bins between 0 and 1. Defaults to `15`.

    Returns:
        `Calibration`.

    Raises:
        ValueError: if shapes do not fit or a confidence is not in [0, 1].

    Example:
    >>> half_right = expected_calibration_error([0.9, 0.9], [True, False])
    >>> round(half_right.error, 3)
    0.4

    References:
        - Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599,
          equation 3, with its 15 bins.
    """
    confidence = check_array("confidence", confidence, empty=True).astype("float64")
    correct = check_array("correct", correct, empty=True).astype(bool)
    _check(confidence, correct, num_bins)
    edges = np.linspace(0, 1, num_bins + 1)
    places = np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)
    counts = np.bincount(places, minlength=num_bins)
    sure = np.bincount(places, confidence, num_bins) / np.maximum(counts, 1)
    right = np.bincount(places, correct, num_bins) / np.maximum(counts, 1)
    bins = tuple(
        CalibrationBin(
            low=float(edges[place]),
            high=float(edges[place + 1]),
            count=int(count),
            confidence=float(sure[place]) if count else None,
            accuracy=float(right[place]) if count else None,
        )
        for place, count in enumerate(counts)
    )
    error = float((np.abs(sure - right) * counts).sum() / counts.sum())
    return Calibration(error, bins)


def _check(confidence: np.ndarray, correct: np.ndarray, num_bins: int) -> None:
    check_int("num_bins", num_bins, 1, 10**6)
    if confidence.ndim != 1 or not len(confidence) or correct.shape != confidence.shape:
        raise ValueError(
            f"`confidence` and `correct` must have one shape (num_samples,), at least one sample. "
            f"Received: confidence.shape={confidence.shape}, correct.shape={correct.shape}"
        )
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError(
            f"`confidence` must be in [0, 1]. Received: values from {confidence.min()} to "
            f"{confidence.max()}"
        )
