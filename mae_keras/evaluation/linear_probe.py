"""Accuracy of a linear classifier on frozen features, with all labels or fewer.

Imports scikit-learn, when called.
"""

import dataclasses
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mae_keras.arguments import LARGEST_SEED, check_array, check_int, check_number
from mae_keras.evaluation.class_report import mean_interval
from mae_keras.evaluation.features import check_features, check_same_width

_STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)


class Fit(NamedTuple):
    """One fitted classifier: scores are `features @ weights.T + bias`."""

    strength: float
    weights: np.ndarray
    bias: np.ndarray
    classes: np.ndarray
    converged: bool

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Scores `(num_samples, num_classes)`, a column for each of `classes`."""
        scores = features @ self.weights.T + self.bias
        if len(self.classes) > 2:
            return scores
        # scikit-learn keeps one row of weights for two classes
        return np.concatenate([np.zeros_like(scores), scores], axis=1)


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on frozen features, made by `fit_linear_probe`.

    Attributes:
        fit: `Fit`, the classifier on standardized features.
        mean, scale: arrays `(num_features,)`, by which features are standardized.
        validation_accuracy: float in [0, 1], the best of all strengths.
        num_train: int, training rows it was fitted on.
    """

    fit: Fit
    mean: np.ndarray
    scale: np.ndarray
    validation_accuracy: float
    num_train: int

    @property
    def classes(self) -> np.ndarray:
        """Labels that can be predicted, ascending."""
        return self.fit.classes

    def probabilities(self, features: Any) -> np.ndarray:
        """Probabilities `(num_samples, num_classes)`, a column for each of `classes`."""
        scores = self.fit.scores((np.asarray(features, "float32") - self.mean) / self.scale)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict(self, features: Any) -> np.ndarray:
        """Labels `(num_samples,)`."""
        return self.classes[self.probabilities(features).argmax(axis=1)]


@dataclasses.dataclass(frozen=True)
class LinearProbeResult:
    """What `linear_probe` returns.

    Attributes:
        test_accuracy: float in [0, 1], measured once, with the chosen regularization.
        validation_accuracy: float in [0, 1], the best of all strengths.
        regularization: float, the strength that reached it.
        converged: bool, whether the chosen classifier met the solver's tolerance.
        num_train: int, training rows the classifier was fitted on.
    """

    test_accuracy: float
    validation_accuracy: float
    regularization: float
    converged: bool
    num_train: int


def linear_probe(
    train_features: Any,
    train_labels: Any,
    validation_features: Any,
    validation_labels: Any,
    test_features: Any,
    test_labels: Any,
    *,
    strengths: Sequence[float] = _STRENGTHS,
    max_samples: int | None = 10_000,
    max_iter: int = 100,
    seed: int = 0,
) -> LinearProbeResult:
    """Fit logistic regression on frozen features, choose by validation, score the test set once.

    Features are standardized by the training set's statistics. Minimized is the mean
    cross-entropy plus `strength / 2` times the squared weights, so that a strength means the same
    for any number of samples (scikit-learn's `C` is `1 / (strength * num_train)`). Strengths are
    tried from the largest down, each starting from the last solution, until the validation
    accuracy falls more than a standard error below its best.

    Args:
        train_features: array `(num_train, num_features)`.
        train_labels: int array `(num_train,)`, at least two classes.
        validation_features: array `(num_validation, num_features)`.
        validation_labels: int array `(num_validation,)`.
        test_features: array `(num_test, num_features)`.
        test_labels: int array `(num_test,)`.
        strengths: positive floats to choose from; of equals the strongest is taken.
        max_samples: int, a random subset of so many training rows is used if there are more; or
            `None` for all. Bounds the time.
        max_iter: int, iterations of the solver for each strength.
        seed: int, which subset.

    Returns:
        `LinearProbeResult`.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if features are not finite, shapes do not fit, or there is a single class.

    Example:
    >>> rows, labels = np.array([[0.0], [0.2], [0.8], [1.0]]), [0, 0, 1, 1]
    >>> linear_probe(rows, labels, rows, labels, rows, labels).test_accuracy
    1.0
    """
    test, test_labels = check_features(test_features, test_labels, "test")
    probe = fit_linear_probe(
        train_features,
        train_labels,
        validation_features,
        validation_labels,
        strengths=strengths,
        max_samples=max_samples,
        max_iter=max_iter,
        seed=seed,
    )
    check_same_width(train_features=probe.mean[None], test_features=test)
    return LinearProbeResult(
        test_accuracy=float(np.mean(probe.predict(test) == test_labels)),
        validation_accuracy=probe.validation_accuracy,
        regularization=probe.fit.strength,
        converged=probe.fit.converged,
        num_train=probe.num_train,
    )


