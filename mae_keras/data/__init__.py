"""Image data sets and the tf.data pipeline that feeds training.

Names load on first use, so importing this package costs nothing; TensorFlow is imported by the
functions that need it. Imports nothing above `mae_keras.ops`.
"""

import importlib

_HOMES = {
    "DATASETS": "sources",
    "load": "sources",
    "kind": "sources",
    "ImageData": "image_data",
    "ArraySplit": "splits",
    "FolderSplit": "splits",
    "MappedSplit": "splits",
    "Split": "splits",
    "StreamSplit": "splits",
    "Augmentation": "augmentation",
    "augment": "augmentation",
    "default_augmentation": "augmentation",
    "read_image": "single_image",
    "evaluation_batches": "pipeline",
    "steps_per_epoch": "pipeline",
    "training_batches": "pipeline",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return __all__
