"""Reading models from files, and clear words when one does not load."""

import os
from collections.abc import Mapping
from typing import Any

import keras

from mae_keras import __version__
from mae_keras.archives import DAMAGE, ArchiveError, open_archive
from mae_keras.files import NotRegularError
from mae_keras.models.allowed_objects import Allowed
from mae_keras.models.config_check import MOST_BYTES, check_config, parse_config
from mae_keras.models.versioning import VERSION_KEY
from mae_keras.models.weights_check import check_weights, limited_weights
from mae_keras.registration import register

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MEMBERS = {_CONFIG, _METADATA, _WEIGHTS}


def load_model(
    filepath: str | os.PathLike[str],
    compile: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Load a `.keras` file, of anybody's, without running code or reading files that it names.

    As `keras.saving.load_model(safe_mode=True)`, but closed by a list: a file may name the classes
    of this package and Keras's plain layers, optimizers, schedules, losses, metrics, initializers,
    regularizers, constraints and activations, and what you pass in `custom_objects`. Everything
    else is refused before anything is built, as is a file that asks for far more memory than its
    weights take.

    Args:
        filepath: path of a `.keras` file.
        compile: bool, restore optimizer and loss too. Defaults to `True`.
        custom_objects: name to class or function that the file may name as well, also one of
            Keras's: `{"LSTM": keras.layers.LSTM}`. Pass only what you would let the file call
            with arguments of its choice. Defaults to `None`.

    Returns:
        `keras.Model`.

    Raises:
        ValueError: if the file cannot be loaded, or names something else, saying what.

    Example:
    >>> load_model("nowhere.keras")
    Traceback (most recent call last):
    ValueError: `filepath` must be a `.keras` file. Received: no such file: 'nowhere.keras'
    """
    path = os.fspath(filepath)
    if not os.path.lexists(path):
        raise ValueError(f"`filepath` must be a `.keras` file. Received: no such file: {path!r}")
    register(keras)
    text, weights = _read(path, may_have_assets=bool(custom_objects))
    version = None
    try:
        config = parse_config(text)
        version = config["config"].get(VERSION_KEY)
        if not compile:
            config.pop("compile_config", None)
        held = check_weights(weights, os.path.getsize(path))
        del weights  # before Keras reads them again
        check_config(config, held.count, held.allowed_bytes, Allowed(custom_objects))
        with limited_weights(held):
            # an absolute path: Keras takes some others for addresses on the network
            return keras.saving.load_model(
                os.path.abspath(path), custom_objects, compile=compile, safe_mode=True
            )
    except Exception as error:
        if version in (None, __version__):
            raise ValueError(f"{path!r} cannot be loaded: {_first_line(error)}") from error
        raise ValueError(
            f"{path!r} was saved by mae_keras {str(version)[:50]} and cannot be loaded by "
            f"mae_keras {__version__}, which is installed: {_first_line(error)}"
        ) from error


def _read(path: str, may_have_assets: bool) -> tuple[bytes, bytes]:
    """The file's config and weights; refuses a file that is no whole archive."""
    try:
        with open_archive(path) as archive:
            if archive.getinfo(_CONFIG).file_size > MOST_BYTES:
                raise ArchiveError(f"{path!r} has a config.json of more than {MOST_BYTES} bytes")
            others = set(archive.namelist()) - _MEMBERS
            if others and not (may_have_assets and all(n.startswith("assets/") for n in others)):
                name = min(others)[:200]
                raise ArchiveError(f"{path!r} holds {name!r}, which Keras does not write")
            if _METADATA in archive.namelist():
                archive.read(_METADATA)  # for its checksum
            return archive.read(_CONFIG), archive.read(_WEIGHTS)
    except ArchiveError:
        raise
    except NotRegularError as error:
        raise ValueError(f"`filepath` must be a `.keras` file: {error}") from error
    except DAMAGE as error:
        raise ValueError(
            f"{path!r} is no whole `.keras` file; it is truncated or of another kind ({error}). "
            f"Restore it from a copy, or train again with --resume from the last checkpoint."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:1000]
