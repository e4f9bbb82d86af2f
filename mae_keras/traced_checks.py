"""Checking images inside a compiled function, where no other code of ours sees their values.

That is where `ViTEncoder` is a layer of a user's own model. TensorFlow and JAX are imported on use.
Imports nothing of the package.
"""

from typing import Any

import keras
from keras import ops

_TOLERANCE = 1e-3


def check_traced(images: Any, value_range: tuple[float, float] | None) -> Any:
    """Let a compiled function fail where images do not fit; outside of one, do nothing.

    TensorFlow raises `InvalidArgumentError`, JAX `JaxRuntimeError`, either with the reason. Left
    out: TensorFlow's XLA, which drops assertions, and JAX functions of a symbolic batch size, which
    are traced to be exported.

    Args:
        images: tensor of pixels.
        value_range: `(low, high)` that the model takes, or `None`: any finite numbers.

    Returns:
        `images`.

    Example:
    >>> import tensorflow as tf
    >>> check = tf.function(lambda images: check_traced(images, (0, 255)))
    >>> float(check(tf.constant([[200.0]]))[0, 0])
    200.0
    """
    floats = keras.backend.is_float_dtype(keras.backend.standardize_dtype(images.dtype))
    if isinstance(images, keras.KerasTensor) or not floats:
        return images
    if keras.backend.backend() == "tensorflow":
        return _on_tensorflow(images, value_range)
    if keras.backend.backend() == "jax":
        _on_jax(images, value_range)
    return images


def _bad(images: Any, value_range: Any) -> tuple[Any, Any]:
    """Whether values are outside the range, and whether they look scaled to [0, 1]."""
    if value_range is None:
        return ops.any(ops.isinf(images)), ops.convert_to_tensor(False)
    low, high = value_range
    slack = _TOLERANCE * (high - low)
    # Comparisons with NaN are false: what is missing is not wrong.
    wrong = ops.logical_or(images < low - slack, images > high + slack)
    if low != 0 or high < 16:
        return ops.any(wrong), ops.convert_to_tensor(False)
    scaled = ops.logical_and(ops.any(images > 0), ops.logical_not(ops.any(images > 1)))
    return ops.any(wrong), scaled


def _messages(value_range: Any) -> tuple[str, str]:
    # No apostrophes: TensorFlow writes them with a backslash.
    within = "finite" if value_range is None else f"within value_range={value_range} of the model"
    return (
        f"`images` must be {within}.",
        f"`images` seem to be scaled to [0, 1], but the model takes pixels as stored, "
        f"value_range={value_range}, and scales them itself. Pass the images undivided.",
    )


def _on_tensorflow(images: Any, value_range: Any) -> Any:
    import tensorflow as tf

    if tf.executing_eagerly():
        return images
    asserted = [
        tf.debugging.Assert(tf.logical_not(bad), [message, "Received: values such as", images])
        for bad, message in zip(_bad(images, value_range), _messages(value_range), strict=True)
    ]
    with tf.control_dependencies([done for done in asserted if done is not None]):
        return tf.identity(images)


def _on_jax(images: Any, value_range: Any) -> None:
    import jax

    if not isinstance(images, jax.core.Tracer):
        return
    if not all(isinstance(size, int) for size in images.shape):
        return
    outside, scaled = _bad(images, value_range)
    messages = _messages(value_range)

    def fail(outside: Any, smallest: Any, largest: Any) -> None:
        raise ValueError(
            f"{messages[0 if outside else 1]} Received: values from {smallest} to {largest}"
        )

    def report(images: Any) -> None:
        jax.debug.callback(fail, outside, jax.numpy.nanmin(images), jax.numpy.nanmax(images))

    jax.lax.cond(ops.logical_or(outside, scaled), report, lambda _: None, images)
