"""The `config.json` of a `.keras` file, looked through before anything of it is built.

A config is a program for Keras: it names classes and functions, which are called with what it
holds. So every one of them must be on a list, and what they would make must be in proportion to
the file. On the list is what our models and models around them are made of. Not on it: whatever
reads or writes files, takes code or calls functions by name, is configured by regular expressions,
or does more work when it is built than its weights justify (recurrent layers unroll, spectrograms
make tables). A user passes such a class in `custom_objects`.
"""

import functools
import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from mae_keras.registration import PACKAGE, REGISTERED, load_registered
from mae_keras.registry import MASKINGS, TARGETS, is_of_plugin


def _listed(table: Mapping[str, str]) -> dict[str, frozenset[str]]:
    return {module: frozenset(names.split()) for module, names in table.items()}


_LAYERS = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average
    AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization CategoryEncoding
    CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU
    EinsumDense Embedding Flatten GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization GroupQueryAttention Identity InputLayer
    LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum
    MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization RandomBrightness
    RandomContrast RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom ReLU
    RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D Softmax
    SpatialDropout1D SpatialDropout2D SpatialDropout3D Subtract TimeDistributed UnitNormalization
    UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
_OPTIMIZERS = """
    Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Nadam RMSprop
    SGD ScheduleFreeAdamW
"""
_SCHEDULES = """
    CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
    PolynomialDecay
"""
_LOSSES = """
    BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy
    CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
    CosineSimilarity Dice Hinge Huber KLDivergence LogCosh MeanAbsoluteError
    MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
    SparseCategoricalCrossentropy SquaredHinge Tversky
"""
_METRICS = """
    AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy
    CategoricalCrossentropy CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score
    FBetaScore FalseNegatives FalsePositives Hinge IoU KLDivergence LogCoshError Mean
    MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper MeanSquaredError
    MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation Poisson Precision
    PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
    SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy
    SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum
    TopKCategoricalAccuracy TrueNegatives TruePositives
"""
_INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer
    LecunNormal LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform
    TruncatedNormal VarianceScaling Zeros
"""
_CLASSES = _listed(
    {
        "keras": "DTypePolicy FloatDTypePolicy Model Sequential",
        "keras.layers": _LAYERS,
        "keras.models": "Model Sequential",
        "keras.optimizers": _OPTIMIZERS,
        "keras.optimizers.schedules": _SCHEDULES,
        "keras.losses": _LOSSES,
        "keras.metrics": _METRICS,
        "keras.initializers": _INITIALIZERS,
        "keras.regularizers": "L1 L1L2 L2 OrthogonalRegularizer",
        "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
        "keras.dtype_policies": "DTypePolicy FloatDTypePolicy",
    }
)
# Keras has no public name for these: files name the module they are in.
_INTERNAL = _listed(
    {
        "keras.src.models.functional": "Functional",
        "keras.src.ops.numpy": """
        Abs Absolute Add All Amax Amin Any Argmax Argmin Average BroadcastTo Clip Concatenate Cos
        Divide Dot Einsum Equal Exp ExpandDims Flip FloorDivide GetItem Greater GreaterEqual
        Isfinite Isinf Isnan Less LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr Matmul Max
        Maximum Mean Min Minimum Mod Moveaxis Multiply NanToNum Negative NotEqual OnesLike Pad
        Power Prod Ravel Reciprocal Repeat Reshape Roll Round Sign Sin Sqrt Square Squeeze Stack
        Std Subtract Sum Swapaxes Take TakeAlongAxis Tanh Tensordot Tile Transpose TrueDivide Var
        Where ZerosLike
    """,
        "keras.src.ops.nn": """
        Celu Elu Gelu HardSigmoid HardSilu LeakyRelu LogSigmoid LogSoftmax Normalize OneHot Relu
        Relu6 Selu Sigmoid Silu Softmax Softplus Softsign
    """,
        "keras.src.ops.math": "Logsumexp Rsqrt TopK",
        "keras.src.ops.core": "Cast Slice StopGradient",
    }
)
_ACTIVATIONS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
    leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink
    softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh
    tanh_shrink threshold
"""
_LOSS_FUNCTIONS = """
    binary_crossentropy binary_focal_crossentropy categorical_crossentropy
    categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge circle
    cosine_similarity dice hinge huber kl_divergence log_cosh mean_absolute_error
    mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson
    sparse_categorical_crossentropy squared_hinge tversky
"""
_METRIC_FUNCTIONS = """
    binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy
    categorical_crossentropy categorical_focal_crossentropy categorical_hinge
    concordance_correlation cosine_similarity hinge huber kl_divergence log_cosh
    mean_absolute_error mean_absolute_percentage_error mean_squared_error
    mean_squared_logarithmic_error pearson_correlation poisson sparse_categorical_accuracy
    sparse_categorical_crossentropy sparse_top_k_categorical_accuracy squared_hinge
    top_k_categorical_accuracy
"""
_FUNCTIONS = _listed(
    {
        "keras.activations": _ACTIVATIONS,
        "keras.losses": _LOSS_FUNCTIONS,
        "keras.metrics": _METRIC_FUNCTIONS,
        "keras.ops": _ACTIVATIONS,
    }
)
# Where Keras looks for a function of the module "builtins", by its name alone.
_BUILTINS = frozenset(f"{_ACTIVATIONS} {_LOSS_FUNCTIONS} {_METRIC_FUNCTIONS}".split())


