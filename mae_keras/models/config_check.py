"""The `config.json` of a `.keras` file, looked through before anything of it is built.

A config is a program for Keras: it names classes and functions, which are called with what it
holds. So every one of them must be on the list of `allowed_objects`, and what they would make must
be in proportion to the file.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from mae_keras.models.allowed_objects import Allowed, NotAllowedError
from mae_keras.registration import PACKAGE

# Large published networks take 2 MB, 50,000 values and 5,000 objects.
MOST_BYTES = 2**23
_MOST_VALUES = 500_000
_MOST_OBJECTS = 10_000
_MOST_DEPTH = 100
_LONGEST_WORD = 1_000  # names of layers are parts of the names of all their weights
_MOST_CALLS = 4_000  # of layers, those of models called inside of models included
_MOST_DIGITS = 50  # of an int: seeds have 39 at most
# What is no layer, and made once whatever is called how often.
_NO_LAYERS = ("keras.initializers", "keras.regularizers", "keras.constraints")
# Models of ours that are traced, which takes as long as calls of many layers, when another model
# calls them.
_TRACED = tuple(
    f"{PACKAGE}>{name}"
    for name in ("DenseMaskedAutoencoder", "MaskedAutoencoder", "MaskedReconstructionAugmentation")
)
_CALLS_OF_TRACED, _CALLS_OF_TRACED_LAYER = 200, 60
_COUNTS = ("num_layers", "hidden_dim", "mlp_dim", "num_heads", "image_shape", "patch_size", "grid")
_MOST_TRIES = 20  # to call a layer, until what it is called on is there
_MOST_THRESHOLDS = 10_000
_NUMBERS = frozenset(
    "bool bfloat16 float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "complex64 complex128".split()
)
# What Keras writes for values that JSON has no form for.
_VALUES = ("__bytes__", "__ellipsis__", "__slice__")
_TENSORS = ("__keras_tensor__", "__numpy__", "__tensor__")
_GRAPH = {"layers", "input_layers", "output_layers"}


def parse_config(text: bytes) -> dict[str, Any]:
    """Parse a config, unless it would fill memory or be nested without end.

    Args:
        text: content of `config.json`.

    Returns:
        dict.

    Raises:
        ValueError: if it is too large or no config of a model.

    Example:
    >>> parse_config(b"[[]]")
    Traceback (most recent call last):
    ValueError: its config.json is not that of a model
    """
    values = text.count(b",") + text.count(b"[") + text.count(b"{")
    if len(text) > MOST_BYTES or values > _MOST_VALUES:
        raise ValueError(
            f"its config.json has {len(text) / 1e6:.1f} MB and {values} values; at most "
            f"{MOST_BYTES / 1e6:.1f} MB and {_MOST_VALUES} values are read"
        )
    try:
        config = json.loads(text)
    except RecursionError:
        raise ValueError(f"its config.json is nested more than {_MOST_DEPTH} deep") from None
    except ValueError as error:
        raise ValueError(f"its config.json is no JSON ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise ValueError("its config.json is not that of a model")
    return config


def check_config(
    config: dict[str, Any], num_weights: int, num_bytes: int, allowed: Allowed
) -> None:
    """Refuse a config that names anything not on the list, or asks for more than the file holds.

    Args:
        config: as `parse_config` gives it.
        num_weights: int, arrays in the file's weights.
        num_bytes: int, memory that building may take beside the weights.
        allowed: the list.

    Raises:
        ValueError: saying what is refused.
    """
    objects = 0
    models = []
    demands = _Demands()
    for value in _walk(config):
        if isinstance(value, str):
            allowed.check_word(value)
        elif isinstance(value, dict):
            demands.add(value)
            if "class_name" in value:
                objects += value["class_name"] != "__keras_tensor__"
                _check_object(value, allowed)
                inner = value.get("config")
                models += [inner] if isinstance(inner, dict) and "layers" in inner else []
        if objects > _MOST_OBJECTS:
            raise ValueError(f"its config.json names more than {_MOST_OBJECTS} objects")
    demands.check(num_weights, num_bytes)
    if config.get("class_name") in (*_VALUES, *_TENSORS, "function"):
        raise ValueError("its config.json is not that of a model")
    found: Any = allowed.check_class(config)
    if not isinstance(found, type) or not issubclass(found, keras.Model):
        raise ValueError(f"it holds a {str(config['class_name'])[:200]}, which is no model")
    calls = _calls(config)
    if calls > _MOST_CALLS:
        raise ValueError(
            f"its models, called inside of each other, call more than {_MOST_CALLS} layers"
        )
    for model in models:
        _check_graph(model)


def _walk(config: Any) -> Iterator[Any]:
    """Every value of a config, keys included, without recursion."""
    pending = [(config, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > _MOST_DEPTH:
            raise ValueError(f"its config.json is nested more than {_MOST_DEPTH} deep")
        yield value
        if isinstance(value, str) and len(value) > _LONGEST_WORD:
            raise ValueError(f"its config.json holds a word of {len(value)} letters")
        if isinstance(value, int) and abs(value) >= 10**_MOST_DIGITS:
            raise ValueError(f"its config.json holds a number of more than {_MOST_DIGITS} digits")
        if isinstance(value, dict):
            pending += [(part, depth + 1) for part in (*value, *value.values())]
        elif isinstance(value, list):
            pending += [(part, depth + 1) for part in value]


def _check_object(config: dict[str, Any], allowed: Allowed) -> None:
    name, inner = config["class_name"], config.get("config")
    if name in _VALUES:
        return
    if name in _TENSORS:
        dtype = inner.get("dtype") if isinstance(inner, dict) else None
        if dtype not in _NUMBERS and not (dtype == "string" and name == "__keras_tensor__"):
            raise NotAllowedError(f"it holds a tensor of {str(dtype)[:200]}, which is no number")
        return
    if name == "function":
        allowed.check_function(config)
        return
    allowed.check_class(config)
    if "module" not in config:
        raise NotAllowedError(f"it names {str(name)[:200]} without its module, as old formats do")


def _check_graph(config: dict[str, Any]) -> None:
    """Refuse a functional model whose layers cannot be put together, or that computes at once."""
    # Layers are called on what other layers gave; one whose inputs are not there yet is tried
    # again in the next round. Called on numbers alone, a layer would compute at once.
    layers = config["layers"]
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise NotAllowedError("it has a model without a list of layers")
    if not _GRAPH <= config.keys():
        return  # one layer after the other
    waiting: list[tuple[str, list[dict[str, int]]]] = []
    for layer in layers:
        nodes = layer.get("inbound_nodes")
        if not isinstance(nodes, list) or not isinstance(layer.get("name"), str):
            raise NotAllowedError("it has a layer without a name or inbound nodes")
        if layer.get("class_name") == "function":
            raise NotAllowedError("it has a function in place of a layer")
        if nodes:
            waiting.append((layer["name"], [_sources(node) for node in reversed(nodes)]))
    total = sum(len(nodes) for _, nodes in waiting)
    tries = 0
    # inputs are there from the start
    done = {layer["name"]: int(layer.get("class_name") == "InputLayer") for layer in layers}
    while waiting:
        rest, called = [], 0
        for name, nodes in waiting:
            while nodes:
                tries += 1
                if any(done.get(source, 0) <= number for source, number in nodes[-1].items()):
                    break
                nodes.pop()
                done[name] += 1
                called += 1
            if nodes:
                rest.append((name, nodes))
        if called == 0 or tries > _MOST_TRIES * (total + 10):
            raise NotAllowedError("it has a model whose layers are not in an order to be called in")
        waiting = rest


def _sources(node: Any) -> dict[str, int]:
    """Layer to the highest of its nodes that a node needs."""
    if not isinstance(node, dict):
        raise NotAllowedError("it has a layer with inbound nodes of an old format")
    sources: dict[str, int] = {}
    for value in _walk(node):
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            history = value["config"].get("keras_history")
            if (
                not isinstance(history, list)
                or len(history) != 3
                or not isinstance(history[0], str)
                or not all(type(number) is int for number in history[1:])
            ):
                raise NotAllowedError("it has a tensor that comes from no layer")
            sources[history[0]] = max(sources.get(history[0], 0), history[1])
    if not sources:
        raise NotAllowedError("it calls a layer on numbers instead of another layer's output")
    return sources


def _calls(config: dict[str, Any]) -> int:
    """Layers made or called when a model is, those of models called inside of it included.

    From the inside out, without recursion: `order` has everything before what it holds.
    """
    order: list[Any] = []
    pending: list[Any] = [config]
    while pending:
        value = pending.pop()
        order.append(value)
        pending += [part for part in _called_with(value) if isinstance(part, (dict, list))]
    inside: dict[int, int] = {}
    shared: dict[Any, int] = {}  # whatever comes by number is made once and called again
    for value in reversed(order):
        total = sum(inside.get(id(part), 0) for part in _called_with(value))
        if isinstance(value, dict) and "class_name" in value:
            number = value.get("shared_object_id")
            total = max(
                total + _may_be_layer(value),
                shared.get(number, 0) if isinstance(number, int) else 0,
            )
            if isinstance(number, int):
                shared[number] = total
            if value is not config and value.get("registered_name") in _TRACED:
                total += _CALLS_OF_TRACED + _CALLS_OF_TRACED_LAYER * _depth(value)
            nodes = value.get("inbound_nodes")
            total *= max(1, len(nodes)) if isinstance(nodes, list) else 1
        inside[id(value)] = min(total, 2 * _MOST_CALLS)
    return inside[id(config)]


def _depth(config: Any) -> int:
    """Layers of ours in a config of a model."""
    numbers = (value.get("num_layers") for value in _walk(config) if isinstance(value, dict))
    return sum(number for number in numbers if isinstance(number, int) and number > 0)


def _may_be_layer(config: Mapping[str, Any]) -> bool:
    name = config["class_name"]
    if config.get("registered_name") not in (None, name):
        return True  # found by this name, whatever else it says
    return name not in ("DTypePolicy", *_VALUES, *_TENSORS) and (
        config.get("module") not in _NO_LAYERS
    )


def _called_with(value: Any) -> list[Any]:
    """What a part of a config holds, but for what only tells where tensors come from."""
    if isinstance(value, dict):
        aside = ("inbound_nodes", "build_config", "compile_config")
        return [part for key, part in value.items() if key not in aside]
    return value


class _Demands:
    """What our classes and a few of Keras's make at once, beside weights: summed over a config."""

    def __init__(self) -> None:
        self.num_layers = 0
        self.patches = 0
        self.widest = 0

    def add(self, config: Mapping[str, Any]) -> None:
        if str(config.get("registered_name")).startswith(f"{PACKAGE}>"):
            _check_counts(config.get("config"))
        number = config.get("num_layers")
        self.num_layers += max(0, number) if isinstance(number, int) else 0
        width = config.get("hidden_dim")
        self.widest = max(self.widest, width) if isinstance(width, int) else self.widest
        thresholds = config.get("num_thresholds")
        if isinstance(thresholds, int) and thresholds > _MOST_THRESHOLDS:
            raise ValueError(f"its config.json asks for {thresholds} thresholds of a metric")
        shape, size = config.get("image_shape"), config.get("patch_size")
        if not _whole(shape) or size is None:
            return
        sizes = [size] * (len(shape) - 1) if isinstance(size, int) else size
        if _whole(sizes) and len(sizes) == len(shape) - 1 and min(sizes, default=1) > 0:
            self.patches += math.prod(n // m for n, m in zip(shape[:-1], sizes, strict=True))

    def check(self, num_weights: int, num_bytes: int) -> None:
        if self.num_layers > num_weights:
            raise ValueError(
                f"its config.json asks for {self.num_layers} layers, and its weights are "
                f"{num_weights} arrays"
            )
        table = 4 * self.patches * self.widest
        if table > num_bytes:
            raise ValueError(
                f"its config.json asks for {self.patches} patches, whose positions take "
                f"{table / 1e6:.1f} MB, out of proportion to its weights"
            )


def _check_counts(config: Any) -> None:
    """Refuse 1000.0 in place of 1000: other checks of counts would not see it, nor would Python."""
    for key in _COUNTS:
        value = config.get(key) if isinstance(config, dict) else None
        numbers = value if isinstance(value, list) else [value]
        if value is not None and not _whole(numbers):
            raise ValueError(f"its config.json has {key}={value!r}, which must be ints"[:300])


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int for number in numbers)
