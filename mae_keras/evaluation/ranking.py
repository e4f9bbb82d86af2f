"""How well scores rank positives over negatives, and how sure that is.

Values come from scikit-learn. Intervals need thousands of resamples, so these are computed from
counts by level of score, all resamples at once; a test compares both. Imports NumPy;
scikit-learn in the functions that need it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mae_keras.arguments import LARGEST_SEED, check_array, check_int, check_number

# Resamples are drawn so many weights at a time, to bound the memory.
_CHUNK = 2**22
# Pixels are sorted into so many levels: exact counts of all levels would not fit in memory.
_BINS = 1024
# Rates such as 1 - 0.9 are not exact: a count this close to the limit is within it.
_PLAY = 1e-9

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Intervals(NamedTuple):
    """How intervals are drawn.

    Attributes:
        groups: int array `(num_samples,)`, the group of each sample from 0; groups are drawn.
        confidence: float in (0, 1).
        resamples: int.
        seed: int.
    """

    groups: np.ndarray
    confidence: float
    resamples: int
    seed: int

    @property
    def num_groups(self) -> int:
        """How many groups there are."""
        return int(self.groups.max()) + 1


def read_intervals(
    groups: Any, num_samples: int, confidence: float, resamples: int, seed: int
) -> Intervals:
    """Check how intervals are drawn.

    Args:
        groups: int array `(num_samples,)`, or `None`: every sample by itself.
        num_samples: int.
        confidence: float in (0, 1).
        resamples: int in [100, 100000].
        seed: int.

    Returns:
        `Intervals`.

    Raises:
        ValueError: naming the argument that does not fit.

    Example:
    >>> read_intervals([7, 7, 9], 3, 0.95, 1000, 0).groups.tolist()
    [0, 0, 1]
    """
    check_number("confidence", confidence, 0, 1, above=True, below=True)
    check_int("resamples", resamples, 100, 10**5)
    check_int("seed", seed, 0, LARGEST_SEED)
    if groups is None:
        return Intervals(np.arange(num_samples), float(confidence), int(resamples), int(seed))
    groups = check_array("groups", groups, 1, kinds="ui")
    if len(groups) != num_samples:
        raise ValueError(
            f"`groups` must have one number for each of the {num_samples} images. "
            f"Received: groups.shape={groups.shape}"
        )
    numbers = np.unique(groups, return_inverse=True)[1]
    return Intervals(numbers, float(confidence), int(resamples), int(seed))


def read_binary_labels(labels: Any, name: str = "labels") -> np.ndarray:
    """Bring labels to a bool array that holds both classes.

    Args:
        labels: array `(num_samples,)` of booleans, or of 0 and 1.
        name: str, for messages.

    Returns:
        bool array.

    Raises:
        TypeError: if labels are not integers or booleans.
        ValueError: if there are other values, or one class is absent.

    Example:
    >>> read_binary_labels([0, 1, 1]).tolist()
    [False, True, True]
    """
    labels = check_array(name, labels, 1, kinds="bui")
    values = np.unique(labels)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"`{name}` must be 0 (negative, normal) and 1 (positive, abnormal). Received: values "
            f"{values[:8].tolist()}"
        )
    if len(values) < 2:
        raise ValueError(
            f"`{name}` must hold both classes, 0 and 1. Received: {int(values[0])} in all "
            f"{len(labels)} places"
        )
    return labels.astype(bool)


def ranking_scores(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """ROC-AUC and average precision by scikit-learn.

    Args:
        labels: bool array `(num_samples,)`, `True` = positive.
        scores: float array `(num_samples,)`, higher for positives.

    Returns:
        Dict with `"roc_auc"` and `"average_precision"`.

    Example:
    >>> ranking_scores(np.array([False, False, True]), np.array([0.1, 0.2, 0.9]))
    {'roc_auc': 1.0, 'average_precision': 1.0}
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        "roc_auc": float(roc_auc_score(labels, scores)),
        "average_precision": float(average_precision_score(labels, scores)),
    }


