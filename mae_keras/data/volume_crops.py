"""Crops of volumes, of which no more is read than is needed: resampled, clipped, padded.

TensorFlow is imported on use.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_keras.data.splits import FileSplit, Split
from mae_keras.data.volume_files import VolumeFile

MOST_CROPS = 64  # of a volume in an epoch, unless told otherwise
_SAME_SPACING = 0.01  # relative: what differs less is not resampled


class Volume:
    """A volume in a file, as it is after resampling and clipping, of which parts can be read.

    Args:
        file: `VolumeFile`.
        spacing: to resample to, or `None`.
        window: to clip to, or `None`.
    """

    def __init__(self, file: VolumeFile, spacing=None, window=None):
        self.file, self.window, self._held = file, window, None
        self._ratios = _ratios(file.spacing, spacing)
        self.shape = tuple(
            max(1, round(size / ratio))
            for size, ratio in zip(file.shape, self._ratios, strict=True)
        )

    @property
    def resampled(self) -> bool:
        """Whether voxels are other than those of the file."""
        return self._ratios != (1.0, 1.0, 1.0)

    def hold(self) -> None:
        """Keep all of it in memory."""
        self._held = self.read((0, 0, 0), self.shape)

    def read(self, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """A part that lies within the volume, float32 `(*size, channels)`."""
        if self._held is not None:
            return self._held[box(start, size)]
        if self.resampled:
            part = self._resampled(start, size)
        else:
            part = self.file.read(start, size)
        return part if self.window is None else np.clip(part, *self.window)

    def _resampled(self, start, size):
        """Linear interpolation between the voxels of the file that lie around."""
        places = [
            np.clip((np.arange(first, first + length) + 0.5) * ratio - 0.5, 0, extent - 1)
            for first, length, ratio, extent in zip(
                start, size, self._ratios, self.file.shape, strict=True
            )
        ]
        lows = [int(place[0]) for place in places]
        highs = [math.ceil(place[-1]) for place in places]
        lengths = [high - low + 1 for low, high in zip(lows, highs, strict=True)]
        part = self.file.read(lows, lengths)
        for axis, (place, low) in enumerate(zip(places, lows, strict=True)):
            part = _interpolated(part, axis, place - low)
        return part


def _ratios(stored, wanted):
    if stored is None or wanted is None:
        return (1.0, 1.0, 1.0)
    ratios = [want / have for want, have in zip(wanted, stored, strict=True)]
    return tuple(1.0 if abs(ratio - 1) <= _SAME_SPACING else ratio for ratio in ratios)


def _interpolated(values, axis, places):
    below = np.floor(places).astype(int)
    weight = (places - below).astype("float32")
    weight = weight.reshape([-1 if each == axis else 1 for each in range(values.ndim)])
    first = values.take(below, axis=axis)
    second = values.take(np.minimum(below + 1, values.shape[axis] - 1), axis=axis)
    # A voxel that has no weight may be missing.
    return np.where(weight == 0, first, (1 - weight) * first + weight * second)


def box(start: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    """Where a part lies in an array."""
    return tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))


class CropSplit(Split):
    """Crops of volumes: where they are said to lie, or, in training, anywhere in their volume.

    Args:
        volumes: sequence of what has `shape`, three ints, and `read(start, size)`, such as
            `Volume`. Those smaller than a crop are padded with NaN (missing) after their end.
        crops: int array `(num_crops, 4)`: a volume and where the crop begins in it.
        sample_shape: `(depth, height, width, channels)`.
        dtype: str, `"uint8"` or `"float32"`.
        labels: int array, one per crop, or `None`.

    Example:
    >>> CropSplit([], [], (8, 16, 16, 1)).image_shape
    (8, 16, 16, 1)
    """

    num_draws = 3

    def __init__(self, volumes, crops, sample_shape, dtype="float32", labels=None):
        super().__init__(sample_shape, len(crops), dtype, labels)
        self.volumes = volumes
        self.crops = np.asarray(crops, "int64").reshape(-1, 4)

    @property
    def num_independent(self) -> int:
        """Volumes that crops come from."""
        return len(np.unique(self.crops[:, 0]))

    def fetch(self, indices: Any, draws: Any = None) -> Any:
        """Return `(crops, labels or None)` for an int64 tensor `(batch,)`, inside tf.data.

        `draws` are float32 `(batch, 3)` in [0, 1): where crops begin in their volumes.
        """
        import tensorflow as tf

        given = [indices] if draws is None else [indices, draws]
        samples, places = tf.numpy_function(self._read, given, (self.dtype, tf.int64))
        samples.set_shape((indices.shape[0], *self.image_shape))
        places.set_shape(indices.shape)
        return samples, tf.gather(self._label_table, places) if self.has_labels else None

    def _read(self, indices, draws=None):
        samples = np.empty((len(indices), *self.image_shape), self.dtype)
        places = np.empty(len(indices), "int64")
        for row, place in enumerate(indices.tolist()):
            sample = self._crop(place, None if draws is None else draws[row])
            while sample is None:  # ends: too many are an error
                place = (place + 1) % len(self)
                sample = self._crop(place, None if draws is None else draws[row])
            samples[row], places[row] = sample, place
        return samples, places

    def _crop(self, place, draws):
        number, *start = self.crops[place].tolist()
        volume = self.volumes[number]
        if draws is not None:
            free = np.maximum(np.subtract(volume.shape, self.image_shape[:3]), 0) + 1
            # Rounding may give a product as large as `free`.
            start = np.minimum((draws.astype("float64") * free).astype(int), free - 1).tolist()
        return read_padded(volume, start, self.image_shape[:3])


def read_padded(volume: Any, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """A part of a volume, filled up with NaN (missing) where it is smaller."""
    there = [min(length, extent) for length, extent in zip(size, volume.shape, strict=True)]
    part = volume.read(start, there)
    if tuple(there) == tuple(size):
        return part
    missing = [(0, length - have) for length, have in zip(size, there, strict=True)]
    return np.pad(part, (*missing, (0, 0)), constant_values=np.nan)


class VolumeSplit(CropSplit):
    """Crops of volumes in files.

    A volume that can no longer be read is reported once, and crops of others take the place of
    its own.

    Args:
        volumes: sequence of `Volume`.
        crops: as for `CropSplit`.
        sample_shape: as for `CropSplit`.
        dtype: as for `CropSplit`.
        labels: as for `CropSplit`.

    Example:
    >>> VolumeSplit([], [], (8, 16, 16, 1)).image_shape
    (8, 16, 16, 1)
    """

    def __init__(self, volumes, crops, sample_shape, dtype="float32", labels=None):
        super().__init__(volumes, crops, sample_shape, dtype, labels)
        self._files = FileSplit(self.paths, sample_shape, dtype, None, "volume file")

    @property
    def paths(self) -> tuple[str, ...]:
        """A file of every volume."""
        return tuple(volume.file.first_file for volume in self.volumes)

    @property
    def num_unreadable(self) -> int:
        """Volumes that could no longer be read so far."""
        return self._files.num_unreadable

    @property
    def failure(self) -> str | None:
        """Why volumes could not be read, where TensorFlow hides it."""
        return self._files.failure

    def _crop(self, place, draws):
        try:
            return super()._crop(place, draws)
        except Exception as error:  # whatever a file damaged since makes the libraries raise
            reason = getattr(error, "strerror", None) or str(error)
            return self._files.report(int(self.crops[place, 0]), reason)


def center_crop(volume: Any, size: Sequence[int]) -> np.ndarray:
    """The middle of a `Volume`, filled up with NaN (missing) where it is smaller."""
    free = np.maximum(np.subtract(volume.shape, size), 0)
    return read_padded(volume, (free // 2).tolist(), size)


def fixed_crops(
    shapes: Sequence[Sequence[int]], crop: Sequence[int], most: int | None = None
) -> np.ndarray:
    """Crops that cover volumes, in a fixed order: the first of every volume, the second, ...

    At most `most` (64 by default) of each volume, chosen evenly. int64 `(num_crops, 4)`: number
    of the volume and where the crop begins. For images likewise, with two axes.
    """
    found = []
    for number, shape in enumerate(shapes):
        axes = []
        for extent, size in zip(shape, crop, strict=True):
            count = -(-extent // size)
            axes.append(np.linspace(0, max(0, extent - size), count).round().astype("int64"))
        starts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(crop))
        order = np.random.default_rng(number).permutation(len(starts))[: most or MOST_CROPS]
        if most is not None:  # as many as asked for, of small volumes the same again
            order = np.resize(order, most)
        rank = np.arange(len(order))
        numbers = np.full(len(order), number)
        found.append(np.concatenate([rank[:, None], numbers[:, None], starts[order]], axis=1))
    crops = np.concatenate(found) if found else np.zeros((0, 2 + len(crop)), "int64")
    return crops[np.argsort(crops[:, 0], kind="stable"), 1:]
