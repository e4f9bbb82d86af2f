"""Where the images of one split live: in memory, in a mapped file, in files, or in a stream.

TensorFlow is imported on use. Imports nothing of the package but `host`.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mae_keras.data.host import stay_on_host

# Encoded images a stream holds to mix their order.
SHUFFLE_BUFFER = 10_000
_CHUNK = 256


def _checked_labels(labels, length):
    """Class numbers as int64; anything else would be cut to integers silently."""
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels must be integers. Received: labels.dtype={labels.dtype}.")
    if labels.shape != (length,):
        raise ValueError(
            f"labels must have shape ({length},), one for each image. "
            f"Received: labels.shape={labels.shape}."
        )
    return labels.astype("int64")


class Split:
    """Images of one shape, with or without labels, that can be fetched by index.

    Args:
        image_shape: tuple `(height, width, channels)`.
        length: int, number of images.
        dtype: str, `"uint8"` or `"float32"`.
        labels: int array `(length,)`, or `None`.
    """

    stream = False

    def __init__(self, image_shape, length, dtype="uint8", labels=None):
        self.image_shape = tuple(int(size) for size in image_shape)
        self.dtype = str(np.dtype(dtype))
        self.labels = None if labels is None else _checked_labels(labels, int(length))
        self._length = int(length)

    def __len__(self):
        return self._length

    @property
    def has_labels(self) -> bool:
        """Whether every image has a label."""
        return self.labels is not None

    def fetch(self, indices: Any) -> Any:
        """Return `(images, labels or None)` for an int64 tensor `(batch,)`, inside tf.data."""
        images = self._fetch_images(indices)
        images.set_shape((indices.shape[0], *self.image_shape))
        if not self.has_labels:
            return images, None
        import tensorflow as tf

        return images, tf.gather(self._label_table, indices)

    def arrays(self, limit: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the first `limit` images (all by default) and their labels as NumPy arrays.

        Example:
        >>> split = ArraySplit(np.zeros((5, 8, 8, 1), "uint8"), np.arange(5))
        >>> images, labels = split.arrays(limit=2)
        >>> images.shape, labels.tolist()
        ((2, 8, 8, 1), [0, 1])
        """
        count = len(self) if limit is None else min(int(limit), len(self))
        images = np.empty((count, *self.image_shape), self.dtype)
        for start, batch in zip(range(0, count, _CHUNK), self._chunks(count), strict=True):
            images[start : start + len(batch)] = batch
        return images, None if self.labels is None else self.labels[:count]

    def _chunks(self, count):
        if not count:
            return iter(())
        import tensorflow as tf

        stay_on_host()

        def chunk(start: Any) -> Any:
            end = tf.minimum(start + _CHUNK, count)
            return self.fetch(tf.range(start, end))[0]

        starts = tf.data.Dataset.range(0, count, _CHUNK)
        return starts.map(chunk, num_parallel_calls=2).as_numpy_iterator()

    def _fetch_images(self, indices):
        raise NotImplementedError

    @functools.cached_property
    def _label_table(self):
        return _host_tensor(self.labels)


class ArraySplit(Split):
    """Images held in memory.

    Args:
        images: uint8 or float32 array `(num_images, height, width, channels)`.
        labels: int array `(num_images,)`, or `None`.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray | None = None):
        super().__init__(images.shape[1:], len(images), images.dtype, labels)
        self.images = images

    def arrays(self, limit: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the first `limit` images and labels without copying."""
        return self.images[:limit], None if self.labels is None else self.labels[:limit]

    def _fetch_images(self, indices):
        import tensorflow as tf

        return tf.gather(self._image_table, indices)

    @functools.cached_property
    def _image_table(self):
        return _host_tensor(self.images)


class MappedSplit(Split):
    """Rows of a memory-mapped array too large to hold.

    Args:
        images: `numpy.memmap` `(num_images, height, width, channels)` of any numeric dtype.
        rows: int array, the rows that belong to this split.
        dtype: str, what the images are cast to.
        labels: int array, one per row, or `None`.
        image_size: `(height, width)` to resize to, or `None`.
    """

    def __init__(self, images, rows, dtype="uint8", labels=None, image_size=None):
        size = tuple(image_size or images.shape[1:3])
        super().__init__((*size, images.shape[3]), len(rows), dtype, labels)
        self._images, self._rows = images, np.asarray(rows)

    def _fetch_images(self, indices):
        import tensorflow as tf

        images = tf.numpy_function(self._read, [indices], self.dtype)
        images.set_shape((indices.shape[0], *self._images.shape[1:]))
        return resize(images, self.image_shape[:2])

    def _read(self, indices):
        return np.asarray(self._images[self._rows[indices]]).astype(self.dtype)


