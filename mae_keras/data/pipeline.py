"""Turns a split into batches whose content is a pure function of (seed, step).

TensorFlow is imported on use. Imports nothing above `mae_keras.data`.
"""

import math
import numbers
from typing import Any

from mae_keras.data.augmentation import Augmentation
from mae_keras.data.signal_augmentation import SignalAugmentation, SoundAugmentation
from mae_keras.data.splits import Split, check_split
from mae_keras.data.video_augmentation import VideoAugmentation
from mae_keras.data.volume_augmentation import VolumeAugmentation
from mae_keras.runtime.tf_data import settle, stay_on_host

# An unending stream of int64 numbers.
_ENDLESS = 2**63 - 1
# What random numbers of one seed are for.
_CHANGES, _CUTS = 0x61756721, 0x63757473


def steps_per_epoch(
    split: Split, batch_size: int, drop_remainder: bool = True, multiple_of: int = 1
) -> int:
    """Return how many batches one epoch of `split` holds.

    Args:
        split: images.
        batch_size: int, images per batch.
        drop_remainder: bool, whether a last batch that is not full is left out.
        multiple_of: int, leave out as many batches as it takes to end at a multiple of it: Keras
            runs `steps_per_execution` batches at once and would run into the next epoch.

    Raises:
        ValueError: if `batch_size` is not a positive integer or is larger than the split, or
            there are fewer batches than `multiple_of`.

    Example:
    >>> import numpy as np
    >>> from mae_keras.data import ArraySplit
    >>> steps_per_epoch(ArraySplit(np.zeros((10, 8, 8, 1), "uint8")), 4)
    2
    """
    check_split(split)
    _check_count("batch_size", batch_size, 1)
    if batch_size > len(split):
        raise ValueError(
            f"batch_size must not be larger than the split. Received: batch_size={batch_size} "
            f"for {len(split)} images."
        )
    steps = len(split) // batch_size if drop_remainder else math.ceil(len(split) / batch_size)
    _check_count("multiple_of", multiple_of, 1)
    if steps < multiple_of:
        raise ValueError(
            f"multiple_of (steps_per_execution) must not be larger than the {steps} steps of an "
            f"epoch. Received: {multiple_of}."
        )
    return steps - steps % multiple_of


def training_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epochs: int | None = None,
    start_epoch: int = 0,
    start_step: int = 0,
    multiple_of: int = 1,
    augmentation: (
        Augmentation
        | SignalAugmentation
        | SoundAugmentation
        | VideoAugmentation
        | VolumeAugmentation
        | None
    ) = None,
    drop_remainder: bool = True,
    with_labels: bool = False,
    shard: tuple[int, int] = (0, 1),
) -> Any:
    """Return shuffled, augmented batches; the k-th is a pure function of (seed, k).

    Every epoch visits every image once, but for a remainder smaller than a batch, which is
    another one in each epoch. Starting at a later epoch or step gives exactly the batches that an
    unbroken run sees there; what comes before is neither decoded nor augmented.

    Args:
        split: `Split`.
        batch_size: int, images per batch.
        seed: int >= 0.
        epochs: int, the epoch at which to end, counted from 0 as in Keras's
            `fit(epochs=, initial_epoch=)`; `None` never ends.
        start_epoch: int >= 0, the epoch to start at.
        start_step: int >= 0, steps of that epoch to leave out, less than it has.
        multiple_of: int, as in `steps_per_epoch`.
        augmentation: `Augmentation` of images, `SignalAugmentation`, `SoundAugmentation`,
            `VideoAugmentation`, `VolumeAugmentation` or `None`.
        drop_remainder: bool; `False` ends each epoch with a smaller batch and leaves the batch
            size unknown to XLA.
        with_labels: bool, whether to yield `(images, labels)` instead of images.
        shard: `(index, count)`: of every batch only slice `index` of `count` equal ones, with the
            same changes to the same images; for training in several processes. The rest is not
            even decoded, but for streams.

    Returns:
        A `tf.data.Dataset` of uint8 or float32 `(batch_size // count, height, width, channels)`,
        pixels as stored, and int64 labels `(batch_size // count,)` if wanted.

    Raises:
        ValueError: if a number is out of range, labels are wanted where there are none, or the
            slices of a batch would not be equal.

    Example:
    >>> import numpy as np
    >>> from mae_keras.data import ArraySplit
    >>> split = ArraySplit(np.zeros((10, 8, 8, 1), "uint8"))
    >>> batches = training_batches(split, 4, seed=0, epochs=3)
    >>> len(batches), batches.element_spec.shape
    (6, TensorShape([4, 8, 8, 1]))
    """
    stay_on_host()
    steps = steps_per_epoch(split, batch_size, drop_remainder, multiple_of)
    _check_count("seed", seed, 0)
    _check_count("start_epoch", start_epoch, 0)
    _check_count("start_step", start_step, 0)
    if start_step >= steps:
        raise ValueError(
            f"start_step must be less than the {steps} steps of an epoch. "
            f"Received: start_step={start_step}."
        )
    if epochs is not None:
        _check_count("epochs", epochs, start_epoch + 1)
    _check_labels(split, with_labels)
    rows = _rows(batch_size, shard, drop_remainder)
    make = _streamed_batches if split.stream else _indexed_batches
    start = (start_epoch, start_step)
    batches = make(split, batch_size, rows, steps, seed, start, epochs, drop_remainder)
    part = None if shard[1] == 1 else (rows[0], batch_size)
    return _finish(batches, seed, augmentation, with_labels, part)


