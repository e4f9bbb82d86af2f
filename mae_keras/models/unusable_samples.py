"""Counting the samples that training cannot use: fewer than two of their patches are present."""

import warnings
from typing import Any

import keras
from keras import ops

from mae_keras.ops import is_usable


class CountsUnusable:
    """Mixin of masked models: counts samples that hold too little, to stand before `keras.Model`.

    One patch must be seen and another predicted. A sample with fewer present ones has no weight in
    the loss. Where samples with missing patches are trained on, `fit` adds their number to the
    logs of an epoch, `unusable_samples`, and warns once if it is not 0. What train and test steps
    return is without it.
    """

    _missing_counts: "_Held | None" = None

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.compile`."""
        self._missing_counts = _Held()
        super().compile(*args, **kwargs)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """As in Keras; and the counts of missing data, last, once data may be missing."""
        held = self._missing_counts
        return [*super().metrics, *([held.metric] if held is not None and held.in_use else [])]

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras; the counts of missing data are added to an epoch's logs by `fit`."""
        result = super().get_metrics_result()
        result.pop(_UNUSABLE, None)
        return result

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """As in Keras, and counts."""
        if self._missing_counts is not None and isinstance(x, dict) and "missing" in x:
            self._missing_counts.metric.update_state(x["missing"])
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def fit(self, x: Any = None, y: Any = None, callbacks: Any = None, **options: Any) -> Any:
        """As `keras.Model.fit`."""
        self._prepare_counts(x, options.get("validation_data"))
        if self._missing_counts is not None and self._missing_counts.in_use:
            report = _Report()
            if isinstance(callbacks, keras.callbacks.CallbackList):
                report.set_model(self)
                callbacks.append(report)
            else:  # first, so that the others find its count in the logs
                callbacks = [report, *keras.tree.flatten(callbacks or [])]
        return super().fit(x, y, callbacks=callbacks, **options)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`; warns of samples that it cannot use."""
        inside_fit = bool(kwargs.get("_use_cached_eval_dataset"))
        if not inside_fit:
            self._prepare_counts(kwargs.get("x", args[0] if args else None))
        result = super().evaluate(*args, **kwargs)
        held = self._missing_counts
        if not inside_fit and held is not None and held.in_use:
            _warn(held.metric.counts()[1], "evaluated")
        return result

    def _prepare_counts(self, *data: Any) -> None:
        held = self._missing_counts
        if held is not None and not held.in_use:  # stays so: compiled steps have its variables
            held.in_use = any(_may_be_missing(part) for part in data)


_UNUSABLE = "unusable_samples"


class _MissingCounts(keras.metrics.Metric):
    """Samples with a missing patch, and samples with fewer than two present ones."""

    def __init__(self) -> None:
        super().__init__(name=_UNUSABLE, dtype="float32")
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


class _Held:
    """Holds a metric without Keras tracking it, which a built model no longer allows."""

    def __init__(self) -> None:
        self.metric = _MissingCounts()
        self.in_use = False


class _Report(keras.callbacks.Callback):
    """Adds the counts to an epoch's logs once data was missing, and warns once."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()
        self.warned = False
        self.trained: tuple[int, int] | None = None
        self.validated: tuple[int, int] | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.trained = self.validated = None

    def on_test_begin(self, logs: Any = None) -> None:
        # Before Keras resets them
        self.trained = self._counts()

    def on_test_end(self, logs: Any = None) -> None:
        self.validated = self._counts()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        trained = self._counts() if self.trained is None else self.trained
        self._add(_UNUSABLE, trained, logs)
        if self.validated is not None:
            self._add(f"val_{_UNUSABLE}", self.validated, logs)
        if trained[1] and not self.warned:
            self.warned = True
            _warn(trained[1], "trained on in an epoch")

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

    def _counts(self) -> tuple[int, int]:
        return self.model._missing_counts.metric.counts()


def _may_be_missing(data: Any) -> bool:
    """Whether data may hold NaN; unknown, as of generators, means yes."""
    if data is None:
        return False
    if hasattr(data, "element_spec"):
        data = data.element_spec
    if isinstance(data, (tuple, list)) and data:
        data = data[0]
    dtype = getattr(data, "dtype", None)
    return dtype is None or "float" in str(getattr(dtype, "name", dtype))


def _warn(unusable: int, what: str) -> None:
    if unusable:
        warnings.warn(
            f"{unusable} samples {what} have fewer than 2 patches without NaN: one to see and one "
            f"to predict. They count as loss 0. Leave them out, or use smaller patches",
            stacklevel=4,
        )
