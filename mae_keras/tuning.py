"""Data sets that do not tune themselves. Imports nothing: it asks what it is given."""

from typing import Any


def without_tuning(x: Any) -> Any:
    """Switch off the thread with which `tf.data` tunes itself, unless it was asked for.

    TensorFlow's cancellation calls that thread before it counts as cancelled, so that it may go
    back to sleep, and whoever drops the iterator waits: at the end of `fit`, and of every epoch
    where the data set has an end, up to as long as it was iterated over. A parallel map with
    `AUTOTUNE` uses every core without it (docs/performance.md).

    Args:
        x: `tf.data.Dataset`, or anything else, which is returned as it is.

    Returns:
        `x` with `options().autotune.enabled` False, if it was not set.

    Example:
    >>> import tensorflow as tf
    >>> without_tuning(tf.data.Dataset.range(3)).options().autotune.enabled
    False
    """
    if not (hasattr(x, "with_options") and hasattr(x, "options")):
        return x
    if x.options().autotune.enabled is not None:
        return x
    untuned = type(x.options())()  # what is set here is added to what was set before
    untuned.autotune.enabled = False
    return x.with_options(untuned)
