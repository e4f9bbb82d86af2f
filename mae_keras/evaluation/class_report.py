"""How well each class is predicted, how sure that is, and whether confidence can be trusted.

Imports NumPy; SciPy for intervals.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mae_keras.arguments import LARGEST_WIDTH, check_array, check_int, check_number


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


# Probabilities computed in bfloat16 add up to 1 no closer than this.
_TOLERANCE = 1e-2


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """The scores of one class, in [0, 1]; all `None` for a class without test images.

    Attributes:
        name: str.
        precision: float, share of the predictions of this class that are right; 0 where it is
            never predicted.
        recall: float, share of the images of this class that are predicted as such.
        f1: float, harmonic mean of both.
        support: int, images of this class.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclasses.dataclass(frozen=True, eq=False)
class ClassReport:
    """What `class_report` returns. Means are over the classes that have test images.

    Attributes:
        accuracy: float, share of all images that are predicted rightly.
        balanced_accuracy: float, mean recall: every class counts alike, however rare.
        macro_f1: float, mean F1.
        worst_class: str, name of the class with the lowest recall.
        worst_recall: float, its recall.
        classes: tuple of `ClassScores` in label order.
        absent: tuple of str, names of the classes without test images, left out of all means.
        confusion: int array `(num_classes, num_classes)`, rows are true, columns predicted.
        calibration: `Calibration` with the expected calibration error, or `None` if no
            probabilities were given.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    worst_class: str
    worst_recall: float
    classes: tuple[ClassScores, ...]
    absent: tuple[str, ...]
    confusion: np.ndarray
    calibration: Calibration | None

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts that JSON can hold."""
        report = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        report["classes"] = [dataclasses.asdict(scores) for scores in self.classes]
        report["absent"] = list(self.absent)
        report["confusion"] = self.confusion.tolist()
        if self.calibration is not None:
            bins = [dataclasses.asdict(one) for one in self.calibration.bins]
            report["calibration"] = {"error": self.calibration.error, "bins": bins}
        return report

    def text(self) -> str:
        """A table with a line for each class, and the means below."""
        width = max(len("class"), *(len(scores.name) for scores in self.classes))
        lines = [f"{'class':<{width}}  precision  recall     f1  support"]
        for scores in self.classes:
            cells = (
                three_digits(scores.precision),
                three_digits(scores.recall),
                three_digits(scores.f1),
            )
            lines.append(
                f"{scores.name:<{width}}  {cells[0]:>9}  {cells[1]:>6}  {cells[2]:>5}"
                f"  {scores.support:>7}"
            )
        lines.append(
            f"accuracy {self.accuracy:.3f}, balanced accuracy {self.balanced_accuracy:.3f}, "
            f"macro-F1 {self.macro_f1:.3f}, worst class {self.worst_class} "
            f"(recall {self.worst_recall:.3f})"
        )
        if self.absent:
            lines.append(f"without test images, left out of the means: {', '.join(self.absent)}")
        if self.calibration is not None:
            bins = len(self.calibration.bins)
            lines.append(f"expected calibration error {self.calibration.error:.3f} ({bins} bins)")
        return "\n".join(lines)


def class_report(
    labels: Any,
    predictions: Any,
    num_classes: int,
    class_names: Sequence[str] | None = None,
    probabilities: Any = None,
) -> ClassReport:
    """Score predictions class by class.

    A class without test images has no recall: it is left out of the means and named in
    `absent`. A class that is never predicted has precision 0, as with scikit-learn's
    `zero_division=0`.

    Args:
        labels: int array `(num_samples,)`, true classes in [0, num_classes).
        predictions: int array `(num_samples,)`, predicted classes.
        num_classes: int.
        class_names: str for each class. Defaults to the numbers.
        probabilities: array `(num_samples, num_classes)`, rows adding up to 1, or `None`. The one
            given to the predicted class is its confidence.

    Returns:
        `ClassReport`.

    Raises:
        TypeError: if labels or predictions are not integers.
        ValueError: if shapes do not fit, there are no samples, a class is out of range, or
            probabilities are none.

    Example:
    >>> report = class_report([0, 0, 0, 1], [0, 0, 1, 1], 3, ["cat", "dog", "emu"])
    >>> print(report.text())
    class  precision  recall     f1  support
    cat        1.000   0.667  0.800        3
    dog        0.500   1.000  0.667        1
    emu            -       -      -        0
    accuracy 0.750, balanced accuracy 0.833, macro-F1 0.733, worst class cat (recall 0.667)
    without test images, left out of the means: emu
    """
    check_int("num_classes", num_classes, 1, LARGEST_WIDTH)
    labels = _checked("labels", labels, num_classes)
    predictions = _checked("predictions", predictions, num_classes)
    if labels.shape != predictions.shape:
        raise ValueError(
            f"`predictions` must have one entry for each of the {len(labels)} labels. "
            f"Received: predictions.shape={predictions.shape}"
        )
    confusion = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    confusion = confusion.reshape(num_classes, num_classes)
    classes = _scores(confusion, as_class_names(class_names, num_classes))
    present = [scores for scores in classes if scores.support]
    worst = min(present, key=lambda scores: scores.recall)
    return ClassReport(
        accuracy=float(np.trace(confusion) / len(labels)),
        balanced_accuracy=float(np.mean([scores.recall for scores in present])),
        macro_f1=float(np.mean([scores.f1 for scores in present])),
        worst_class=worst.name,
        worst_recall=worst.recall,
        classes=classes,
        absent=tuple(scores.name for scores in classes if not scores.support),
        confusion=confusion,
        calibration=_calibration(labels, predictions, probabilities, num_classes),
    )


