"""Read weights to start from: from the package, a run, a file, a published checkpoint.

Keras is imported on use, so that names can be listed without it.
"""

import os
import pathlib
from typing import TYPE_CHECKING, Any

from mae_keras.registry import WEIGHT_READERS
from mae_keras.run_contents import nearest_pretrained, path_of_weights, pretrained_names

if TYPE_CHECKING:
    import keras

_CHECKPOINTS = (".bin", ".pt", ".pth", ".safetensors")
_CHECKPOINTS_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin", "*.index.json")


def load_pretrained(source: str | os.PathLike[str], kind: str = "autoencoder") -> "keras.Model":
    """Load what `MaskedAutoencoder.from_pretrained` describes, not compiled.

    Args:
        source: as described there.
        kind: `"autoencoder"` or `"encoder"`, what to build from a published checkpoint.

    Returns:
        `keras.Model` of any kind.

    Raises:
        TypeError: if `source` is neither text nor a path.
        ValueError: if there is nothing of this name, or it cannot be loaded.

    Example:
    >>> load_pretrained("mnist").image_shape
    (28, 28, 1)
    """
    from mae_keras.models.loading import load_model

    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"`source` must be a name or a path. Received: {type(source).__name__}")
    if "://" in os.fspath(source):
        return _load_with_keras(os.fspath(source))
    try:
        path = path_of_weights(source)
        found = os.fspath(source) != "" and path.exists()
    except (OSError, RuntimeError):  # too long, or the home of nobody
        found = False
    if not found:
        raise ValueError(_unknown(source))
    if path.is_dir() and ((path / "model.keras").exists() or (path / "checkpoints").is_dir()):
        path = WEIGHT_READERS["run"](path, "source")
    if path.suffix == ".keras" and not path.is_dir():
        return load_model(path, compile=False)
    if _holds_checkpoint(path):
        return WEIGHT_READERS["checkpoint"](path, kind, "source")
    return _load_with_keras(str(path))


def _holds_checkpoint(path: pathlib.Path) -> bool:
    if path.is_dir():
        return any(any(path.glob(name)) for name in _CHECKPOINTS_IN_FOLDERS)
    return path.suffix in _CHECKPOINTS


def _load_with_keras(address: str) -> "keras.Model":
    import keras

    try:
        return keras.saving.load_model(address, compile=False, safe_mode=True)
    except Exception as error:  # whatever a file or the network can do
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        unknown = reason.startswith("File format not supported")
        reason = "is none of these" if unknown else f"Keras cannot load: {reason}"
        raise ValueError(
            f"`source` must be {_expected()}. Received: {address!r}, which {reason}"
        ) from error


def _expected() -> str:
    names = ", ".join(map(repr, pretrained_names()))
    return f"{names}, a run's folder, a `.keras` file or a published checkpoint"


def _unknown(source: str | os.PathLike[str]) -> str:
    name = os.fspath(source)[:300]
    near = nearest_pretrained(name)
    hint = f"; did you mean {near!r}?" if near else "."
    return f"`source` must be {_expected()}{hint} Received: {name!r}, not found"


def check_kind_of_weights(model: Any, wanted: type, source: Any) -> None:
    """Refuse weights of another kind of model than the class that loads them.

    Args:
        model: what was loaded.
        wanted: class.
        source: what it was loaded from.

    Raises:
        ValueError: if `model` is no instance of `wanted`.
    """
    if not isinstance(model, wanted):
        raise ValueError(
            f"`source` must hold a {wanted.__name__}. Received: {os.fspath(source)!r}, which holds "
            f"a {type(model).__name__}"
        )
