"""Zip archives of unknown origin: one that unfolds to far more than its size is refused.

Imports nothing of the package.
"""

import os
import zipfile

# PyTorch and Keras store without compressing; weights packed anew by somebody shrink little.
_MOST_GROWTH = 8
_ALWAYS_ALLOWED = 2**26  # bytes


class BombError(ValueError):
    """A small archive that would fill the memory, or take hours to look through."""


def refuse_bomb(archive: zipfile.ZipFile) -> None:
    """Compare what an archive says it unfolds to with its size; no more than that is ever read.

    Args:
        archive: opened from a path, nothing read yet.

    Raises:
        BombError: if that is more than 64 MiB and more than eight times as much.

    Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file, zipfile.ZipFile(file.name, "w") as archive:
    ...     refuse_bomb(archive)
    """
    path = os.fspath(archive.filename)
    held, unfolded = os.path.getsize(path), sum(item.file_size for item in archive.infolist())
    if unfolded > max(_ALWAYS_ALLOWED, _MOST_GROWTH * held):
        raise BombError(
            f"{path!r} takes {held / 1e6:.1f} MB and unfolds to {unfolded / 1e6:.1f} MB, which no "
            f"file of weights does: refused"
        )