class NotAllowedError(ValueError):
    """A file names something that is not on the list."""


class Allowed:
    """The list, with what a user adds to it.

    Args:
        custom_objects: name to class or function, as for `keras.saving.load_model`, or `None`.
    """

    def __init__(self, custom_objects: Mapping[str, Any] | None = None):
        # Who registers a strategy or target of their own says thereby that files may name it.
        registered = [*MASKINGS.added.values(), *TARGETS.added.values()]
        own = {keras.saving.get_registered_name(cls): cls for cls in registered}
        # What Keras looks a name up in before anything else.
        self._registry: Mapping[str, Any] = keras.saving.get_custom_objects()
        own |= {name: found for name, found in self._registry.items() if is_of_plugin(found)}
        self.custom_objects = {**own, **(custom_objects or {})}

    def check_class(self, config: Mapping[str, Any]) -> type:
        """The class of a config of an object; refuses one that is not on the list.

        Args:
            config: dict with `class_name`.

        Returns:
            Class, found as Keras finds it but that nothing is imported because a file names it.
        """
        name, module = config["class_name"], config.get("module")
        registered = config.get("registered_name", name)
        if not isinstance(name, str) or not isinstance(registered, str | None):
            raise NotAllowedError("it names a class otherwise than by its name")
        self.check_word(name)
        self.check_word(registered)
        if registered in self._registry or registered in self.custom_objects:
            return self._registered(registered)
        if isinstance(module, str):
            custom = self.custom_objects.get(name)
            found = _found(module, name)
            tables = (_CLASSES, _INTERNAL, _internal_names())
            if any(name in table.get(module, ()) for table in tables) or found is custom:
                if found is not None:
                    return found
        raise NotAllowedError(_refusal("class", module, name, registered))

    def check_function(self, config: Mapping[str, Any]) -> None:
        """Refuse a config of a function that is not on the list.

        Args:
            config: dict with the `class_name` "function".
        """
        name, module = config.get("config"), config.get("module")
        registered = config.get("registered_name")
        if not isinstance(name, str) or not isinstance(registered, str | None):
            raise NotAllowedError("it names a function otherwise than by its name")
        self.check_word(name)
        self.check_word(registered)
        if name in self._registry or name in self.custom_objects:
            return
        if module == "builtins" and name in _BUILTINS:
            return
        if isinstance(module, str) and name in _FUNCTIONS.get(module, ()):
            return
        custom = self.custom_objects.get(name)
        if custom is None or not isinstance(module, str) or _found(module, name) is not custom:
            raise NotAllowedError(_refusal("function", module, name, registered))

    def check_word(self, word: str | None) -> None:
        """Refuse a text that Keras would take for something registered that is not on the list.

        Args:
            word: any text of a config.
        """
        if word not in self._registry:
            return
        package, _, name = str(word).partition(">")
        if package == PACKAGE and name in REGISTERED:
            return
        found = self._registry[word]
        if not any(found is custom for custom in self.custom_objects.values()):
            raise NotAllowedError(_refusal("object", None, str(word)))

    def _registered(self, word: str) -> Any:
        package, _, name = word.partition(">")
        if package == PACKAGE and name in REGISTERED:
            return load_registered(name)
        return self._registry.get(word, self.custom_objects.get(word))


@functools.cache
def _internal_names() -> dict[str, set[str]]:
    """The same classes under the modules they are written in, as some versions name them."""
    names: dict[str, set[str]] = {}
    for module, listed in _CLASSES.items():
        for name in listed:
            found = _found(module, name)
            if found is not None:
                names.setdefault(found.__module__, set()).add(found.__name__)
    return names


def _found(module: str, name: str) -> Any:
    """A name in a module that is imported already; nothing is imported for it."""
    return getattr(sys.modules.get(module), "__dict__", {}).get(name)


def _refusal(kind: str, module: Any, name: str, registered: str | None = None) -> str:
    place = f"{module}." if isinstance(module, str) else ""
    key = (registered if ">" in (registered or "") else name) or name
    if key.startswith(f"{PACKAGE}>") and key.partition(">")[2] not in REGISTERED:
        return (
            f"it names the {kind} {key[:200]}, which this version of {PACKAGE} does not have: "
            f"install the version that wrote the file, or a newer one"
        )
    return (
        f"it names the {kind} {(place + name)[:200]}, which is not among those that a file may "
        f"name. If you trust the file, pass the {kind} in `custom_objects`: "
        f"custom_objects={{{key[:200]!r}: {key.rpartition('>')[2][:200]}}}; on the command line, "
        f"pass --plugin with the Python file that registers it"
    )


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
    """Number of layers created or called by a model, including those of models inside of it."""
    # From the inside out, without recursion: in `order` a value comes before what it contains.
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