def fit_linear_probe(
    train_features: Any,
    train_labels: Any,
    validation_features: Any,
    validation_labels: Any,
    *,
    strengths: Sequence[float] = _STRENGTHS,
    max_samples: int | None = 10_000,
    max_iter: int = 100,
    seed: int = 0,
) -> LinearProbe:
    """Fit the classifier of `linear_probe`, to predict with it; sees no test set.

    Args:
        train_features: array `(num_train, num_features)`.
        train_labels: int array `(num_train,)`, at least two classes.
        validation_features: array `(num_validation, num_features)`.
        validation_labels: int array `(num_validation,)`.
        strengths: as for `linear_probe`.
        max_samples: as for `linear_probe`.
        max_iter: as for `linear_probe`.
        seed: as for `linear_probe`.

    Returns:
        `LinearProbe`.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if features are not finite, shapes do not fit, or there is a single class.

    Example:
    >>> rows, labels = np.array([[0.0], [0.2], [0.8], [1.0]]), [3, 3, 7, 7]
    >>> fit_linear_probe(rows, labels, rows, labels).predict([[0.1], [0.9]]).tolist()
    [3, 7]
    """
    train, train_labels = check_features(train_features, train_labels, "train")
    tuning, tuning_labels = check_features(validation_features, validation_labels, "validation")
    check_same_width(train_features=train, validation_features=tuning)
    _check_options(strengths, max_samples, max_iter, seed)
    train, train_labels = _subset(train, train_labels, max_samples, seed)
    _check_classes(train_labels)
    mean, scale = _standardization(train)
    train, tuning = ((rows - mean) / scale for rows in (train, tuning))
    best, best_accuracy = _best(
        _fits(train, train_labels, strengths, max_iter), tuning, tuning_labels
    )
    return LinearProbe(best, mean, scale, best_accuracy, len(train))


def _best(fits: Iterator[Fit], features: np.ndarray, labels: np.ndarray) -> tuple[Fit, float]:
    # Weak penalties take the most iterations: none is spent on them once they clearly overfit.
    standard_error = 0.5 / np.sqrt(len(labels))
    best, best_accuracy = next(fits), -1.0
    for fit in itertools.chain([best], fits):
        accuracy = _accuracy(fit, features, labels)
        if accuracy > best_accuracy:
            best, best_accuracy = fit, accuracy
        elif accuracy < best_accuracy - standard_error:
            break
    return best, best_accuracy


