"""Labelled training batches for a classifier, augmented; pure functions of (seed, step).

TensorFlow is imported on use. Imports nothing above the data room.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any

from mae_keras.arguments import LARGEST_WIDTH, check_int, check_number, check_range
from mae_keras.data.augmentation import Augmentation
from mae_keras.data.mixing import mix
from mae_keras.data.options import settle
from mae_keras.data.pipeline import steps_per_epoch, training_batches
from mae_keras.data.splits import Split, check_split

# Distinguishes the draws made here from those of `training_batches` with the same seed.
_KEY = 0x636C7366


@dataclasses.dataclass(frozen=True)
class ClassificationAugmentation:
    """The random changes made to each training image of a classifier, in this order.

    Args:
        crop_scale: `(low, high)`, fraction of the area that a random crop keeps, or `None`; see
            `Augmentation`.
        crop_ratio: `(low, high)`, width over height of the crop.
        flip: bool, whether half of the images are mirrored left to right.
        max_shift: float in [0, 1], fraction of the side that images are moved by at most.
        max_rotation: float in [0, 180], degrees that images are turned by at most, both ways.
        num_ops: int, operations of RandAugment per image.
        magnitude: float in [0, 1], strength of those operations.
        erasing_rate: float in [0, 1], fraction of the images in which a box becomes noise.
        mixup_alpha: float, 0 for no mixup.
        cutmix_alpha: float, 0 for no cutmix. With both, each image gets one of them.

    Raises:
        ValueError: if a number is out of range.

    Example:
    >>> light = ClassificationAugmentation.preset("light")
    >>> light.flip, light.max_rotation
    (False, 10.0)

    References:
        - He et al. 2021, arXiv:2111.06377, table 9 (the preset `"paper"`, with the crops and
          erasing of facebookresearch/mae `main_finetune.py`).
    """

    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    max_shift: float = 0.0
    max_rotation: float = 0.0
    num_ops: int = 0
    magnitude: float = 0.5
    erasing_rate: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __post_init__(self):
        self.cropping()
        limits = {"max_shift": 1, "max_rotation": 180, "magnitude": 1, "erasing_rate": 1}
        limits |= {"num_ops": 16, "mixup_alpha": math.inf, "cutmix_alpha": math.inf}
        for name, high in limits.items():
            value = getattr(self, name)
            check_number(name, value, 0, high)
        check_int("num_ops", self.num_ops)

    @classmethod
    def preset(cls, name: str) -> "ClassificationAugmentation":
        """Return a named augmentation.

        Args:
            name: `"none"`; `"light"`, small shifts and rotations, after which digits and letters
                still mean the same; or `"paper"`, for photographs.

        Returns:
            `ClassificationAugmentation`.

        Raises:
            ValueError: if there is none of that name.
        """
        if name not in _PRESETS:
            close = difflib.get_close_matches(str(name), _PRESETS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"augmentation must be one of {', '.join(_PRESETS)}.{hint} "
                f"Received: augmentation={name!r}."
            )
        return cls(**_PRESETS[name])

    @property
    def moves(self) -> bool:
        """Whether Keras's preprocessing layers have anything to do."""
        return bool(self.max_shift or self.max_rotation or self.num_ops or self.erasing_rate)

    def cropping(self) -> Augmentation | None:
        """The crops and flips, which the pipeline of pretraining makes, or `None` without any."""
        if self.crop_scale is None and not self.flip:
            return None
        return Augmentation(self.crop_scale, self.crop_ratio, self.flip)


_PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "light": {"max_shift": 0.1, "max_rotation": 10.0},
    "paper": {
        "crop_scale": (0.08, 1.0),
        "flip": True,
        "num_ops": 2,
        "magnitude": 0.9,
        "erasing_rate": 0.25,
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
    },
}


