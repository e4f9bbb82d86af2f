"""Data sets of images, signals, volumes, sound, video and tables, and the tf.data pipeline.

Names load on first use, so importing this package costs nothing; TensorFlow is imported by the
functions that need it. Imports nothing above `mae_keras.ops`.
"""

import warnings as _warnings
from typing import Any as _Any

from mae_keras.files import lazy_names

_EXPORTS = {
    "DATASETS": "sources",
    "SOURCES": "sources",
    "register_source": "sources",
    "load": "sources",
    "kind": "sources",
    "ImageData": "splits",
    "ArraySplit": "splits",
    "FolderSplit": "splits",
    "MappedSplit": "splits",
    "Split": "splits",
    "StreamSplit": "splits",
    "SelectedSplit": "splits",
    "balanced_split": "rebalancing",
    "long_tailed": "rebalancing",
    "long_tailed_rows": "rebalancing",
    "CORRUPTIONS": "corruptions",
    "corrupt": "corruptions",
    "Augmentation": "augmentation",
    "augment": "augmentation",
    "default_augmentation": "augmentation",
    "SignalAugmentation": "signal_augmentation",
    "SoundAugmentation": "signal_augmentation",
    "read_image": "folders",
    "read_signals": "signals",
    "LogMel": "log_mel",
    "SoundSplit": "sound",
    "read_sound": "sound",
    "FrameSampling": "video",
    "VideoSplit": "video",
    "FrameSplit": "video",
    "read_video": "video",
    "VideoAugmentation": "video_augmentation",
    "CropSplit": "volume_crops",
    "VolumeSettings": "volumes",
    "VolumeSplit": "volume_crops",
    "read_volume": "volumes",
    "VolumeAugmentation": "volume_augmentation",
    "SegmentationAugmentation": "segmentation_augmentation",
    "SegmentationData": "segmentation",
    "SegmentationSplit": "segmentation",
    "load_segmentation": "segmentation",
    "segmentation_batches": "segmentation_crops",
    "TableColumn": "tables",
    "TableData": "tables",
    "TableSchema": "tables",
    "load_table": "tables",
    "ClassificationAugmentation": "classification",
    "labeled_batches": "classification",
    "evaluation_batches": "pipeline",
    "poisson_batches": "pipeline",
    "steps_per_epoch": "pipeline",
    "training_batches": "pipeline",
}

_load, __dir__, __all__ = lazy_names(__name__, _EXPORTS)


def __getattr__(name: str) -> _Any:
    if name == "labelled_batches":
        _warnings.warn(
            "mae_keras.data.labelled_batches is deprecated: use mae_keras.data.labeled_batches",
            DeprecationWarning,
            stacklevel=2,
        )
        name = "labeled_batches"
    return _load(name)
