"""Reading regular files only, and writing so that a crash never costs the previous file.

Imports nothing of the package.
"""

import contextlib
import errno
import os
import pathlib
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

_ASIDE = re.compile(r"\..+\.aside")
_OTHER_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
}


class NotRegularError(ValueError):
    """A folder, named pipe, device, socket or link loop where a file was expected."""


def check_regular(path: str | os.PathLike[str], follow_links: bool = True) -> None:
    """Raise if a path names no regular file: reading a named pipe or a device may never end.

    Args:
        path: file to read later.
        follow_links: bool, accept a symbolic link to a regular file. Defaults to `True`.

    Raises:
        NotRegularError: a `ValueError`, if `path` names a folder, named pipe, device, socket or
            link loop; with `follow_links=False` also if it is a symbolic link.
        FileNotFoundError: if nothing is there, or a link points nowhere.

    Example:
    >>> check_regular("/")
    Traceback (most recent call last):
    mae_keras.files.NotRegularError: '/' must be a regular file. Received: a folder
    """
    try:
        status = os.stat(path, follow_symlinks=follow_links)
    except OSError as error:
        raise _named(error, path) from error
    _check_mode(path, status.st_mode)


def open_regular(path: str | os.PathLike[str], follow_links: bool = True) -> BinaryIO:
    """Open a regular file to read bytes from; never waits for a named pipe, reads no device.

    What was opened is looked at again, so that nobody can exchange the file in between.

    Args:
        path: file to read.
        follow_links: bool, accept a symbolic link to a regular file. Defaults to `True`.

    Returns:
        Binary file, to be closed by the caller.

    Raises:
        NotRegularError: a `ValueError`, as `check_regular` does.
        FileNotFoundError: if nothing is there, or a link points nowhere.

    Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as named, open_regular(named.name) as file:
    ...     file.read()
    b''
    """
    check_regular(path, follow_links)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise _named(error, path) from error
    try:
        _check_mode(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_mode(path: str | os.PathLike[str], mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _OTHER_KINDS.get(stat.S_IFMT(mode), "something else")
        raise NotRegularError(f"{os.fspath(path)!r} must be a regular file. Received: {kind}")


def _named(error: OSError, path: str | os.PathLike[str]) -> Exception:
    if error.errno == errno.ELOOP:
        name = os.fspath(path)
        return NotRegularError(f"{name!r} must be a regular file. Received: a loop of links")
    return error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Write a file or folder aside, then put it in place of `path` in one step.

    The name yielded has the suffix of `path` and lies in the same folder. If the block raises (a
    full disk, an interrupt) `path` keeps its old content and what was written aside is removed.

    Args:
        path: file or folder to replace; parents are made.

    Yields:
        `pathlib.Path` to write to.

    Example:
    >>> import tempfile
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(target) as aside:
    ...     _ = aside.write_text("done")
    >>> target.read_text()
    'done'
    """
    path = pathlib.Path(path)
    make_folder(path.parent)
    folder = pathlib.Path(tempfile.mkdtemp(".aside", f".{path.name}.", path.parent))
    aside = folder / path.name
    try:
        yield aside
        _flush_all(aside)
        _swap(aside, path, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and its parents so that they outlive a power cut, as what is put there does.

    Args:
        path: folder, which may be there already.

    Example:
    >>> import tempfile
    >>> make_folder(pathlib.Path(tempfile.mkdtemp()) / "runs" / "digits")
    """
    path = pathlib.Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        _flush(folder.parent)  # that is where the name of a folder is written


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove what `replacing` wrote aside in a folder and a kill kept it from removing.

    Args:
        folder: where the files were to be replaced; nobody may be writing in it now.

    Example:
    >>> import tempfile
    >>> remove_leftovers(tempfile.mkdtemp())
    """
    folder = pathlib.Path(folder)
    if folder.is_dir():
        for item in folder.iterdir():
            if _ASIDE.fullmatch(item.name) and item.is_dir():
                shutil.rmtree(item, ignore_errors=True)


def _swap(aside: pathlib.Path, path: pathlib.Path, folder: pathlib.Path) -> None:
    previous = folder / "previous"
    if path.is_dir():  # a folder cannot be replaced by rename: move the old one away first
        os.replace(path, previous)
    try:
        os.replace(aside, path)
    except OSError:
        if previous.exists():
            os.rename(previous, path)
        raise
    _flush(path.parent)


def _flush_all(path: pathlib.Path) -> None:
    for item in sorted(path.rglob("*")) if path.is_dir() else ():
        _flush(item)
    _flush(path)


def _flush(path: pathlib.Path) -> None:
    """Ask the disk to keep what was written before the rename makes it visible."""
    windows, folder = os.name == "nt", path.is_dir()
    if windows and folder:
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems flush files but not folders.
        if not folder or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
