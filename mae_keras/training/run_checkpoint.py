"""Keeping a run's history and checkpoints while it trains, and going on from one."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from mae_keras.training.checkpoints import Checkpoint, CheckpointStore
from mae_keras.training.distribution import is_writer
from mae_keras.training.nonfinite import check_finite
from mae_keras.training.runs import RunFolder
from mae_keras.training.stopping import Interrupted, StopRequest

LOGGER = logging.getLogger("mae_keras")

# What a full disk or a read-only folder looks like: h5py raises RuntimeError when closing a file.
# Memory that saving lacks says nothing about the size of a training step.
_CANNOT_WRITE = (OSError, RuntimeError, MemoryError)


@dataclasses.dataclass
class Progress:
    """Where in a run a model is, and what has to be known to go on that its file does not hold.

    Attributes:
        epoch: whole epochs done.
        step: steps done of the epoch after them.
        rows: history of the whole epochs, as columns.
        metrics: values of the metrics' variables in the middle of the epoch.
        callbacks: states of callbacks that have one, by class name.
        seconds: wall time that the processes before took, each up to its last checkpoint.

    Example:
    >>> Progress.of(None).epoch
    0
    """

    epoch: int = 0
    step: int = 0
    rows: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    metrics: list[Any] = dataclasses.field(default_factory=list)
    callbacks: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> "Progress":
        """What a checkpoint says; the beginning where there is none."""
        if checkpoint is None:
            return cls()
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in checkpoint.progress.items() if key in names})


class RunCheckpoint(keras.callbacks.Callback):
    """Write history and checkpoints, at the ends of epochs and in between; put it last.

    A checkpoint is written inside `fit`, before Keras puts averaged weights in place at the end.
    One that cannot be written (a full disk) is reported and tried again later; only the last one
    must succeed. Of several processes that train together all need this callback and one writes.

    Args:
        run: `RunFolder`.
        epochs: int, the run's epochs; the last one is always saved.
        steps_per_epoch: int.
        start: `Progress` to go on from.
        stop: `StopRequest`: when it is asked to stop, save after the step and leave `fit`.
        min_seconds: float, epochs that end sooner after a checkpoint write none, so that short
            epochs do not spend their time on saving.
        max_seconds: float, save in the middle of an epoch after so many seconds without.
        every: int or `None`, save after every so many steps as well.
        keep: int, how many of the latest checkpoints to keep; the one of the best `val_loss`, of
            those saved at the end of an epoch, is kept besides.
        others: objects whose `get_state()` (a JSON value) is saved and given back to
            `set_state(state)`.

    Raises:
        Interrupted: out of `fit`, when asked to stop.
        LockedError: out of `fit`, when the run's folder is no longer the one that was locked.
        OSError: out of `fit`, when the last checkpoint cannot be written.
        NonFiniteError: out of `fit`, rather than save a weight that is NaN or infinite.

    Example:
    >>> callback = RunCheckpoint(RunFolder("runs/digits"), epochs=2, steps_per_epoch=10)
    """

    def __init__(
        self,
        run: RunFolder,
        epochs: int,
        steps_per_epoch: int,
        start: Progress | None = None,
        stop: StopRequest | None = None,
        min_seconds: float = 15.0,
        max_seconds: float = 300.0,
        every: int | None = None,
        keep: int = 2,
        others: Iterable[Any] = (),
    ):
        super().__init__()
        self.run, self.epochs, self.steps_per_epoch = run, epochs, steps_per_epoch
        self.start = Progress() if start is None else start
        self.rows = {name: list(values) for name, values in self.start.rows.items()}
        self.stop = StopRequest() if stop is None else stop
        self.min_seconds, self.max_seconds, self.every = min_seconds, max_seconds, every
        self.store = CheckpointStore(run.checkpoints, keep)
        self.others = tuple(others)
        self._run_id = run.run_id()
        self._epoch = self._first = self._step = 0
        self._tried = self._began = time.monotonic()
        for callback in self.others:
            state = self.start.callbacks.get(type(callback).__name__)
            if state is not None:
                callback.set_state(state)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        resumed = epoch == self.start.epoch and self.start.step > 0
        self._first = self._step = self.start.step if resumed else 0
        if resumed:  # Keras has just reset them
            self._set_metrics(self.start.metrics)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step = self._first + batch + 1
        # The end of the epoch saves. What one process alone does must not need the others.
        if self._step >= self.steps_per_epoch or not is_writer():
            return
        # Looked at once: a signal that comes while saving is for the next step.
        asked = self.stop.requested
        due = self.every is not None and self._step % self.every == 0
        late = time.monotonic() - self._tried >= self.max_seconds
        if (asked or due or late) and self._can_go_on():
            self._sync()
            self._save(self._epoch, self._step, must=asked is not None)
            self._leave(asked)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._add_row(epoch, logs or {})
        if not is_writer():
            return
        last = epoch + 1 == self.epochs
        asked = self.stop.requested
        late = time.monotonic() - self._tried >= self.min_seconds
        saving = last or ((asked or late) and self._can_go_on())
        if saving:
            must = last or asked is not None
            self._save(epoch + 1, 0, must, score=(logs or {}).get("val_loss"))
        # A history without a checkpoint is that of a run whose checkpoints were lost. Resuming from
        # an earlier checkpoint drops rows that are too many.
        if last or self.store.paths():
            self._trying(lambda: self.run.write_history(self.rows), "history.csv", must=last)
        self._step = 0
        if saving:
            self._leave(asked)

    def _can_go_on(self) -> bool:
        """On TensorFlow replicas gradients that wait to be applied are each replica's own."""
        if getattr(self.model, "built_for", 1) == 1 or keras.backend.backend() == "jax":
            return True
        optimizer = self.model.optimizer
        # Not the steps taken, of which some may have been skipped, nor `iterations`, the updates.
        taken = int(keras.ops.convert_to_numpy(optimizer._iterations))
        return taken % (optimizer.gradient_accumulation_steps or 1) == 0

    def _add_row(self, epoch: int, logs: dict[str, Any]) -> None:
        row = {"epoch": float(epoch + 1), **{key: float(value) for key, value in logs.items()}}
        for name in [*self.rows, *(name for name in row if name not in self.rows)]:
            self.rows.setdefault(name, [None] * epoch).append(row.get(name))

    def _save(self, epoch: int, step: int, must: bool, score: Any = None) -> None:
        check_finite(self.model, self.store.folder, f"epoch {self._epoch + 1}")
        progress = {
            "run_id": self._run_id,
            "epoch": epoch,
            "step": step,
            "score": None if score is None else float(score),
            "rows": self.rows,
            "metrics": [_as_json(variable) for variable in self.model.metrics_variables],
            "callbacks": {type(other).__name__: other.get_state() for other in self.others},
            "seconds": round(self.start.seconds + time.monotonic() - self._began, 1),
        }
        total = epoch * self.steps_per_epoch + step

        def write() -> None:
            self.store.save(total, progress, lambda folder: self.model.save(folder / "model.keras"))

        self._trying(write, f"The checkpoint of step {total}", must)
        self._tried = time.monotonic()

    def _trying(self, write: Callable[[], Any], what: str, must: bool) -> None:
        self.run.check_held()
        try:
            write()
        except _CANNOT_WRITE as error:
            made = [path.name for path in self.store.paths()]
            last = f"the last one is {made[-1]}" if made else "there is none yet"
            why = str(error) or type(error).__name__
            message = f"{what} could not be written to {str(self.run.path)!r} ({why}); {last}."
            if must:
                raise OSError(f"{message} Make room and go on with --resume") from error
            LOGGER.warning("%s Training goes on and will try again.", message)

    def _leave(self, asked: str | None) -> None:
        if asked is not None:
            where = f"epoch {self._epoch + 1} of {self.epochs}"
            if self._step:
                where = f"step {self._step} of {self.steps_per_epoch} in {where}"
            raise Interrupted(f"stopped by {asked} and saved after {where}")

    def _sync(self) -> None:
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()

    def _set_metrics(self, values: list[Any]) -> None:
        variables = self.model.metrics_variables
        # Checkpoints of earlier versions lack the two counts of missing data, which come last.
        counts = getattr(self.model, "metrics", ())[-1:]
        if len(values) == len(variables) - 2 and [m.name for m in counts] == ["unusable_samples"]:
            values = [*values, 0.0, 0.0]
        if len(variables) != len(values):
            raise ValueError(
                f"The model must have the metrics of the run it goes on with, and be trained by "
                f"`fit_from`, which builds them before the first step. Received: a model with "
                f"{len(variables)} metric variables, a checkpoint with {len(values)}"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(np.asarray(value, variable.dtype))


def _as_json(variable: Any) -> Any:
    # A float32 becomes the float64 of the same value, which JSON keeps to the last digit.
    return np.asarray(keras.ops.convert_to_numpy(variable)).tolist()
