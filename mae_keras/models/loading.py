"""Reading models from files: weights are looked through before they are read.

A few bytes of HDF5 can declare an array of any size, and point outside of the file; a few of a
config can ask for weights of any size. `config_check` looks through the config first.
"""

import contextlib
import dataclasses
import functools
import io
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import keras

from mae_keras import __version__
from mae_keras.files import DAMAGE, MOST_GROWTH, ArchiveError, NotRegularError, open_archive
from mae_keras.layers import PositionEmbedding
from mae_keras.models.config_check import (
    MOST_BYTES,
    Allowed,
    NotAllowedError,
    check_config,
    parse_config,
)
from mae_keras.registration import register

# Memory that a model may take whatever its weights are, in bytes, and weights of it.
_ALWAYS_ALLOWED = 2**24
_WEIGHTS_ALLOWED = 1_000
# Compression that h5py itself writes; others load libraries.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
# Names that are looked at, and groups in groups: large published networks take 40,000 and 20.
_MOST_NAMES = 50_000
_MOST_DEPTH = 100
# Numbers of a weight below which computing its first values takes no time worth saving.
_SMALL = 2**14
_ONE_AT_A_TIME = threading.RLock()


VERSION_KEY = "mae_keras_version"


def with_version(config: dict[str, Any]) -> dict[str, Any]:
    """Add the package version to a model's config."""
    return {**config, VERSION_KEY: __version__}


def from_versioned_config(
    cls: type, config: dict[str, Any], children: Sequence[str] = ()
) -> keras.Model:
    """Rebuild a model from its config.

    Args:
        cls: class to build.
        config: as `get_config` gave it.
        children: keys whose values are serialized Keras objects.

    Returns:
        Instance of `cls`.

    Raises:
        ValueError: naming both versions if another version's config does not fit this one.
    """
    config = dict(config)
    version = config.pop(VERSION_KEY, None)
    try:
        for child in children:
            config[child] = keras.saving.deserialize_keras_object(config[child])
        return cls(**config)
    except (TypeError, ValueError) as error:
        if version == __version__:
            raise
        raise ValueError(
            f"This {cls.__name__} was saved by mae_keras {version or 'of unknown version'} and "
            f"does not fit mae_keras {__version__}, which is installed: {error}"
        ) from error


@dataclasses.dataclass(frozen=True)
class HeldWeights:
    """What the weights of a file are in all.

    Attributes:
        count: int, arrays.
        num_bytes: int, memory they take, and no more than the file could hold.
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


def check_weights(content: bytes, file_size: int | None = None) -> HeldWeights:
    """Look through an HDF5 file without reading its arrays.

    Args:
        content: the HDF5 file.
        file_size: int, bytes of the file that it was unpacked from, or `None`: it was not packed.

    Returns:
        `HeldWeights`.

    Raises:
        ValueError: if an array is anything but numbers in this file, about as large as it says.
        OSError, RuntimeError, KeyError: from HDF5, if the file is damaged.
    """
    count, declared, seen = 0, 0, set()
    names = 0
    with h5py.File(io.BytesIO(content), "r") as file:
        pending: list[tuple[h5py.Group, int]] = [(file, 1)]
        while pending:
            group, depth = pending.pop()
            names += len(group)
            if names > _MOST_NAMES:
                raise ValueError(f"its weights have more than {_MOST_NAMES} names")
            if depth > _MOST_DEPTH:
                raise ValueError(f"its weights are groups nested more than {_MOST_DEPTH} deep")
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
                    pending.append((item, depth + 1))
                    continue
                _check_array(item, path)
                count += 1
                declared += item.size * item.dtype.itemsize
    if declared > max(_ALWAYS_ALLOWED, MOST_GROWTH * len(content)):
        raise ValueError(
            f"its weights declare {declared / 1e6:.1f} MB and hold {len(content) / 1e6:.1f} MB"
        )
    # Two packings, of the archive and of the array, do not multiply what is allowed.
    return HeldWeights(count, min(declared, MOST_GROWTH * (file_size or len(content))))


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
    multiply; so the constructor of its variables is watched meanwhile, and layers that make tables
    beside them. Weights begin at zero, whatever the file says how to draw them: they are read
    from it afterwards, and orthogonal ones take hours to draw. One that was not read is drawn at
    the end.

    Args:
        held: the weights to fill the model with.

    Raises:
        TooLargeError: in the block, and again at its end if the block swallowed it.
    """
    with _ONE_AT_A_TIME, contextlib.ExitStack() as watched:
        watch = _Watch(held)
        watched.enter_context(_replaced(keras.Variable, "__init__", watch.counting))
        watched.enter_context(_replaced(keras.Variable, "assign", watch.noting))
        for cls, table in _TABLES.items():
            watched.enter_context(_replaced(cls, "build", watch.counting_table(table)))
        yield
        if watch.refusal is not None:
            raise watch.refusal
    watch.draw_what_was_not_read()


