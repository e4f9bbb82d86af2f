"""Keeping a run's history and checkpoints while it trains, and going on to the same bits.

A run goes on from any step, in the middle of an epoch too, if its settings, images and processes
agree with what they were. Ctrl-C, SIGTERM and SIGHUP finish the step, save and leave.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import keras
import numpy as np

from mae_keras.runs.folder import Checkpoint, CheckpointStore, RunFolder, load_checkpoint
from mae_keras.training import gather, is_writer
from mae_keras.training.callbacks import check_finite

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and did so after saving."""


class StopRequest(keras.callbacks.Callback):
    """Notes that the process was asked to stop, to be looked at after every step.

    Inside `listening()` the first SIGINT, SIGTERM or SIGHUP is only noted, from the first step's
    preparation on; a second one, and any before, interrupts at once. SIGHUP, of a terminal that
    is closed, comes twice where the shell sends it too, so a second one changes nothing; where it
    is ignored, as under `nohup`, it stays ignored.

    Example:
    >>> stop = StopRequest()
    >>> with stop.listening():
    ...     pass
    >>> stop.requested is None
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self.requested: str | None = None
        self._training = False

    @contextlib.contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take over the signals, and give them back afterwards; in other threads, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        taken = [number for number in numbers if not _is_ignored_hangup(number)]
        before = {number: signal.signal(number, self._note) for number in taken}
        try:
            yield self
        finally:
            self._training = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        again = self.requested is not None
        if not self._training or (again and name != "SIGHUP"):
            raise KeyboardInterrupt(name)
        self.requested = self.requested or name

    def on_train_begin(self, logs: Any = None) -> None:
        self._training = True  # until `listening` ends: one training may be several calls of `fit`


def _is_ignored_hangup(number: int) -> bool:
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) == signal.SIG_IGN


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
        self._ending = False  # another callback ends training in the middle of an epoch
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
        signal_name = self.stop.requested
        self._ending = self._ending or bool(self.model.stop_training)
        due = self.every is not None and self._step % self.every == 0
        late = time.monotonic() - self._tried >= self.max_seconds
        if (signal_name or self._ending or due or late) and self._can_go_on():
            self._sync()
            must = signal_name is not None or self._ending
            self._save(self._epoch, self._step, must)
            self._leave(signal_name)
        elif self._ending:
            self.model.stop_training = False  # until a step that the run can go on from

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._ending and self._step < self.steps_per_epoch:
            # Saved after its last step; a part of an epoch is no row of the history.
            if is_writer() and self.rows:
                self._trying(lambda: self.run.write_history(self.rows), "history.csv", must=True)
            self._leave(self.stop.requested)
            return
        self._add_row(epoch, logs or {})
        if not is_writer():
            return
        # Another callback may end training early.
        self.model.stop_training = bool(self.model.stop_training) or self._ending
        last = epoch + 1 == self.epochs or self.model.stop_training
        signal_name = self.stop.requested
        late = time.monotonic() - self._tried >= self.min_seconds
        saving = last or ((signal_name or late) and self._can_go_on())
        if saving:
            must = last or signal_name is not None
            self._save(epoch + 1, 0, must, score=(logs or {}).get("val_loss"))
        # A history without a checkpoint is that of a run whose checkpoints were lost. Resuming from
        # an earlier checkpoint drops rows that are too many.
        if last or self.store.paths():
            self._trying(lambda: self.run.write_history(self.rows), "history.csv", must=last)
        self._step = 0
        if saving:
            self._leave(signal_name)

    def _can_go_on(self) -> bool:
        """On TensorFlow replicas gradients that wait to be applied are each replica's own."""
        if getattr(self.model, "built_for", 1) == 1 or keras.backend.backend() == "jax":
            return True
        optimizer = self.model.optimizer
        # Not the steps taken, of which some may have been skipped, nor `iterations`, the updates.
        taken = int(keras.ops.convert_to_numpy(optimizer._iterations))
        return taken % (optimizer.gradient_accumulation_steps or 1) == 0

    def _add_row(self, epoch: int, logs: dict[str, Any]) -> None:
        add_row(self.rows, epoch, {"epoch": epoch + 1, **logs})

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
            names = [path.name for path in self.store.paths()]
            last = f"the last one is {names[-1]}" if names else "there is none yet"
            why = str(error) or type(error).__name__
            message = f"{what} could not be written to {str(self.run.path)!r} ({why}); {last}."
            if must:
                raise OSError(f"{message} Make room and go on with --resume") from error
            LOGGER.warning("%s Training goes on and will try again.", message)

    def _leave(self, signal_name: str | None) -> None:
        if signal_name is not None:
            where = f"epoch {self._epoch + 1} of {self.epochs}"
            if self._step:
                where = f"step {self._step} of {self.steps_per_epoch} in {where}"
            raise Interrupted(f"stopped by {signal_name} and saved after {where}")

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


