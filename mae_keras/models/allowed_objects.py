"""What a `.keras` file may name: classes and functions that compute, and do nothing else.

On the list is what our models and models around them are made of. Not on it: whatever reads or
writes files, takes code or calls functions by name, is configured by regular expressions, or does
more work when it is built than its weights justify (recurrent layers unroll, spectrograms make
tables). A user passes such a class in `custom_objects`.
"""

import functools
import sys
from collections.abc import Mapping
from typing import Any

import keras

from mae_keras.registration import PACKAGE, REGISTERED, load_registered


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
        self.custom_objects = dict(custom_objects or {})
        # What Keras looks a name up in before anything else.
        self._registry: Mapping[str, Any] = keras.saving.get_custom_objects()

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
    return (
        f"it names the {kind} {(place + name)[:200]}, which is not among those that a file may "
        f"name. If you trust the file, pass the {kind} in `custom_objects`: "
        f"custom_objects={{{key[:200]!r}: {key.rpartition('>')[2][:200]}}}"
    )