def poisson_batches(
    split: Split,
    privacy: Any,
    *,
    start_step: int = 0,
    augmentation: Augmentation | None = None,
) -> Any:
    """Return batches for private training, each sample in by a coin of its own.

    The batch of a step is a pure function of the secret seed of `privacy` and the step, and so is
    the augmentation. A batch has a static size; what is not drawn is padding, numbered -1.

    Args:
        split: `Split` that can be read in any order.
        privacy: `training.Privacy`.
        start_step: int >= 0, private steps taken before.
        augmentation: `Augmentation` or `None`.

    Returns:
        An endless `tf.data.Dataset` of images `(privacy.padded_batch_size, height, width,
        channels)`, pixels as stored, and the int32 numbers of these images in the split.

    Raises:
        ValueError: if the split is a stream, cuts its samples anew each time, or has another
            number of samples than `privacy` accounts for.

    Example:
    >>> import numpy as np
    >>> from mae_keras.data import ArraySplit
    >>> from mae_keras.training import Privacy
    >>> split = ArraySplit(np.zeros((10, 8, 8, 1), "uint8"))
    >>> privacy = Privacy(1.0, delta=0.01, num_samples=10, batch_size=2)
    >>> poisson_batches(split, privacy).element_spec[0].shape
    TensorShape([16, 8, 8, 1])
    """
    import tensorflow as tf

    check_split(split)
    stay_on_host()
    _check_count("start_step", start_step, 0)
    if split.stream or split.num_draws:
        kind = "a stream" if split.stream else "random cuts of larger samples"
        raise ValueError(
            "split must hold samples that can be read in any order, and be one sample each: what "
            f"is protected is one of them. Received: {kind}."
        )
    if len(split) != privacy.num_samples:
        raise ValueError(
            f"split must have as many samples as privacy accounts for, {privacy.num_samples}. "
            f"Received: {len(split)}."
        )
    low, high = privacy.key

    def fetch(step: Any) -> Any:
        numbers = tf.numpy_function(lambda at: privacy.numbers(int(at)), [step], tf.int32)
        numbers = tf.ensure_shape(numbers, [privacy.padded_batch_size])
        images, _ = split.fetch(tf.cast(tf.maximum(numbers, 0), tf.int64))
        if augmentation is not None:
            images = augmentation.apply(images, _key(low | high << 31, _CHANGES, (step,)), None)
        return images, numbers

    steps = tf.data.Dataset.range(start_step, _ENDLESS)
    return settle(steps.map(fetch, num_parallel_calls=tf.data.AUTOTUNE))


def evaluation_batches(
    split: Split,
    batch_size: int,
    *,
    with_labels: bool = False,
    drop_remainder: bool = False,
    shard: tuple[int, int] = (0, 1),
) -> Any:
    """Return every image of `split` once, in order; the last batch may be smaller.

    Args:
        split: `Split`.
        batch_size: int, images per batch.
        with_labels: bool, whether to yield `(images, labels)` instead of images.
        drop_remainder: bool, whether to leave out a last batch that is not full.
        shard: `(index, count)`, the slice of every batch to give, as in `training_batches`; needs
            `drop_remainder`.

    Returns:
        A `tf.data.Dataset` of `(batch, height, width, channels)`, pixels as stored.

    Raises:
        ValueError: if `batch_size` is not positive, labels are wanted where there are none, or the
            slices of a batch would not be equal.

    Example:
    >>> import numpy as np
    >>> from mae_keras.data import ArraySplit
    >>> split = ArraySplit(np.zeros((10, 8, 8, 1), "uint8"))
    >>> [len(batch) for batch in evaluation_batches(split, 4)]
    [4, 4, 2]
    """
    import tensorflow as tf

    check_split(split)
    stay_on_host()
    _check_count("batch_size", batch_size, 1)
    _check_labels(split, with_labels)
    rows = _rows(batch_size, shard, drop_remainder)
    if split.stream:
        batches = _cut(split.ordered_dataset().batch(batch_size, drop_remainder), rows)
    else:
        indices = _cut(tf.data.Dataset.range(len(split)).batch(batch_size, drop_remainder), rows)
        batches = indices.map(split.fetch, num_parallel_calls=tf.data.AUTOTUNE)
    select = (
        (lambda images, labels: (images, labels)) if with_labels else (lambda images, _: images)
    )
    return settle(batches.map(select))


