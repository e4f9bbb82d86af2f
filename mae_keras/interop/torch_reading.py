"""From a path to the tensors of a checkpoint, without PyTorch and without running code.

Finds the file, tells its kind and refuses the rest. A pickle (`.pth`, `.bin`, `.pt`) is a program:
it names functions and calls them. The reader here knows the few names that a file of tensors
needs, all of them stand-ins of its own, and refuses every other. `.safetensors` files are read by
the `safetensors` package, an extra. Tensors are read on demand.
"""

import argparse
import collections
import dataclasses
import io
import json
import math
import os
import pathlib
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from mae_keras.arguments import check_int
from mae_keras.files import check_regular, open_archive, open_regular
from mae_keras.interop.export import as_path, import_extra

_FLOATS = ("float32", "float64", "float16", "bfloat16")
_NUMBERS = (*_FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor whose numbers still lie in a file.

    Attributes:
        shape: tuple of ints.
        dtype: str, a NumPy name or `"bfloat16"`.
        load: reads the numbers, as an array of that shape and dtype.
        read_bytes: int, bytes of the file that `load` reads: more than its own where several
            tensors share them.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray]
    read_bytes: int = 0

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a tensor may not be changed by the pickle that holds it")

    @property
    def num_bytes(self) -> int:
        """Bytes that it takes in memory, as `numpy` gives it."""
        return 4 * math.prod(self.shape)

    def numpy(self) -> np.ndarray:
        """The numbers, as float32."""
        return np.asarray(self.load()).astype("float32").reshape(self.shape)


@dataclasses.dataclass
class Checkpoint:
    """What a checkpoint holds, and what lies beside it.

    Attributes:
        path: str, as it was given.
        tensors: name to `StoredTensor`, names as in the file.
        settings: training arguments saved with the weights (facebookresearch/mae's `args`).
        config: the `config.json` beside the file, or `{}`.
        preprocessor: the `preprocessor_config.json` beside it, or `{}`.
        notes: sentences about how it was read.
        argument: str, what the caller calls `path`, for errors.
    """

    path: str
    tensors: dict[str, StoredTensor]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    preprocessor: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    argument: str = "path"


def joined(parts: Sequence[StoredTensor]) -> StoredTensor:
    """Several tensors as one, one after the other along the first axis."""
    rows = sum(part.shape[0] for part in parts)
    return StoredTensor(
        (rows, *parts[0].shape[1:]),
        parts[0].dtype,
        lambda: np.concatenate([part.numpy() for part in parts]),
    )


