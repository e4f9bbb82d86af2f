"""Where the images of one split live: in memory, in a mapped file, in files, or in a stream.

`ImageData` holds the three splits of a data set. TensorFlow is imported on use.
"""

import dataclasses
import functools
import logging
import os
import stat
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import check_array
from mae_keras.data.image_files import ImageFile, decode, inspect_file, inspect_files, resize
from mae_keras.runtime.tf_data import stay_on_host

# Encoded images a stream holds to mix their order.
SHUFFLE_BUFFER = 10_000
_CHUNK = 256
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_logger = logging.getLogger(__name__)


def _checked_labels(labels, length):
    """Class numbers as int64; anything else would be cut to integers silently."""
    labels = check_array("labels", labels, kinds="iu", empty=True)
    if labels.shape != (length,):
        raise ValueError(
            f"`labels` must have shape ({length},), one for each image. "
            f"Received: labels.shape={labels.shape}."
        )
    return labels.astype("int64")


def check_split(split: Any) -> None:
    """Refuse what is not a split."""
    if not isinstance(split, Split):
        raise TypeError(
            f"`split` must be a Split, such as ArraySplit(images). Received: {type(split).__name__}"
        )


class Split:
    """Images of one shape, with or without labels, that can be fetched by index.

    Args:
        image_shape: tuple `(height, width, channels)`.
        length: int, number of images.
        dtype: str, `"uint8"` or `"float32"`.
        labels: int array `(length,)`, or `None`.
    """

    stream = False
    # Where samples are cut out of longer ones: random numbers per sample that `fetch` takes.
    num_draws = 0
    failure: str | None = None  # why images could not be read, where TensorFlow hides it

    def __init__(self, image_shape, length, dtype="uint8", labels=None):
        self.image_shape = tuple(int(size) for size in image_shape)
        self.dtype = str(np.dtype(dtype))
        self.labels = None if labels is None else _checked_labels(labels, int(length))
        self._length = int(length)

    def __len__(self):
        return self._length

    @property
    def num_independent(self) -> int:
        """Samples that have nothing to do with each other: of crops of one volume, one."""
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
        labels = np.empty(count, "int64")
        for start, (batch, own) in zip(range(0, count, _CHUNK), self._chunks(count), strict=True):
            images[start : start + len(batch)], labels[start : start + len(batch)] = batch, own
        return images, labels if self.has_labels else None

    def _chunks(self, count):
        if not count:
            return
        import tensorflow as tf

        stay_on_host()

        def chunk(start: Any) -> Any:
            end = tf.minimum(start + _CHUNK, count)
            images, labels = self.fetch(tf.range(start, end))
            return images, tf.zeros(end - start, tf.int64) if labels is None else labels

        starts = tf.data.Dataset.range(0, count, _CHUNK)
        try:
            yield from starts.map(chunk, num_parallel_calls=2).as_numpy_iterator()
        except tf.errors.OpError as error:
            if self.failure is None:
                raise
            raise OSError(self.failure) from error

    def _fetch_images(self, indices):
        raise NotImplementedError

    @functools.cached_property
    def _label_table(self):
        return host_tensor(self.labels)


