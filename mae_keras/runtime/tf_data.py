"""How the `tf.data` pipelines of this package run, and checks of their batches at little cost.

TensorFlow looks at each batch for what may not fit, a comparison or two; only where there is
something, Python looks at the batch, decides and says what is wrong. TensorFlow is imported on use.
"""

import contextlib
from typing import Any


def without_tuning(x: Any) -> Any:
    """Switch off the thread with which `tf.data` tunes itself, unless it was asked for.

    TensorFlow's cancellation calls that thread before it counts as canceled, so that it may go
    back to sleep, and whoever drops the iterator waits: at the end of `fit`, and of every epoch
    where the data set has an end, up to as long as it was iterated over. A parallel map with
    `AUTOTUNE` uses every core without it (docs/experiments.md).

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


def stay_on_host() -> None:
    """Let TensorFlow use no GPU, unless it is Keras's backend.

    TensorFlow takes nearly all the memory of every GPU that it sees as soon as it computes
    anything, and JAX or PyTorch then find none left. To be called before TensorFlow computes; where
    it has done so already, or is not installed, this changes nothing.

    Example:
    >>> stay_on_host()
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        return
    try:
        import tensorflow as tf
    except ModuleNotFoundError:
        return  # the JAX backend trains without it on arrays
    with contextlib.suppress(RuntimeError):  # it has computed: too late
        tf.config.set_visible_devices([], "GPU")


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


def checked_dataset(x: Any, check: Any) -> Any:
    """Look at every batch of a data set, and give it the shape that the model knows.

    Args:
        x: `tf.data.Dataset`; what cannot be mapped, such as a distributed one, is returned as it
            is.
        check: `mae_keras.models.batch_checks.BatchCheck`, or what has its attributes.

    Returns:
        Data set of the same batches in the same order, without labels that nobody needs, or `x`
        where its types and shapes leave nothing to look at. Iterating over it raises
        `check.error`, as an error of TensorFlow, where a batch does not fit.

    Example:
    >>> import tensorflow as tf
    >>> from mae_keras.models.batch_checks import BatchCheck
    >>> unknown = tf.data.Dataset.from_tensors(b"").map(
    ...     lambda _: tf.py_function(lambda: tf.zeros((2, 4, 1)), [], tf.float32)
    ... )
    >>> checked_dataset(unknown, BatchCheck((4, 1), (0, 255))).element_spec.shape
    TensorShape([None, 4, 1])
    """
    if not hasattr(x, "map") or not hasattr(x, "enumerate"):
        return x
    spec = x.element_spec
    parts = list(spec) if isinstance(spec, (tuple, list)) else [spec]
    if not parts or not hasattr(parts[0], "dtype") or len(parts) > 3:
        return x  # Keras refuses it in its own words
    # Where nobody knows whether there is a batch, the first one is always looked at.
    unknown = int(x.cardinality()) == -2
    if not unknown and not _is_suspect(parts, check):
        return x
    check.seen = 0 if unknown else None
    checked = x.enumerate().map(lambda number, batch: _looked_at(number, batch, check))
    # Goes on reading ahead where `x` does; elsewhere a batch read ahead might be lost.
    return checked.prefetch(1) if _reads_ahead(x) else checked


def _reads_ahead(x: Any) -> bool:
    """Whether a data set ends in `prefetch`, options aside, which nothing public tells."""
    while "Options" in type(x).__name__ and hasattr(x, "_input_dataset"):
        x = x._input_dataset
    return "Prefetch" in type(x).__name__


def _is_suspect(parts: list[Any], check: Any) -> bool:
    import tensorflow as tf

    images, labels, weights = [*parts, None, None][:3]
    known = images.shape.rank is not None and tuple(images.shape[1:]) == check.image_shape
    if check.needs_scan(images.dtype.name) or not known:
        return True
    if weights is not None or check.num_classes is not None:
        return True
    text = not isinstance(labels, tf.TensorSpec) or not _is_numeric(labels.dtype)
    return labels is not None and not check.keeps_labels and text


