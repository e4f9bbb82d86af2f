"""What can be extended by name: `Registry`, and the plugins that add names to one.

Imports nothing heavy: the command line lists names before Keras is loaded.
"""

import importlib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from types import ModuleType
from typing import Any

from mae_keras.arguments import check_choice


class Registry(MutableMapping[str, Any]):
    """Names and what they stand for, in the order they were registered.

    Args:
        kind: what is registered, as messages call it: `"masking strategy"`.
        built_in: name to value. `"module:attribute"` is imported when it is first looked up.

    Example:
    >>> strategies = Registry("masking strategy", {"random": "mae_keras.layers:RandomMasking"})
    >>> strategies.register("toy", object)
    >>> list(strategies)
    ['random', 'toy']
    """

    def __init__(self, kind: str, built_in: Mapping[str, Any] | None = None):
        self.kind = kind
        self._items: dict[str, Any] = dict(built_in or {})
        self._added: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        value = self._items[name]
        if isinstance(value, str):
            module, _, attribute = value.partition(":")
            value = self._items[name] = getattr(importlib.import_module(module), attribute)
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        self._items[name] = value

    def __delitem__(self, name: str) -> None:
        del self._items[name]
        self._added.discard(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._items

    def register(self, name: str, value: Any) -> None:
        """Add a name.

        Args:
            name: str, not in use for anything else. The same class or function, defined again as
                notebooks do, replaces the earlier one.
            value: what it stands for.

        Raises:
            ValueError: if the name is no word or stands for something else.
        """
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            raise ValueError(
                f"`name` of a {self.kind} must be letters, digits, - and _. Received: name={name!r}"
            )
        if name in self._items and (
            name not in self._added or _origin(self._items[name]) != _origin(value)
        ):
            raise ValueError(
                f"`name` must be new: there is a {self.kind} of this name. Received: name={name!r}"
            )
        self._items[name] = value
        self._added.add(name)

    def register_class(self, name: str, cls: Any, base: type) -> Any:
        """Add a subclass of `base`, and make it known to Keras: files may name it.

        Args:
            name: str, as for `register`.
            cls: what was given.
            base: class.

        Returns:
            `cls`.

        Raises:
            TypeError: if it is no subclass of `base`.
            ValueError: as `register` does.
        """
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise TypeError(f"`cls` must be a subclass of {base.__name__}. Received: {cls!r}")
        self.register(name, cls)
        import keras

        if keras.saving.get_registered_name(cls) == cls.__name__:
            keras.saving.register_keras_serializable(package=cls.__module__.split(".")[0])(cls)
        return cls

    def close_built_in(self) -> None:
        """Count what is registered so far as built in."""
        self._added.clear()

    @property
    def added(self) -> dict[str, Any]:
        """What was registered beside the built-in names."""
        return {name: self._items[name] for name in self._items if name in self._added}

    def check(self, argument: str, name: Any, other: str = "") -> Any:
        """Refuse an unknown name; the error lists the known ones and the nearest spelling.

        Args:
            argument: str, the argument as the caller wrote it.
            name: what was given.
            other: str, what else the argument may be, for the message.

        Returns:
            `name`.

        Raises:
            ValueError: if nothing is registered under it.

        Example:
        >>> Registry("protocol", {"knn": len, "layers": len}).check("protocol", "layer")
        Traceback (most recent call last):
        ValueError: `protocol` must be 'knn' or 'layers'; did you mean 'layers'? Received:
        protocol='layer'. A name of your own has to be registered first: --plugin FILE
        """
        if name in self:
            return name
        try:
            return check_choice(argument, name, self, other=other)
        except ValueError as error:
            raise ValueError(f"{error}{PLUGIN_HINT}") from None


PLUGIN_HINT = ". A name of your own has to be registered first: --plugin FILE"


def _origin(value: Any) -> tuple[Any, ...]:
    value = getattr(value, "origin", value)
    return getattr(value, "__module__", None), getattr(value, "__qualname__", repr(value))


def load_plugin(plugin: str | os.PathLike[str]) -> ModuleType:
    """Import a module of the user's that registers strategies, targets, protocols or data sources.

    This runs the module's code. It is only ever done at the user's word: no run folder or model
    file can name a plugin. What the module defines and registers with
    `keras.saving.register_keras_serializable`, files may name from then on.

    Args:
        plugin: path of a `.py` file, or the dotted name of a module that Python can import.

    Returns:
        The module. One that was imported before is not run again.

    Raises:
        ValueError: if there is no such file or module, or its code raises.

    Example:
    >>> load_plugin("nowhere.py")
    Traceback (most recent call last):
    ValueError: `plugin` must be a .py file or a module. Received: plugin='nowhere.py', not found
    """
    module = import_code("plugin", plugin)
    _PLUGIN_MODULES.add(module.__name__)
    return module


def import_code(argument: str, source: str | os.PathLike[str]) -> ModuleType:
    """Import a file or module that the user named. This runs its code.

    Args:
        argument: str, what named it, for messages.
        source: path of a `.py` file, or the dotted name of a module that Python can import.

    Returns:
        The module. One that was imported before is not run again.

    Raises:
        ValueError: if there is no such file or module, or its code raises.

    Example:
    >>> import_code("callback", "json").__name__
    'json'
    """
    name = os.fspath(source)
    path = pathlib.Path(name).expanduser()
    is_file = path.suffix == ".py" or os.sep in name
    if not (path.is_file() if is_file else _is_module(name)):
        found = "a folder: name the file in it" if path.is_dir() else "not found"
        if not is_file and pathlib.Path(f"{name}.py").is_file():
            found = f"not found; did you mean {name}.py?"
        raise ValueError(
            f"`{argument}` must be a .py file or a module. Received: {argument}={name!r}, {found}"
        )
    try:
        return _import_file(path.resolve()) if is_file else importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"`{argument}` must be code that runs: {in_one_line(error)}. "
            f"Received: {argument}={name!r}"
        ) from error