def _fits(
    train: np.ndarray, labels: np.ndarray, strengths: Sequence[float], max_iter: int
) -> Iterator[Fit]:
    """Fit from the strongest penalty to the weakest, each starting where the last one ended."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # One object, so that starting warm spares most of the iterations on the weak end.
    classifier = LogisticRegression(solver="lbfgs", max_iter=max_iter, warm_start=True)
    for strength in sorted(map(float, strengths), reverse=True):
        classifier.C = 1.0 / (strength * len(train))
        with warnings.catch_warnings():
            # Reported in the result instead.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(train, labels)
        yield Fit(
            strength,
            classifier.coef_.copy(),
            classifier.intercept_.copy(),
            classifier.classes_,
            bool(np.max(classifier.n_iter_) < max_iter),
        )


def _accuracy(fit: Fit, features: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(fit.classes[fit.scores(features).argmax(axis=1)] == labels))


def _standardization(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = train.mean(axis=0, dtype="float64")
    scale = train.std(axis=0, dtype="float64")
    # A column that only rounding moves (a dead unit, a border pixel) is left as it is.
    still = scale <= 1e-6 * np.maximum(np.abs(mean), 1e-30)
    return mean.astype("float32"), np.where(still, 1.0, scale).astype("float32")


def _subset(
    features: np.ndarray, labels: np.ndarray, max_samples: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    if max_samples is None or len(features) <= max_samples:
        return features, labels
    chosen = np.random.default_rng(seed).permutation(len(features))[:max_samples]
    return features[chosen], labels[chosen]


def _check_options(
    strengths: Sequence[float], max_samples: int | None, max_iter: int, seed: int
) -> None:
    values = check_array("strengths", strengths, 1, finite=True)
    if not (values > 0).all():
        raise ValueError(f"`strengths` must be positive numbers. Received: strengths={strengths!r}")
    check_int("max_samples", max_samples, 1, optional=True)
    check_int("max_iter", max_iter, 1, LARGEST_SEED)
    check_int("seed", seed, 0)


def _check_classes(labels: np.ndarray) -> None:
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(
            f"`train_labels` must have at least two classes. Received: {classes.tolist()} in "
            f"{len(labels)} rows"
        )


@dataclasses.dataclass(frozen=True)
class LabelFraction:
    """Accuracy with a fraction of the labels, over several draws of which ones.

    Attributes:
        fraction: float in (0, 1], of the training labels.
        num_labels: int, training images used.
        test_accuracy: float, mean over the draws.
        low, high: floats in [0, 1], 95 % interval of that mean; `None` when there was one draw.
        accuracies: floats, one for each draw.
        note: str, what had to be changed, or empty.
    """

    fraction: float
    num_labels: int
    test_accuracy: float
    low: float | None
    high: float | None
    accuracies: tuple[float, ...]
    note: str = ""


def label_fraction_scores(
    train_features: Any,
    train_labels: Any,
    validation_features: Any,
    validation_labels: Any,
    test_features: Any,
    test_labels: Any,
    *,
    fractions: Sequence[float] = (0.01, 0.1, 1.0),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    max_samples: int | None = 10_000,
) -> list[LabelFraction]:
    """Probe features with a part of the training labels, several times each.

    The validation set, which chooses the penalty, shrinks with the training set: whoever has few
    labels has few to choose by. All labels are one draw unless `max_samples` cuts them.

    Args:
        train_features: array `(num_train, num_features)`.
        train_labels: int array `(num_train,)`, at least two classes.
        validation_features: array `(num_validation, num_features)`.
        validation_labels: int array `(num_validation,)`.
        test_features: array `(num_test, num_features)`.
        test_labels: int array `(num_test,)`.
        fractions: floats in (0, 1].
        seeds: ints, one draw of labels for each.
        max_samples: int or `None`, as for `linear_probe`.

    Returns:
        List of `LabelFraction`, in the order of `fractions`.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if a fraction is not in (0, 1], there are no seeds, or the features do not fit.

    Example:
    >>> rows = np.repeat(np.eye(2), 20, axis=0)
    >>> labels = rows.argmax(axis=1)
    >>> task = (rows, labels) * 3
    >>> [score.num_labels for score in label_fraction_scores(*task, fractions=(0.1, 1.0))]
    [4, 40]
    """
    train, labels = check_features(train_features, train_labels, "train")
    tuning, tuning_labels = check_features(validation_features, validation_labels, "validation")
    test, test_labels = check_features(test_features, test_labels, "test")
    if not len(seeds):
        raise ValueError("`seeds` must hold at least one int. Received: none")
    scores = []
    for fraction in fractions:
        accuracies, counts = [], []
        whole = fraction == 1.0 and (max_samples is None or len(train) <= max_samples)
        for seed in seeds[:1] if whole else seeds:
            rows, note = fraction_rows(labels, fraction, seed)
            chosen, _ = fraction_rows(tuning_labels, fraction, seed)
            probe = fit_linear_probe(
                *(train[rows], labels[rows], tuning[chosen], tuning_labels[chosen]),
                max_samples=max_samples,
                seed=seed,
            )
            accuracies.append(float(np.mean(probe.predict(test) == test_labels)))
            counts.append(probe.num_train)
        mean, low, high = mean_interval(accuracies)
        if low is not None:  # few draws near an end of the scale have bounds beyond it
            low, high = max(low, 0.0), min(high, 1.0)
        scores.append(
            LabelFraction(float(fraction), counts[0], mean, low, high, tuple(accuracies), note)
        )
    return scores


def fraction_rows(labels: Any, fraction: float, seed: int = 0) -> tuple[np.ndarray, str]:
    """Draw the same fraction of every class, at least one image of each.

    Args:
        labels: int array `(num_samples,)`.
        fraction: float in (0, 1].
        seed: int, which images.

    Returns:
        Sorted indices, and a sentence when a class would have been left empty (or an empty str).

    Raises:
        ValueError: if `fraction` is not in (0, 1].

    Example:
    >>> rows, note = fraction_rows([0] * 100 + [1] * 10, 0.02)
    >>> len(rows), note
    (3, '2 % leaves 1 of 2 classes without an image: one image of each was kept.')
    """
    check_number("fraction", fraction, 0, 1, above=True)
    check_int("seed", seed, 0)
    labels = check_array("labels", labels, 1, kinds="ui")
    order = np.random.default_rng(seed).permutation(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    wanted = np.floor(counts * fraction + 0.5).astype(int)
    empty = int((wanted == 0).sum())
    rows = [
        order[labels[order] == label][:count]
        for label, count in zip(classes, np.maximum(wanted, 1), strict=True)
    ]
    note = (
        f"{100 * fraction:.3g} % leaves {empty} of {len(classes)} classes without an image: one "
        f"image of each was kept."
        if empty
        else ""
    )
    return np.sort(np.concatenate(rows)), note
