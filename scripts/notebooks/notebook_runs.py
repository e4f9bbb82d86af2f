"""Running notebooks: in a kernel of their own for keeps, in this process for a check."""

import contextlib
import gc
import io
import linecache
import os
import pathlib
import sys
import unittest.mock
from collections.abc import Iterator
from typing import Any

from nbclient import NotebookClient
from nbformat import NotebookNode

_LONGEST = 3600  # seconds for one cell
# Keeps messages of TensorFlow's libraries out of notebooks.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


def run_in_kernel(notebook: NotebookNode, folder: pathlib.Path) -> None:
    """Execute a notebook as Jupyter does and keep its outputs in it.

    Args:
        notebook: what to run; changed in place.
        folder: working directory.

    Raises:
        nbclient.exceptions.CellExecutionError: at the first cell that fails.
    """
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=_LONGEST, kernel_name="python3", resources=place).execute()


def run_in_process(
    notebook: NotebookNode, name: str, folder: pathlib.Path, overrides: dict[str, Any]
) -> None:
    """Execute a notebook here: no second import of TensorFlow, no outputs kept or shown.

    Lines that begin with `%` or `!` are left out.

    Args:
        notebook: what to run.
        name: what tracebacks call it.
        folder: working directory.
        overrides: variables set after the cell tagged `parameters`, all of which it must set.

    Raises:
        ValueError: if that cell does not set one of them.
        Exception: whatever a cell raises.
    """
    names: dict[str, Any] = {"__name__": name, "display": lambda *shown: None}
    with _working_in(folder), _showing_nothing():
        for number, cell in enumerate(notebook.cells, 1):
            if cell.cell_type != "code":
                continue
            _execute(cell.source, f"<{name}, cell {number}>", names)
            if "parameters" in cell.metadata.get("tags", ()):
                for key, value in overrides.items():
                    if key not in names:
                        raise ValueError(f"The cell tagged `parameters` of {name} sets no {key!r}")
                    names[key] = value
    _forget()


def _execute(source: str, place: str, names: dict[str, Any]) -> None:
    lines = ["" if line.startswith(("%", "!")) else line for line in source.splitlines()]
    code = "\n".join(lines) + "\n"
    # Tracebacks and AutoGraph look for source lines here.
    linecache.cache[place] = (len(code), None, code.splitlines(keepends=True), place)
    exec(compile(code, place, "exec"), names)


@contextlib.contextmanager
def _showing_nothing() -> Iterator[None]:
    """Neither text nor windows; without a display matplotlib would warn that it shows nothing."""
    hidden = unittest.mock.patch("matplotlib.pyplot.show", lambda *args, **kwargs: None)
    with contextlib.redirect_stdout(io.StringIO()), hidden:
        yield


@contextlib.contextmanager
def _working_in(folder: pathlib.Path) -> Iterator[None]:  # `contextlib.chdir` came with 3.11
    before = pathlib.Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _forget() -> None:
    """Free what a notebook held, so that the next one starts as in a fresh kernel."""
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    gc.collect()