def add_row(rows: dict[str, list[float | None]], epoch: int, row: dict[str, Any]) -> None:
    """Add what is known of an epoch, counted from 0, to columns of equal length.

    Args:
        rows: name to the values of the epochs before; `None` where one had none. Changed.
        epoch: int.
        row: name to a number.

    Example:
    >>> rows = {"loss": [0.5]}
    >>> add_row(rows, 1, {"score": 3})
    >>> rows
    {'loss': [0.5, None], 'score': [None, 3.0]}
    """
    for name in [*rows, *(name for name in row if name not in rows)]:
        value = float(row[name]) if name in row else None
        rows.setdefault(name, [None] * epoch).append(value)


def _as_json(variable: Any) -> Any:
    # A float32 becomes the float64 of the same value, which JSON keeps to the last digit.
    return np.asarray(keras.ops.convert_to_numpy(variable)).tolist()


_NONE = -1


def check_agreement(config: dict[str, Any]) -> None:
    """Refuse to train in processes that were started differently; all of them refuse.

    To be called before a model is built: JAX compares weights by waiting for them.

    Args:
        config: what must be equal, images under `"data"`.

    Raises:
        ValueError: if another process has other settings or images.

    Example:
    >>> check_agreement({"epochs": 1, "data": {"train": 1258}})
    """
    settings = {key: value for key, value in config.items() if key != "data"}
    # Each machine may have the same images in another place.
    images = {key: value for key, value in config.get("data", {}).items() if key != "path"}
    said = gather([_digest(settings), _digest(images)])
    for place, what in enumerate(("settings", "images")):
        differing = np.flatnonzero((said[:, place] != said[0, place]).any(-1)).tolist()
        if differing:
            raise ValueError(
                f"All processes of a run must have the same {what}: the same command, versions and "
                f"data. Received: others in process(es) {differing} than in process 0"
            )


def agreed_checkpoint(run: RunFolder, found: Checkpoint | None) -> Checkpoint | None:
    """The checkpoint that the writer found, in every process.

    The others do not look for one themselves: they might find another whole and train from it.

    Args:
        run: `RunFolder`.
        found: `Checkpoint` or `None`, as the writer found it; in the others it does not count.

    Returns:
        `Checkpoint`, or `None` if there is none to go on from.

    Raises:
        DamagedError: if this process finds the writer's checkpoint damaged.

    Example:
    >>> agreed_checkpoint(RunFolder("runs/digits"), None) is None
    True
    """
    step = int(gather(_NONE if found is None else found.step)[0])
    if is_writer():
        return found
    return (
        None
        if step == _NONE
        else load_checkpoint(run.checkpoints / f"step-{step:09d}", run.run_id())
    )


def _digest(content: Any) -> np.ndarray:
    text = json.dumps(content, sort_keys=True)
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), "<i4").astype("int32")