def _scores(confusion: np.ndarray, names: list[str]) -> tuple[ClassScores, ...]:
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    right = np.diagonal(confusion)
    scores = []
    for name, hits, true, called in zip(names, right, support, predicted, strict=True):
        if not true:
            scores.append(ClassScores(name, None, None, None, 0))
            continue
        precision = float(hits / called) if called else 0.0
        # 2 hits / (true + called) is the harmonic mean, and defined where precision is not
        f1 = float(2 * hits / (true + called))
        scores.append(ClassScores(name, precision, float(hits / true), f1, int(true)))
    return tuple(scores)


def _calibration(
    labels: np.ndarray, predictions: np.ndarray, probabilities: Any, num_classes: int
) -> Calibration | None:
    if probabilities is None:
        return None
    probabilities = check_array("probabilities", probabilities, empty=True).astype("float64")
    if probabilities.shape != (len(labels), num_classes):
        raise ValueError(
            f"`probabilities` must have shape ({len(labels)}, {num_classes}). "
            f"Received: probabilities.shape={probabilities.shape}"
        )
    fit = (probabilities >= 0).all(axis=1) & (abs(probabilities.sum(axis=1) - 1) < _TOLERANCE)
    if not fit.all():
        raise ValueError(
            f"`probabilities` must be at least 0 and add up to 1 in each row. Received: row "
            f"{int(np.argmin(fit))} is {probabilities[np.argmin(fit)].tolist()}"
        )
    confidence = probabilities[np.arange(len(labels)), predictions]
    return expected_calibration_error(np.minimum(confidence, 1.0), labels == predictions)


def _checked(name: str, values: Any, num_classes: int) -> np.ndarray:
    values = check_array(name, values, empty=True)
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"`{name}` must have shape (num_samples,), at least one sample. "
            f"Received: {name}.shape={values.shape}"
        )
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"`{name}` must be integers. Received: {name}.dtype={values.dtype}")
    if values.min() < 0 or values.max() >= num_classes:
        raise ValueError(
            f"`{name}` must be in [0, {num_classes}). Received: values from {values.min()} to "
            f"{values.max()}"
        )
    # int64: products of small unsigned integers would overflow
    return values.astype("int64")


def as_class_names(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    """Names of classes, their numbers where there are none."""
    names = [str(name) for name in (range(num_classes) if class_names is None else class_names)]
    if len(names) != num_classes:
        raise ValueError(
            f"`class_names` must have {num_classes} entries. Received: {len(names)}: {names}"
        )
    return names


def three_digits(value: float | None) -> str:
    """A score as text, a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


class MeanInterval(NamedTuple):
    """A mean, and the interval it is known to.

    Attributes:
        mean: float.
        low: float, lower end; `None` when there was one value, which says nothing of its spread.
        high: float, upper end, or `None`.
    """

    mean: float
    low: float | None
    high: float | None


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> MeanInterval:
    """Mean of independent runs and its Student t interval.

    `mean +- t * s / sqrt(n)` with the sample standard deviation `s` (divisor `n - 1`) and the
    two-sided quantile `t` for `n - 1` degrees of freedom: 4.3 for three seeds, 2.8 for five.

    Args:
        values: finite numbers, one for each seed; at least one.
        confidence: float in (0, 1). Defaults to `0.95`.

    Returns:
        `MeanInterval`; of one value, its `low` and `high` are `None`.

    Raises:
        ValueError: if there are no values, or one is not finite.

    Example:
    >>> mean, low, high = mean_interval([0.90, 0.92, 0.94])
    >>> f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    '0.920 [0.870, 0.970]'
    """
    numbers = check_array("values", values, empty=True).astype("float64")
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"`values` must be a list of finite numbers. Received: values={values!r}")
    _check_confidence(confidence)
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return MeanInterval(mean, None, None)
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(numbers) - 1, (1 + confidence) / 2))
    half = quantile * float(numbers.std(ddof=1)) / len(numbers) ** 0.5
    return MeanInterval(mean, mean - half, mean + half)


def accuracy_interval(accuracy: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of an accuracy measured on `n` independent images.

    What a larger test set of the same kind might say. It holds nothing of the spread over seeds,
    for which `mean_interval` is. Unlike the normal approximation it stays in [0, 1] and does not
    shrink to a point at accuracies of 0 and 1.

    Args:
        accuracy: float in [0, 1].
        n: int, number of test images.
        confidence: float in (0, 1). Defaults to `0.95`.

    Returns:
        `low`, `high`: floats in [0, 1].

    Raises:
        ValueError: if `accuracy` is not in [0, 1] or `n` not positive.

    Example:
    >>> low, high = accuracy_interval(0.8, n=10)
    >>> f"{low:.3f} {high:.3f}"
    '0.490 0.943'

    References:
        - Wilson 1927, "Probable inference, the law of succession, and statistical inference",
          JASA 22; without continuity correction.
    """
    check_number("accuracy", accuracy, 0, 1)
    check_int("n", n, 1)
    _check_confidence(confidence)
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    center = accuracy + z**2 / (2 * n)
    half = z * (accuracy * (1 - accuracy) / n + z**2 / (4 * n**2)) ** 0.5
    scale = 1 + z**2 / n
    # At accuracies of 0 and 1 one end is the accuracy itself: rounding must not carry it past.
    low, high = (center - half) / scale, (center + half) / scale
    return max(0.0, min(accuracy, low)), min(1.0, max(accuracy, high))


def _check_confidence(confidence: float) -> None:
    check_number("confidence", confidence, 0, 1, above=True, below=True)