class FolderSplit(Split):
    """Image files, decoded when fetched: holds paths, never pixels.

    Args:
        paths: sequence of str.
        image_shape: tuple `(height, width, channels)`, channels 1 or 3; other sizes are resized.
        labels: int array, one per path, or `None`.
        by_pillow: bool array, one per path: the files in formats TensorFlow reads wrongly.
        in_size: bool, whether all files have the height and width of `image_shape` already.
        bitmaps: bool, whether some files may be BMPs.
    """

    def __init__(
        self,
        paths: Sequence[str],
        image_shape,
        labels=None,
        by_pillow=None,
        in_size=False,
        bitmaps=True,
    ):
        super().__init__(image_shape, len(paths), "uint8", labels)
        # One block of bytes: a tuple of strings takes twice as much for a million files.
        self._paths = np.array([os.fsencode(path) for path in paths], "S")
        self._by_pillow = np.zeros(len(paths), bool) if by_pillow is None else by_pillow
        self._in_size, self._bitmaps = in_size, bitmaps or self._by_pillow.any()

    @property
    def paths(self) -> tuple[str, ...]:
        """Path of every image."""
        return tuple(os.fsdecode(path) for path in self._paths)

    def _fetch_images(self, indices):
        import tensorflow as tf

        paths = tf.gather(self._path_table, indices)
        by_pillow = tf.gather(self._by_pillow_table, indices)
        signature = tf.TensorSpec(self.image_shape, tf.uint8)
        return tf.map_fn(self._decode, (paths, by_pillow), fn_output_signature=signature)

    def _decode(self, item):
        import tensorflow as tf

        image = self._read(*item)
        if self._in_size:
            return tf.ensure_shape(image, self.image_shape)
        return resize(image[tf.newaxis], self.image_shape[:2])[0]

    def _read(self, path, by_pillow):
        """Return an image of any size; an operation more may take as long as decoding it."""
        import tensorflow as tf

        channels = self.image_shape[2]
        if channels == 3 and not self._bitmaps:
            return decode_image(tf.io.read_file(path), channels)
        if not self._by_pillow.any():
            return with_channels(decode_image(tf.io.read_file(path)), channels)
        image = tf.cond(
            by_pillow,
            lambda: tf.ensure_shape(
                tf.numpy_function(_read_with_pillow, [path], tf.uint8), (None, None, 3)
            ),
            lambda: decode_image(tf.io.read_file(path)),
        )
        return with_channels(image, channels)

    @functools.cached_property
    def _path_table(self):
        return _host_tensor(self._paths)

    @functools.cached_property
    def _by_pillow_table(self):
        return _host_tensor(self._by_pillow)


class StreamSplit(Split):
    """Images that are read in order from a source too large to hold or to index.

    Args:
        source: callable without arguments giving a `tf.data.Dataset` of `(encoded, label)` whose
            order never changes.
        decode: callable from `encoded` to an image of `image_shape`.
        image_shape: tuple `(height, width, channels)`.
        length: int, number of images.
        has_labels: bool, whether the labels mean anything.
    """

    stream = True

    def __init__(
        self, source: Callable, decode: Callable, image_shape, length, has_labels, dtype="uint8"
    ):
        super().__init__(image_shape, length, dtype)
        self._source, self._decode, self._has_labels = source, decode, has_labels

    @property
    def has_labels(self) -> bool:
        """Whether every image has a label."""
        return self._has_labels

    def epoch_dataset(self, epoch: Any, seed: int, skip: Any = 0) -> Any:
        """Return one epoch of `(image, label)` in an order that depends on (seed, epoch) alone.

        The first `skip` images are left out, undecoded.

        Call it inside a tf.data function, as `training_batches` does: outside one,
        `Dataset.shuffle` mixes TensorFlow's global seed into the order.
        """
        import tensorflow as tf

        key = tf.random.stateless_uniform(
            (), [seed, epoch], minval=0, maxval=2**31 - 1, dtype=tf.int64, alg="philox"
        )
        # Encoded images wait in the buffer: a tenth of the memory that pixels would take.
        source = self._source().shuffle(SHUFFLE_BUFFER, seed=key, reshuffle_each_iteration=False)
        return self._decoded(source.skip(skip))

    def ordered_dataset(self) -> Any:
        """Return `(image, label)` in stored order."""
        return self._decoded(self._source())

    def fetch(self, indices: Any) -> Any:
        """Refuse: a stream has no random access."""
        raise TypeError("fetch expects a split with random access. Received: a stream.")

    def arrays(self, limit: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the first `limit` images (all by default) and their labels."""
        count = len(self) if limit is None else min(int(limit), len(self))
        images = np.empty((count, *self.image_shape), self.dtype)
        labels = np.empty(count, "int64")
        taken = self.ordered_dataset().take(count).as_numpy_iterator()
        for index, (image, label) in enumerate(taken):
            images[index], labels[index] = image, label
        return images, labels if self.has_labels else None

    def _decoded(self, source):
        import tensorflow as tf

        def decode(encoded: Any, label: Any) -> Any:
            return tf.ensure_shape(self._decode(encoded), self.image_shape), label

        return source.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def resize(images: Any, image_size: int | tuple[int, int] | None) -> Any:
    """Resize `(batch, height, width, channels)` with antialiasing, keeping the dtype."""
    import tensorflow as tf

    if tuple(images.shape[1:3]) == tuple(image_size):
        return images
    resized = tf.image.resize(images, image_size, antialias=True)
    if images.dtype != tf.uint8:
        return tf.cast(resized, images.dtype)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def decode_image(encoded: Any, channels: int = 0) -> Any:
    """Decode the first frame of a PNG, JPEG, BMP or GIF to uint8 `(height, width, channels)`.

    `channels` is 3, or 0 for those that the file has; BMPs are an error if they have others.
    """
    import tensorflow as tf

    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    return tf.ensure_shape(image, (None, None, None))


def with_channels(image: Any, channels: int) -> Any:
    """Turn grey, grey-alpha, RGB or RGBA into 1 or 3 channels, dropping alpha."""
    import tensorflow as tf

    if channels == 3:
        # Grey three times, or the first three: by indices, which cost less than a condition.
        last = tf.where(tf.shape(image)[-1] < 3, 0, 2)
        return tf.gather(image, tf.minimum(tf.range(3), last), axis=-1)
    # Only grey files reach this: where they decode to RGB, the three channels are equal.
    return image[..., :1]


def _read_with_pillow(path):
    from PIL import Image

    with Image.open(path.decode()) as image:
        return np.asarray(image.convert("RGB"))


def _host_tensor(array):
    import tensorflow as tf

    # init_scope keeps the table out of the graph being traced; the pipeline captures it.
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.convert_to_tensor(array)
