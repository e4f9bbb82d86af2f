"""One process at a time in a run's folder, by a lock that ends with the process that holds it."""

import contextlib
import errno
import logging
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import IO

LOGGER = logging.getLogger("mae_keras")


class LockedError(ValueError):
    """Another process holds the folder."""


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a folder's lock, which the operating system frees when this process ends, however.

    Args:
        folder: made if it is not there; holds a file `.lock`, which stays and means nothing by
            itself.

    Raises:
        LockedError: if another process holds it, naming that process.

    Example:
    >>> import tempfile
    >>> with locked(tempfile.mkdtemp()):
    ...     pass
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Not "w", which would wipe the holder's name out before the lock is tried.
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        if not _lock(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise LockedError(
                f"The run's folder must not be in use. Received: {str(folder)!r}, in which another "
                f"process is at work ({holder})"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


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