def roc_auc(negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """ROC-AUC of counts `(..., levels)` by ascending score; pairs of one level count half."""
    below = np.cumsum(negative, axis=-1) - negative / 2
    pairs = negative.sum(axis=-1) * positive.sum(axis=-1)
    return (positive * below).sum(axis=-1) / np.where(pairs > 0, pairs, np.nan)


def average_precision(negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Average precision of counts `(..., levels)` by ascending score."""
    above, false = _above(positive), _above(negative)
    precision = above / np.maximum(above + false, 1)
    total = positive.sum(axis=-1)
    mean = (positive * precision).sum(axis=-1) / np.where(total > 0, total, np.nan)
    return np.where(negative.sum(axis=-1) > 0, mean, np.nan)


def sensitivity_at(specificity: float) -> Measure:
    """The largest sensitivity of a threshold that has at least this specificity.

    Args:
        specificity: float in [0, 1].

    Returns:
        Function of counts `(..., levels)` of negatives and positives by ascending score.

    Example:
    >>> measure = sensitivity_at(0.5)
    >>> float(measure(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1])))
    1.0
    """

    def measure(negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
        total, others = positive.sum(axis=-1), negative.sum(axis=-1)
        allowed = (1 - specificity) * others + _PLAY * np.maximum(others, 1)
        within = _above(negative) <= allowed[..., None]
        found = np.where(within, _above(positive), 0).max(axis=-1)
        return found / np.where((total > 0) & (others > 0), total, np.nan)

    return measure


def specificity_at(sensitivity: float) -> Measure:
    """The largest specificity of a threshold that has at least this sensitivity.

    Args:
        sensitivity: float in [0, 1].

    Returns:
        Function of counts `(..., levels)` of negatives and positives by ascending score.

    Example:
    >>> measure = specificity_at(0.5)
    >>> float(measure(np.array([1, 0, 1, 0]), np.array([0, 1, 0, 1])))
    1.0
    """
    mirrored = sensitivity_at(sensitivity)
    # Negatives that lie low are to a low threshold what positives that lie high are to a high one.
    return lambda negative, positive: mirrored(positive[..., ::-1], negative[..., ::-1])


def _above(counts: np.ndarray) -> np.ndarray:
    """How many are at each level or higher."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def resample_samples(
    labels: np.ndarray, scores: np.ndarray, intervals: Intervals, measures: dict[str, Measure]
) -> dict[str, tuple[float, float] | None]:
    """Intervals of measures over samples whose groups are drawn with replacement.

    A resample without positives or without negatives has no value and is left out.

    Args:
        labels: bool array `(num_samples,)`.
        scores: float array `(num_samples,)`.
        intervals: `Intervals`.
        measures: functions of counts of negatives and positives by ascending score.

    Returns:
        Dict of the ends of each measure; `None` where there is one group.

    Example:
    >>> labels, scores = np.arange(20) % 2 == 1, np.arange(20) % 2 + 0.01 * np.arange(20)
    >>> resample_samples(labels, scores, read_intervals(None, 20, 0.9, 100, 0), {"auc": roc_auc})
    {'auc': (1.0, 1.0)}
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    groups, positive = intervals.groups[order], labels[order]

    def counts(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = times[:, groups]
        return (
            np.add.reduceat(np.where(positive, 0, weights), starts, axis=1),
            np.add.reduceat(np.where(positive, weights, 0), starts, axis=1),
        )

    return _draw(counts, len(scores), intervals, measures)


def resample_pixels(
    labels: list[np.ndarray],
    scores: list[np.ndarray],
    intervals: Intervals,
    measures: dict[str, Measure],
) -> dict[str, tuple[float, float] | None]:
    """Intervals of measures over pixels, of which whole images (or groups) are drawn.

    Args:
        labels: bool array `(num_pixels,)` for each image.
        scores: float array of the same shapes, sorted into 1,024 levels of equal frequency.
        intervals: `Intervals`, whose groups are of images.
        measures: as for `resample_samples`.

    Returns:
        Dict of the ends of each measure; `None` where there is one group.

    Example:
    >>> labels = [np.array([False, True])] * 4
    >>> scores = [np.array([0.0, 1.0])] * 4
    >>> resample_pixels(labels, scores, read_intervals(None, 4, 0.9, 100, 0), {"auc": roc_auc})
    {'auc': (1.0, 1.0)}
    """
    quantiles = np.quantile(np.concatenate(scores), np.linspace(0, 1, _BINS + 1))
    edges = np.unique(quantiles)[1:]
    counted = np.zeros((2, intervals.num_groups, len(edges) + 1))
    for label, score, group in zip(labels, scores, intervals.groups, strict=True):
        levels = np.searchsorted(edges, score, side="right")
        for number in (0, 1):
            counted[number, group] += np.bincount(levels[label == number], None, len(edges) + 1)
    return _draw(
        lambda times: (times @ counted[0], times @ counted[1]),
        counted[0].size // intervals.num_groups,
        intervals,
        measures,
    )


def _draw(
    counts: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    width: int,
    intervals: Intervals,
    measures: dict[str, Measure],
) -> dict[str, tuple[float, float] | None]:
    num_groups = intervals.num_groups
    if num_groups < 2:
        return dict.fromkeys(measures)
    rng = np.random.default_rng(intervals.seed)
    step = max(1, _CHUNK // max(num_groups, width))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    for start in range(0, intervals.resamples, step):
        size = min(step, intervals.resamples - start)
        times = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size)
        negative, positive = (part.astype("float64") for part in counts(times))
        for name, measure in measures.items():
            parts[name].append(measure(negative, positive))
    return {name: _ends(np.concatenate(part), intervals.confidence) for name, part in parts.items()}


def _ends(values: np.ndarray, confidence: float) -> tuple[float, float] | None:
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
