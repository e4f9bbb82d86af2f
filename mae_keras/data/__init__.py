"""Image data sets and the tf.data pipeline that feeds training.

Names load on first use, so importing this package costs nothing; TensorFlow is imported by the
functions that need it. Imports nothing above `mae_keras.ops`.
"""

from mae_keras.lazy import lazy_names

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
    "SelectedSplit": "selection",
    "balanced_split": "balance",
    "long_tailed": "long_tail",
    "long_tailed_rows": "long_tail",
    "CORRUPTIONS": "corruptions",
    "corrupt": "corruptions",
    "Augmentation": "augmentation",
    "augment": "augmentation",
    "default_augmentation": "augmentation",
    "read_image": "single_image",
    "ClassificationAugmentation": "classification",
    "labelled_batches": "classification",
    "evaluation_batches": "pipeline",
    "steps_per_epoch": "pipeline",
    "training_batches": "pipeline",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
