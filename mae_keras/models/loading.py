"""Reading models from files, and clear words when one does not load."""

import importlib
import json
import os
import re
import zipfile
from typing import Any

import keras

from mae_keras import __version__
from mae_keras.archives import BombError, refuse_bomb
from mae_keras.models.versioning import VERSION_KEY

_OWN_MODULE = re.compile(r"mae_keras\.(ops|layers|losses|models|training)(\.\w+)*")


def load_model(filepath: str | os.PathLike[str], compile: bool = True) -> keras.Model:
    """Load a `.keras` file of this package, never running code from it.

    As `keras.saving.load_model(safe_mode=True)`, with an error in words for a file that is not
    there, is cut short, or comes from another version.

    Args:
        filepath: path of a `.keras` file.
        compile: bool, restore optimizer and loss too. Defaults to `True`.

    Returns:
        `keras.Model`.

    Raises:
        ValueError: if the file cannot be loaded, saying why.

    Example:
    >>> load_model("nowhere.keras")
    Traceback (most recent call last):
    ValueError: `filepath` must be a `.keras` file. Received: no such file: 'nowhere.keras'
    """
    path = os.fspath(filepath)
    if not os.path.isfile(path):
        raise ValueError(f"`filepath` must be a `.keras` file. Received: no such file: {path!r}")
    config = _saved_config(path)
    version = config["config"].get(VERSION_KEY)
    _import_own_modules(config)
    try:
        return keras.saving.load_model(path, compile=compile, safe_mode=True)
    except Exception as error:
        if version in (None, __version__):
            raise ValueError(f"{path!r} cannot be loaded: {_first_line(error)}") from error
        raise ValueError(
            f"{path!r} was saved by mae_keras {version} and cannot be loaded by mae_keras "
            f"{__version__}, which is installed: {_first_line(error)}"
        ) from error


def _saved_config(path: str) -> dict[str, Any]:
    """The file's config; refuses a file that is no whole archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_bomb(archive)
            damaged = archive.testzip()
            config = json.loads(archive.read("config.json"))
    except BombError:
        raise
    except (zipfile.BadZipFile, KeyError, EOFError, ValueError, OSError) as error:
        raise ValueError(
            f"{path!r} is no whole `.keras` file; it is truncated or of another kind ({error}). "
            f"Restore it from a copy, or train again with --resume from the last checkpoint."
        ) from error
    if damaged is not None:
        raise ValueError(f"{path!r} is damaged: {damaged!r} inside it does not match its checksum")
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise ValueError(f"{path!r} is no `.keras` file of a model: its config.json is not one")
    return config


def _import_own_modules(config: Any) -> None:
    """Import this package's modules that a config names: its classes register on import.

    Keras finds a class only after that, and ours are imported late; optimizers live in a room that
    models may not import. Modules of other packages are left to Keras's own rules.
    """
    children = config.values() if isinstance(config, dict) else config
    if isinstance(config, dict):
        module = config.get("module")
        if isinstance(module, str) and _OWN_MODULE.fullmatch(module):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError:
                pass  # of another version: Keras says which class it misses
    for child in children:
        if isinstance(child, (dict, list)):
            _import_own_modules(child)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
