"""Making this package's classes known to Keras without importing either. Imports nothing of it.

Keras finds a class in a file by its registered name. Ours register when their module is imported,
which may not have happened when a file is loaded. So as soon as both packages are imported, Keras
gets a lazy placeholder for each name: it imports the module of its class on first use. The module
comes from the table below and never from the file.
"""

import importlib
import importlib.machinery
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

PACKAGE = "mae_keras"
# What is registered, and the module it is in today: files of earlier versions name other modules.
REGISTERED = {
    "AxisMasking": "layers.masking",
    "BlockMasking": "layers.masking",
    "ColumnEmbedding": "layers.columns",
    "CosineMaskRatio": "training.callbacks",
    "CrossAttentionBlock": "layers.transformer",
    "CrossAttentionDecoder": "models.decoders",
    "DenseMaskedAutoencoder": "models.dense_masked_autoencoder",
    "DropPath": "layers.transformer",
    "Forecaster": "models.forecaster",
    "GridMasking": "layers.masking",
    "HOG": "models.targets",
    "ImageClassifier": "models.classifier",
    "LARS": "training.optimizers",
    "LayerDecayAdamW": "training.optimizers",
    "LinearMaskRatio": "training.callbacks",
    "LinearHead": "layers.segmentation_heads",
    "LogitAdjustedCrossentropy": "losses",
    "MAEDecoder": "models.decoders",
    "MaskedAdamW": "training.optimizers",
    "MaskedAutoencoder": "models.masked_autoencoder",
    "MaskedReconstructionAugmentation": "models.reconstruction_augmentation",
    "MaskedReconstructionLoss": "losses",
    "MeanIoU": "models.segmenter",
    "MultiHeadCrossAttention": "layers.transformer",
    "MultiHeadSelfAttention": "layers.transformer",
    "PatchExtraction": "layers.patches",
    "PatchInputs": "models.inputs",
    "PixelNormalization": "layers.patches",
    "PixelAccuracy": "models.segmenter",
    "Pixels": "models.targets",
    "Privacy": "models.privacy",
    "PositionEmbedding": "layers.patches",
    "PyramidHead": "layers.segmentation_heads",
    "RandomMasking": "layers.masking",
    "SegmentationLoss": "losses",
    "Segmenter": "models.segmenter",
    "StandardizedPixels": "models.targets",
    "StepMaskRatio": "training.callbacks",
    "TableInputs": "models.tables",
    "TableTarget": "models.tables",
    "TailMasking": "layers.masking",
    "TargetLoss": "models.targets",
    "TransformerBlock": "layers.transformer",
    "TransformerEncoder": "models.encoder",
    "UNETRHead": "layers.segmentation_heads",
    "ViTEncoder": "models.encoder",
    "uniformity": "losses",
}
_FUNCTIONS = ("uniformity",)


def register_on_import() -> None:
    """Register with Keras: now if it is imported, else when it is. `import mae_keras` calls this.

    Example:
    >>> register_on_import()  # a second time: nothing changes
    """
    keras = sys.modules.get("keras")
    if keras is None:
        if not any(isinstance(finder, _KerasFinder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _KerasFinder())
    else:
        register(keras)


def register(keras: ModuleType) -> None:
    """Put a placeholder under every name of `REGISTERED` that Keras does not know yet.

    Args:
        keras: the package, imported. One that is half imported, or another, is left alone: our
            modules register their classes themselves once they are imported.
    """
    saving = getattr(keras, "saving", None)
    if not hasattr(saving, "get_custom_objects"):
        return
    known = saving.get_custom_objects()
    for name in REGISTERED:
        if f"{PACKAGE}>{name}" not in known:
            known[f"{PACKAGE}>{name}"] = _lazy_placeholder(name)


def load_registered(name: str) -> Any:
    """The class or function that is registered under a name.

    Args:
        name: key of `REGISTERED`.

    Returns:
        Class or function.

    Example:
    >>> load_registered("LARS").__name__
    'LARS'
    """
    return getattr(importlib.import_module(f"{PACKAGE}.{REGISTERED[name]}"), name)


def _lazy_placeholder(name: str) -> Any:
    """Imports the class or function when Keras uses it; the import registers the real one."""
    if name in _FUNCTIONS:

        def call(*args: Any, **kwargs: Any) -> Any:
            return load_registered(name)(*args, **kwargs)

        call.__name__ = call.__qualname__ = name
        return call

    class Placeholder:
        @classmethod
        def from_config(cls, config: dict[str, Any], **kwargs: Any) -> Any:
            return load_registered(name).from_config(config, **kwargs)

    Placeholder.__name__ = Placeholder.__qualname__ = name
    return Placeholder


class _KerasFinder:
    """Finds Keras as the other finders do, and calls `register` once Keras is loaded."""

    # It stays in `sys.meta_path`, where it compares one string. Removing it while another thread
    # iterates over the list would hide the next finder, and a failed import may be tried again.

    def __init__(self) -> None:
        self._busy = threading.local()  # a finder asked by this one may ask all others again

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "keras" or getattr(self._busy, "searching", False):
            return None
        self._busy.searching = True
        try:
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                spec = find(name, path, target) if find and finder is not self else None
                if spec is not None:
                    self._follow(spec)
                    return spec
        finally:
            self._busy.searching = False
        return None

    def _follow(self, spec: importlib.machinery.ModuleSpec) -> None:
        """The loader stays what it is, for tools that look at it; only its execution goes on."""
        loader: Any = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            if module.__name__ == "keras":
                loader.exec_module = execute
                register(module)

        try:
            loader.exec_module = execute_and_register
        except AttributeError:
            pass  # a loader without room for it: then only our modules' own import registers
