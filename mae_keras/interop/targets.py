"""Where an export goes: a path that is taken or cannot be written is refused before any work."""

import os
import pathlib

from mae_keras.models.exporting import check_replaceable


def as_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Refuse what is not the name of a file or folder.

    Args:
        path: what was given.

    Returns:
        `pathlib.Path`.

    Raises:
        TypeError: if it is something else.

    Example:
    >>> as_path(None)
    Traceback (most recent call last):
    TypeError: `path` must be a str or a path. Received: path=None
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"`path` must be a str or a path. Received: path={path!r}")
    return pathlib.Path(path)


def check_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """Accept a new or empty folder, or an earlier SavedModel alone, which will be replaced.

    Args:
        path: folder to write.

    Returns:
        `pathlib.Path`.

    Raises:
        ValueError: if something else is there, or beside the SavedModel.
        OSError: if it cannot be written.

    Example:
    >>> check_folder("saved_model").name
    'saved_model'
    """
    path = as_path(path).expanduser()
    if path.name in ("", ".."):
        raise ValueError(f"`path` must name a folder to write. Received: {str(path)!r}")
    check_replaceable(path)
    _check_writable(path)
    return path


def check_file(path: str | os.PathLike[str], suffix: str) -> pathlib.Path:
    """Accept a file with the right ending, which is replaced if it exists.

    Args:
        path: file to write.
        suffix: how the name must end, with the dot.

    Returns:
        `pathlib.Path`.

    Raises:
        ValueError: if the name ends otherwise, or is a folder's.
        OSError: if it cannot be written.

    Example:
    >>> check_file("model.onnx", ".onnx").name
    'model.onnx'
    """
    path = as_path(path).expanduser()
    if path.suffix != suffix:
        raise ValueError(f"`path` must end in {suffix!r}. Received: {str(path)!r}")
    if path.is_dir():
        raise ValueError(f"`path` must be a file, not a folder. Received: {str(path)!r}")
    _check_writable(path)
    return path


def _check_writable(path: pathlib.Path) -> None:
    """Look at the nearest folder that exists: the export makes the others."""
    above = path.absolute().parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(
            f"`path` must lie in a folder; {str(above)!r} is a file. Received: {str(path)!r}"
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(
            f"`path` must lie in a folder that can be written to; {str(above)!r} cannot. "
            f"Received: {str(path)!r}"
        )