class ArraySplit(Split):
    """Images held in memory.

    Args:
        images: uint8 or float32 array `(num_images, height, width, channels)`.
        labels: int array `(num_images,)`, or `None`.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray | None = None):
        if isinstance(images, np.ma.MaskedArray):
            raise TypeError(
                "`images` must be a plain array of numbers, in which NaN marks missing pixels. "
                "Received: a masked array"
            )
        images = check_array("images", images, kinds="uif", empty=True)
        if not 3 <= images.ndim <= 5 or 0 in images.shape[1:]:
            raise ValueError(
                "`images` must have shape (num_images, *spatial, channels) with one to three "
                f"spatial axes, none of them 0. Received: images.shape={images.shape}"
            )
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
        return host_tensor(self.images)


class MappedSplit(Split):
    """Rows of a memory-mapped array too large to hold.

    Args:
        images: `numpy.memmap` `(num_images, height, width, channels)` of any numeric dtype.
        rows: int array, the rows that belong to this split.
        dtype: str, what the images are cast to.
        labels: int array, one per row, or `None`.
        image_size: `(height, width)` to resize to, or `None`.
        resize: str, `"crop"`, `"pad"` or `"stretch"`.
    """

    def __init__(self, images, rows, dtype="uint8", labels=None, image_size=None, resize="stretch"):
        shape = images.shape[1:] if image_size is None else (*image_size, images.shape[3])
        super().__init__(shape, len(rows), dtype, labels)
        self._images, self._rows, self._resize = images, np.asarray(rows), resize

    @property
    def stored(self) -> tuple[np.ndarray, np.ndarray]:
        """The mapped array, and the rows of it that belong to this split."""
        return self._images, self._rows

    def _fetch_images(self, indices):
        import tensorflow as tf

        images = tf.numpy_function(self._read, [indices], self.dtype)
        images.set_shape((indices.shape[0], *self._images.shape[1:]))
        if self.image_shape == self._images.shape[1:]:
            return images
        return resize(images, self.image_shape[:2], self._resize)

    def _read(self, indices):
        return np.asarray(self._images[self._rows[indices]]).astype(self.dtype)


class FileSplit(Split):
    """Samples in files, decoded when fetched: holds paths, never samples.

    A file that can no longer be read, because it vanished or was damaged since it was looked at, is
    reported once and replaced by the next file of the split that can be, with its label. Which one
    that is depends on its place alone, so that the order of the data stays a function of seed and
    epoch. Too many of them are an error.

    Args:
        paths: sequence of str.
        image_shape: tuple `(*spatial, channels)`.
        dtype: str, `"uint8"` or `"float32"`.
        labels: int array, one per path, or `None`.
        file: str, what messages call a file, such as `"image file"`.
    """

    def __init__(self, paths, image_shape, dtype, labels, file):
        super().__init__(image_shape, len(paths), dtype, labels)
        # One block of bytes: a tuple of strings takes twice as much for a million files.
        self._paths = np.array([os.fsencode(path) for path in paths], "S")
        self._file = file
        self._unreadable: set[int] = set()
        self.failure: str | None = None

    @property
    def num_unreadable(self) -> int:
        """Files that could no longer be read so far, in whose place others came."""
        return len(self._unreadable)

    @property
    def paths(self) -> tuple[str, ...]:
        """Path of every file."""
        return tuple(os.fsdecode(path) for path in self._paths)

    def content(self, place: int) -> Any:
        """What a file holds, or `None` after `report` if it can no longer be read."""
        raise NotImplementedError

    def contents(
        self, indices: Any, draws: Sequence[Any] | None = None, **options: Any
    ) -> tuple[list[Any], np.ndarray]:
        """What some files hold, and which files they are: not those of `indices` throughout.

        `content` gets the `options`, and of `draws` its own one.
        """
        places, contents = np.empty(len(indices), "int64"), []
        for row, place in enumerate(indices.tolist()):
            own = options if draws is None else {**options, "draw": draws[row]}
            content = self.content(place, **own)
            while content is None:  # ends: too many are an error
                place = (place + 1) % len(self)
                content = self.content(place, **own)
            contents.append(content)
            places[row] = place
        return contents, places

    def report(self, place: int, reason: str) -> None:
        """Say once that a file can no longer be read; refuse too many."""
        path = os.fsdecode(self._paths[place])
        if place not in self._unreadable:
            self._unreadable.add(place)
            message = f"{path!r} can no longer be read ({reason})"
            if len(self._unreadable) > min(len(self) - 1, max(10, len(self) // 100)):
                number = len(self._unreadable)
                self.failure = f"{message}, nor can {number - 1} other {self._file}s"
                raise OSError(self.failure)
            _logger.warning("%s; the next %s takes its place.", message, self._file.split()[0])


class FolderSplit(FileSplit):
    """Image files, decoded when fetched: holds paths, never pixels.

    A file that can no longer be read, because it vanished or was damaged since it was looked at, is
    reported once and replaced by the next file of the split that can be, with its label. Which one
    that is depends on its place alone, so that the order of the data stays a function of seed and
    epoch. Too many of them are an error.

    Args:
        paths: sequence of str.
        image_shape: tuple `(height, width, channels)`, channels 1 or 3; other sizes are resized.
        labels: int array, one per path, or `None`.
        files: sequence of `ImageFile`, what `inspect_files` says of every path; by default they are
            inspected.
        resize: str, `"crop"`, `"pad"`, `"stretch"` or `"none"`, see `mae_keras.data.load`.
        high: int, what white is in float32 images, or `None` for uint8 images in [0, 255].
        scaled_to: `(low, high)` to scale float32 pixels to, from [0, `high`]; by default they stay.

    Raises:
        ValueError: if a file cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[str],
        image_shape,
        labels=None,
        *,
        files: Sequence[ImageFile] | None = None,
        resize: str = "stretch",
        high: int | None = None,
        scaled_to: Sequence[float] | None = None,
    ):
        if files is None:
            stay_on_host()
            files = inspect_files([os.fspath(path) for path in paths])
        for file in files:
            if file.defect:
                raise ValueError(f"{file.path!r} cannot be read as an image: {file.defect}")
        dtype = "uint8" if high is None else "float32"
        super().__init__(paths, image_shape, dtype, labels, "image file")
        self._stamps = np.array([file.stamp for file in files], "int64").reshape(-1, 2)
        self._readers = np.array([file.reader for file in files], "int8")
        size = self.image_shape[:2]
        self._in_size = all(file.size == size for file in files)
        # Cutting and padding cost time even where they change nothing.
        same = all(file.size[0] * size[1] == file.size[1] * size[0] for file in files)
        self._resize = "stretch" if same and resize != "none" else resize
        self._high = high
        self._scaled_to = scaled_to
        self._gray = all(file.gray for file in files)

    def fetch(self, indices: Any) -> Any:
        """Return `(images, labels or None)` for an int64 tensor `(batch,)`, inside tf.data."""
        return self.fetch_parts(indices, self._in_shape)

    def fetch_parts(self, indices: Any, part_of: Callable[..., Any], *given: Any) -> Any:
        """Like `fetch`, of what `part_of` makes of every whole image.

        `part_of` gets an image, and its own entry of each of the `given` tensors.
        """
        import tensorflow as tf

        contents, places = tf.numpy_function(self._contents, [indices], (tf.string, tf.int64))
        contents.set_shape(indices.shape)
        places.set_shape(indices.shape)
        all_readers = set(self._readers.tolist())

        def decoded(item: Any) -> Any:
            content, reader, *own = item
            channels = self.image_shape[2]
            image = decode(content, reader, channels, self._high, all_readers, self._gray)
            return part_of(image, *own)

        items = (contents, tf.gather(self._reader_table, places), *given)
        signature = tf.TensorSpec(self.image_shape, self.dtype)
        images = tf.map_fn(decoded, items, fn_output_signature=signature)
        images.set_shape((indices.shape[0], *self.image_shape))
        if self._scaled_to is not None:
            low, high = map(float, self._scaled_to)
            images = low + images * ((high - low) / self._high)
        return images, tf.gather(self._label_table, places) if self.has_labels else None

    def _in_shape(self, image):
        import tensorflow as tf

        if self._in_size:
            return tf.ensure_shape(image, self.image_shape)
        return resize(image[tf.newaxis], self.image_shape[:2], self._resize)[0]

    def _contents(self, indices):
        contents, places = self.contents(indices)
        return np.array(contents, object), places

    def content(self, place: int) -> bytes | None:
        """Bytes of a file that is still the one that was inspected, or `None`."""
        path = self._paths[place]
        try:
            content, stamp = _read_regular(path)
        except OSError as error:
            return self.report(place, error.strerror or str(error))
        if stamp != tuple(self._stamps[place]):
            file = inspect_file(os.fsdecode(path))
            changed = file.reader != self._readers[place] or (
                self._in_size and file.size != self.image_shape[:2]
            )
            if file.defect or changed:
                return self.report(place, file.defect or "it is another kind of image now")
            self._stamps[place] = file.stamp
        return content

    @functools.cached_property
    def _reader_table(self):
        return host_tensor(self._readers.astype("int32"))