def stored_tensor(array: np.ndarray) -> StoredTensor:
    """An array as a tensor of a file."""
    return StoredTensor(array.shape, "float32", lambda: array)


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of a name, bfloat16 included."""
    if name not in _NUMBERS:
        raise ValueError(
            f"Tensors must be one of {', '.join(_NUMBERS)}. Received: a tensor of {name}"
        )
    if name == "bfloat16":
        import ml_dtypes  # comes with Keras

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_LARGEST_PICKLE = 2**26  # the text about the tensors of large language models is a tenth of it
_MOST_STEPS = 600_000  # of a pickle; a tensor takes about forty
# What pickles of tensors and plain values consist of: how much each step takes and puts back.
_PLAIN = frozenset(
    "BININT BININT1 BININT2 LONG1 BINFLOAT NONE NEWTRUE NEWFALSE BINUNICODE SHORT_BINUNICODE "
    "BINUNICODE8 BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES".split()
)
_EMPTY = frozenset(("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "GLOBAL"))
_TAKES = {
    **{"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "BINPERSID": 1},
    **{"REDUCE": 2, "NEWOBJ": 2, "STACK_GLOBAL": 2},
}
_GETS, _PUTS = ("BINGET", "LONG_BINGET"), ("BINPUT", "LONG_BINPUT")
_MARK = object()


def read_pickled_tensors(path: str) -> Any:
    """What a PyTorch zip file holds, tensors as `StoredTensor`, which read on demand."""
    with open_archive(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise KeyError("no data.pkl inside")
        root = pickles[0].removesuffix("data.pkl")
        sizes = {item.filename: item.file_size for item in archive.infolist()}
        order = f"{root}byteorder"
        if order in sizes and (sizes[order] > 16 or archive.read(order) != b"little"):
            raise ValueError(f"{path!r} says that it is not little-endian, which alone is read")
        if sizes[pickles[0]] > _LARGEST_PICKLE:
            raise ValueError(
                f"{path!r} describes its tensors in {sizes[pickles[0]]} bytes: refused"
            )
        damaged = archive.testzip()  # now, rather than when half of a model is filled
        if damaged is not None:
            raise ValueError(
                f"{path!r} is damaged: {damaged!r} inside it does not match its checksum"
            )
        text = archive.read(pickles[0])
    check_pickle(io.BytesIO(text), len(text), path)
    return _Reader(text, path, root, sizes).load()


def check_pickle(file: BinaryIO, size: int, path: str) -> None:
    """Go through a pickle without building anything, to its end; refuse one that is a bomb.

    A pickle of a few hundred bytes can hold tuples of tuples that take hours to hash as a key, or
    recurse through the whole stack; one of a megabyte millions of sets. Those of weights have
    texts and numbers as keys.
    """
    stack: list[Any] = []  # whether each object is a text or a number
    memo: dict[int, Any] = {}
    for steps, (operation, argument, _) in enumerate(pickletools.genops(file)):
        name = operation.name
        if steps > _MOST_STEPS:
            raise ValueError(f"{path!r} describes its tensors in over {_MOST_STEPS} steps: refused")
        try:
            if name in _PLAIN or name in _EMPTY:
                stack.append(name in _PLAIN)
            elif name in _PUTS:
                # Python makes room for the highest number there is, whatever it is
                if argument > size:
                    raise pickle.UnpicklingError(f"object number {argument} in {size} bytes")
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in _GETS:
                stack.append(memo[argument])
            elif name == "DUP":
                stack.append(stack[-1])
            elif name == "MARK":
                stack.append(_MARK)
            elif name in _TAKES:
                del stack[len(stack) - _TAKES[name] :]
                stack.append(False)
            elif name in ("APPEND", "BUILD"):
                stack.pop()
            elif name == "SETITEM":
                _check_keys(stack[-2:], path)
                del stack[-2:]
            elif name in ("APPENDS", "SETITEMS", "TUPLE"):
                taken = _down_to_mark(stack)
                if name == "SETITEMS":
                    _check_keys(taken, path)
                if name == "TUPLE":
                    stack.append(False)
            elif name not in ("PROTO", "FRAME", "STOP"):
                raise ValueError(
                    f"{path!r} holds a pickle with {name}, which a file of weights has no need "
                    f"of: refused"
                )
        except LookupError as error:
            raise pickle.UnpicklingError(f"{name} of nothing") from error


def _down_to_mark(stack: list[Any]) -> list[Any]:
    taken = []
    while (top := stack.pop()) is not _MARK:
        taken.append(top)
    return taken[::-1]


def _check_keys(items: list[Any], path: str) -> None:
    if not all(key is True for key in items[::2]):
        raise ValueError(
            f"{path!r} holds a dict whose keys are neither texts nor numbers, which a file of "
            f"weights has no need of: refused"
        )


class Namespace:
    """Inert stand-in for `argparse.Namespace`: keeps plain values, drops everything else."""

    values: dict[str, Any]

    def __new__(cls) -> "Namespace":
        instance = super().__new__(cls)  # a pickle need not call `__init__`
        instance.values = {}
        return instance

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            plain = (str, int, float, bool)
            self.values = {k: v for k, v in state.items() if type(v) in plain}


class _Storage:
    """The numbers of one or several tensors: a file inside the archive."""

    def __init__(self, path: str, name: str, dtype: str, count: int):
        self.path, self.name, self.dtype, self.count = path, name, dtype, count

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a storage may not be changed by the pickle that holds it")

    def read(self) -> np.ndarray:
        with zipfile.ZipFile(self.path) as archive:
            return np.frombuffer(archive.read(self.name), numpy_dtype(self.dtype))[: self.count]


class _Reader(pickle.Unpickler):
    """Unpickler that finds nothing but what `_allowed` holds."""

    def __init__(self, text: bytes, path: str, root: str, sizes: dict[str, int]):
        super().__init__(io.BytesIO(text))
        self._path, self._root, self._sizes = path, root, sizes
        self._known = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise ValueError(
                f"{self._path!r} asks to run {module}.{name}, which a file of weights has no need "
                f"of: refused. If you trust it, load it in PyTorch and save its state_dict anew"
            )
        return self._known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise ValueError(
                f"{self._path!r} refers to something that is no storage: a {type(pid).__name__}"
            )
        _, kind, key, _, count = pid
        dtype = _STORAGES.get(kind) if isinstance(kind, str) else None
        if dtype is None or not isinstance(key, str) or not isinstance(count, int):
            # a tuple of tuples is short in a pickle and may be without end in words
            kind = ", ".join(part if isinstance(part, str) else type(part).__name__ for part in pid)
            raise ValueError(f"{self._path!r} holds a storage of an unknown kind: {kind}")
        name = f"{self._root}data/{key}"
        held = self._sizes.get(name, -1)
        # not more either, which would be read into memory unseen
        if held < 0 or held // numpy_dtype(dtype).itemsize != count:
            raise ValueError(
                f"{self._path!r} is damaged: {name!r} inside it should hold {count} numbers of "
                f"{dtype}, and holds {held} bytes"
            )
        return _Storage(self._path, name, dtype, count)


def _allowed() -> dict[tuple[str, str], Any]:
    """Names a pickle may use. Made anew for each file: a pickle can set attributes of them."""
    known: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): _fresh(_ordered),
        ("argparse", "Namespace"): type("Namespace", (Namespace,), {}),
        ("torch._utils", "_rebuild_tensor_v2"): _fresh(_tensor),
        ("torch._utils", "_rebuild_parameter"): _fresh(_first),
        ("torch", "Size"): tuple,
        ("torch", "device"): _fresh(_nothing),
        ("torch.serialization", "_get_layout"): _fresh(_nothing),
    }
    known.update({("torch", name): name for name in _STORAGES})
    dtypes = ("float16", "bfloat16", "float32", "float64", "int64")
    return {**known, **{("torch", name): name for name in dtypes}}


def _fresh(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments)


def _ordered(items: Any = ()) -> collections.OrderedDict[Any, Any]:
    """Filled at once by pickles of Python 2, later by others."""
    if not all(isinstance(key, (str, int)) for key, _ in items):
        raise ValueError("a dict has keys that are neither texts nor numbers")
    return collections.OrderedDict(items)


def _nothing(*_: Any) -> None:
    return None


def _first(value: Any, *_: Any) -> Any:
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    """`torch._utils._rebuild_tensor_v2`: a view of a storage, its bounds checked."""
    places = [offset, *shape, *strides]
    whole = all(isinstance(place, int) and place >= 0 for place in places)
    if not isinstance(storage, _Storage) or not whole or len(shape) != len(strides):
        raise ValueError("a tensor is not described by a storage, an offset, sizes and strides")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if count and (last >= storage.count or count > storage.count):
        raise ValueError(
            f"a tensor of shape {tuple(shape)} does not fit its storage of {storage.count} numbers"
        )
    return StoredTensor(
        tuple(shape),
        storage.dtype,
        lambda: _view(storage, offset, tuple(shape), tuple(strides)),
        storage.count * numpy_dtype(storage.dtype).itemsize,
    )


def _view(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray:
    numbers = storage.read()[offset:]
    if not math.prod(shape):
        return np.zeros(shape, numbers.dtype)
    if sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) >= len(numbers):
        raise ValueError(f"{storage.name!r} holds fewer numbers than a tensor of shape {shape}")
    steps = [step * numbers.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(numbers, shape, steps, writeable=False)


_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path: str) -> dict[str, StoredTensor]:
    """The tensors of a file, read on demand."""
    package = _package()
    try:
        with package.safe_open(path, framework="np") as file:
            return {name: _stored(package, path, file, name) for name in file.keys()}
    except package.SafetensorError as error:
        raise ValueError(
            f"{path!r} is no whole safetensors file; it is truncated or of another kind ({error})"
        ) from error


def write_safetensors(path: str, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a file that PyTorch libraries read."""
    _package()
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    # Hugging Face refuses files whose metadata does not name a framework.
    save_file(whole, path, metadata={"format": "pt"})


