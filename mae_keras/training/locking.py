"""One process at a time in a run's folder, by a lock that ends with the process that holds it."""

import contextlib
import errno
import logging
import os
import pathlib
import re
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from typing import IO

from mae_keras.files import NotRegularError, check_regular, make_folder, open_regular

LOGGER = logging.getLogger("mae_keras")

_MARK = re.compile(r"process \d+ on ")
_LONGEST_MARK = 4096


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
        LockedError: if another process holds it, naming that process, or `.lock` is a file that
            holds something else, which stays as it is.
        NotRegularError: a `ValueError`, if `.lock` is a symbolic link, a named pipe or a device.

    Example:
    >>> import tempfile
    >>> with locked(tempfile.mkdtemp()) as check:
    ...     check()
    """
    folder = pathlib.Path(folder)
    make_folder(folder)
    with _open_lock(folder / ".lock") as file:
        free = _lock(file)
        file.seek(0)
        text = file.read(_LONGEST_MARK)
        if not free:
            holder = text.partition("\n")[0].strip() or "unknown"
            raise LockedError(
                f"The run's folder must not be in use. Received: {str(folder)!r}, in which another "
                f"process is at work ({holder})"
            )
        if not _is_mark(text):
            raise LockedError(
                f"{str(folder / '.lock')!r} must be the lock of a run. Received: a file that holds "
                f"something else; move it away"
            )
        mark = f"process {os.getpid()} on {socket.gethostname()}\n{secrets.token_hex(8)}\n"
        file.seek(0)
        file.truncate(0)
        file.write(mark)
        file.flush()
        _check(folder, mark)  # it may have been replaced since it was opened
        try:
            yield lambda: _check(folder, mark)
        finally:
            file.truncate(0)


def _is_mark(text: str) -> bool:
    """Whether a lock may be overwritten; a power cut leaves nothing or zeros of a mark's length."""
    return bool(_MARK.match(text)) or (len(text) < 200 and not text.strip("\0"))


def _open_lock(path: pathlib.Path) -> IO[str]:
    """Open for reading and writing, never through a link, and change nothing yet."""
    with contextlib.suppress(FileNotFoundError):
        check_regular(path, follow_links=False)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o666)
    file = os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace", newline="")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # exchanged since it was looked at
        file.close()
        raise NotRegularError(f"{str(path)!r} must be a regular file")
    return file


def _check(folder: pathlib.Path, mark: str) -> None:
    """Compare what stands in the file of that name; file numbers differ on some file systems."""
    try:
        with open_regular(folder / ".lock", follow_links=False) as file:
            held = file.read(_LONGEST_MARK) == mark.encode()
    except (FileNotFoundError, NotADirectoryError, NotRegularError):
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
