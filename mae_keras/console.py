"""What a command owes its terminal: it works on where it cannot print, and hears signals.

Imports nothing of the package.
"""

import contextlib
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# EX_IOERR of sysexits.h: everything was done, but what it printed was lost.
EXIT_UNPRINTED = 74


class _Unfailing:
    """A text stream whose errors are noted in a list instead of raised."""

    def __init__(self, stream: Any, failures: list[OSError]):
        self._stream, self._failures = stream, failures

    def write(self, text: str) -> int:
        with self._noting():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._noting():
            self._stream.flush()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failures.append(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def unfailing_output() -> Iterator[list[OSError]]:
    """Let nothing that is printed end the work: a closed pipe, a full disk, a foreign file name.

    Characters that the terminal's encoding lacks, and file names that are no text, are printed as
    escapes. Standard output and error are put back afterwards.

    Yields:
        List that receives what went wrong; writers that were closed by their reader (`| head`)
        give `BrokenPipeError`.

    Example:
    >>> with unfailing_output() as failures:
    ...     print("training")
    training
    >>> failures
    []
    """
    failures: list[OSError] = []
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as held:
        for stream in before:
            if not isinstance(stream, _Unfailing) and hasattr(stream, "reconfigure"):
                held.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors="backslashreplace")
        sys.stdout, sys.stderr = (_unfailing(stream, failures, held) for stream in before)
        try:
            yield failures
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = before


def _unfailing(stream: Any, failures: list[OSError], held: contextlib.ExitStack) -> Any:
    if isinstance(stream, _Unfailing):
        return stream
    if stream is None:  # its descriptor was closed before the start (`>&-`)
        stream = held.enter_context(open(os.devnull, "w"))
    return _Unfailing(stream, failures)


def discard_unwritten() -> None:
    """Drop what still cannot be written, so that Python does not fail by it when it ends.

    For a program's last act: what it prints later goes nowhere.

    Example:
    >>> discard_unwritten()
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def exit_code_of(failures: list[OSError]) -> int:
    """0, also where the reader of a pipe had enough; `EXIT_UNPRINTED` where output was lost.

    Example:
    >>> exit_code_of([BrokenPipeError()]), exit_code_of([OSError(errno.ENOSPC, "full")])
    (0, 74)
    """
    closed = (errno.EPIPE, errno.ECONNRESET)
    return EXIT_UNPRINTED if any(error.errno not in (*closed, None) for error in failures) else 0


def quiet_tensorflow() -> None:
    """Hide TensorFlow's hints for those who write code, which users of a command cannot follow.

    That functions are traced for several sizes of batches is meant so.

    Example:
    >>> quiet_tensorflow()
    """
    logging.getLogger("tensorflow").addFilter(_is_for_users)
    # Read when TensorFlow is imported: lines of its C++ code, such as `Error in PredictCost()`.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what matters is raised as well


def _is_for_users(record: logging.LogRecord) -> bool:
    return "tf.function retracing" not in record.getMessage()


@contextlib.contextmanager
def interrupting_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `KeyboardInterrupt` as Ctrl-C does, unless they are ignored.

    An error that is raised inside a callback of the garbage collector or of C code is lost there.
    So the signal is also noted, and raised again once the work is done.

    In other threads than the main one it does nothing.

    Example:
    >>> with interrupting_signals():
    ...     pass
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    received: list[str] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        raise KeyboardInterrupt(received[-1])

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except SystemExit as error:  # as a command that is done ends
        if error.code or not received:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt(received[0])
