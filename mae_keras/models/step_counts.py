"""What training counts beside the loss: steps that were skipped, samples that are unusable.

A step is skipped where it comes out NaN or infinite. A sample is unusable where fewer than two of
its patches are present: one has to be seen and another predicted.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.ops import is_usable
from mae_keras.runtime.replicas import agreed, num_replicas

SKIPPED = "skipped_steps"
UNUSABLE = "unusable_samples"
# Where weights that are not trained, the counters among them, are in JAX's state.
_WEIGHTS = 1


class UntrackedMetric:
    """Holds a metric that Keras does not track, which it no longer allows in a built model."""

    def __init__(self, metric: keras.metrics.Metric, in_use: bool = True):
        self.metric = metric
        self.in_use = in_use


def step_or_undo(model: Any, step: Callable[..., Any], skipped: Any, args: Sequence[Any]) -> Any:
    """Take a training step, but undo it as a whole where it is not finite.

    All weights, optimizer variables and metrics get their earlier values. Only the model's integer
    counters (of masks and drop path) go on, so that a step's masks stay a function of its number.

    Args:
        model: compiled model.
        step: Keras's own `train_step` of the model.
        skipped: metric that counts the steps undone.
        args: of `step`: (data,), or JAX's (state, data).

    Returns:
        As `step`.
    """
    undo = _step_in_place if len(args) == 1 else _pure_step
    return undo(model, step, skipped, *args)


def _step_in_place(model: Any, step: Callable[..., Any], skipped: Any, data: Any) -> Any:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    weights = [variable for variable in model.variables if _is_float(variable)]
    variables = [*weights, *model.optimizer.variables, *model.metrics_variables]
    before = [ops.copy(ops.convert_to_tensor(variable)) for variable in variables]
    step(data)
    # Metrics are each replica's own until Keras sums them.
    finite = agreed(_all_finite(variables))
    for variable, value in zip(variables, before, strict=True):
        variable.assign(ops.where(finite, variable, value))
    skipped.update_state(ops.where(finite, 0.0, 1.0 / num_replicas()))
    return model.get_metrics_result()


def _pure_step(
    model: Any, step: Callable[..., Any], skipped: Any, state: Sequence[Any], data: Any
) -> Any:
    _, after = step(state, data)
    finite = _all_finite([value for part in after for value in part])
    chosen = [
        [
            ops.where(finite, new, old) if part != _WEIGHTS or _is_float(new) else new
            for new, old in zip(*values, strict=True)
        ]
        for part, values in enumerate(zip(after, state, strict=True))
    ]
    mapping = list(zip(model.metrics_variables, chosen[-1], strict=True))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        skipped.update_state(ops.where(finite, 0.0, 1.0))
        logs = model.get_metrics_result()
    chosen[-1] = [scope.get_current_value(variable) for variable in model.metrics_variables]
    return logs, tuple(chosen)


def _is_float(value: Any) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype))


def _all_finite(values: Sequence[Any]) -> Any:
    checks = [ops.all(ops.isfinite(value)) for value in values if _is_float(value)]
    return ops.all(ops.stack(checks))


class UnusableSamples(keras.metrics.Metric):
    """Samples with a missing patch, and samples with fewer than two present ones."""

    def __init__(self) -> None:
        super().__init__(name=UNUSABLE, dtype="float32")
        self.incomplete = self.add_variable((), "zeros", name="incomplete")
        self.unusable = self.add_variable((), "zeros", name="unusable")

    def update_state(self, missing: Any) -> None:
        incomplete = ops.any(missing, axis=-1)
        unusable = ops.logical_not(is_usable(missing))
        self.incomplete.assign_add(ops.sum(ops.cast(incomplete, "float32")))
        self.unusable.assign_add(ops.sum(ops.cast(unusable, "float32")))

    def result(self) -> Any:
        return ops.convert_to_tensor(self.unusable)

    def counts(self) -> tuple[int, int]:
        values = (self.incomplete, self.unusable)
        return tuple(int(ops.convert_to_numpy(value)) for value in values)


class UnusableReport(keras.callbacks.Callback):
    """Adds the number of unusable samples to an epoch's logs once data was missing; warns once."""

    def __init__(self, metric: UnusableSamples) -> None:
        super().__init__()
        self.metric = metric
        self.shown: set[str] = set()
        self.warned = False
        self.trained: tuple[int, int] | None = None
        self.validated: tuple[int, int] | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.trained = self.validated = None

    def on_test_begin(self, logs: Any = None) -> None:
        # Before Keras resets them
        self.trained = self.metric.counts()

    def on_test_end(self, logs: Any = None) -> None:
        self.validated = self.metric.counts()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        trained = self.metric.counts() if self.trained is None else self.trained
        self._add(UNUSABLE, trained, logs)
        if self.validated is not None:
            self._add(f"val_{UNUSABLE}", self.validated, logs)
        if trained[1] and not self.warned:
            self.warned = True
            warn_of_unusable(trained[1], "trained on in an epoch")

    def _add(self, name: str, counts: tuple[int, int], logs: dict[str, Any] | None) -> None:
        incomplete, unusable = counts
        if logs is None or not (incomplete or name in self.shown):
            return
        if name not in self.shown:  # the epochs before had nothing missing
            self.shown.add(name)
            history = self.model.history
            earlier = len(history.epoch) if history is not None else 0
            if earlier:
                history.history[name] = [0.0] * earlier
        logs[name] = float(unusable)


def warn_of_unusable(count: int, what: str) -> None:
    """Warn of samples that have no weight in the loss, if there are any."""
    if count:
        warnings.warn(
            f"{count} samples {what} have fewer than 2 patches without NaN: one to see and one "
            f"to predict. They count as loss 0. Leave them out, or use smaller patches",
            stacklevel=4,
        )
