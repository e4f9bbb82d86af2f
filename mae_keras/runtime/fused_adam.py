"""Adam's update as one TensorFlow kernel. TensorFlow is imported on use."""

from typing import Any

import keras

from mae_keras.runtime.replicas import num_replicas


def fused_adam_step(optimizer: Any, gradient: Any, variable: Any, learning_rate: Any) -> bool:
    """Update one variable by Adam's formula in one kernel, where there is one.

    Keras writes the update as a dozen operations, and each of them reads and writes arrays of the
    weight's size: as long as XLA compiles the step they become one loop, otherwise a step of a wide
    model waits for the memory. TensorFlow's kernel is used for dense float32 gradients on one
    device.

    Args:
        optimizer: built `keras.optimizers.Adam` or a subclass.
        gradient: tensor.
        variable: as Keras gives it to `update_step`.
        learning_rate: float scalar.

    Returns:
        bool, whether the variable was updated; if not, Keras's own `update_step` has to do it.

    Example:
    >>> optimizer = keras.optimizers.Adam()
    >>> fused_adam_step(optimizer, None, None, 0.1)
    False

    References:
        - Kingma and Ba 2014, arXiv:1412.6980, the form before section 2.1 (`epsilon` hat), as in
          Keras's `Adam.update_step` and TensorFlow's `ResourceApplyAdam`.
    """
    if keras.backend.backend() != "tensorflow" or optimizer.amsgrad or num_replicas() > 1:
        return False
    import tensorflow as tf

    dense = isinstance(gradient, tf.Tensor) and isinstance(variable, tf.Variable)
    if not dense or not gradient.dtype == variable.dtype == tf.float32:
        return False
    index = optimizer._get_variable_index(variable)
    moments = optimizer._momentums[index].value, optimizer._velocities[index].value
    step = tf.cast(optimizer.iterations + 1, "float32")
    beta_1 = tf.constant(optimizer.beta_1, "float32")
    beta_2 = tf.constant(optimizer.beta_2, "float32")
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=moments[0].handle,
        v=moments[1].handle,
        beta1_power=tf.pow(beta_1, step),
        beta2_power=tf.pow(beta_2, step),
        lr=tf.cast(learning_rate, "float32"),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=tf.constant(optimizer.epsilon, "float32"),
        grad=gradient,
    )
    return True
