"""Turns a split into batches whose content is a pure function of (seed, step).

TensorFlow is imported on use. Imports nothing above the data room.
"""

import math
import numbers
from typing import Any

from mae_keras.data.augmentation import Augmentation, augment
from mae_keras.data.splits import Split

# An unending stream of int64 numbers.
_ENDLESS = 2**63 - 1


def steps_per_epoch(split: Split, batch_size: int, drop_remainder: bool = True) -> int:
    """Return how many batches one epoch of `split` holds.

    Args:
        split: images.
        batch_size: int, images per batch.
        drop_remainder: bool, whether a last batch that is not full is left out.

    Raises:
        ValueError: if `batch_size` is not a positive integer or is larger than the split.

    Example:
    >>> import numpy as np
    >>> from mae_keras.data import ArraySplit
    >>> steps_per_epoch(ArraySplit(np.zeros((10, 8, 8, 1), "uint8")), 4)
    2
    """
    _check_count("batch_size", batch_size, 1)
    if batch_size > len(split):
        raise ValueError(
            f"batch_size must not be larger than the split. Received: batch_size={batch_size} "
            f"for {len(split)} images."
        )
    return len(split) // batch_size if drop_remainder else math.ceil(len(split) / batch_size)


def training_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epochs: int | None = None,
    start_epoch: int = 0,
    augmentation: Augmentation | None = None,
    drop_remainder: bool = True,
    with_labels: bool = False,
) -> Any:
    """Return shuffled, augmented batches; the k-th is a pure function of (seed, k).

    Every epoch visits every image once, but for a remainder smaller than a batch, which is
    another one in each epoch. Starting at `start_epoch` gives exactly the batches that an
    unbroken run sees there.

    Args:
        split: `Split`.
        batch_size: int, images per batch.
        seed: int >= 0.
        epochs: int, the epoch at which to end, counted from 0 as in Keras's
            `fit(epochs=, initial_epoch=)`; `None` never ends.
        start_epoch: int >= 0, the epoch to start at.
        augmentation: `Augmentation`, or `None`.
        drop_remainder: bool; `False` ends each epoch with a smaller batch and leaves the batch
            size unknown to XLA.
        with_labels: bool, whether to yield `(images, labels)` instead of images.

    Returns:
        A `tf.data.Dataset` of uint8 or float32 `(batch_size, height, width, channels)`, pixels as
        stored, and int64 labels `(batch_size,)` if wanted.

    Raises:
        ValueError: if a number is out of range, or labels are wanted where there are none.

    Example:
    >>> import numpy as np
    >>> from mae_keras.data import ArraySplit
    >>> split = ArraySplit(np.zeros((10, 8, 8, 1), "uint8"))
    >>> batches = training_batches(split, 4, seed=0, epochs=3)
    >>> len(batches), batches.element_spec.shape
    (6, TensorShape([4, 8, 8, 1]))
    """
    steps = steps_per_epoch(split, batch_size, drop_remainder)
    _check_count("seed", seed, 0)
    _check_count("start_epoch", start_epoch, 0)
    if epochs is not None:
        _check_count("epochs", epochs, start_epoch + 1)
    _check_labels(split, with_labels)
    make = _streamed_batches if split.stream else _indexed_batches
    batches = make(split, batch_size, steps, seed, start_epoch, epochs, drop_remainder)
    return _finish(batches, seed, augmentation, with_labels)


def evaluation_batches(split: Split, batch_size: int, *, with_labels: bool = False) -> Any:
    """Return every image of `split` once, in order; the last batch may be smaller.

    Args:
        split: `Split`.
        batch_size: int, images per batch.
        with_labels: bool, whether to yield `(images, labels)` instead of images.

    Returns:
        A `tf.data.Dataset` of `(batch, height, width, channels)`, pixels as stored.

    Raises:
        ValueError: if `batch_size` is not positive, or labels are wanted where there are none.

    Example:
    >>> import numpy as np
    >>> from mae_keras.data import ArraySplit
    >>> split = ArraySplit(np.zeros((10, 8, 8, 1), "uint8"))
    >>> [len(batch) for batch in evaluation_batches(split, 4)]
    [4, 4, 2]
    """
    import tensorflow as tf

    _check_count("batch_size", batch_size, 1)
    _check_labels(split, with_labels)
    if split.stream:
        batches = split.ordered_dataset().batch(batch_size)
    else:
        indices = tf.data.Dataset.range(len(split)).batch(batch_size)
        batches = indices.map(split.fetch, num_parallel_calls=tf.data.AUTOTUNE)
    select = (
        (lambda images, labels: (images, labels)) if with_labels else (lambda images, _: images)
    )
    return _deterministic(batches.map(select))


def _indexed_batches(split, batch_size, steps, seed, start_epoch, epochs, drop_remainder):
    """Number all batches ever; each number finds its epoch, place and images by itself."""
    import tensorflow as tf

    size = len(split)

    def fetch(number: Any) -> Any:
        epoch, step = number // steps, number % steps
        places = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        if not drop_remainder:
            places = places[places < size]
        # A permutation that is computed place by place needs no memory and no buffer.
        last = tf.constant(size - 1, tf.int64)
        indices = tf.random.experimental.index_shuffle(places, tf.stack([seed, epoch]), last)
        return (epoch, step), split.fetch(indices)

    end = _ENDLESS if epochs is None else epochs * steps
    numbers_of_batches = tf.data.Dataset.range(start_epoch * steps, end)
    return numbers_of_batches.map(fetch, num_parallel_calls=tf.data.AUTOTUNE)


def _streamed_batches(split, batch_size, steps, seed, start_epoch, epochs, drop_remainder):
    import tensorflow as tf

    def one_epoch(epoch: Any) -> Any:
        # Inside this traced function the call sets the graph's seed only: whatever global seed
        # the program has, the order stays a function of (seed, epoch).
        tf.random.set_seed(0x6D61)
        batches = split.epoch_dataset(epoch, seed).batch(batch_size, drop_remainder)
        return batches.take(steps).enumerate().map(lambda step, batch: ((epoch, step), batch))

    return tf.data.Dataset.range(start_epoch, _ENDLESS if epochs is None else epochs).flat_map(
        one_epoch
    )


def _finish(batches, seed, augmentation, with_labels):
    import tensorflow as tf

    def finish(place: Any, batch: Any) -> Any:
        images, labels = batch
        if augmentation is not None:
            key = tf.constant([seed, 0x61756721], tf.int64)
            for part in place:
                key = tf.random.experimental.stateless_fold_in(key, part, alg="philox")
            images = augment(images, augmentation, key)
        return (images, labels) if with_labels else images

    return _deterministic(batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE))


def _deterministic(batches):
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)


def _check_labels(split, with_labels):
    if with_labels and not split.has_labels:
        raise ValueError("with_labels=True expects a split with labels. Received: one without.")


def _check_count(argument, value, least):
    valid = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not valid or not least <= value < _ENDLESS:
        raise ValueError(
            f"{argument} must be an integer of at least {least}. Received: {argument}={value!r}."
        )