@contextlib.contextmanager
def _replaced(cls: Any, name: str, wrap: Callable[..., Any]) -> Iterator[None]:
    """A method of a class exchanged for a while, be it its own or inherited."""
    own = cls.__dict__.get(name)
    setattr(cls, name, wrap(getattr(cls, name)))
    try:
        yield
    finally:
        if own is None:
            delattr(cls, name)
        else:
            setattr(cls, name, own)


def _normalization_table(layer: Any, input_shape: Any) -> int:
    """Numbers of mean and variance, which are as large as the axes of the input that they keep."""
    return 2 * math.prod(int(input_shape[axis]) for axis in layer.axis)


def _position_table(layer: Any, input_shape: Any) -> int:
    return math.prod((*layer.grid, int(input_shape[-1])))


_TABLES: dict[Any, Callable[[Any, Any], int]] = {
    keras.layers.Normalization: _normalization_table,
    PositionEmbedding: _position_table,
}


class _Watch:
    def __init__(self, held: HeldWeights):
        self._thread = threading.get_ident()
        self._bytes, self._count = held.allowed_bytes, held.allowed_count
        self._held = held
        self._to_draw: dict[int, tuple[Any, Any]] = {}
        self.refusal: TooLargeError | None = None

    def counting(self, construct: Callable[..., None]) -> Callable[..., None]:
        def construct_counted(
            variable: Any, initializer: Any, shape: Any = None, *args: Any, **kwargs: Any
        ) -> None:
            if threading.get_ident() != self._thread:
                construct(variable, initializer, shape, *args, **kwargs)
                return
            size = self._count_one(
                shape if shape is not None else getattr(initializer, "shape", ())
            )
            drawn = callable(initializer) or isinstance(initializer, str)
            if size < _SMALL or not drawn or isinstance(initializer, keras.initializers.Zeros):
                construct(variable, initializer, shape, *args, **kwargs)
                return
            construct(variable, keras.initializers.Zeros(), shape, *args, **kwargs)
            self._to_draw[id(variable)] = (variable, initializer)

        return construct_counted

    def noting(self, assign: Callable[..., Any]) -> Callable[..., Any]:
        def assign_noted(variable: Any, *args: Any, **kwargs: Any) -> Any:
            self._to_draw.pop(id(variable), None)
            return assign(variable, *args, **kwargs)

        return assign_noted

    def counting_table(
        self, table: Callable[[Any, Any], int]
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def counting(build: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(build)
            def build_counted(layer: Any, input_shape: Any) -> Any:
                if threading.get_ident() == self._thread and not layer.built:
                    size = 0
                    with contextlib.suppress(TypeError, ValueError, IndexError):
                        size = table(layer, input_shape)  # no shape to build for: Keras says so
                    self._take(size, (size,))
                return build(layer, input_shape)

            return build_counted

        return counting

    def draw_what_was_not_read(self) -> None:
        """Give the weights that a file need not hold, as those of LoRA, their first values."""
        for variable, initializer in self._to_draw.values():
            drawn = keras.initializers.get(initializer)(tuple(variable.shape), variable.dtype)
            variable.assign(drawn)

    def _count_one(self, shape: Any) -> int:
        try:
            sizes = tuple(int(size) for size in shape)
        except (TypeError, ValueError):
            return 0  # no shape: Keras says so
        self._count -= 1
        self._take(math.prod(sizes), sizes)
        return math.prod(sizes)

    def _take(self, size: int, shape: tuple[int, ...]) -> None:
        self._bytes -= 4 * size
        if self._count < 0 or self._bytes < 0:
            self.refusal = TooLargeError(
                f"its config.json asks for more weights than it holds, which are "
                f"{self._held.count} arrays of {self._held.num_bytes / 1e6:.1f} MB: one of "
                f"shape {shape} at last"[:500]
            )
            raise self.refusal


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
            unknown = isinstance(error, NotAllowedError) and version is not None
            writer = f", saved by mae_keras {version}," if unknown else ""
            raise ValueError(f"{path!r}{writer} cannot be loaded: {_first_line(error)}") from error
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
