"""Training steps that came out NaN or infinite are undone, if so compiled."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.replicas import agreed, num_replicas

# Where weights that are not trained, the counters among them, are in JAX's state.
_WEIGHTS = 1


class SkipsNonFinite:
    """Mixin of models: `compile(skip_nonfinite=True)`, to stand before `keras.Model`.

    A step after which any weight, optimizer variable or metric is not finite is undone as a whole:
    all of them get their earlier values, only the model's integer counters (of masks and drop path)
    go on, so that a step's masks stay a function of its number. The metric `skipped_steps` counts
    such steps of the epoch. Costs one more copy of all variables in each step.
    """

    _skipping: "_Counter | None" = None
    _evaluating = False

    def compile(self, *args: Any, skip_nonfinite: bool = False, **kwargs: Any) -> None:
        """As `keras.Model.compile`.

        Args:
            *args: passed on.
            skip_nonfinite: bool, undo steps that are not finite and count them.
            **kwargs: passed on.
        """
        self._skipping = _Counter() if skip_nonfinite else None
        super().compile(*args, **kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        """As in Keras; keeps `skip_nonfinite`."""
        config = super().get_compile_config()
        return {**config, "skip_nonfinite": True} if config and self._skipping else config

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """As in Keras; and the number of skipped steps."""
        return [*super().metrics, *([self._skipping.metric] if self._skipping else [])]

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`."""
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras; skipped steps are of training alone."""
        result = super().get_metrics_result()
        if self._evaluating:
            result.pop("skipped_steps", None)
        return result

    def train_step(self, *args: Any) -> Any:
        """As in Keras, but undone where it is not finite. JAX passes (state, data)."""
        if self._skipping is None:
            return super().train_step(*args)
        return self._pure_step(*args) if len(args) == 2 else self._step_in_place(*args)

    def _step_in_place(self, data: Any) -> Any:
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        variables = self._revocable()
        before = [ops.copy(ops.convert_to_tensor(variable)) for variable in variables]
        super().train_step(data)
        # Metrics are each replica's own until Keras sums them.
        finite = agreed(_all_finite(variables))
        for variable, value in zip(variables, before, strict=True):
            variable.assign(ops.where(finite, variable, value))
        self._skipping.metric.update_state(ops.where(finite, 0.0, 1.0 / num_replicas()))
        return self.get_metrics_result()

    def _pure_step(self, state: Sequence[Any], data: Any) -> Any:
        _, after = super().train_step(state, data)
        finite = _all_finite([value for part in after for value in part])
        chosen = [
            [
                ops.where(finite, new, old) if part != _WEIGHTS or _is_float(new) else new
                for new, old in zip(*values, strict=True)
            ]
            for part, values in enumerate(zip(after, state, strict=True))
        ]
        mapping = list(zip(self.metrics_variables, chosen[-1], strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self._skipping.metric.update_state(ops.where(finite, 0.0, 1.0))
            logs = self.get_metrics_result()
        chosen[-1] = [scope.get_current_value(variable) for variable in self.metrics_variables]
        return logs, tuple(chosen)

    def _revocable(self) -> list[Any]:
        weights = [variable for variable in self.variables if _is_float(variable)]
        return [*weights, *self.optimizer.variables, *self.metrics_variables]


class _Counter:
    """Holds a metric without Keras tracking it, which a built model no longer allows."""

    def __init__(self) -> None:
        self.metric = keras.metrics.Sum(name="skipped_steps")


def _is_float(value: Any) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype))


def _all_finite(values: Sequence[Any]) -> Any:
    checks = [ops.all(ops.isfinite(value)) for value in values if _is_float(value)]
    return ops.all(ops.stack(checks))