def _stored(package: Any, path: str, file: Any, name: str) -> StoredTensor:
    part = file.get_slice(name)
    dtype = _DTYPES.get(part.get_dtype(), part.get_dtype())
    return StoredTensor(tuple(part.get_shape()), dtype, lambda: _load(package, path, name, dtype))


def _load(package: Any, path: str, name: str, dtype: str) -> np.ndarray:
    numpy_dtype(dtype)  # bfloat16 is known to NumPy from here on
    with package.safe_open(path, framework="np") as file:
        return file.get_tensor(name)


def _package() -> Any:
    return import_extra("safetensors", "torch-weights", "a `.safetensors` file")


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


def read_checkpoint(
    path: str | os.PathLike[str], max_bytes: int | None = None, argument: str = "path"
) -> Checkpoint:
    """The tensors of a checkpoint, not yet read, and the JSON files beside it."""
    file = _weights_file(as_path(path), argument)
    max_bytes = check_int("max_bytes", max_bytes, 1, optional=True)
    kept = _named_tensors(*_read(str(file)))
    kept.path, kept.argument = os.fspath(path), argument
    kept.config = _model_config(file, kept.notes)
    kept.preprocessor = _beside(file, "preprocessor_config.json")
    _check_numbers(kept)
    _check_memory(kept, max_bytes)
    return kept


def _weights_file(path: pathlib.Path, argument: str) -> pathlib.Path:
    if path.is_dir():
        for name in _WEIGHTS:
            if (path / name).is_file():
                return path / name
        sharded = sorted(path.glob("*.index.json"))
        held = "a checkpoint in several files, which is not read" if sharded else "neither"
        raise ValueError(
            f"`{argument}` must be a checkpoint or a folder with {' or '.join(_WEIGHTS)}. "
            f"Received: {str(path)!r}, which holds {held}"
        )
    if not os.path.lexists(path):
        raise ValueError(
            f"`{argument}` must be a checkpoint. Received: no such file: {str(path)!r}"
        )
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
    """PyTorch's tensors as `StoredTensor` and its Namespace as ours, two dicts deep."""
    # Deeper structures may contain themselves, or hold one object under many names.
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
