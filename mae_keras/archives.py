"""Zip archives of unknown origin: read only if they are plain, whole and as large as they say.

Imports `mae_keras.files` alone.
"""

import contextlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from mae_keras.files import open_regular

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
