"""How sure a score is: over seeds, and over the images of one test set. SciPy when called."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mae_keras.arguments import check_array, check_int, check_number


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
    given = check_array("values", values, empty=True).astype("float64")
    if given.ndim != 1 or not len(given) or not np.isfinite(given).all():
        raise ValueError(f"`values` must be a list of finite numbers. Received: values={values!r}")
    _check_confidence(confidence)
    mean = float(given.mean())
    if len(given) == 1:
        return MeanInterval(mean, None, None)
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(given) - 1, (1 + confidence) / 2))
    half = quantile * float(given.std(ddof=1)) / len(given) ** 0.5
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
    centre = accuracy + z**2 / (2 * n)
    half = z * (accuracy * (1 - accuracy) / n + z**2 / (4 * n**2)) ** 0.5
    scale = 1 + z**2 / n
    # At accuracies of 0 and 1 one end is the accuracy itself: rounding must not carry it past.
    low, high = (centre - half) / scale, (centre + half) / scale
    return max(0.0, min(accuracy, low)), min(1.0, max(accuracy, high))


def _check_confidence(confidence: float) -> None:
    check_number("confidence", confidence, 0, 1, above=True, below=True)
