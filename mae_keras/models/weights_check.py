"""The weights in a `.keras` file: looked through before they are read, and a limit on building.

A few bytes of HDF5 can declare an array of any size, and point outside of the file; a few of a
config can ask for weights of any size.
"""

import contextlib
import dataclasses
import io
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import keras

from mae_keras.archives import MOST_GROWTH

# Memory that a model may take whatever its weights are, in bytes, and weights of it.
_ALWAYS_ALLOWED = 2**24
_WEIGHTS_ALLOWED = 1_000
# Compression that h5py itself writes; others load libraries.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_ONE_AT_A_TIME = threading.RLock()


@dataclasses.dataclass(frozen=True)
class HeldWeights:
    """What the weights of a file are in all.

    Attributes:
        count: int, arrays.
        num_bytes: int, memory they take.
    """

    count: int
    num_bytes: int

    @property
    def allowed_bytes(self) -> int:
        """Memory that a model of these weights may take, optimizer included."""
        return _ALWAYS_ALLOWED + MOST_GROWTH * self.num_bytes

    @property
    def allowed_count(self) -> int:
        """How many weights a model of these may have."""
        return _WEIGHTS_ALLOWED + MOST_GROWTH * self.count


def check_weights(content: bytes) -> HeldWeights:
    """Look through an HDF5 file without reading its arrays.

    Args:
        content: the file.

    Returns:
        `HeldWeights`.

    Raises:
        ValueError: if an array is anything but numbers in this file, about as large as it says.
        OSError, RuntimeError, KeyError: from HDF5, if the file is damaged.
    """
    count, declared, seen = 0, 0, set()
    with h5py.File(io.BytesIO(content), "r") as file:
        pending: list[h5py.Group] = [file]
        while pending:
            group = pending.pop()
            for name in group:
                path = f"{group.name.rstrip('/')}/{name}"[:200]
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"its weights refer to somewhere else: {path!r}")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    raise ValueError(f"its weights hold {path!r} under two names")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    pending.append(item)
                    continue
                _check_array(item, path)
                count += 1
                declared += item.size * item.dtype.itemsize
    if declared > max(_ALWAYS_ALLOWED, MOST_GROWTH * len(content)):
        raise ValueError(
            f"its weights declare {declared / 1e6:.1f} MB and hold {len(content) / 1e6:.1f} MB"
        )
    return HeldWeights(count, declared)


def _check_array(item: Any, path: str) -> None:
    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"its weights hold {path!r}, which is no array")
    bfloat16 = item.dtype.kind == "V" and item.dtype.itemsize == 2
    if item.dtype.kind not in "biufc" and not bfloat16:
        raise ValueError(f"its weights hold {path!r}, which are no numbers but {item.dtype}"[:300])
    if item.is_virtual or item.external:
        raise ValueError(f"its weights refer to another file: {path!r}")
    settings = item.id.get_create_plist()
    filters = {settings.get_filter(index)[0] for index in range(settings.get_nfilters())}
    if filters - _FILTERS:
        raise ValueError(f"its weights hold {path!r}, compressed in a way that is not read")
    needed, held = item.size * item.dtype.itemsize, item.id.get_storage_size()
    if needed > max(2**16, MOST_GROWTH * held):
        raise ValueError(
            f"its weights declare {needed / 1e6:.1f} MB for {path!r} and hold {held / 1e6:.1f} MB"
        )


class TooLargeError(ValueError):
    """A model that asks for more weights than its file could fill."""


@contextlib.contextmanager
def limited_weights(held: HeldWeights) -> Iterator[None]:
    """While a model is built in this thread, refuse a weight before memory is taken for it.

    Keras has no place to ask how large a model will be before it is built, and sizes of layers
    multiply; so the constructor of its variables is watched meanwhile.

    Args:
        held: the weights to fill the model with.

    Raises:
        TooLargeError: in the block, and again at its end if the block swallowed it.
    """
    with _ONE_AT_A_TIME:
        watch = _Watch(held)
        cls: Any = keras.Variable
        own = cls.__dict__.get("__init__")
        cls.__init__ = watch.counting(cls.__init__)
        try:
            yield
        finally:
            if own is None:
                del cls.__init__
            else:
                cls.__init__ = own
        if watch.refusal is not None:
            raise watch.refusal


class _Watch:
    def __init__(self, held: HeldWeights):
        self._thread = threading.get_ident()
        self._bytes, self._count = held.allowed_bytes, held.allowed_count
        self._held = held
        self.refusal: TooLargeError | None = None

    def counting(self, construct: Callable[..., None]) -> Callable[..., None]:
        def construct_counted(
            variable: Any, initializer: Any, shape: Any = None, *args: Any, **kwargs: Any
        ) -> None:
            if threading.get_ident() == self._thread:
                self._count_one(shape if shape is not None else getattr(initializer, "shape", ()))
            construct(variable, initializer, shape, *args, **kwargs)

        return construct_counted

    def _count_one(self, shape: Any) -> None:
        try:
            sizes = [int(size) for size in shape]
        except (TypeError, ValueError):
            return  # no shape: Keras says so
        self._count -= 1
        self._bytes -= 4 * math.prod(sizes)
        if self._count < 0 or self._bytes < 0:
            self.refusal = TooLargeError(
                f"its config.json asks for more weights than it holds, which are "
                f"{self._held.count} arrays of {self._held.num_bytes / 1e6:.1f} MB: one of "
                f"shape {tuple(sizes)} at last"[:500]
            )
            raise self.refusal
