"""How far a training has come: at most one line per epoch, with the time that is left."""

import sys
import time
from typing import Any, TextIO

import keras

# A log in a file: about so many lines, however many epochs there are.
_MOST_LINES = 25
_REFRESH_SECONDS = 0.5


class EpochLines(keras.callbacks.Callback):
    """Print a line after an epoch; on a terminal after every one, and the steps in between.

    Where the output is a file or a pipe, about 25 epochs of the whole training get a line, the
    first and the last among them.

    Args:
        epochs: int, the number that training ends at.
        steps_per_epoch: int, steps of a whole epoch.
        stream: where to print; defaults to standard output.

    Example:
    >>> callback = EpochLines(epochs=2, steps_per_epoch=1)
    >>> callback.on_train_begin()
    >>> callback.on_epoch_begin(1)
    >>> callback.on_epoch_end(1, {"loss": 0.25})  # doctest: +ELLIPSIS
    epoch 2 of 2: loss 0.25, ...
    """

    async_safe = True  # Keras need not fetch the numbers of every step

    def __init__(self, epochs: int, steps_per_epoch: int, stream: TextIO | None = None):
        super().__init__()
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self._stream = stream
        self._every = max(1, -(-epochs // _MOST_LINES))
        self._began: float | None = None
        self._drawn = 0
        self._first: int | None = None

    @property
    def stream(self) -> TextIO:
        """Where lines go."""
        return sys.stdout if self._stream is None else self._stream

    def on_train_begin(self, logs: Any = None) -> None:
        if self._began is None:  # a resumed epoch makes training begin twice
            self._began = self._refreshed = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._started = epoch, time.perf_counter()
        if self._first is None:
            self._first = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        if now - self._refreshed < _REFRESH_SECONDS or not self._live():
            return
        self._refreshed = now
        loss = "" if not logs or "loss" not in logs else f", loss {_short(logs['loss'])}"
        self._draw(
            f"epoch {self._epoch + 1} of {self.epochs}: step {batch + 1} of "
            f"{self.params.get('steps') or self.steps_per_epoch}{loss}"
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        live, done = self._live(), epoch + 1
        shown = live or done % self._every == 0 or done == self.epochs or epoch == self._first
        if not shown:
            return
        now = time.perf_counter()
        numbers = [f"{name} {_short(value)}" for name, value in (logs or {}).items()]
        measured = done - self._first
        left = 0.0
        if measured > 1:  # the first epoch compiles the model: how long others take is not known
            left = (now - self._second) / (measured - 1) * (self.epochs - done)
        ending = f", {_time(left)} left" if left else ""
        line = f"epoch {done} of {self.epochs}: {', '.join(numbers)}, "
        line += f"{_time(now - self._started)}{ending}"
        if live:
            self._draw(line)
            self._drawn = 0
            self.stream.write("\n")
        else:
            self.stream.write(f"{line}\n")
        self.stream.flush()
        if measured == 1:
            self._second = time.perf_counter()

    def _live(self) -> bool:
        return bool(getattr(self.stream, "isatty", lambda: False)())

    def _draw(self, line: str) -> None:
        self.stream.write(f"\r{line.ljust(self._drawn)}")
        self._drawn = len(line)
        self.stream.flush()


def _short(value: Any) -> str:
    return f"{float(value):.4g}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
