"""Gradient accumulation on several TensorFlow replicas, which Keras's own cannot do."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from mae_keras.replicas import decide_together, in_replica


class AccumulatesOnReplicas:
    """Mixin of optimizers that accumulate gradients under a strategy too; stands before Keras's.

    Keras asks in each replica, inside `ops.cond`, whether a step updates the weights. Replicas
    cannot sum their gradients in there and TensorFlow refuses the graph. Here they ask together;
    what follows is Keras's own: each adds up its own gradients, the sums meet at the update.

    References:
        - Keras `BaseOptimizer._backend_apply_gradients`, 3.12 to 3.15; `LossScaleOptimizer` leaves
          its condition to all replicas in the same way.
    """

    def _backend_apply_gradients(self, grads: Sequence[Any], trainable_variables: Sequence[Any]):
        if not self.gradient_accumulation_steps or not in_replica():
            super()._backend_apply_gradients(grads, trainable_variables)
            return
        decide_together(
            lambda: ops.equal((self._iterations + 1) % self.gradient_accumulation_steps, 0),
            self._update,
            self._accumulate,
            list(grads),
            list(trainable_variables),
        )
        if self.use_ema:
            self._update_model_variables_moving_average(self._trainable_variables)

    def _update(self, grads: list[Any], variables: list[Any]) -> None:
        steps = self.gradient_accumulation_steps
        sums = zip(grads, self._accumulators(variables), strict=True)
        grads = [(gradient + accumulated) / steps for gradient, accumulated in sums]
        self._apply_weight_decay(variables)
        self._backend_update_step(grads, variables, self.learning_rate)
        self._backend_reset_gradient_accumulators()

    def _accumulate(self, grads: list[Any], variables: list[Any]) -> None:
        self._backend_increment_gradient_accumulators(grads, self._accumulators(variables))

    def _accumulators(self, variables: list[Any]) -> list[Any]:
        return [self._accumulated_gradients[self._get_variable_index(v)] for v in variables]
