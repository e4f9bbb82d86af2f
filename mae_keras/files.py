"""Files: regular ones only, written so that a crash never costs the previous file.

Also zip archives of unknown origin, read only if they are plain, whole and as large as they say;
and packages whose names load on first use. Imports nothing of the package.
"""

import contextlib
import errno
import importlib
import json
import os
import pathlib
import re
import shutil
import stat
import struct
import tempfile
import time
import types
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

_ASIDE = re.compile(r"\.(?P<name>.+)\.\w{8}\.aside")
_PREVIOUS = "previous"
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


def read_json(path: str | os.PathLike[str], follow_links: bool = True) -> dict[str, Any]:
    """Read a JSON object from a regular file.

    Args:
        path: file to read.
        follow_links: bool, accept a symbolic link to a regular file. Defaults to `True`.

    Returns:
        dict.

    Raises:
        NotRegularError, FileNotFoundError: as `open_regular` does.
        ValueError: if it is no JSON, is nested too deeply, or holds no object.

    Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".json") as file:
    ...     _ = pathlib.Path(file.name).write_text('{"epochs": 2}')
    ...     read_json(file.name)
    {'epochs': 2}
    """
    with open_regular(path, follow_links) as file:
        text = file.read()
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"it must hold an object. Received: {type(content).__name__}")
    return content


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
    What a kill left aside is removed when the same `path` is replaced next, after an earlier folder
    that the kill left without its place was put back.

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
    _recover(path.parent, path.name)
    with _aside_folder(path) as folder:
        aside = folder / path.name
        try:
            yield aside
            _flush_all(aside)
            _swap(aside, path, folder)
        finally:
            _restore(folder, path)
            if not (folder / _PREVIOUS).exists() or path.exists():
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _aside_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder beside `path`, held by a lock that tells others that its process lives."""
    while True:
        folder = pathlib.Path(tempfile.mkdtemp(".aside", f".{path.name}.", path.parent))
        descriptor = _hold(folder)
        # Between these two lines it may have been taken for the leftover of a dead process.
        if folder.exists():
            break
        _let_go(descriptor)
    try:
        yield folder
    finally:
        _let_go(descriptor)


def _hold(folder: pathlib.Path, wait: bool = True) -> int | None:
    """Lock a folder until the process ends; `None` where that cannot be."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (ImportError, OSError):  # Windows; a folder that is gone
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def _let_go(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _recover(parent: pathlib.Path, name: str) -> None:
    """Put back what a kill left without its place, and remove what dead processes wrote aside."""
    for item in _leftovers(parent):
        if _ASIDE.fullmatch(item.name)["name"] != name:
            continue
        try:
            descriptor = _hold(item, wait=False)
        except BlockingIOError:  # it is being written
            continue
        if descriptor is None:
            continue
        try:
            _clear(item, parent / name)
        finally:
            _let_go(descriptor)


def _clear(leftover: pathlib.Path, path: pathlib.Path) -> None:
    _restore(leftover, path)
    if path.exists() or not (leftover / _PREVIOUS).exists():
        shutil.rmtree(leftover, ignore_errors=True)


def _restore(leftover: pathlib.Path, path: pathlib.Path) -> None:
    """Undo a replacement that was cut off between its two renames."""
    previous = leftover / _PREVIOUS
    if previous.exists() and not os.path.lexists(path):
        with contextlib.suppress(OSError):  # then it stays where it is
            os.rename(previous, path)


def _leftovers(parent: pathlib.Path) -> list[pathlib.Path]:
    if not parent.is_dir():
        return []
    found = [item for item in parent.iterdir() if _ASIDE.fullmatch(item.name)]
    return [item for item in found if item.is_dir() and not item.is_symlink()]


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

    An earlier folder that has lost its place to a kill is put back first.

    Args:
        folder: where the files were to be replaced; nobody may be writing in it now.

    Example:
    >>> import tempfile
    >>> remove_leftovers(tempfile.mkdtemp())
    """
    folder = pathlib.Path(folder)
    for item in _leftovers(folder):
        _clear(item, folder / _ASIDE.fullmatch(item.name)["name"])


def _swap(aside: pathlib.Path, path: pathlib.Path, folder: pathlib.Path) -> None:
    # A folder cannot be replaced by rename, nor a file by a folder: move the old one away first.
    # A kill after that leaves it in `folder`, from where `_restore` puts it back.
    if path.is_dir() or (os.path.lexists(path) and aside.is_dir()):
        os.replace(path, folder / _PREVIOUS)
    os.replace(aside, path)
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


# PyTorch and Keras store without compressing; weights packed anew by somebody shrink little.
MOST_GROWTH = 8
_ALWAYS_ALLOWED = 2**26  # bytes
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
# What reading a damaged archive can end in.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, LookupError),
    *(ValueError, OverflowError, NotImplementedError, RuntimeError),
)


class ArchiveError(ValueError):
    """An archive that is not what its kind of program writes; the message names the file."""


class BombError(ArchiveError):
    """A small archive that would fill the memory, or take hours to look through."""


@contextlib.contextmanager
def dated_alike() -> Iterator[None]:
    """Date what is zipped inside 1 January 1980, whatever the clock says."""
    # `zipfile` raises before 1980 and after 2107, where clocks without a battery start; Keras
    # lets nobody choose the date.
    date = time.struct_time((1980, 1, 1, 0, 0, 0, 1, 1, 0))
    zipfile.time = types.SimpleNamespace(  # type: ignore[attr-defined]
        time=lambda: 0.0, localtime=lambda *_: date
    )
    try:
        yield
    finally:
        zipfile.time = time  # type: ignore[attr-defined]


@contextlib.contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive whose members can be read by name and fit its size.

    Args:
        path: regular file, or a link to one.

    Yields:
        `zipfile.ZipFile`, nothing of it read yet.

    Raises:
        NotRegularError: a `ValueError`, if `path` is a folder, named pipe, device or the like.
        BombError: if the archive unfolds to more than 64 MiB and more than eight times its size.
        ArchiveError: a `ValueError`, if a name comes twice or leads out of the archive, or a member
            is a link, encrypted, or compressed in a way that neither Keras nor PyTorch writes.
        zipfile.BadZipFile, OSError: and others of `DAMAGE`, if this is no archive.

    Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     zipfile.ZipFile(file.name, "w").close()
    ...     with open_archive(file.name) as archive:
    ...         archive.namelist()
    []
    """
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        name = os.fspath(path)
        _refuse_bomb(archive, name, os.fstat(file.fileno()).st_size)
        _check_members(archive, name)
        yield archive


def _refuse_bomb(archive: zipfile.ZipFile, path: str, held: int) -> None:
    """Compare what an archive says it unfolds to with its size; no more than that is ever read."""
    unfolded = sum(item.file_size for item in archive.infolist())
    if unfolded > max(_ALWAYS_ALLOWED, MOST_GROWTH * held):
        raise BombError(
            f"{path!r} takes {held / 1e6:.1f} MB and unfolds to {unfolded / 1e6:.1f} MB, which no "
            f"file of weights does: refused"
        )


def _check_members(archive: zipfile.ZipFile, path: str) -> None:
    seen = set()
    for item in archive.infolist():
        name = item.filename
        trouble = None
        if name in seen:
            trouble = "is in it twice"
        elif name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            trouble = "leads out of the archive"
        elif stat.S_ISLNK(item.external_attr >> 16):
            trouble = "is a link"
        elif item.flag_bits & _ENCRYPTED:
            trouble = "is encrypted"
        elif item.compress_type not in _METHODS:
            trouble = f"is compressed by method {item.compress_type}, which is not read"
        if trouble:
            raise ArchiveError(f"{path!r} is damaged or was tampered with: {name!r} {trouble}")
        seen.add(name)


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package needs so that naming it imports none of its modules (PEP 562).

    Args:
        package: str, the package's `__name__`.
        homes: public name to the module it lives in, inside the package.

    Returns:
        `__getattr__`, `__dir__` and `__all__` of the package.

    Example:
    >>> getattribute, _, names = lazy_names("mae_keras", {"replacing": "files"})
    >>> names
    ['replacing']
    >>> getattribute("replacing").__module__
    'mae_keras.files'
    """
    names = sorted(homes)

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return load, lambda: names, names
