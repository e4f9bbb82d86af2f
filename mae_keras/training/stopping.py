"""Stopping when asked to: Ctrl-C, SIGTERM and SIGHUP finish the step, save and leave."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import keras

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
