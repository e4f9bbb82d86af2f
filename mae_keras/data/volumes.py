"""Data sets of volumes, from folders of medical files or from arrays, cut into crops of one size.

TensorFlow is imported on use, nibabel and pydicom (the extra `medical`) by `volume_files`.
"""

import collections
import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_int, check_ints, check_range
from mae_keras.data.division import Division
from mae_keras.data.file_tree import (
    VOLUMES,
    Place,
    counted,
    is_bare,
    is_dicom,
    labels_of,
    list_places,
    rows_of_splits,
    usable_files,
)
from mae_keras.data.splits import ImageData, MappedSplit
from mae_keras.data.volume_crops import MOST_CROPS, CropSplit, Volume, VolumeSplit, box, fixed_crops
from mae_keras.data.volume_files import inspect_volumes, is_single, series_in

DEFAULT_CROP = (16, 64, 64)
_LARGEST_SPACING = 1e4
_LARGEST_VALUE = 1e12
_MANY_CHANNELS = 4
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class VolumeSettings:
    """How voxels of files become samples; kept with a model as `preprocessing["volume"]`.

    Args:
        crop_size: depth, height and width of a sample in voxels.
        spacing: millimeters from voxel to voxel along depth, height and width, to which volumes
            are resampled; `None`: as stored.
        window: `(low, high)` to which values are clipped, such as `(-1000, 400)` Hounsfield units
            of CT; `None`: none.
        oriented: whether depth goes up, height to the front and width to the right of a patient.

    Raises:
        ValueError: if a value is out of range.

    Example:
    >>> VolumeSettings((16, 64, 64), spacing=(2.0, 1.0, 1.0)).to_dict()["spacing"]
    [2.0, 1.0, 1.0]
    """

    crop_size: tuple[int, int, int]
    spacing: tuple[float, float, float] | None = None
    window: tuple[float, float] | None = None
    oriented: bool = False

    def __post_init__(self):
        crop = check_ints("crop_size", self.crop_size, 1, length=3)
        object.__setattr__(self, "crop_size", crop)
        object.__setattr__(self, "spacing", check_spacing(self.spacing))
        if self.window is not None:
            object.__setattr__(self, "window", check_window(self.window))

    def to_dict(self) -> dict[str, Any]:
        """The arguments, as JSON has them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }


def check_window(window: Any) -> tuple[float, float]:
    """Refuse what is no pair of values that a scan may have."""
    low, high = check_range("window", window)
    if max(-low, high) > _LARGEST_VALUE:
        raise ValueError(
            f"`window` must lie within {_LARGEST_VALUE:g}. Received: window={window!r}"
        )
    return low, high


def check_spacing(spacing: Any) -> tuple[float, float, float] | None:
    """Refuse what are no three distances in millimeters."""
    if spacing is None:
        return None
    values = check_array("spacing", spacing, 1, finite=True)
    if len(values) != 3 or not ((values > 0) & (values < _LARGEST_SPACING)).all():
        raise ValueError(
            "`spacing` must be three distances in millimeters, of depth, height and width. "
            f"Received: spacing={spacing!r}"
        )
    return tuple(float(value) for value in values)


def load_volumes(
    folders: Mapping[str, Path],
    *,
    division: Division,
    groups: Any = None,
    labels_from: str | None = None,
    image_size: Any = None,
    labels: bool = True,
    strict: bool = False,
    spacing: Sequence[float] | None = None,
    window: Sequence[float] | None = None,
    crop_size: Sequence[int] | int | None = None,
    crops_per_volume: int | None = None,
    multiple_of: int | Sequence[int] = 8,
    in_memory_limit: int = 1 << 30,
    resize: str = "crop",
) -> ImageData:
    """Load folders of volumes as `ImageData` of crops; see `mae_keras.data.load`.

    `multiple_of` is the size of a patch: a crop that `crop_size` does not say is a multiple of it,
    and volumes that hold no whole patch are skipped. `resize` means nothing here.
    """
    if image_size is not None:
        raise ValueError(
            "`image_size` is for images; volumes have `spacing` and `crop_size`. "
            f"Received: image_size={image_size}"
        )
    spacing = check_spacing(spacing)
    crop = as_crop_size(crop_size)
    patch = check_ints("multiple_of", np.broadcast_to(multiple_of, 3).tolist(), 1)
    check_int("crops_per_volume", crops_per_volume, 1, optional=True)
    name = " + ".join(str(folder) for folder in folders.values())
    places, others = list_places(folders, VOLUMES)
    places, series = _in_series(places, others, name)
    _logger.info("Reading %d volumes in %s.", len(places), name)
    files = _alike(inspect_volumes(series), spacing, patch)
    files, places, notes = usable_files(name, folders, files, places, others, strict, VOLUMES)
    spacing = _common_spacing(files, spacing, notes)
    window = None if window is None else check_window(window)
    volumes = [Volume(file, spacing, window) for file in files]
    _note_resampling(volumes, spacing, notes)
    shapes = np.array([volume.shape for volume in volumes])
    if crop is None:
        crop = _default_crop(shapes, patch)
    oriented = all(file.oriented for file in files)
    if files[0].channels > _MANY_CHANNELS:
        notes.append(
            f"volumes have {files[0].channels} channels, of the fourth axis of the files: if these "
            "are moments, write each to a file of its own."
        )
    settings = VolumeSettings(crop, spacing, window, oriented)
    notes += _notes_on_crops(shapes, crop, crop_size is None, crops_per_volume)
    targets, class_names = None, None
    if labels:
        targets, class_names = labels_of(places, notes, VOLUMES, labels_from)
    keys = np.array([file.key for file in files], "uint64")
    rows, notes_on_split = rows_of_splits(
        name, keys, places, targets, division, groups, notes, VOLUMES
    )
    channels = files[0].channels
    if 4 * channels * int(shapes.prod(axis=1).sum()) <= in_memory_limit:
        for volume in volumes:
            volume.hold()
    else:
        notes += _notes_on_streaming(volumes)
    splits = {}
    for split, chosen in rows.items():
        own = [volumes[row] for row in chosen]
        crops = fixed_crops([volume.shape for volume in own], crop, crops_per_volume)
        own_labels = None if targets is None else targets[chosen][crops[:, 0]]
        splits[split] = VolumeSplit(own, crops, (*crop, channels), labels=own_labels)
    return ImageData(
        name=name,
        image_shape=(*crop, channels),
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        value_range=None,
        notes=(*notes, *notes_on_split),
        preprocessing={"volume": settings.to_dict()},
        **splits,
    )


def as_crop_size(crop_size: Any) -> tuple[int, int, int] | None:
    """Depth, height and width of a crop, one number for all or one for each."""
    if crop_size is None:
        return None
    if np.ndim(crop_size) == 0:
        crop_size = (check_int("crop_size", crop_size, 1),) * 3
    return check_ints("crop_size", crop_size, 1, length=3)


def _in_series(places, others, name):
    """A place and the files of every volume: slices of a folder make one, or one each series."""
    kept, series, slices = [], [], collections.defaultdict(list)
    for place in places:
        file = place.inner[-1]
        if is_single(place.path):
            kept.append(place)
            series.append((place.path,))
        elif file != "DICOMDIR" and (not is_bare(file) or is_dicom(place.path)):
            slices[place.part, os.path.dirname(place.path)].append(place)
        else:
            others["file"] = others.get("file", 0) + 1
    for (part, folder), own in slices.items():
        inner = own[0].inner[:-1] or [os.path.basename(folder)]
        for paths in series_in([place.path for place in own]):
            kept.append(Place(folder, part, inner))
            series.append(paths)
    if not kept:
        raise ValueError(
            f"{name} must hold {VOLUMES.file}s ({', '.join(VOLUMES.suffixes)}) or DICOM slices. "
            f"Received: {counted(others['file'], 'other file', 'other files')}."
        )
    order = sorted(range(len(kept)), key=lambda row: kept[row].path.split(os.sep))
    return [kept[row] for row in order], [series[row] for row in order]


def _alike(files, spacing, patch):
    """The files, with a defect if they have other channels than most or hold no whole patch."""
    channels = collections.Counter(file.channels for file in files if not file.defect)
    usual = max(channels, key=lambda count: (channels[count], -count), default=1)
    checked = []
    for file in files:
        if not file.defect and file.channels != usual:
            file = dataclasses.replace(
                file, defect=f"has {counted(file.channels, 'channel', 'channels')}, others {usual}"
            )
        elif not file.defect and np.less(Volume(file, spacing).shape, patch).any():
            shape = Volume(file, spacing).shape
            file = dataclasses.replace(
                file, defect=f"{_times(shape)} voxels, smaller than a patch of {_times(patch)}"
            )
        checked.append(file)
    return checked


def _times(numbers):
    return " x ".join(f"{number:g}" for number in numbers)


def _common_spacing(files, spacing, notes):
    """What volumes are resampled to: what is asked for, or the median where they differ."""
    known = np.array([file.spacing for file in files if file.spacing is not None])
    unknown = len(files) - len(known)
    if spacing is None and len(known):
        spacing = tuple(round(float(size), 6) for size in np.median(known, axis=0))
    if unknown:
        taken = "" if spacing is None else f": taken as {_times(spacing)} mm"
        said = counted(unknown, "volume does", "volumes do")
        notes.append(f"{said} not say the distance of voxels{taken}.")
    return spacing


def _note_resampling(volumes, spacing, notes):
    changed = sum(volume.resampled for volume in volumes)
    if changed:
        total = counted(len(volumes), "volume", "volumes")
        notes.append(
            f"resampled to {_times(spacing)} mm (depth x height x width), of {total}: {changed} "
            "of another spacing (change with spacing / pretrain --spacing)."
        )


def _default_crop(shapes, patch):
    """The usual crop, no larger than the median volume, in whole patches."""
    crop = []
    for usual, extent, size in zip(DEFAULT_CROP, np.median(shapes, axis=0), patch, strict=True):
        length = min(max(usual, size), int(extent))
        crop.append(max(size, length - length % size))
    return tuple(crop)


def _notes_on_crops(shapes, crop, by_default, most):
    low, high = shapes.min(axis=0), shapes.max(axis=0)
    if (low == high).all() and (low == crop).all():
        return []
    extents = _times(low) if (low == high).all() else f"{_times(low)} to {_times(high)}"
    count = f"{most}" if most else f"as many as fill it, at most {MOST_CROPS}"
    hint = " (change with crop_size / pretrain --crop-size)" if by_default else ""
    notes = [
        f"volumes of {extents} voxels: crops of {_times(crop)}{hint}, of each volume {count}: "
        "anywhere in training, at fixed places in validation and test."
    ]
    smaller = int((shapes < np.array(crop)).any(axis=1).sum())
    if smaller:
        said = counted(smaller, "volume is", "volumes are")
        notes.append(f"{said} smaller than a crop: padded with missing voxels.")
    return notes


def _notes_on_streaming(volumes):
    whole = sum(volume.file.whole for volume in volumes)
    if not whole:
        return []
    return [
        f"{counted(whole, '.nii.gz file is', '.nii.gz files are')} unpacked whole for every crop, "
        "as the volumes do not fit into in_memory_limit; of unpacked .nii files only the crop is "
        "read."
    ]


def read_volume(path: str | os.PathLike[str], settings: Any) -> np.ndarray:
    """Read a volume as a model's samples are read: turned, resampled and clipped, not cut.

    Args:
        path: `.nii`, `.nii.gz` or `.npy` file, folder with the slices of one DICOM series, or one
            of the slices.
        settings: `VolumeSettings` or its arguments, such as
            `model.encoder.preprocessing["volume"]`.

    Returns:
        float32 array `(depth, height, width, channels)`, of any size.

    Raises:
        ImportError: if the extra `medical` is needed and not installed.
        ValueError: if there is no such volume, or it cannot be read.

    Example:
    >>> read_volume("nowhere.nii", {"crop_size": (8, 16, 16)})
    Traceback (most recent call last):
    ValueError: `path` must be a volume file. Received: 'nowhere.nii', not found.
    """
    volume = open_volume(path, settings)
    return volume.read((0, 0, 0), volume.shape)


def open_volume(path: Any, settings: Any) -> Volume:
    """A volume of which parts can be read as `read_volume` reads all of it."""
    settings = as_volume_settings(settings)
    path = os.fspath(path)
    if not os.path.exists(path):
        raise ValueError(f"`path` must be a volume file. Received: {path!r}, not found.")
    (file,) = inspect_volumes([_files_of(path)])
    if file.defect:
        raise ValueError(f"`path` must be a whole volume. Received: {path!r}: {file.defect}.")
    return Volume(file, settings.spacing, settings.window)


def _files_of(path):
    if is_single(path):
        return (path,)
    if not os.path.isdir(path):  # a slice stands for its series
        beside = sorted(
            os.path.join(os.path.dirname(path) or ".", name)
            for name in os.listdir(os.path.dirname(path) or ".")
        )
        alike = [other for other in beside if os.path.isfile(other) and is_dicom(other)]
        own = os.path.realpath(path)
        series = (found for found in series_in(alike) if own in map(os.path.realpath, found))
        return next(series, (path,))
    places, _ = list_places({"train": Path(path)}, VOLUMES)
    _, series = _in_series(places, {}, path)
    if len(series) != 1:
        raise ValueError(
            f"`path` must be a file, or a folder with one volume. Received: {path!r}, a folder "
            f"with {len(series)}"
        )
    return series[0]


def volumes_of(paths: Sequence[str]) -> list[str]:
    """Files that are volumes of their own, and folders of DICOM slices, in order.

    Of a folder with several series the first slice of each.
    """
    found: dict[str, list[str]] = {}
    for path in paths:
        if is_single(path):
            found[path] = []
        elif not is_bare(os.path.basename(path)) or is_dicom(path):
            found.setdefault(os.path.dirname(path), []).append(path)
    volumes = []
    for path, slices in found.items():
        series = series_in(slices)
        volumes += [own[0] for own in series] if len(series) > 1 else [path]
    return volumes


def as_volume_settings(settings: Any) -> VolumeSettings:
    """`VolumeSettings` of its arguments."""
    if isinstance(settings, VolumeSettings):
        return settings
    known = [field.name for field in dataclasses.fields(VolumeSettings)]
    unknown = set(settings) - set(known) if isinstance(settings, Mapping) else {settings}
    if unknown:
        raise ValueError(
            f"`settings` must be VolumeSettings or a dict of {', '.join(known)}. Received: "
            f"{settings!r}"
        )
    return VolumeSettings(**settings)


class _Row:
    """A volume in an array, in memory or mapped."""

    def __init__(self, array, number, window):
        self.array, self.number, self.window = array, number, window
        self.shape = array.shape[1:4]

    def read(self, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        part = np.asarray(self.array[self.number][box(start, size)])
        return part if self.window is None else np.clip(part, *self.window)


def cropped(
    images: ImageData,
    crop_size: Any = None,
    window: Sequence[float] | None = None,
    crops_per_volume: int | None = None,
) -> ImageData:
    """Volumes of arrays, in memory or mapped, cut into crops and clipped; see `load`."""
    shape = images.image_shape
    crop = as_crop_size(crop_size) or tuple(shape[:3])
    check_int("crops_per_volume", crops_per_volume, 1, optional=True)
    if np.greater(crop, shape[:3]).any():
        raise ValueError(
            f"`crop_size` must fit into the volumes, {_times(shape[:3])} voxels. Received: "
            f"crop_size={_times(crop)}"
        )
    settings = VolumeSettings(crop, None, None if window is None else check_window(window))
    splits = {}
    for name in ("train", "validation", "test"):
        split = getattr(images, name)
        if isinstance(split, MappedSplit):
            array, numbers = split.stored
        else:
            array, numbers = split.images, range(len(split))
        volumes = [_Row(array, int(number), settings.window) for number in numbers]
        crops = fixed_crops([volume.shape for volume in volumes], crop, crops_per_volume)
        labels = None if split.labels is None else split.labels[crops[:, 0]]
        splits[name] = CropSplit(volumes, crops, (*crop, shape[3]), split.dtype, labels)
    notes = _notes_on_crops(np.array([shape[:3]]), crop, False, crops_per_volume)
    return dataclasses.replace(
        images,
        image_shape=(*crop, shape[3]),
        notes=(*images.notes, *notes),
        preprocessing={"volume": settings.to_dict()},
        **splits,
    )
