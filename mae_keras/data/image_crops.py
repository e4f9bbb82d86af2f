"""Crops of image files at the scale that they have, decoded when fetched.

TensorFlow is imported on use.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_keras.data.image_files import ImageFile
from mae_keras.data.splits import FolderSplit, Split
from mae_keras.data.volume_crops import MOST_CROPS, fixed_crops


class ImageCropSplit(Split):
    """Crops of images in files: at fixed places, or, in training, anywhere in their image.

    An image has as many crops as fill it, at most 64. One that is smaller than a crop is padded
    with black. The file is decoded for every crop.

    Args:
        files: sequence of `ImageFile`, what `inspect_files` says.
        image_shape: tuple `(height, width, channels)` of a crop, channels 1 or 3.
        labels: int array, one per file, or `None`.
        high: int, as for `FolderSplit`.
        scaled_to: `(low, high)`, as for `FolderSplit`.

    Example:
    >>> ImageCropSplit([], (32, 32, 3)).image_shape
    (32, 32, 3)
    """

    num_draws = 2

    def __init__(
        self,
        files: Sequence[ImageFile],
        image_shape: Sequence[int],
        labels: Any = None,
        *,
        high: int | None = None,
        scaled_to: Sequence[float] | None = None,
    ):
        self._files = FolderSplit(
            [file.path for file in files],
            image_shape,
            labels,
            files=files,
            resize="none",
            high=high,
            scaled_to=scaled_to,
        )
        self._crops = fixed_crops([file.size for file in files], image_shape[:2])
        own_labels = None if labels is None else self._files.labels[self._crops[:, 0]]
        super().__init__(image_shape, len(self._crops), self._files.dtype, own_labels)

    @property
    def num_independent(self) -> int:
        """Images that crops come from."""
        return len(self._files)

    @property
    def paths(self) -> tuple[str, ...]:
        """Path of every image."""
        return self._files.paths

    @property
    def num_unreadable(self) -> int:
        """Images that could no longer be read so far."""
        return self._files.num_unreadable

    @property
    def failure(self) -> str | None:
        """Why images could not be read, where TensorFlow hides it."""
        return self._files.failure

    def fetch(self, indices: Any, draws: Any = None) -> Any:
        """Return `(crops, labels or None)` for an int64 tensor `(batch,)`, inside tf.data.

        `draws` are float32 `(batch, 2)` in [0, 1): where crops begin in their images.
        """
        import tensorflow as tf

        crops = tf.numpy_function(lambda places: self._crops[places], [indices], tf.int64)
        crops.set_shape((indices.shape[0], 3))
        given = crops[:, 1:] if draws is None else draws
        return self._files.fetch_parts(crops[:, 0], self._crop, given)

    def _crop(self, image, place):
        """The crop that begins at a place, in pixels or, drawn, as a share of what is free."""
        import tensorflow as tf

        size = tf.constant(self.image_shape[:2])
        free = tf.maximum(tf.shape(image)[:2] - size, 0)
        if place.dtype.is_floating:
            place = tf.cast(place, tf.float64) * tf.cast(free + 1, tf.float64)
        # Rounding may reach beyond; so may a place in another file than the one that was damaged.
        start = tf.minimum(tf.cast(place, tf.int32), free)
        part = image[start[0] : start[0] + size[0], start[1] : start[1] + size[1]]
        missing = size - tf.shape(part)[:2]
        part = tf.pad(part, [[0, missing[0]], [0, missing[1]], [0, 0]])
        return tf.ensure_shape(part, self.image_shape)


def notes_on_crops(sizes: Sequence[tuple[int, int]], crop: Sequence[int]) -> list[str]:
    """What is cut out of images of such sizes."""
    low, high = np.min(sizes, axis=0), np.max(sizes, axis=0)
    if (low == high).all() and (low == crop).all():
        return []
    extents = _times(low) if (low == high).all() else f"{_times(low)} to {_times(high)}"
    notes = [
        f"images of {extents} pixels: crops of {_times(crop)}, of each image as many as fill it, "
        f"at most {MOST_CROPS}: anywhere in training, at fixed places in validation and test."
    ]
    smaller = int((np.asarray(sizes) < np.asarray(crop)).any(axis=1).sum())
    if smaller:
        said = "1 image is" if smaller == 1 else f"{smaller} images are"
        notes.append(f"{said} smaller than a crop: padded with black.")
    return notes


def _times(numbers):
    return " x ".join(str(int(number)) for number in numbers)