class ComputedAs:
    """Keep in checkpoints how a model is computed, and say where a resumed run does otherwise.

    Sums are then made in another order, and the run ends as it would have within rounding, not to
    the bit.

    Args:
        model: compiled `MaskedAutoencoder`.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2)
    >>> model.compile(jit_compile=False)
    >>> ComputedAs(model).get_state()
    {'xla': 'nothing', 'branches': 1}
    """

    def __init__(self, model: keras.Model):
        self._now = {"xla": model.xla, "branches": model.num_shards}

    def get_state(self) -> dict[str, Any]:
        """What is kept."""
        return self._now

    def set_state(self, state: dict[str, Any]) -> None:
        """Compare with what was kept."""
        if state != self._now:
            print(
                f"Until here {_said(state)}; from here {_said(self._now)}: the same run within "
                "rounding, not to the bit"
            )


def _said(state: dict[str, Any]) -> str:
    return f"XLA compiled {state.get('xla')}, in batch shards: {state.get('branches')}"


def fit_from(
    model: keras.Model,
    batches: Callable[[int, int], Any],
    *,
    epochs: int,
    steps_per_epoch: int,
    first_epoch: int = 0,
    first_step: int = 0,
    **options: Any,
) -> None:
    """`fit` from a step in the middle of an epoch as if training had never stopped.

    The rest of the begun epoch is one call of `fit` and the whole epochs are another. Callbacks
    therefore see training begin twice; those that average or save at its end must know that.

    Args:
        model: compiled `keras.Model`, as it was at that step.
        batches: called with an epoch and a step in it, both from 0; gives the dataset from there
            on, which must not end before training does.
        epochs: int, the epoch to end at.
        steps_per_epoch: int.
        first_epoch: int, whole epochs done.
        first_step: int, steps done of the epoch after them.
        **options: passed to `fit`, such as `callbacks` and `validation_data`.

    Raises:
        ValueError: if `first_step` is not below `steps_per_epoch`.

    Example:
    >>> import numpy as np
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> rows = [(np.ones((1, 2)), np.ones((1, 1)))] * 4
    >>> fit_from(
    ...     model, lambda epoch, step: (row for row in rows[step:]), epochs=1, steps_per_epoch=4,
    ...     first_step=3, shuffle=False, verbose=0,
    ... )
    >>> int(model.optimizer.iterations)
    1
    """
    if not 0 <= first_step < steps_per_epoch:
        raise ValueError(
            f"`first_step` must be at least 0 and less than `steps_per_epoch`. Received: "
            f"first_step={first_step}, steps_per_epoch={steps_per_epoch}"
        )
    model.stop_training = False
    if first_step and first_epoch < epochs:
        _build_metrics(model, lambda: batches(first_epoch, first_step))
        ends = first_epoch + 1 == epochs
        with contextlib.nullcontext() if ends else _not_averaging(model.optimizer):
            model.fit(
                batches(first_epoch, first_step),
                initial_epoch=first_epoch,
                epochs=first_epoch + 1,
                steps_per_epoch=steps_per_epoch - first_step,
                **options,
            )
        first_epoch += 1
        if model.stop_training and not ends:  # a callback's doing: this is the end after all
            model.optimizer.finalize_variable_values(model.trainable_variables)
    if first_epoch < epochs and not model.stop_training:
        model.fit(
            batches(first_epoch, 0),
            initial_epoch=first_epoch,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            **options,
        )


def _build_metrics(model: keras.Model, batches: Callable[[], Any]) -> None:
    """Create the variables of compiled metrics, so that a callback can restore their values."""
    # JAX and PyTorch create them before training; TensorFlow in the first step, which is too late.
    metrics = getattr(model, "_compile_metrics", None)
    if keras.backend.backend() == "tensorflow" and metrics is not None and not metrics.built:
        model._symbolic_build(data_batch=next(iter(batches())))


@contextlib.contextmanager
def _not_averaging(optimizer: Any) -> Iterator[None]:
    """Keep `fit` from putting averaged weights in place at its end, which is not the run's."""
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values
