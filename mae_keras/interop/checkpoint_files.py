"""From a path to the tensors of a checkpoint: finds the file, tells its kind, refuses the rest."""

import argparse
import json
import os
import pathlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from mae_keras.arguments import check_int
from mae_keras.files import check_regular, open_regular
from mae_keras.interop.pickled_tensors import Namespace, check_pickle, read_pickled_tensors
from mae_keras.interop.safetensors_files import read_safetensors
from mae_keras.interop.stored_tensors import Checkpoint, StoredTensor, numpy_dtype
from mae_keras.interop.targets import as_path

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled magic number opens such files
# What reading a damaged archive, or a pickle that makes no sense, can end in.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError, EOFError),
    *(ValueError, TypeError, AttributeError, LookupError, OverflowError, RuntimeError, OSError),
)
_LEGACY_PICKLES = 5
_LARGEST_JSON = 2**24
_CONTAINERS = ("model", "state_dict", "model_state_dict", "module")


def read_checkpoint(path: str | os.PathLike[str], max_bytes: int | None = None) -> Checkpoint:
    """The tensors of a checkpoint, not yet read, and the JSON files beside it.

    Args:
        path: `.safetensors`, `.pth`, `.pt` or `.bin` file, or a folder with `model.safetensors`
            or `pytorch_model.bin`.
        max_bytes: int, memory that all its tensors may take as float32, or `None`: what the
            machine has free, where that can be told.

    Returns:
        `Checkpoint`.

    Raises:
        ImportError: if a package for this kind of file is missing; the error names the extra.
        MemoryError: if the tensors take more than `max_bytes`.
        ValueError: if there is no checkpoint, or it is damaged, or asks to run code.
    """
    file = _weights_file(as_path(path))
    max_bytes = check_int("max_bytes", max_bytes, 1, optional=True)
    kept = _named_tensors(*_read(str(file)))
    kept.path = os.fspath(path)
    kept.config = _model_config(file, kept.notes)
    kept.preprocessor = _beside(file, "preprocessor_config.json")
    _check_numbers(kept)
    _check_memory(kept, max_bytes)
    return kept


def _weights_file(path: pathlib.Path) -> pathlib.Path:
    if path.is_dir():
        for name in _WEIGHTS:
            if (path / name).is_file():
                return path / name
        sharded = sorted(path.glob("*.index.json"))
        held = "a checkpoint in several files, which is not read" if sharded else "neither"
        raise ValueError(
            f"`path` must be a checkpoint or a folder with {' or '.join(_WEIGHTS)}. "
            f"Received: {str(path)!r}, which holds {held}"
        )
    if not os.path.lexists(path):
        raise ValueError(f"`path` must be a checkpoint. Received: no such file: {str(path)!r}")
    check_regular(path)
    return path


def _read(path: str) -> tuple[str, Any]:
    """The file's content, by what its first bytes say it is and not by its name."""
    with open_regular(path) as file:
        start = file.read(64)
    if start.startswith(_LFS_POINTER):
        raise ValueError(
            f"{path!r} is a Git LFS pointer: a few lines of text in place of the weights. "
            f"Fetch them with `git lfs pull`, or download the file itself"
        )
    if start.startswith(b"PK"):
        return path, _read_zip(path)
    if start.startswith(_LEGACY):
        return path, _read_legacy(path)
    if start[8:9] == b"{" or path.endswith(".safetensors"):
        return path, read_safetensors(path)
    raise ValueError(
        f"{path!r} is no checkpoint: neither a safetensors file nor one that PyTorch wrote. "
        f"It begins with {start[:16]!r}"
    )


def _read_zip(path: str) -> Any:
    try:
        return read_pickled_tensors(path)
    except _DAMAGE as error:
        if isinstance(error, ValueError) and repr(path) in str(error):
            raise
        raise ValueError(
            f"{path!r} is no whole checkpoint; it is truncated or a zip archive of another kind "
            f"than a PyTorch file ({error or type(error).__name__})"
        ) from error


def _read_legacy(path: str) -> Any:
    """Files of PyTorch before 1.6: only PyTorch itself reads them."""
    _check_legacy(path)
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path!r} was written in the format of PyTorch before 1.6, which needs PyTorch: "
            f"pip install torch, or save it anew there with torch.save",
            name="torch",
        ) from error
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path!r} cannot be loaded by PyTorch: {error}") from error
    return _from_torch(content)