def _read_regular(path):
    """Return bytes and stamp of a file; `open_regular` costs more than small images take."""
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no regular file")
        parts = [os.read(descriptor, status.st_size + 1)]
        while parts[-1] and sum(map(len, parts)) < status.st_size:
            parts.append(os.read(descriptor, status.st_size))
    finally:
        os.close(descriptor)
    return b"".join(parts), (status.st_size, status.st_mtime_ns)


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


def host_tensor(array: np.ndarray) -> Any:
    """A table for `tf.data`, outside any graph being traced and off the accelerator."""
    import tensorflow as tf

    # The pipeline captures it.
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.convert_to_tensor(array)


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set cut into three splits that never share an image.

    Args:
        name: str, the name or path it was loaded by.
        image_shape: tuple `(height, width, channels)`.
        num_classes: int, or `None` without labels.
        class_names: tuple of str in label order, or `None`.
        train: `Split` to learn from.
        validation: `Split` to watch during training.
        test: `Split` to report on.
        value_range: `(low, high)` of the pixels as stored, such as `(0, 255)`, `(0, 1)` or, for
            files of 16 bits, `(0, 65535)`; `None` for values without such ends, as of signals.
        notes: tuple of sentences worth printing, such as the files that were skipped.
        preprocessing: dict that JSON can hold, of what made samples of the files, or `None`: of
            recordings `{"log_mel": {...}}`, the arguments of `LogMel`, of clips `{"video":
            {...}}`, those of `FrameSampling`.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int | None
    class_names: tuple[str, ...] | None
    train: Split
    validation: Split
    test: Split
    value_range: tuple[int, int] | None = (0, 255)
    notes: tuple[str, ...] = ()
    preprocessing: dict[str, Any] | None = None

    @property
    def is_sound(self) -> bool:
        """Whether samples are spectrograms of recordings, not pictures to crop or mirror."""
        return self.kind == "sound"

    @property
    def is_video(self) -> bool:
        """Whether samples are clips, `(frames, height, width, channels)`, not volumes."""
        return self.kind == "video"

    @property
    def kind(self) -> str | None:
        """What samples are, as far as `preprocessing` says it, such as `"sound"`."""
        return kind_of(self.preprocessing)


