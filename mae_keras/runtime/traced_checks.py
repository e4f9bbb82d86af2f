"""Checking images inside a compiled function, where no other code of ours sees their values.

That is where `ViTEncoder` is a layer of a user's own model. TensorFlow and JAX are imported on use.
Imports nothing of the package.
"""

import sys
from typing import Any

import keras
from keras import ops

_TOLERANCE = 1e-3


def check_traced(images: Any, value_range: tuple[float, float] | None) -> Any:
    """Let a compiled function fail where images do not fit; outside of one, do nothing.

    TensorFlow raises `InvalidArgumentError`, JAX `JaxRuntimeError`, either with the reason. Left
    out: TensorFlow's XLA, which drops assertions, and what JAX traces to export, since a callback
    cannot be written to a file. Export a function that was not called before: of one that was, JAX
    keeps the trace, callback included.

    Each batch is judged by itself. It counts as scaled to [0, 1] if no value is above 1 and one is
    between 0 and 1, as of a photograph divided by 255; a dark batch of whole numbers, all 0 and 1,
    does not.

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


def _findings(images: Any, value_range: Any) -> tuple[Any, Any]:
    """Whether a value is outside the range, and whether one is between 0 and 1."""
    # The second is false if the range is not one of pixels as stored.
    if value_range is None:
        return ops.any(ops.isinf(images)), ops.convert_to_tensor(False)
    low, high = value_range
    slack = _TOLERANCE * (high - low)
    # Comparisons with NaN are false: what is missing is not wrong.
    wrong = ops.any(ops.logical_or(images < low - slack, images > high + slack))
    if low != 0 or high < 16:
        return wrong, ops.convert_to_tensor(False)
    fraction = ops.logical_and(images > _TOLERANCE, images < 1 - _TOLERANCE)
    return wrong, ops.any(fraction)


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
    outside, fraction = _findings(images, value_range)
    scaled = tf.logical_and(fraction, tf.logical_not(tf.reduce_any(images > 1)))
    asserted = [
        tf.debugging.Assert(tf.logical_not(bad), [message, "Received: values such as", images])
        for bad, message in zip((outside, scaled), _messages(value_range), strict=True)
    ]
    with tf.control_dependencies([done for done in asserted if done is not None]):
        return tf.identity(images)


def _on_jax(images: Any, value_range: Any) -> None:
    import jax
    import jax.custom_batching

    if not isinstance(images, jax.core.Tracer):
        return
    if not all(isinstance(size, int) for size in images.shape) or _is_exported():
        return
    images = jax.lax.stop_gradient(images)
    messages = _messages(value_range)

    def fail(outside: Any, scaled: Any, smallest: Any, largest: Any) -> None:
        # Looked at again, since `vmap` over all of this makes `cond` run both branches.
        if outside or scaled:
            raise ValueError(
                f"{messages[0 if outside else 1]} Received: values from {float(smallest):.6g} to "
                f"{float(largest):.6g}"
            )

    @jax.custom_batching.custom_vmap
    def look(outside: Any, fraction: Any, smallest: Any, largest: Any) -> None:
        found = (outside, ops.logical_and(fraction, largest <= 1), smallest, largest)
        jax.lax.cond(
            ops.logical_or(*found[:2]),
            lambda found: jax.debug.callback(fail, *found),
            lambda _: None,
            found,
        )

    @look.def_vmap
    def look_at_all(size: int, mapped: Any, *found: Any) -> tuple[None, None]:
        """All images that are mapped over are one batch, looked at once."""
        merges = (jax.numpy.any, jax.numpy.any, jax.numpy.nanmin, jax.numpy.nanmax)
        pairs = zip(found, mapped, merges, strict=True)
        look(*(merge(x, axis=0) if there else x for x, there, merge in pairs))
        return None, None

    outside, fraction = _findings(images, value_range)
    look(outside, fraction, jax.numpy.nanmin(images), jax.numpy.nanmax(images))


def _is_exported() -> bool:
    """Whether JAX traces for `jax.export` or `jax2tf`, which nothing public tells."""
    frame = sys._getframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(("jax._src.export", "jax.experimental.jax2tf")):
            return True
        frame = frame.f_back
    return False
