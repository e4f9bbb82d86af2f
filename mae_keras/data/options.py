"""How the pipelines of this package run."""

from typing import Any


def settle(batches: Any) -> Any:
    """Batches in a fixed order, made ahead of time, by threads whose number is not tuned.

    TensorFlow tunes that number in a thread that sleeps twice as long each time, up to a minute,
    and that sometimes misses the call to end: whoever drops an iterator, as `fit` does at its end,
    then waits for it to wake up (docs/performance.md). Untuned, a parallel map uses every core.

    Args:
        batches: `tf.data.Dataset`.

    Returns:
        The same `tf.data.Dataset` with options and prefetching.

    Example:
    >>> import tensorflow as tf
    >>> settle(tf.data.Dataset.range(3)).options().autotune.enabled
    False
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)
