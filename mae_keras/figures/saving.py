"""Writing figures to files. Imports matplotlib and `mae_keras.files`."""

import os
import pathlib

from matplotlib.figure import Figure

from mae_keras.files import replacing


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: float = 120) -> None:
    """Write a figure so that a crash never costs the picture that was there.

    Args:
        figure: `matplotlib.figure.Figure`.
        path: file to write or replace; its suffix decides the format (`.png`, `.pdf`, `.svg`,
            ...), PNG without one; parents are made.
        dpi: float, dots per inch.

    Raises:
        ValueError: if `path` is a folder, or matplotlib does not know its suffix.

    Example:
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pictures" / "empty.png"
    >>> save_figure(Figure(), path)
    >>> path.exists()
    True
    """
    path = pathlib.Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"`path` must be a file. Received: the folder {str(path)!r}")
    suffix = path.suffix[1:].lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if suffix not in known:
        raise ValueError(
            f"`path` must end in one of {', '.join(sorted(known))}. Received: path={str(path)!r}"
        )
    with replacing(path) as aside:
        figure.savefig(aside, format=suffix, dpi=dpi)
