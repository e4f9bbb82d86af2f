"""Reading PyTorch's zip files (`.pth`, `.bin`, `.pt`) without PyTorch and without running code.

A pickle is a program: it names functions and calls them. The reader here knows the few names that
a file of tensors needs, all of them stand-ins of its own, and refuses every other.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from mae_keras.archives import open_archive
from mae_keras.interop.stored_tensors import StoredTensor, numpy_dtype

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
    """What a PyTorch zip file holds, tensors as `StoredTensor`, which read on demand.

    Args:
        path: file that `torch.save` wrote (since PyTorch 1.6).

    Returns:
        What was saved, usually a dict. `argparse.Namespace` comes as a `Namespace`.

    Raises:
        ValueError: if the pickle asks for anything but tensors and plain values, naming it, a
            tensor does not fit its storage, or the archive unfolds to far more than its size.
        pickle.UnpicklingError, zipfile.BadZipFile, KeyError, EOFError: if the file is damaged.
    """
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

    Args:
        file: where the pickle begins; it is left where it ends.
        size: int, bytes that there are, which limits the numbers given to objects.
        path: str, for errors.

    Raises:
        ValueError: naming what no file of weights has.
        pickle.UnpicklingError: if the pickle is damaged.
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
        made = super().__new__(cls)  # a pickle need not call `__init__`
        made.values = {}
        return made

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
            told = ", ".join(part if isinstance(part, str) else type(part).__name__ for part in pid)
            raise ValueError(f"{self._path!r} holds a storage of an unknown kind: {told}")
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