def labelled_batches(
    split: Split,
    batch_size: int,
    num_classes: int,
    *,
    seed: int,
    augmentation: ClassificationAugmentation | None = None,
    epochs: int | None = None,
    start_epoch: int = 0,
    drop_remainder: bool = True,
    value_range: Sequence[float] | None = (0, 255),
) -> Any:
    """Return shuffled, augmented batches with labels; the k-th is a pure function of (seed, k).

    Args:
        split: `Split` with labels from 0 to `num_classes - 1`.
        batch_size: int, images per batch.
        num_classes: int.
        seed: int >= 0.
        augmentation: `ClassificationAugmentation`, or `None`.
        epochs: int, the epoch at which to end, or `None`; as for `training_batches`.
        start_epoch: int >= 0, the epoch to start at.
        drop_remainder: bool, whether a last batch that is not full is left out.
        value_range: `(low, high)` of the pixels, to which changed ones are clipped, or `None` for
            data without a range, which RandAugment and erasing cannot do without.

    Returns:
        A `tf.data.Dataset` of `(images, labels)`: pixels as stored, in dtype (rounded after a
        change) and range, and float32 `(batch_size, num_classes)`, one-hot or mixed.

    Raises:
        ValueError: if a number is out of range, there are no labels or they do not fit, or the
            augmentation needs images with two axes and these have not.

    Example:
    >>> import numpy as np
    >>> from mae_keras.data import ArraySplit
    >>> split = ArraySplit(np.zeros((10, 8, 8, 1), "uint8"), np.arange(10) % 3)
    >>> batches = labelled_batches(split, 4, 3, seed=0, epochs=1)
    >>> [(images.dtype.name, labels.shape) for images, labels in batches]
    [('uint8', TensorShape([4, 3])), ('uint8', TensorShape([4, 3]))]
    """
    augmentation = ClassificationAugmentation() if augmentation is None else augmentation
    _check_split(split, num_classes, augmentation)
    if value_range is not None:
        value_range = check_range("value_range", value_range)
    elif augmentation.num_ops or augmentation.erasing_rate:
        raise ValueError(
            "RandAugment and erasing expect a value_range. Received: value_range=None."
        )
    batches = training_batches(
        split,
        batch_size,
        seed=seed,
        epochs=epochs,
        start_epoch=start_epoch,
        augmentation=augmentation.cropping(),
        drop_remainder=drop_remainder,
        with_labels=True,
    )
    first = start_epoch * steps_per_epoch(split, batch_size, drop_remainder)
    change = _changer(augmentation, split.image_shape, value_range)
    return _finish(batches.enumerate(first), seed, num_classes, change)


def _finish(batches: Any, seed: int, num_classes: int, change: Callable | None) -> Any:
    import tensorflow as tf

    def finish(step: Any, batch: Any) -> Any:
        images, labels = batch
        labels = tf.one_hot(labels, num_classes)
        if change is None:
            return images, labels
        key = tf.random.experimental.stateless_fold_in(
            tf.constant([seed, _KEY], tf.int64), step, alg="philox"
        )
        changed, labels = change(tf.cast(images, tf.float32), labels, key)
        return tf.ensure_shape(_as_stored(changed, images.dtype), images.shape), labels

    return settle(batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE))


def _as_stored(images: Any, dtype: Any) -> Any:
    import tensorflow as tf

    if dtype.is_integer:
        images = tf.clip_by_value(tf.round(images), dtype.min, dtype.max)
    return tf.cast(images, dtype)


def _changer(
    augmentation: ClassificationAugmentation, image_shape: Sequence[int], value_range: Any
) -> Callable | None:
    """Make what changes float images, their labels and a key into images and labels."""
    a = augmentation
    if not a.moves and not a.mixup_alpha and not a.cutmix_alpha:
        return None
    move = _mover(augmentation, image_shape[-1], value_range) if a.moves else None

    def change(images: Any, labels: Any, key: Any) -> Any:
        if move is not None:
            images = move(images, key)
        return mix(images, labels, key, a.mixup_alpha, a.cutmix_alpha)

    return change


def _mover(augmentation: ClassificationAugmentation, channels: int, value_range: Any) -> Callable:
    import tensorflow as tf

    from mae_keras.data import keyed_layers as keyed

    a, seeds = augmentation, keyed.KeyedSeeds()
    first = keyed.shift_and_rotate_layers(a.max_shift, a.max_rotation)
    operations = keyed.rand_augment_layers(a.magnitude, channels, value_range) if a.num_ops else []
    last = keyed.erasing_layers(a.erasing_rate, value_range)

    def move(images: Any, key: Any) -> Any:
        seeds.start(key)
        for layer in first:
            images = keyed.apply_layer(layer, images, seeds)
        if operations:
            images = keyed.rand_augment(images, operations, a.num_ops, seeds)
        for layer in last:
            images = keyed.apply_layer(layer, images, seeds)
        return images if value_range is None else tf.clip_by_value(images, *value_range)

    return move


def _check_split(split: Split, num_classes: int, augmentation: ClassificationAugmentation) -> None:
    check_split(split)
    check_int("num_classes", num_classes, 2, LARGEST_WIDTH)
    labels = split.labels
    if labels is not None and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1} for num_classes={num_classes}. "
            f"Received: labels from {labels.min()} to {labels.max()}."
        )
    pictures = augmentation.cropping() or augmentation.moves or augmentation.cutmix_alpha
    if pictures and len(split.image_shape) != 3:
        raise ValueError(
            "augmentation other than mixup expects images (height, width, channels). "
            f"Received: image_shape={split.image_shape}."
        )
