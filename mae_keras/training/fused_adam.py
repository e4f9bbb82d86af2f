"""Adam's update of one weight in one pass over memory, where TensorFlow does not compile."""

from typing import Any

import keras

from mae_keras.replicas import num_replicas


class FusedAdam:
    """Mixin of Adam's kind of optimizers, to stand before Keras's.

    Keras writes the update as a dozen operations, and each of them reads and writes arrays of the
    weight's size: as long as XLA compiles the step they become one loop, otherwise a step of a wide
    model waits for the memory. On TensorFlow there is one kernel with the same formula, which is
    used for dense float32 gradients on one device; everything else is left to Keras.

    References:
        - Kingma and Ba 2014, arXiv:1412.6980, the form before section 2.1 (`epsilon` hat), as in
          Keras's `Adam.update_step` and TensorFlow's `ResourceApplyAdam`.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not self._has_kernel(gradient, variable):
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        moments = self._momentums[index].value, self._velocities[index].value
        step = tf.cast(self.iterations + 1, "float32")
        beta_1, beta_2 = tf.constant(self.beta_1, "float32"), tf.constant(self.beta_2, "float32")
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=moments[0].handle,
            v=moments[1].handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(learning_rate, "float32"),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, "float32"),
            grad=gradient,
        )

    def _has_kernel(self, gradient: Any, variable: Any) -> bool:
        if keras.backend.backend() != "tensorflow" or self.amsgrad or num_replicas() > 1:
            return False
        import tensorflow as tf

        dense = isinstance(gradient, tf.Tensor) and isinstance(variable, tf.Variable)
        return dense and gradient.dtype == variable.dtype == tf.float32
