"""How well a classifier of two classes screens: which cases it finds, at which cost.

Arrays in, numbers out. Imports NumPy; scikit-learn and SciPy in the functions that need them.
"""

import dataclasses
from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_int, check_number
from mae_keras.evaluation.class_report import (
    Calibration,
    accuracy_interval,
    expected_calibration_error,
)
from mae_keras.evaluation.ranking import (
    Intervals,
    average_precision,
    ranking_scores,
    read_binary_labels,
    read_intervals,
    resample_samples,
    roc_auc,
    sensitivity_at,
    specificity_at,
)

# Rates such as 9 of 10 and 0.9 may differ in the last digit.
_PLAY = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class ScreeningReport:
    """What `screening_report` returns. Positive is the class to be found, such as a disease.

    Attributes:
        roc_auc: float in [0, 1], chance that a positive has a higher probability than a negative.
        average_precision: float in [0, 1]; the share of positives is chance.
        target_specificity: float in [0, 1], as requested.
        sensitivity_at_specificity: float in [0, 1], the largest sensitivity of a threshold with at
            least `target_specificity` on these images. The threshold is chosen on them: an
            optimistic number, for comparisons.
        target_sensitivity: float in [0, 1], as requested.
        specificity_at_sensitivity: float in [0, 1], likewise.
        threshold: float, from which probability on an image is called positive.
        sensitivity: float in [0, 1], share of the positives that are called positive.
        specificity: float in [0, 1], share of the negatives that are called negative.
        precision: float in [0, 1], share of positives among images called positive; `None` if none
            is. It holds for this share of positives alone.
        brier: float in [0, 1], mean squared distance of probabilities from labels.
        calibration: `Calibration` of the probability of the positive class: the expected
            calibration error, and bins whose `accuracy` is the share of positives.
        false_positive_rates: float array, 1 - specificity of every threshold, ascending.
        true_positive_rates: float array, sensitivity of the same thresholds.
        intervals: dict from `"roc_auc"`, `"average_precision"`, `"sensitivity_at_specificity"`,
            `"specificity_at_sensitivity"`, `"sensitivity"`, `"specificity"` and `"brier"` to two
            floats, or to `None` where there is one group of images.
        num_positive: int, images.
        num_negative: int, images.
        confidence: float, of all intervals.
        num_groups: int, images, or groups of images, that the intervals are drawn from.
    """

    roc_auc: float
    average_precision: float
    target_specificity: float
    sensitivity_at_specificity: float
    target_sensitivity: float
    specificity_at_sensitivity: float
    threshold: float
    sensitivity: float
    specificity: float
    precision: float | None
    brier: float
    calibration: Calibration
    false_positive_rates: np.ndarray
    true_positive_rates: np.ndarray
    intervals: dict[str, tuple[float, float] | None]
    num_positive: int
    num_negative: int
    confidence: float
    num_groups: int

    @property
    def prevalence(self) -> float:
        """Share of positives among these images."""
        return self.num_positive / (self.num_positive + self.num_negative)

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts that JSON can hold."""
        report = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        bins = [dataclasses.asdict(one) for one in self.calibration.bins]
        report["calibration"] = {"error": self.calibration.error, "bins": bins}
        for name in ("false_positive_rates", "true_positive_rates"):
            report[name] = report[name].tolist()
        report["intervals"] = {
            name: None if ends is None else list(ends) for name, ends in self.intervals.items()
        }
        return report

    def text(self) -> str:
        """A line for each number."""
        wanted = f"{100 * self.target_specificity:g} %", f"{100 * self.target_sensitivity:g} %"
        rows = {
            "roc_auc": "ROC-AUC",
            "average_precision": f"average precision (chance {self.prevalence:.3f})",
            "sensitivity_at_specificity": f"sensitivity at {wanted[0]} specificity",
            "specificity_at_sensitivity": f"specificity at {wanted[1]} sensitivity",
            "sensitivity": f"sensitivity at threshold {self.threshold:.3g}",
            "specificity": f"specificity at threshold {self.threshold:.3g}",
            "brier": "Brier score",
        }
        width = max(map(len, rows.values()))
        lines = [
            f"{shown:<{width}}  {getattr(self, name):.3f}{self._interval(name)}"
            for name, shown in rows.items()
        ]
        error = f"{'expected calibration error':<{width}}  {self.calibration.error:.3f}"
        lines += [
            f"{error} ({len(self.calibration.bins)} bins)",
            f"{self.num_positive} positive and {self.num_negative} negative images",
        ]
        if self.num_groups > 1:
            lines.append(
                f"in brackets: {100 * self.confidence:g} % intervals over {self.num_groups} images "
                "or groups"
            )
        return "\n".join(lines)

    def _interval(self, name: str) -> str:
        ends = self.intervals[name]
        return "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"


def screening_report(
    labels: Any,
    probabilities: Any,
    *,
    threshold: float = 0.5,
    specificity: float = 0.9,
    sensitivity: float = 0.9,
    num_bins: int = 10,
    groups: Any = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> ScreeningReport:
    """Score the probabilities of one class against labels.

    Choose `threshold` by `choose_threshold` on validation images, and calibrate on them by
    `fit_temperature`: test images that chose a threshold cannot judge it.

    Intervals are percentiles over images drawn with replacement (bootstrap). Those of sensitivity
    and specificity at `threshold` are Wilson's, which do not shrink to a point at 0 and 1; with
    `groups`, bootstrap as the others.

    Args:
        labels: array `(num_images,)`, 1 = positive, 0 = negative; both must be there.
        probabilities: array `(num_images,)` in [0, 1], of the positive class; or
            `(num_images, 2)`, of both.
        threshold: float, from which probability on an image is called positive. Defaults to `0.5`.
        specificity: float in [0, 1], at which sensitivity is read. Defaults to `0.9`.
        sensitivity: float in [0, 1], at which specificity is read. Defaults to `0.9`.
        num_bins: int, bins of the calibration, of equal width. Defaults to `10`.
        groups: int for each image; images of one group, such as those of one patient, are drawn
            together, as they are not independent. Defaults to every image by itself.
        confidence: float in (0, 1), of the intervals. Defaults to `0.95`.
        resamples: int in [100, 100000], draws for the intervals. Defaults to `1000`.
        seed: int, of the draws.

    Returns:
        `ScreeningReport`.

    Raises:
        TypeError: if labels are not integers or booleans.
        ValueError: if shapes do not fit, a class is absent, or a number is out of range.

    Example:
    >>> report = screening_report([0, 0, 0, 1, 1], [0.1, 0.2, 0.7, 0.6, 0.9], threshold=0.5)
    >>> round(report.roc_auc, 3), report.sensitivity, round(report.specificity, 3)
    (0.833, 1.0, 0.667)

    References:
        - Wilson 1927, JASA 22; Guo et al. 2017, arXiv:1706.04599 (calibration error).
    """
    from sklearn.metrics import brier_score_loss, roc_curve

    check_number("threshold", threshold)
    check_number("specificity", specificity, 0, 1)
    check_number("sensitivity", sensitivity, 0, 1)
    check_int("num_bins", num_bins, 1, 10**6)
    labels = read_binary_labels(labels)
    positive = _read_positive(probabilities, len(labels))
    intervals = read_intervals(groups, len(labels), confidence, resamples, seed)
    false, true, _ = roc_curve(labels, positive, drop_intermediate=False)
    called = positive >= threshold
    measures = {
        "roc_auc": roc_auc,
        "average_precision": average_precision,
        "sensitivity_at_specificity": sensitivity_at(specificity),
        "specificity_at_sensitivity": specificity_at(sensitivity),
    }
    ends = resample_samples(labels, positive, intervals, measures)
    ends["sensitivity"] = _share_interval(called[labels], labels, intervals, groups is None)
    ends["specificity"] = _share_interval(~called[~labels], ~labels, intervals, groups is None)
    ends["brier"] = _mean_interval(np.square(positive - labels), intervals)
    return ScreeningReport(
        **ranking_scores(labels, positive),
        target_specificity=float(specificity),
        sensitivity_at_specificity=float(true[1 - false >= specificity - _PLAY].max()),
        target_sensitivity=float(sensitivity),
        specificity_at_sensitivity=float((1 - false)[true >= sensitivity - _PLAY].max()),
        threshold=float(threshold),
        sensitivity=float(called[labels].mean()),
        specificity=float((~called[~labels]).mean()),
        precision=float(labels[called].mean()) if called.any() else None,
        brier=float(brier_score_loss(labels, positive)),
        calibration=expected_calibration_error(positive, labels, num_bins),
        false_positive_rates=false,
        true_positive_rates=true,
        intervals=ends,
        num_positive=int(labels.sum()),
        num_negative=int((~labels).sum()),
        confidence=intervals.confidence,
        num_groups=intervals.num_groups,
    )


def choose_threshold(
    labels: Any,
    probabilities: Any,
    *,
    specificity: float | None = None,
    sensitivity: float | None = None,
) -> float:
    """Choose the operating point on validation images.

    With `specificity`, the threshold of the largest sensitivity among those with at least this
    specificity; with `sensitivity`, the reverse; with neither, the one with the largest sum of both
    (Youden). A threshold that does it is a probability of one of the images; of several, the
    largest is returned.

    Args:
        labels: array `(num_images,)`, 1 = positive, 0 = negative; both must be there.
        probabilities: array `(num_images,)` in [0, 1], of the positive class; or
            `(num_images, 2)`, of both.
        specificity: float in [0, 1], the least allowed, or `None`.
        sensitivity: float in [0, 1], the least allowed, or `None`.

    Returns:
        float: an image is positive from this probability on. Just above all probabilities if no
        other threshold is specific enough.

    Raises:
        TypeError: if labels are not integers or booleans.
        ValueError: if shapes do not fit, a class is absent, or both limits are given.

    Example:
    >>> choose_threshold([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], sensitivity=0.9)
    0.4
    >>> choose_threshold([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], specificity=0.9)
    0.9

    References:
        - Youden 1950, "Index for rating diagnostic tests", Cancer 3.
    """
    from sklearn.metrics import roc_curve

    check_number("specificity", specificity, 0, 1, optional=True)
    check_number("sensitivity", sensitivity, 0, 1, optional=True)
    if specificity is not None and sensitivity is not None:
        raise ValueError(
            "`specificity` or `sensitivity` must be None: one of them decides the threshold. "
            f"Received: specificity={specificity}, sensitivity={sensitivity}"
        )
    labels = read_binary_labels(labels)
    positive = _read_positive(probabilities, len(labels))
    false, true, thresholds = roc_curve(labels, positive, drop_intermediate=False)
    value, allowed = true - false, np.ones(len(true), bool)
    if specificity is not None:
        value, allowed = true, 1 - false >= specificity - _PLAY
    elif sensitivity is not None:
        value, allowed = -false, true >= sensitivity - _PLAY
    best = int(np.argmax(np.where(allowed, value, -np.inf)))  # thresholds descend
    if np.isinf(thresholds[best]):
        return float(np.nextafter(positive.max(), np.inf))
    return float(thresholds[best])


def fit_temperature(labels: Any, probabilities: Any) -> float:
    """Fit the temperature that calibrates probabilities, on validation images.

    It minimizes the crossentropy of `apply_temperature(probabilities, temperature)`. The ranking
    of images, and with it the ROC curve, stays as it is for two classes.

    Args:
        labels: int array `(num_images,)`, class numbers from 0.
        probabilities: array `(num_images,)` in [0, 1], of class 1 of two; or
            `(num_images, num_classes)`.

    Returns:
        float in [0.01, 100]: above 1 for an overconfident classifier. At 0.01, all validation
        images are classified rightly and nothing limits the confidence.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if shapes do not fit, or probabilities are none.

    Example:
    >>> temperature = fit_temperature([0, 1, 1, 1], [0.9, 0.9, 0.9, 0.9])
    >>> round(float(apply_temperature(0.9, temperature)), 3)
    0.75

    References:
        - Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    logits = _read_logits(probabilities)
    labels = check_array("labels", labels, 1, kinds="bui").astype("int64")
    if logits.ndim != 2 or len(labels) != len(logits):
        raise ValueError(
            f"`probabilities` must be of the {len(labels)} images in `labels`. Received: "
            f"probabilities.shape={np.shape(probabilities)}"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"`labels` must be in [0, {logits.shape[1]}). Received: values from {labels.min()} to "
            f"{labels.max()}"
        )

    def crossentropy(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(-_log_softmax(scaled)[np.arange(len(labels)), labels].mean())

    bounds = (np.log(0.01), np.log(100.0))
    found = minimize_scalar(crossentropy, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    return float(np.exp(found.x))


def apply_temperature(probabilities: Any, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities by a temperature.

    Args:
        probabilities: array in [0, 1]: `(num_images, num_classes)`, or of any other shape, of the
            second of two classes.
        temperature: float > 0; above 1 brings probabilities closer together.

    Returns:
        float64 array of the shape of `probabilities`.

    Raises:
        ValueError: if probabilities are none, or `temperature` is not positive.

    Example:
    >>> apply_temperature([0.5, 0.8], 2.0).round(3).tolist()
    [0.5, 0.667]
    """
    check_number("temperature", temperature, 0, above=True)
    logits = _read_logits(probabilities)
    scaled = np.exp(_log_softmax(logits / max(float(temperature), 1e-30)))
    return scaled if np.ndim(probabilities) == 2 else scaled[..., 1]


def _read_logits(probabilities: Any) -> np.ndarray:
    """Logs of the probabilities of all classes; those of two where one is given."""
    values = check_array("probabilities", probabilities, finite=True).astype("float64")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"`probabilities` must be in [0, 1]. Received: values from {values.min()} to "
            f"{values.max()}"
        )
    if values.ndim != 2:
        values = np.stack([1 - values, values], axis=-1)
    elif values.shape[1] < 2 or (abs(values.sum(axis=1) - 1) > 1e-2).any():
        raise ValueError(
            "`probabilities` must be of at least two classes and add up to 1 in each row. "
            f"Received: probabilities.shape={values.shape}"
        )
    return np.log(np.maximum(values, 1e-12))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _read_positive(probabilities: Any, num_images: int) -> np.ndarray:
    """Probabilities of the positive class."""
    values = check_array("probabilities", probabilities, finite=True).astype("float64")
    if values.shape not in ((num_images,), (num_images, 2)):
        raise ValueError(
            f"`probabilities` must have shape ({num_images},) or ({num_images}, 2), as `labels` "
            f"has {num_images} entries. Received: probabilities.shape={values.shape}"
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"`probabilities` must be in [0, 1]. Received: values from {values.min()} to "
            f"{values.max()}"
        )
    if values.ndim == 2:
        _read_logits(values)  # refuses what does not add up to 1
        return values[:, 1]
    return values


def _share_interval(
    right: np.ndarray, counted: np.ndarray, intervals: Intervals, independent: bool
) -> tuple[float, float] | None:
    """Of the share of right ones among those that count."""
    if independent:
        return accuracy_interval(float(right.mean()), len(right), intervals.confidence)
    whole = np.zeros(len(counted))
    whole[counted] = right
    return _mean_interval(whole, intervals, counted)


def _mean_interval(
    values: np.ndarray, intervals: Intervals, counted: np.ndarray | None = None
) -> tuple[float, float] | None:
    """Of the mean of the values that count, over groups drawn with replacement."""
    if counted is None:
        counted = np.ones(len(values), bool)
    number = intervals.num_groups
    if number < 2:
        return None
    totals = np.bincount(intervals.groups, np.where(counted, values, 0), number)
    counts = np.bincount(intervals.groups, counted, number)
    rng = np.random.default_rng(intervals.seed)
    means = []
    for _ in range(intervals.resamples):
        times = rng.multinomial(number, np.full(number, 1 / number))
        if times @ counts:
            means.append(times @ totals / (times @ counts))
    low, high = (1 - intervals.confidence) / 2, (1 + intervals.confidence) / 2
    return tuple(map(float, np.quantile(means, [low, high])))
