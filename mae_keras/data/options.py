"""How the pipelines of this package run."""

from typing import Any

from mae_keras.tuning import without_tuning


def settle(batches: Any) -> Any:
    """Batches in a fixed order, made ahead of time, by threads whose number is not tuned.

    Args:
        batches: `tf.data.Dataset`.

    Returns:
        The same `tf.data.Dataset` with options and prefetching.

    Example:
    >>> import tensorflow as tf
    >>> settle(tf.data.Dataset.range(3)).options().deterministic
    True
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    return without_tuning(batches.with_options(options)).prefetch(tf.data.AUTOTUNE)
