"""Scores of features: votes of nearest neighbors, and the effective rank. Imports NumPy only.

`evaluation` checks what it is given and calls these; `training.OnlineProbe` calls them while a
model trains.
"""

from collections.abc import Sequence

import numpy as np


def neighbor_accuracies(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    ks: Sequence[int],
    temperature: float = 0.07,
    batch_size: int = 1024,
    leave_one_out: bool = False,
) -> dict[int, float]:
    """Accuracy of each k of weighted nearest neighbors; see `evaluation.knn_accuracy`.

    Args:
        train: float array `(num_train, num_features)`.
        train_labels: int array `(num_train,)`.
        test: float array `(num_test, num_features)`.
        test_labels: int array `(num_test,)`.
        ks: ints, at most `num_train`; less than it with `leave_one_out`.
        temperature: float > 0, of the votes.
        batch_size: int, test rows compared at a time.
        leave_one_out: bool, whether test rows are the training rows: none is its own neighbor.

    Raises:
        ValueError: if one of `ks` is less than 1.
    """
    if not all(k >= 1 for k in ks):
        raise ValueError(f"`ks` must be at least 1. Received: ks={list(ks)}")
    classes, votes_for = np.unique(train_labels, return_inverse=True)
    train, test = _unit_rows(train), _unit_rows(test)
    correct = dict.fromkeys(map(int, ks), 0)
    for start in range(0, len(test), batch_size):
        block = slice(start, start + batch_size)
        similarity = test[block] @ train.T
        if leave_one_out:
            rows = np.arange(len(similarity))
            similarity[rows, start + rows] = -np.inf
        nearest = _nearest(similarity, max(correct))
        near = np.take_along_axis(similarity, nearest, axis=1).astype("float64")
        for k in correct:
            votes = _votes(near[:, :k], votes_for[nearest[:, :k]], len(classes), temperature)
            correct[k] += int((classes[votes.argmax(axis=1)] == test_labels[block]).sum())
    return {k: count / len(test) for k, count in correct.items()}


def _nearest(similarity: np.ndarray, k: int) -> np.ndarray:
    """Indices `(num_test, k)` of the most similar training rows, nearest first."""
    nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(similarity, nearest, axis=1), axis=1, kind="stable")
    return np.take_along_axis(nearest, order, axis=1)


def _votes(near: np.ndarray, voted: np.ndarray, num_classes: int, temperature: float) -> np.ndarray:
    """Votes `(num_test, num_classes)` out of neighbors' similarities and classes."""
    # Relative to the nearest: the same ranking, and no overflow at small temperatures.
    weights = np.exp((near - near[:, :1]) / temperature)
    cells = np.arange(len(near))[:, None] * num_classes + voted
    votes = np.bincount(cells.ravel(), weights.ravel(), len(near) * num_classes)
    return votes.reshape(len(near), num_classes)


def _unit_rows(features: np.ndarray) -> np.ndarray:
    # Scaling by the largest value first keeps squares of float32 extremes finite.
    features = features / np.maximum(np.abs(features).max(axis=1, keepdims=True), 1e-30)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-30)


def effective_rank(features: np.ndarray) -> float:
    """RankMe; see `evaluation.effective_rank`."""
    rows = np.asarray(features, "float64")
    # Squares of singular values are eigenvalues of the smaller product: faster than an SVD.
    product = rows.T @ rows if rows.shape[0] >= rows.shape[1] else rows @ rows.T
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0.0))
    total = values.sum()
    if not total > 0:
        return 1.0
    shares = values / total
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