_KINDS = {"log_mel": "sound", "volume": "volumes", "video": "video"}


def kind_of(preprocessing: Any) -> str | None:
    """What samples are that were made so: `"sound"`, `"volumes"`, `"video"`, or `None`."""
    return next((kind for key, kind in _KINDS.items() if key in (preprocessing or {})), None)


class SelectedSplit(Split):
    """Rows of another split, in the order given and as often as they are named.

    Holds row numbers, never pixels, so that a file or folder stays where it is.

    Args:
        split: `Split` with random access.
        rows: int array `(length,)`, places in `split`; one may be named many times.

    Raises:
        TypeError: if `split` is a stream, or rows are not integers.
        ValueError: if there are no rows, or one is not in `split`.

    Example:
    >>> from mae_keras.data import ArraySplit
    >>> split = ArraySplit(np.zeros((5, 8, 8, 1), "uint8"), np.arange(5))
    >>> SelectedSplit(split, [3, 3, 0]).labels.tolist()
    [3, 3, 0]
    """

    def __init__(self, split: Split, rows: Any):
        check_random_access(split)
        rows = _checked_rows(rows, len(split))
        labels = None if split.labels is None else split.labels[rows]
        super().__init__(split.image_shape, len(rows), split.dtype, labels)
        self.split, self.rows, self.num_draws = split, rows, split.num_draws

    def fetch(self, indices: Any, draws: Any = None) -> Any:
        """Return `(images, labels or None)` for an int64 tensor `(batch,)`, inside tf.data."""
        import tensorflow as tf

        # With its labels: a file that cannot be read is replaced by another one, with its own.
        rows = tf.gather(self._row_table, indices)
        return self.split.fetch(rows) if draws is None else self.split.fetch(rows, draws)

    @property
    def failure(self) -> str | None:
        """Why images could not be read, where TensorFlow hides it."""
        return self.split.failure

    @functools.cached_property
    def _row_table(self):
        import tensorflow as tf

        # As the tables of other splits: outside any graph being traced, and off the accelerator.
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.convert_to_tensor(self.rows)


def check_random_access(split: Split) -> None:
    """Refuse a split that can only be read in order."""
    check_split(split)
    if split.stream:
        raise TypeError(
            "`split` must have random access, so that its images can be chosen by number. "
            "Received: a stream. Load with a higher `in_memory_limit`, or as a folder or a file"
        )


def labels_of(split: Split) -> np.ndarray:
    """Return the labels of a split whose images can be chosen by them."""
    check_random_access(split)
    if not split.has_labels:
        raise ValueError("`split` must have labels. Received: a split without")
    return split.labels


def _checked_rows(rows, length):
    rows = check_array("rows", rows, 1, kinds="buif", empty=True)
    if not len(rows):
        raise ValueError(
            f"`rows` must have shape (length,), at least one row. Received: rows.shape={rows.shape}"
        )
    check_array("rows", rows, kinds="iu")
    if rows.min() < 0 or rows.max() >= length:
        raise ValueError(
            f"`rows` must be in [0, {length}). Received: rows from {rows.min()} to {rows.max()}"
        )
    return rows.astype("int64")