def _looked_at(number: Any, batch: Any, check: Any) -> Any:
    import tensorflow as tf

    images, labels, weights = [*(batch if isinstance(batch, tuple) else (batch,)), None, None][:3]
    if not check.keeps_labels:
        labels = None
    suspect = _suspect_images(number, images, check)
    if check.seen is not None:
        suspect = tf.logical_or(suspect, number == 0)
    if check.num_classes is not None and labels is not None:
        suspect = tf.logical_or(suspect, _suspect_labels(labels, check))
    if weights is not None:
        weights = tf.nest.map_structure(_without_bool, weights)
        for part in tf.nest.flatten(weights):
            suspect = tf.logical_or(suspect, _suspect_weights(part))
    one = not tf.nest.is_nested(weights)
    parts = (
        images,
        labels if check.num_classes is not None or not tf.nest.is_nested(labels) else None,
        weights if one else None,
    )
    given = [part for part in parts if part is not None]
    # What is left out is told by its place: a label is never there for a model that ignores them.
    places = [part is not None for part in parts]

    others = [] if one else tf.nest.flatten(weights)

    def look(number: Any, *arrays: Any) -> bool:
        rest = iter(arrays)
        found = [next(rest) if there else None for there in places]
        check.check(int(number), *found[:2], found[2] if one else list(rest))
        return True

    looked = tf.cond(
        suspect,
        lambda: tf.ensure_shape(tf.numpy_function(look, [number, *given, *others], tf.bool), ()),
        lambda: tf.constant(True),
    )
    with tf.control_dependencies([looked]):
        images = tf.ensure_shape(images, (None, *check.image_shape))
    if weights is None:
        return images if labels is None else (images, labels)
    if labels is None and not check.passes_labels:
        labels = tf.zeros(tf.shape(images)[:1], "int32")  # or Keras would drop the weights
    return images, labels, weights


def _without_bool(weights: Any) -> Any:
    import tensorflow as tf

    return tf.cast(weights, tf.float32) if weights.dtype.is_bool else weights  # Keras multiplies


def _suspect_images(number: Any, images: Any, check: Any) -> Any:
    import tensorflow as tf

    suspect = tf.constant(False)
    shape, expected = images.shape, (None, *check.image_shape)
    if not shape.is_fully_defined() and (shape.rank is None or None in shape.as_list()[1:]):
        rank, sizes = tf.rank(images), list(check.image_shape)
        wrong = lambda: tf.reduce_any(tf.shape(images)[1:] != sizes)  # noqa: E731
        suspect = tf.cond(rank == len(expected), wrong, lambda: tf.constant(True))
    if not check.needs_scan(images.dtype.name):
        return suspect
    values = images if images.dtype in (tf.float32, tf.float64) else tf.cast(images, tf.float32)
    # Comparisons with NaN are false: what is missing is not suspect.
    low, high = check.value_range or (None, None)
    if low is None:
        outside = tf.math.is_inf(values)
    else:
        outside = tf.logical_or(values < low, values > high)
    suspect = tf.logical_or(suspect, tf.reduce_any(outside))
    if low is not None and low == 0 and high >= 16 and images.dtype.is_floating:
        suspect = tf.logical_or(suspect, number == 0)  # which tells units
    if check.grid is not None and images.dtype.is_floating:
        suspect = tf.logical_or(suspect, tf.reduce_any(tf.math.is_nan(values)))
    return suspect


def _suspect_labels(labels: Any, check: Any) -> Any:
    import tensorflow as tf

    if not _is_numeric(labels.dtype) or labels.shape.rank is None:
        return tf.constant(True)
    num_classes = check.num_classes
    if check.mask_shape is not None:
        if not labels.dtype.is_integer or tuple(labels.shape[1:]) != check.mask_shape:
            return tf.constant(True)
        numbers = tf.cast(labels, tf.int64)
        return tf.reduce_any(tf.logical_or(numbers < -1, numbers >= num_classes))
    if labels.dtype.is_integer and (labels.shape.rank == 1 or labels.shape[1] != num_classes):
        numbers = tf.cast(labels, tf.int64)
        return tf.reduce_any(tf.logical_or(numbers < 0, numbers >= num_classes))
    shares = tf.cast(labels, tf.float32)
    sums = tf.reduce_sum(shares, axis=-1)
    good = tf.logical_and(tf.reduce_all(shares >= 0), tf.reduce_all(tf.abs(sums - 1) < 1e-2))
    return tf.logical_not(good)


def _suspect_weights(weights: Any) -> Any:
    import tensorflow as tf

    if not _is_numeric(weights.dtype):
        return tf.constant(True)
    values = tf.cast(weights, tf.float32)
    good = tf.logical_and(values >= 0, values < float("inf"))  # comparisons with NaN are false
    return tf.logical_not(tf.reduce_all(good))


def _is_numeric(dtype: Any) -> bool:
    return dtype.is_floating or dtype.is_integer or dtype.is_bool