def in_one_line(error: BaseException) -> str:
    """What an error of the user's code is and says, to go on after with a sentence.

    Example:
    >>> in_one_line(RuntimeError("Log in."))
    'RuntimeError: Log in'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split()).removesuffix('.')}"


def check_callback_name(name: str) -> None:
    """Refuse what does not look like `module:factory`; imports nothing.

    Args:
        name: what names a callback.

    Raises:
        ValueError: if it does not.

    Example:
    >>> check_callback_name("my_callbacks.py:Logger")
    """
    module_name, colon, attribute = name.rpartition(":")
    if not (colon and module_name and attribute.isidentifier()):
        raise ValueError(
            f"`callback` must be module:factory or file.py:factory. Received: callback={name!r}"
        )


class PluginError(ValueError):
    """A plugin cannot be imported; the message may quote what its own code was refused for."""


_PLUGIN_MODULES: set[str] = set()


def is_of_plugin(value: Any) -> bool:
    """Whether a class or function is defined in a module that `load_plugin` imported."""
    module = getattr(value, "__module__", None) or ""
    return any(f"{module}.".startswith(f"{name}.") for name in _PLUGIN_MODULES)


def _is_module(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None  # which folders without code have not


def _import_file(path: pathlib.Path) -> ModuleType:
    """A module of the file's own name, as if its folder were on Python's path."""
    known = sys.modules.get(path.stem)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return known
        raise ImportError(f"there is another module {path.stem!r}: rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python source file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


# Their classes are in packages that import Keras; the command line needs no more than the names.
MASKINGS: Registry = Registry(
    "masking strategy",
    {
        "random": "mae_keras.layers.masking:RandomMasking",
        "block": "mae_keras.layers.masking:BlockMasking",
        "grid": "mae_keras.layers.masking:GridMasking",
        "time": "mae_keras.layers.masking:time_masking",
        "frequency": "mae_keras.layers.masking:frequency_masking",
        "tube": "mae_keras.layers.masking:tube_masking",
        "channel": "mae_keras.layers.masking:channel_masking",
        "forecast": "mae_keras.layers.masking:TailMasking",
    },
)
TARGETS: Registry = Registry(
    "target",
    {
        "pixels": "mae_keras.models.targets:Pixels",
        "standardized": "mae_keras.models.targets:StandardizedPixels",
        "hog": "mae_keras.models.targets:HOG",
        "table": "mae_keras.models.tables:TableTarget",
    },
)
# What `from_pretrained` reads with packages above `models`, which it may not import.
WEIGHT_READERS: Registry = Registry(
    "reader of weights",
    {
        "run": "mae_keras.runs.building:model_file",
        "checkpoint": "mae_keras.interop.torch_weights:pretrained_from_torch",
    },
)


def choose_target(target: Any, normalize_targets: bool = False, default: str = "pixels") -> Any:
    """What to predict, of an argument and its older alias.

    Args:
        target: what the argument of this name was given; `None`: not given.
        normalize_targets: bool, an older way to say `target="standardized"`.
        default: name of the target when neither is given.

    Returns:
        `target`, or the name that stands in for it.

    Raises:
        ValueError: if both are given and contradict each other.

    Example:
    >>> choose_target(None), choose_target(None, normalize_targets=True), choose_target("hog")
    ('pixels', 'standardized', 'hog')
    """
    if target is None:
        return "standardized" if normalize_targets else default
    name = getattr(target, "name", target)
    if normalize_targets and name != "standardized":
        raise ValueError(
            "`normalize_targets` is another way to say target='standardized': leave it out where "
            f"`target` is something else. Received: target={name!r}, "
            f"normalize_targets={normalize_targets}"
        )
    return target
