"""Stopping when asked to: Ctrl-C and SIGTERM finish the step, save and leave."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import keras

_SIGNALS = ("SIGINT", "SIGTERM")


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and did so after saving."""


class StopRequest(keras.callbacks.Callback):
    """Notes that the process was asked to stop, to be looked at after every step.

    Inside `listening()` the first SIGINT or SIGTERM during `fit` is only noted; a second one, and
    any outside of `fit`, interrupts at once.

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
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if not self._training or self.requested is not None:
            raise KeyboardInterrupt(name)
        self.requested = name

    def on_train_begin(self, logs: Any = None) -> None:
        self._training = True

    def on_train_end(self, logs: Any = None) -> None:
        self._training = False
