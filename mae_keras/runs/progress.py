"""What is printed while a model trains: a line for an epoch, and a bar within it on a terminal."""

import shutil
import sys
import time
from typing import Any, TextIO

import keras

# A log in a file: about so many lines, however many epochs there are.
_MOST_LINES = 25
_REFRESH_SECONDS = 0.5
_BAR_WIDTH, _LEAST_BAR_WIDTH = 20, 4
# Steps to time before their rate says how long the run takes.
_FEWEST_TIMED_STEPS = 3


class EpochLines(keras.callbacks.Callback):
    """Print a line after an epoch; on a terminal after every one, and a progress bar within it.

    Where the output is a file or a pipe, about 25 epochs of the whole training get a line, the
    first and the last among them, and one that a callback ended training at. Of an epoch that was
    not finished the line says how far it got. The time left is that of all epochs to come.

    Args:
        epochs: int, the number that training ends at.
        steps_per_epoch: int, steps of a whole epoch.
        stream: where to print; defaults to standard output.
        baseline: float, loss of the best naive baseline, which `val_loss` is compared with, or
            `None`.

    Example:
    >>> callback = EpochLines(epochs=2, steps_per_epoch=1, baseline=0.5)
    >>> callback.on_train_begin()
    >>> callback.on_epoch_begin(1)
    >>> callback.on_epoch_end(1, {"loss": 0.3, "val_loss": 0.25})  # doctest: +ELLIPSIS
    epoch 2 of 2: loss 0.3, val_loss 0.25 (naive baseline 0.5), ...
    """

    async_safe = True  # Keras need not fetch the numbers of every step

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        stream: TextIO | None = None,
        baseline: float | None = None,
    ):
        super().__init__()
        self.epochs, self.steps_per_epoch, self.baseline = epochs, steps_per_epoch, baseline
        self._stream = stream
        self._every = max(1, -(-epochs // _MOST_LINES))
        self._began: float | None = None
        self._drawn = 0
        self._first: int | None = None
        self._step = 0
        self._clock = _Clock(epochs, steps_per_epoch)

    @property
    def stream(self) -> TextIO:
        """Where lines go."""
        return sys.stdout if self._stream is None else self._stream

    def on_train_begin(self, logs: Any = None) -> None:
        if self._began is None:  # a resumed epoch makes training begin twice
            self._began = self._refreshed = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._step, self._started = epoch, 0, time.perf_counter()
        self._clock.begin_epoch(epoch, self._num_steps())
        if self._first is None:
            self._first = epoch
            if self._live():
                self._draw(f"epoch {epoch + 1} of {self.epochs}: compiling the first step ...")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now, self._step = time.perf_counter(), batch + 1
        self._clock.end_step(batch, now)
        if now - self._refreshed < _REFRESH_SECONDS or not self._live():
            return
        self._refreshed = now
        steps = self._num_steps()
        loss = "" if not logs or "loss" not in logs else f", loss {_short(logs['loss'])}"
        numbers = f"{loss}{_ending(self._clock.left(now))}"
        before = f"epoch {self._epoch + 1} of {self.epochs}: "
        after = f"step {batch + 1} of {steps}{numbers}"
        # On a narrow terminal the numbers matter more than the bar and the words.
        if len(before) + len(after) > _columns():
            before, after = f"{self._epoch + 1}/{self.epochs}: ", f"{batch + 1}/{steps}{numbers}"
        width = min(_BAR_WIDTH, _columns() - len(before) - len(after) - len("[] "))
        filled = max(width, 0) * (batch + 1) // steps
        bar = f"[{'#' * filled:-<{width}}] " if width >= _LEAST_BAR_WIDTH else ""
        self._draw(f"{before}{bar}{after}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        live, done = self._live(), epoch + 1
        now = time.perf_counter()
        self._clock.end_epoch(now)
        last = done == self.epochs or bool(getattr(self.model, "stop_training", False))
        if live or done % self._every == 0 or last or epoch == self._first:
            numbers = [
                self._number(name, value)
                for name, value in (logs or {}).items()
                if value or not name.endswith("unusable_samples")
            ]
            line = f"epoch {done} of {self.epochs}{self._unfinished()}: {', '.join(numbers)}, "
            line += _time(now - self._started)
            line += "" if last else _ending(self._clock.left(now))
            if live:
                self._draw(line, whole=True)
                self._drawn = 0
                self.stream.write("\n")
            else:
                self.stream.write(f"{line}\n")
            self.stream.flush()
        self._clock.start = time.perf_counter()

    def close(self) -> None:
        """End a bar that an error left unfinished, so that what follows begins on a new line."""
        if self._drawn:
            self._drawn = 0
            self.stream.write("\n")
            self.stream.flush()

    def _num_steps(self) -> int:
        return (self.params or {}).get("steps") or self.steps_per_epoch

    def _unfinished(self) -> str:
        """How far an epoch got that a callback ended; empty for a whole one."""
        missing = self._num_steps() - self._step
        if not self._step or missing <= 0:
            return ""
        # Of a resumed epoch only the rest is counted in steps.
        return f", {self.steps_per_epoch - missing} of {self.steps_per_epoch} steps"

    def _number(self, name: str, value: Any) -> str:
        compared = name == "val_loss" and self.baseline is not None
        ending = f" (naive baseline {_short(self.baseline)})" if compared else ""
        return f"{name} {_short(value)}{ending}"

    def _live(self) -> bool:
        return bool(getattr(self.stream, "isatty", lambda: False)())

    def _draw(self, line: str, whole: bool = False) -> None:
        if not whole:  # a line that wraps could not be drawn over
            line = line[: _columns()]
        self.stream.write(f"\r{line.ljust(self._drawn)}")
        self._drawn = len(line)
        self.stream.flush()


class _Clock:
    """How long a training still takes: by its whole epochs, and before there are any by its steps.

    The first step compiles the model, and so may the first validation: neither tells of others.
    """

    def __init__(self, epochs: int, steps_per_epoch: int):
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.start: float | None = None  # of the first epoch after the one that compiled
        self._epoch_seconds: list[float] = []
        self._step_seconds, self._timed_steps = 0.0, 0
        self._epoch = self._step = 0
        self._steps = steps_per_epoch
        self._last: float | None = None

    def begin_epoch(self, epoch: int, steps: int) -> None:
        self._epoch, self._steps, self._step, self._last = epoch, steps, 0, None

    def end_step(self, batch: int, now: float) -> None:
        if self._last is not None:
            self._step_seconds += now - self._last
            self._timed_steps += batch + 1 - self._step
        self._step, self._last = batch + 1, now

    def end_epoch(self, now: float) -> None:
        if self.start is not None:
            self._epoch_seconds.append(now - self.start)
        self._epoch, self._step, self._steps = self._epoch + 1, 0, self.steps_per_epoch

    def left(self, now: float) -> float | None:
        """Seconds to the end of the last epoch, or `None` where too little is known."""
        if self._epoch >= self.epochs:
            return None
        later = self.epochs - self._epoch - 1
        share = (self._steps - self._step) / self.steps_per_epoch
        if self._epoch_seconds:
            seconds = sum(self._epoch_seconds) / len(self._epoch_seconds)
        elif self._timed_steps >= _FEWEST_TIMED_STEPS:
            seconds = self._step_seconds / self._timed_steps * self.steps_per_epoch
        else:
            return None
        return (share + later) * seconds


def _columns() -> int:
    """Characters that fit on a line of the terminal, the cursor after them."""
    return shutil.get_terminal_size().columns - 1


def _ending(left: float | None) -> str:
    return "" if left is None else f", {_time(left)} left"


def _short(value: Any) -> str:
    return f"{float(value):.4g}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
