"""One process at a time in a run's folder, by a lock that ends with the process that holds it."""

import contextlib
import errno
import logging
import os
import pathlib
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import IO

from mae_keras.files import make_folder

LOGGER = logging.getLogger("mae_keras")


class LockedError(ValueError):
    """The folder is not this process's: another one holds it, or took its place."""


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[Callable[[], None]]:
    """Hold a folder's lock, which the operating system frees when this process ends, however.

    The lock is of a file, not of its name: where the folder is removed or moved, another process
    can lock a new one in its place. What is yielded finds out.

    Args:
        folder: made if it is not there; holds a file `.lock`, which stays and means nothing by
            itself.

    Yields:
        Callable to be called before writing: raises `LockedError` if the folder of that name is
        no longer the one that is held.

    Raises:
        LockedError: if another process holds it, naming that process.

    Example:
    >>> import tempfile
    >>> with locked(tempfile.mkdtemp()) as check:
    ...     check()
    """
    folder = pathlib.Path(folder)
    make_folder(folder)
    # Not "w", which would wipe the holder's name out before the lock is tried.
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        if not _lock(file):
            file.seek(0)
            holder = file.readline().strip() or "unknown"
            raise LockedError(
                f"The run's folder must not be in use. Received: {str(folder)!r}, in which another "
                f"process is at work ({holder})"
            )
        mark = f"process {os.getpid()} on {socket.gethostname()}\n{secrets.token_hex(8)}\n"
        file.truncate(0)
        file.write(mark)
        file.flush()
        _check(folder, mark)  # it may have been replaced since it was opened
        try:
            yield lambda: _check(folder, mark)
        finally:
            file.truncate(0)


def _check(folder: pathlib.Path, mark: str) -> None:
    """Compare what stands in the file of that name; file numbers differ on some file systems."""
    try:
        held = (folder / ".lock").read_text(encoding="utf-8") == mark
    except (FileNotFoundError, NotADirectoryError):
        held = False
    except OSError:  # cannot be told just now; writing will say so
        return
    if not held:
        raise LockedError(
            f"The run's folder must stay in its place while it is trained in. Received: "
            f"{str(folder)!r}, which was moved, removed or replaced. Nothing more is written"
        )


def _lock(file: IO[str]) -> bool:
    """Take the lock without waiting; whether it was free."""
    if os.name == "nt":
        import msvcrt

        file.seek(1 << 30)  # Windows locks bytes; far from the text, which others may read
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        LOGGER.warning(
            "This file system has no locks (%s): see to it yourself that no two processes write "
            "to the run's folder.",
            error,
        )
    return True
