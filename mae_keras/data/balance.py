"""A split in which rare classes come up as often as frequent ones. NumPy only."""

import numpy as np

from mae_keras.arguments import check_int, check_number
from mae_keras.data.selection import SelectedSplit, labels_of
from mae_keras.data.splits import Split


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