def _indexed_batches(split, batch_size, rows, steps, seed, start, epochs, drop_remainder):
    """Number all batches ever; each number finds its epoch, place and images by itself."""
    import tensorflow as tf

    size = len(split)

    def fetch(number: Any) -> Any:
        epoch, step = number // steps, number % steps
        places = step * batch_size + tf.range(*rows, dtype=tf.int64)
        if not drop_remainder:
            places = places[places < size]
        # A permutation that is computed place by place needs no memory and no buffer.
        last = tf.constant(size - 1, tf.int64)
        indices = tf.random.experimental.index_shuffle(places, tf.stack([seed, epoch]), last)
        if not split.num_draws:
            return (epoch, step), split.fetch(indices)
        shape = (batch_size, split.num_draws)
        draws = tf.random.stateless_uniform(shape, _key(seed, _CUTS, (epoch, step)), alg="philox")
        return (epoch, step), split.fetch(indices, draws[slice(*rows)][: tf.size(indices)])

    end = _ENDLESS if epochs is None else epochs * steps
    numbers_of_batches = tf.data.Dataset.range(start[0] * steps + start[1], end)
    return numbers_of_batches.map(fetch, num_parallel_calls=tf.data.AUTOTUNE)


def _streamed_batches(split, batch_size, rows, steps, seed, start, epochs, drop_remainder):
    import tensorflow as tf

    start_epoch, start_step = start

    def one_epoch(epoch: Any) -> Any:
        # Inside this traced function the call sets the graph's seed only: whatever global seed
        # the program has, the order stays a function of (seed, epoch).
        tf.random.set_seed(0x6D61)
        first = tf.where(epoch == start_epoch, tf.constant(start_step, tf.int64), 0)
        images = split.epoch_dataset(epoch, seed, skip=first * batch_size)
        batches = _cut(images.batch(batch_size, drop_remainder).take(steps - first), rows)
        return batches.enumerate().map(lambda step, batch: ((epoch, first + step), batch))

    return tf.data.Dataset.range(start_epoch, _ENDLESS if epochs is None else epochs).flat_map(
        one_epoch
    )


def _finish(batches, seed, augmentation, with_labels, part):
    import tensorflow as tf

    def finish(place: Any, batch: Any) -> Any:
        images, labels = batch
        if augmentation is not None:
            images = augmentation.apply(images, _key(seed, _CHANGES, place), part)
        return (images, labels) if with_labels else images

    return settle(batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE))


def _key(seed, purpose, place):
    """Key of the random numbers of a batch, `place` in epoch and step."""
    import tensorflow as tf

    key = tf.constant([seed, purpose], tf.int64)
    for number in place:
        key = tf.random.experimental.stateless_fold_in(key, number, alg="philox")
    return key


def _rows(batch_size, shard, drop_remainder):
    """First row and the row after the last of a process's slice of a batch."""
    index, count = shard
    _check_count("shard's count", count, 1)
    _check_count("shard's index", index, 0)
    if index >= count or batch_size % count or (count > 1 and not drop_remainder):
        raise ValueError(
            "shard must be (index, count) with index < count, of whole batches (drop_remainder) "
            f"that count divides. Received: shard={shard}, batch_size={batch_size}, "
            f"drop_remainder={drop_remainder}."
        )
    size = batch_size // count
    return index * size, (index + 1) * size


def _cut(batches, rows):
    import tensorflow as tf

    size = tf.nest.flatten(batches.element_spec)[0].shape[0]
    if size is None or rows == (0, size):
        return batches
    return batches.map(lambda *batch: tf.nest.map_structure(lambda t: t[slice(*rows)], batch))


def _check_labels(split, with_labels):
    if with_labels and not split.has_labels:
        raise ValueError("with_labels=True expects a split with labels. Received: one without.")


def _check_count(argument, value, least):
    valid = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not valid or not least <= value < _ENDLESS:
        raise ValueError(
            f"{argument} must be an integer of at least {least}. Received: {argument}={value!r}."
        )
