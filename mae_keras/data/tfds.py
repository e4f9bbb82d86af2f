"""Data sets of TensorFlow Datasets, held in memory when small and streamed when large.

tensorflow_datasets is an optional extra, imported on use.
"""

import dataclasses
import difflib
import functools
import math
import os
from typing import Any

import numpy as np

from mae_keras.data.arrays import in_memory_data
from mae_keras.data.division import VALIDATION_FRACTION, Division, default_fractions
from mae_keras.data.image_files import RESIZED, decode_with_pillow
from mae_keras.data.image_files import resize as resized
from mae_keras.data.splits import ImageData, StreamSplit
from mae_keras.extras import install_command

# Where a data set's own images differ in size and `image_size` is not set.
DEFAULT_IMAGE_SIZE = (224, 224)
_BATCH = 256


def load_tfds(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    labels: bool = True,
    division: Division,
    resize: str = "crop",
    in_memory_limit: int = 1 << 30,
) -> ImageData:
    """Load a data set of TensorFlow Datasets as `ImageData`; see `mae_keras.data.load`."""
    builder = _open_builder(name.removeprefix("tfds:"), data_dir)
    # Looked at before the download: a data set of texts needs none.
    image_key, label_key = _features(name, builder.info.features)
    if not builder.is_prepared():
        _download(name, builder)
    feature = builder.info.features[image_key]
    if feature.np_dtype not in (np.uint8, np.float32):
        raise ValueError(f"{name}: images must be uint8 or float32. Received: {feature.np_dtype}.")
    height, width, channels = feature.shape
    notes = []
    if image_size is None and not (height and width):
        image_size = DEFAULT_IMAGE_SIZE
        notes.append(
            f"images differ in size; all are resized to {image_size[0]} x {image_size[1]} pixels "
            f"{RESIZED[resize]} (image_size and resize choose otherwise)."
        )
    shape = (*(image_size or (height, width)), channels or 3)
    label_key = label_key if labels else None
    class_names = tuple(builder.info.features[label_key].names) if label_key else None
    reader = functools.partial(_Reader, builder, image_key, label_key, shape, feature, resize)
    num_images = sum(builder.info.splits[split].num_examples for split in _used(builder))
    if num_images * math.prod(shape) * np.dtype(feature.np_dtype).itemsize > in_memory_limit:
        notes.append("streamed from disk; whether splits share an image was not checked.")
        return _streamed(name, builder, reader, shape, class_names, division, notes)
    return _held(name, builder, reader, class_names, division, notes)


def is_prepared(name: str, data_dir: str | os.PathLike[str] | None = None) -> bool:
    """Whether a data set is on this machine, found out without a network."""
    folder = name.removeprefix("tfds:").split("/")[0].split(":")[0]
    if not os.path.isdir(os.path.join(os.path.expanduser(_place(data_dir)), folder)):
        return False
    try:
        return _open_builder(name.removeprefix("tfds:"), data_dir).is_prepared()
    except (ImportError, ValueError):
        return False


