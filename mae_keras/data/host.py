"""Keeps TensorFlow, which makes the batches on every backend, off the GPUs of the others."""

import contextlib


def stay_on_host() -> None:
    """Let TensorFlow use no GPU, unless it is Keras's backend.

    TensorFlow takes nearly all the memory of every GPU that it sees as soon as it computes
    anything, and JAX or PyTorch then find none left. To be called before TensorFlow computes; where
    it has done so already, this changes nothing.

    Example:
    >>> stay_on_host()
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        return
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # it has computed: too late
        tf.config.set_visible_devices([], "GPU")
