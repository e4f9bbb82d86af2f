"""How accuracy grows with the number of labels. Imports NumPy; scikit-learn through the probe."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_int, check_number
from mae_keras.evaluation.features import check_features
from mae_keras.evaluation.intervals import mean_interval
from mae_keras.evaluation.linear_probe import fit_linear_probe


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
