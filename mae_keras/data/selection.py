"""A split made of chosen rows of another one.

TensorFlow is imported on use. Imports nothing above the data room.
"""

import functools
from typing import Any

import numpy as np

from mae_keras.arguments import check_array
from mae_keras.data.splits import Split, check_split


class SelectedSplit(Split):
    """Rows of another split, in the order given and as often as they are named.

    Holds row numbers, never pixels, so that a file or folder stays where it is.

    Args:
        split: `Split` with random access.
        rows: int array `(length,)`, places in `split`; one may be named many times.

    Raises:
        TypeError: if `split` is a stream, or rows are not integers.
        ValueError: if there are no rows, or one is not in `split`.

    Example:
    >>> from mae_keras.data import ArraySplit
    >>> split = ArraySplit(np.zeros((5, 8, 8, 1), "uint8"), np.arange(5))
    >>> SelectedSplit(split, [3, 3, 0]).labels.tolist()
    [3, 3, 0]
    """

    def __init__(self, split: Split, rows: Any):
        check_random_access(split)
        rows = _checked_rows(rows, len(split))
        labels = None if split.labels is None else split.labels[rows]
        super().__init__(split.image_shape, len(rows), split.dtype, labels)
        self.split, self.rows = split, rows

    def fetch(self, indices: Any) -> Any:
        """Return `(images, labels or None)` for an int64 tensor `(batch,)`, inside tf.data."""
        import tensorflow as tf

        # With its labels: a file that cannot be read is replaced by another one, with its own.
        return self.split.fetch(tf.gather(self._row_table, indices))

    @property
    def failure(self) -> str | None:
        """Why images could not be read, where TensorFlow hides it."""
        return self.split.failure

    @functools.cached_property
    def _row_table(self):
        import tensorflow as tf

        # As the tables of other splits: outside any graph being traced, and off the accelerator.
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.convert_to_tensor(self.rows)


def check_random_access(split: Split) -> None:
    """Refuse a split that can only be read in order.

    Args:
        split: `Split`.

    Raises:
        TypeError: if it is a stream, or no split.
    """
    check_split(split)
    if split.stream:
        raise TypeError(
            "`split` must have random access, so that its images can be chosen by number. "
            "Received: a stream. Load with a higher `in_memory_limit`, or as a folder or a file"
        )


def labels_of(split: Split) -> np.ndarray:
    """Return the labels of a split whose images can be chosen by them.

    Args:
        split: `Split` with random access and labels.

    Returns:
        int64 array `(len(split),)`.

    Raises:
        TypeError: if it is a stream.
        ValueError: if it has no labels.
    """
    check_random_access(split)
    if not split.has_labels:
        raise ValueError("`split` must have labels. Received: a split without")
    return split.labels


def _checked_rows(rows, length):
    rows = check_array("rows", rows, 1, kinds="buif", empty=True)
    if not len(rows):
        raise ValueError(
            f"`rows` must have shape (length,), at least one row. Received: rows.shape={rows.shape}"
        )
    check_array("rows", rows, kinds="iu")
    if rows.min() < 0 or rows.max() >= length:
        raise ValueError(
            f"`rows` must be in [0, {length}). Received: rows from {rows.min()} to {rows.max()}"
        )
    return rows.astype("int64")
