"""Accuracy of weighted nearest neighbors on features. Imports NumPy only."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from mae_keras.arguments import check_int, check_ints, check_number
from mae_keras.evaluation.features import check_features, check_same_width
from mae_keras.feature_scores import neighbor_accuracies


@dataclasses.dataclass(frozen=True)
class KNNResult:
    """What `knn_accuracy` returns.

    Attributes:
        test_accuracy: float in [0, 1].
        k: int, neighbors that voted.
        temperature: float, of their votes.
    """

    test_accuracy: float
    k: int
    temperature: float


def knn_accuracy(
    train_features: Any,
    train_labels: Any,
    test_features: Any,
    test_labels: Any,
    *,
    k: int = 20,
    temperature: float = 0.07,
    batch_size: int = 1024,
) -> KNNResult:
    """Classify each test row by its `k` nearest training rows; nothing is trained or tuned.

    Nearness is cosine similarity `s`; each neighbor votes for its label with weight
    `exp(s / temperature)`. A row of zeros has similarity 0 to everything, and equal votes go to
    the smaller label.

    Args:
        train_features: array `(num_train, num_features)`.
        train_labels: int array `(num_train,)`.
        test_features: array `(num_test, num_features)`.
        test_labels: int array `(num_test,)`.
        k: int, neighbors that vote, at most `num_train`.
        temperature: float > 0; the smaller, the more the nearest decide.
        batch_size: int, test rows compared at a time: memory is about four times
            `batch_size * num_train` floats, for similarities and their order.

    Returns:
        `KNNResult`.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if `k` exceeds `num_train`, or features are not finite or shapes do not fit.

    Example:
    >>> import numpy as np
    >>> train = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> knn_accuracy(train, [0, 0, 1], [[2.0, 0.1], [0.0, 3.0]], [0, 1], k=1).test_accuracy
    1.0

    References:
        - Wu et al. 2018, arXiv:1805.01978, section 3.4.
        - Caron et al. 2021 (DINO), arXiv:2104.14294, whose k = 20 and temperature 0.07 are used.
    """
    train, train_labels = check_features(train_features, train_labels, "train")
    test, test_labels = check_features(test_features, test_labels, "test")
    check_same_width(train_features=train, test_features=test)
    _check_options(k, temperature, batch_size, len(train))
    accuracies = neighbor_accuracies(
        train, train_labels, test, test_labels, [k], temperature, batch_size
    )
    return KNNResult(accuracies[int(k)], int(k), float(temperature))


def choose_k(
    train_features: Any,
    train_labels: Any,
    validation_features: Any,
    validation_labels: Any,
    *,
    ks: Sequence[int] = (1, 5, 10, 20, 50, 100),
    temperature: float = 0.07,
    batch_size: int = 1024,
) -> dict[int, float]:
    """Accuracy of `knn_accuracy` on a validation set for several `k`; sees no test set.

    Args:
        train_features: array `(num_train, num_features)`.
        train_labels: int array `(num_train,)`.
        validation_features: array `(num_validation, num_features)`.
        validation_labels: int array `(num_validation,)`.
        ks: ints; those above `num_train` are left out.
        temperature: float > 0, as for `knn_accuracy`.
        batch_size: int, as for `knn_accuracy`.

    Returns:
        Dict of `k` to accuracy, the best first; of equals the smaller `k`.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if no `k` is left, features are not finite or shapes do not fit.

    Example:
    >>> import numpy as np
    >>> rows, labels = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), [0, 0, 1]
    >>> choose_k(rows, labels, rows, labels, ks=(1, 3, 100), temperature=100.0)
    {1: 1.0, 3: 0.6666666666666666}
    """
    train, train_labels = check_features(train_features, train_labels, "train")
    tuning, labels = check_features(validation_features, validation_labels, "validation")
    check_same_width(train_features=train, validation_features=tuning)
    possible = sorted({k for k in check_ints("ks", ks, 1) if k <= len(train)})
    if not possible:
        raise ValueError(
            f"`ks` must hold a k of at most the number of training rows, {len(train)}. "
            f"Received: ks={tuple(ks)}"
        )
    _check_options(possible[0], temperature, batch_size, len(train))
    found = neighbor_accuracies(
        train, train_labels, tuning, labels, possible, temperature, batch_size
    )
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _check_options(k: int, temperature: float, batch_size: int, num_train: int) -> None:
    check_int("k", k, 1)
    check_int("batch_size", batch_size, 1)
    check_number("temperature", temperature, 0, above=True)
    if k > num_train:
        raise ValueError(
            f"`k` must be at most the number of training rows, {num_train}. Received: k={k}"
        )