def _check_legacy(path: str) -> None:
    """The pickles before the numbers: what wrote the file, the content and the storages' names."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            for _ in range(_LEGACY_PICKLES):
                check_pickle(file, size, path)
        except _DAMAGE as error:
            if isinstance(error, ValueError) and repr(path) in str(error):
                raise
            raise ValueError(f"{path!r} is no whole checkpoint ({error})") from error


def _from_torch(content: Any) -> Any:
    """PyTorch's tensors as `StoredTensor`, and its Namespace as ours, as far in as they are read.

    Two dicts deep: what lies deeper may be without end, or one thing under many names.
    """
    if not isinstance(content, Mapping):
        return _plain(content)
    inner: dict[int, Any] = {}
    for value in content.values():
        if isinstance(value, Mapping) and id(value) not in inner:
            inner[id(value)] = {key: _plain(part) for key, part in value.items()}
    return {
        key: inner[id(value)] if id(value) in inner else _plain(value)
        for key, value in content.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, argparse.Namespace):
        settings = Namespace()
        settings.__setstate__(vars(value))
        return settings
    if hasattr(value, "detach"):
        dtype = str(value.dtype).removeprefix("torch.")
        return StoredTensor(tuple(value.shape), dtype, lambda: value.detach().float().numpy())
    return value


def _named_tensors(path: str, content: Any) -> Checkpoint:
    """Take the tensors out of what a training script wrapped around them."""
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path!r} holds no tensors by name but one {type(content).__name__}; "
            f"save the model's state_dict"
        )
    outside, where = content, ""
    for name in _CONTAINERS:
        if isinstance(outside.get(name), Mapping):
            content, where = outside[name], name
            break
    tensors = {key: value for key, value in content.items() if isinstance(value, StoredTensor)}
    if not tensors:
        raise ValueError(
            f"{path!r} holds no tensors by name. It holds: {[str(key) for key in content][:5]}"
        )
    notes = []
    if where:
        rest = ", ".join(str(key) for key in outside if key != where)
        beside = f"; beside it, not used: {rest}" if rest else ""
        notes.append(f"The tensors are those of {where!r}{beside}.")
    others = [str(key) for key in content if key not in tensors]
    if others:
        notes.append(f"No tensors, not used: {', '.join(others)}.")
    args = outside.get("args")
    settings = args.values if isinstance(args, Namespace) else {}
    return Checkpoint(path, {str(k): v for k, v in tensors.items()}, settings, notes=notes)


def _model_config(file: pathlib.Path, notes: list[str]) -> dict[str, Any]:
    """Hugging Face's or timm's `config.json`; that of anything else is left alone."""
    config = _beside(file, "config.json")
    if config and not config.keys() & {"model_type", "architectures", "architecture"}:
        notes.append("The config.json beside the weights names no model: not used.")
        return {}
    return config


def _beside(file: pathlib.Path, name: str) -> dict[str, Any]:
    """A JSON file in the folder of a checkpoint; empty when there is none."""
    path = file.parent / name
    if not os.path.lexists(path):
        return {}
    try:
        with open_regular(path) as opened:
            text = opened.read(_LARGEST_JSON + 1)
        if len(text) > _LARGEST_JSON:
            raise ValueError(f"it has more than {_LARGEST_JSON} bytes")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r}, beside the weights, cannot be read: {error}") from error
    return content if isinstance(content, dict) else {}


def _check_numbers(checkpoint: Checkpoint) -> None:
    """Refuse kinds of numbers that are not read; say which were converted."""
    kinds: dict[str, int] = {}
    for name, tensor in checkpoint.tensors.items():
        try:
            numpy_dtype(tensor.dtype)
        except ValueError as error:
            raise ValueError(f"{checkpoint.path!r} holds {name!r}: {error}") from error
        kinds[tensor.dtype] = kinds.get(tensor.dtype, 0) + 1
    for dtype in ("float16", "bfloat16", "float64"):
        if dtype in kinds:
            checkpoint.notes.append(f"{kinds[dtype]} tensors of {dtype}, converted to float32.")


def _check_memory(checkpoint: Checkpoint, max_bytes: int | None) -> None:
    tensors = checkpoint.tensors.values()
    needed = sum(tensor.num_bytes for tensor in tensors)
    needed = max([needed, *(tensor.read_bytes for tensor in tensors)])
    free = _free_memory() if max_bytes is None else max_bytes
    if free is not None and needed > free:
        limit = "the machine has free" if max_bytes is None else "`max_bytes` allows"
        raise MemoryError(
            f"The tensors of {checkpoint.path!r} take {needed / 1e6:.1f} MB as float32, more than "
            f"the {free / 1e6:.1f} MB that {limit}"
        )


def _free_memory() -> int | None:
    """Bytes that can be had without swapping, or `None` where the system does not say (Linux)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
