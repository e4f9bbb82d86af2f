"""How fast training goes, compilation apart."""

import statistics
import time
from typing import Any

import keras


class Stopwatch(keras.callbacks.Callback):
    """Time every call of the training function.

    The first one of all traces and compiles; the first one of an epoch waits for its data. The
    rate is the median of the others. Of a run that was resumed it is that of the last process
    that measured one.

    Args:
        batch_size: int, images per step.

    Example:
    >>> Stopwatch(32).metrics()
    {'images_per_second': None, 'compile_seconds': None}
    """

    def __init__(self, batch_size: int):
        super().__init__()
        self.batch_size = batch_size
        self._first: float | None = None
        self._rates: list[float] = []
        self._earlier: dict[str, float | None] = {}
        self._started = 0.0
        self._batch = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._started, self._batch = time.perf_counter(), batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if logs:
            float(logs["loss"])  # waits until the step is done
        seconds = time.perf_counter() - self._started
        if self._first is None:
            self._first = seconds
        elif self._batch > 0:
            self._rates.append(self.batch_size * (batch - self._batch + 1) / seconds)

    def get_state(self) -> dict[str, float | None]:
        """What was measured so far."""
        return self.metrics()

    def set_state(self, state: dict[str, float | None]) -> None:
        """What an earlier process measured, which stands until this one measures."""
        self._earlier = dict(state)

    def metrics(self) -> dict[str, float | None]:
        """Median images per second, and the seconds of the first step over those of a usual one."""
        if not self._rates:
            first = None if self._first is None else round(self._first, 2)
            return {"images_per_second": None, "compile_seconds": first, **self._earlier}
        rate = statistics.median(self._rates)
        compiling = max(self._first - self.batch_size / rate, 0.0)
        return {"images_per_second": round(rate, 1), "compile_seconds": round(compiling, 2)}