class _Reader:
    """Reads one range of a prepared data set, as encoded or as decoded images."""

    def __init__(self, builder, image_key, label_key, shape, feature, resize, split):
        self._builder, self._split = builder, split
        self._image_key, self._label_key = image_key, label_key
        self.shape, self._feature, self._resize = shape, feature, resize

    @property
    def dtype(self) -> Any:
        return np.dtype(self._feature.np_dtype).name

    def encoded(self) -> Any:
        """Return `(encoded image, label)` in stored order; -1 where there is no label."""
        import tensorflow as tf
        import tensorflow_datasets as tfds

        skip = {self._image_key: tfds.decode.SkipDecoding()}
        examples = self._builder.as_dataset(
            split=self._split,
            shuffle_files=False,
            decoders=skip if self._is_bytes else None,
            read_config=tfds.ReadConfig(try_autocache=False),
        )

        def pick(example: Any) -> Any:
            label = example[self._label_key] if self._label_key else -1
            return example[self._image_key], tf.cast(label, tf.int64)

        return examples.map(pick)

    def decode(self, encoded: Any) -> Any:
        """Return the image, of this reader's shape."""
        import tensorflow as tf

        image = encoded
        if self._is_bytes:
            image = self._decoded(encoded)
        if self._fixed:
            return tf.ensure_shape(image, self.shape)
        return resized(image[tf.newaxis], self.shape[:2], self._resize)[0]

    def _decoded(self, encoded):
        import tensorflow as tf

        channels = self.shape[2]
        start = tf.strings.substr(encoded, 0, 3)
        common = tf.reduce_any(start == tf.constant([b"\x89PN", b"\xff\xd8\xff", b"GIF"]))

        def by_pillow() -> Any:  # WebP and BMP files, which data sets may store as they are
            image = tf.numpy_function(
                lambda content: decode_with_pillow(content, channels), [encoded], tf.uint8
            )
            return tf.ensure_shape(image, (None, None, channels))

        # Despite its name decode_png reads JPEG too, at half the cost of decode_image.
        return tf.cond(common, lambda: tf.io.decode_png(encoded, channels=channels), by_pillow)

    def arrays(self) -> Any:
        """Return all images and labels (or `None`) as NumPy arrays."""
        import tensorflow as tf

        decoded = self.encoded().map(
            lambda encoded, label: (self.decode(encoded), label),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        batches = list(decoded.batch(_BATCH).as_numpy_iterator())
        images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        # Competitions publish test images with -1 for a label.
        return images, labels if self._label_key and labels.min() >= 0 else None

    @property
    def _fixed(self):
        return tuple(self._feature.shape[:2]) == tuple(self.shape[:2])

    @property
    def _is_bytes(self):
        # Float images, and channels other than gray and color, keep the decoder of their own.
        return self.dtype == "uint8" and self.shape[2] in (1, 3)


def _held(name, builder, reader, class_names, division, notes):
    splits = builder.info.splits
    train, test, validation = (
        split and reader(split=split).arrays() for split in _official(name, splits)
    )
    data = in_memory_data(
        name,
        *train,
        test=test,
        validation=validation,
        class_names=class_names,
        division=division,
    )
    return dataclasses.replace(data, notes=(*notes, *data.notes))


def _streamed(name, builder, reader, shape, class_names, division, notes):
    if division.fractions is not None:
        raise ValueError(
            f"`splits` needs images that are held in memory; {name} is streamed. Raise "
            f"in_memory_limit, or leave splits out. Received: splits={division.fractions}"
        )
    ranges = _stream_ranges(name, builder.info.splits)
    splits = {}
    for part, (split, start, end) in ranges.items():
        source = reader(split=f"{split}[{start}:{end}]")
        splits[part] = StreamSplit(
            source.encoded,
            source.decode,
            shape,
            end - start,
            has_labels=class_names is not None,
            dtype=source.dtype,
        )
    return ImageData(
        name=name,
        image_shape=shape,
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        notes=tuple(notes),
        **splits,
    )


def _stream_ranges(name, splits):
    """Return `(official split, first, end)` for each part; TFDS has shuffled them already."""
    train, test, validation = _official(name, splits)
    end = splits[train].num_examples
    ranges = {}
    fractions = default_fractions(end)
    for part, official, fraction in (
        ("test", test, fractions[0]),
        ("validation", validation, VALIDATION_FRACTION if test else fractions[1]),
    ):
        if official:
            ranges[part] = (official, 0, splits[official].num_examples)
        else:
            start = end - max(1, round(fraction * splits[train].num_examples))
            ranges[part], end = (train, start, end), start
    return ranges | {"train": (train, 0, end)}


def _used(builder):
    return [split for split in _official(builder.name, builder.info.splits) if split]


def _official(name, splits):
    """Return the names of the train, test and validation splits, `None` where there is none."""
    names = [split for split in splits if splits[split].num_examples]
    if not names:
        raise ValueError(f"{name}: the prepared data set is empty.")
    train = "train" if "train" in names else names[0]
    others = [split for split in ("test", "validation") if split in names and split != train]
    return (train, *others, None, None)[:3]


def _features(name, features):
    """Return the keys of the image and of its label (or `None`)."""
    import tensorflow_datasets as tfds

    entries = dict(features.items()) if hasattr(features, "items") else {}
    images = [
        key
        for key, feature in entries.items()
        if isinstance(feature, tfds.features.Image) and len(feature.shape) == 3
    ]
    if not images:
        raise ValueError(f"{name}: expected an image feature. Received: {sorted(entries)}.")
    labels = [
        key for key, feature in entries.items() if isinstance(feature, tfds.features.ClassLabel)
    ]
    image = "image" if "image" in images else images[0]
    return image, "label" if "label" in labels else next(iter(labels), None)


def _open_builder(name, data_dir):
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"{name} comes from TensorFlow Datasets, which is not installed. Install it with: "
            f"{install_command('datasets')}"
        ) from error
    where = None if data_dir is None else os.path.expanduser(os.fspath(data_dir))
    try:
        builder = tfds.builder(name, data_dir=where)
    except tfds.core.DatasetNotFoundError as error:
        close = difflib.get_close_matches(name, tfds.list_builders(), 1)
        hint = f" Did you mean {'tfds:' + close[0]!r}?" if close else ""
        raise ValueError(
            f"TensorFlow Datasets knows no data set {name!r}, and none of that name is prepared "
            f"in {_place(where)}.{hint}"
        ) from error
    except (ValueError, OSError, AssertionError) as error:
        raise ValueError(
            f"TensorFlow Datasets cannot open {name!r}: {_first_line(error)}"
        ) from error
    return builder


def _download(name, builder):
    try:
        builder.download_and_prepare()
    # Without a network this is a requests, urllib3, OS or TFDS error, depending on the data set.
    except Exception as error:
        raise ValueError(
            f"{name} is not prepared in {_place(builder.data_dir)} and cannot be downloaded "
            f"({type(error).__name__}: {_first_line(error)}). Set data_dir or the environment "
            "variable TFDS_DATA_DIR to a folder where it is prepared, or connect to the internet."
        ) from error


def _place(data_dir):
    from_environment = os.environ.get("TFDS_DATA_DIR")
    return data_dir or from_environment or "~/tensorflow_datasets"


def _first_line(error):
    return next(iter(str(error).strip().splitlines()), "no message")
