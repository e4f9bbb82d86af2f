"""Rare classes: splits in which they come up as often as others, and data sets that have them.

NumPy only.
"""

from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_int, check_number
from mae_keras.data.splits import ArraySplit, SelectedSplit, Split, labels_of


def balanced_split(split: Split, seed: int = 0, power: float = 1.0) -> SelectedSplit:
    """Repeat the images of small classes until every class is as large as the largest.

    What comes back is a split like any other: batches stay a pure function of (seed, step),
    resuming is exact, and labels are used for choosing only, so that pretraining can be balanced
    too. An epoch visits every image at least once and every class equally often (up to
    `drop_remainder`), and is longer than before: compare runs by steps, not by epochs.

    A class of `n` images, the largest having `n_max`, comes up `n_max * (n / n_max) ** (1 - power)`
    times. Within a class, repeat counts differ by at most one.

    Args:
        split: `Split` with random access and labels.
        seed: int >= 0: which images come up once more than others, and the order.
        power: float in [0, 1]: 1 makes classes equal, 0 leaves them as they are, 0.5 goes by the
            square root of their sizes. Defaults to `1.0`.

    Returns:
        `SelectedSplit` in random order.

    Raises:
        TypeError: if `split` is a stream.
        ValueError: if there are no labels, or `power` is out of range.

    Example:
    >>> from mae_keras.data import ArraySplit
    >>> split = ArraySplit(np.zeros((5, 8, 8, 1), "uint8"), np.array([0, 0, 0, 0, 1]))
    >>> np.bincount(balanced_split(split).labels).tolist()
    [4, 4]

    References:
        - Mahajan et al. 2018, arXiv:1805.00932, section 2.2, for square-root sampling.
        - Kang et al. 2020, arXiv:1910.09217, section 4.1; its `q` is `1 - power`.
    """
    check_number("power", power, 0, 1)
    check_int("seed", seed, 0)
    labels = labels_of(split)
    _, counts = np.unique(labels, return_counts=True)
    sizes = np.floor(counts.max() * (counts / counts.max()) ** (1 - power) + 0.5).astype("int64")
    generator = np.random.default_rng(seed)
    # `split` cuts the rows, sorted by class, where the next class starts.
    classes = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    rows = [
        # `resize` repeats the whole shuffled class, then its start.
        np.resize(generator.permutation(own), size)
        for own, size in zip(classes, sizes, strict=True)
    ]
    return SelectedSplit(split, generator.permutation(np.concatenate(rows)))


def long_tailed(
    split: Split,
    imbalance_ratio: float = 100.0,
    seed: int = 0,
    *,
    largest: int | None = None,
    shuffle_classes: bool = False,
) -> Split:
    """Keep fewer and fewer images of each class: for trying out how imbalance hurts.

    Args:
        split: `Split` with random access and labels.
        imbalance_ratio: float >= 1, size of the largest class over that of the smallest.
        seed: int >= 0, which images stay.
        largest: int, images of the largest class; see `long_tailed_rows`.
        shuffle_classes: bool, whether `seed` decides which classes are rare.

    Returns:
        `ArraySplit` of an `ArraySplit`, otherwise `SelectedSplit`; the order of `split` is kept.

    Raises:
        TypeError: if `split` is a stream.
        ValueError: if there are no labels, or too few images; see `long_tailed_rows`.

    Example:
    >>> split = ArraySplit(np.zeros((40, 8, 8, 1), "uint8"), np.arange(40) % 4)
    >>> np.bincount(long_tailed(split, imbalance_ratio=8).labels).tolist()
    [10, 5, 2, 1]

    References:
        - Cui et al. 2019, "Class-balanced loss based on effective number of samples",
          arXiv:1901.05555, section 5.1 (long-tailed CIFAR).
    """
    rows = long_tailed_rows(
        labels_of(split), imbalance_ratio, seed, largest=largest, shuffle_classes=shuffle_classes
    )
    if isinstance(split, ArraySplit):
        return ArraySplit(split.images[rows], split.labels[rows])
    return SelectedSplit(split, rows)


def long_tailed_rows(
    labels: Any,
    imbalance_ratio: float = 100.0,
    seed: int = 0,
    *,
    largest: int | None = None,
    shuffle_classes: bool = False,
) -> np.ndarray:
    """Choose rows so that class sizes fall exponentially; for arrays use `images[rows]`.

    The i-th of C classes keeps `n_max * imbalance_ratio ** (-i / (C - 1))` images, rounded down.
    With one `seed`, a larger ratio keeps a subset of what a smaller one keeps.

    Args:
        labels: int array `(num_images,)` of at least two classes.
        imbalance_ratio: float >= 1, size of the largest class over that of the smallest.
        seed: int >= 0, which images stay.
        largest: int, `n_max`. Defaults to the size of the smallest class, which every class can
            fill; Cui et al. start from equal classes.
        shuffle_classes: bool, whether `seed` decides which classes are rare; otherwise class 0
            is the most frequent and the last the rarest.

    Returns:
        Rising int64 array, places in `labels`.

    Raises:
        ValueError: if an argument is out of range, or a class cannot give as many images as it
            should, or would keep none.

    Example:
    >>> rows = long_tailed_rows(np.arange(40) % 4, imbalance_ratio=8)
    >>> np.bincount(rows % 4).tolist()
    [10, 5, 2, 1]
    """
    labels = check_array("labels", labels, kinds="buif", empty=True)
    classes, counts = np.unique(labels, return_counts=True)
    if labels.ndim != 1 or len(classes) < 2:
        raise ValueError(
            f"`labels` must have shape (num_images,) and at least two classes. Received: "
            f"labels.shape={labels.shape}, {len(classes)} classes"
        )
    check_number("imbalance_ratio", imbalance_ratio, 1)
    check_int("seed", seed, 0)
    check_int("largest", largest, 0, optional=True)
    sizes = _sizes(int(counts.min()) if largest is None else largest, imbalance_ratio, len(classes))
    generator = np.random.default_rng(seed)
    if shuffle_classes:
        sizes = sizes[generator.permutation(len(classes))]
    short = np.flatnonzero(sizes > counts)
    if len(short):
        raise ValueError(
            f"`largest` must be no more than the classes hold. Received: largest={largest}, which "
            f"takes {sizes[short[0]]} of the {counts[short[0]]} images of class "
            f"{classes[short[0]]}"
        )
    kept = [
        generator.permutation(np.flatnonzero(labels == label))[:size]
        for label, size in zip(classes, sizes, strict=True)
    ]
    return np.sort(np.concatenate(kept))


def _sizes(largest: int, ratio: float, num_classes: int) -> np.ndarray:
    exponents = np.arange(num_classes) / (num_classes - 1)
    # A whole number that rounding has left a hair short is not rounded down to the next.
    sizes = np.floor(largest / ratio**exponents + 1e-9).astype("int64")
    if sizes[-1] < 1:
        raise ValueError(
            f"`imbalance_ratio` must leave at least one image in the smallest class. Received: "
            f"imbalance_ratio={ratio} with {largest} images in the largest"
        )
    return sizes
