"""Labeled training batches for a classifier, augmented; pure functions of (seed, step).

Keras has layers that mix pairs of images, but they keep their random state to themselves, which
order of execution changes, and its `CutMix` weighs labels by the area of a box with fractional
corners instead of the pixels it replaced. TensorFlow is imported on use.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any

from mae_keras.arguments import LARGEST_WIDTH, check_choice, check_int, check_number, check_range
from mae_keras.data.augmentation import Augmentation
from mae_keras.data.pipeline import steps_per_epoch, training_batches
from mae_keras.data.signal_augmentation import SignalAugmentation, SoundAugmentation
from mae_keras.data.splits import Split, check_split
from mae_keras.runtime.tf_data import settle


def mix(
    images: Any, labels: Any, seed: Any, mixup_alpha: float = 0.0, cutmix_alpha: float = 0.0
) -> tuple[Any, Any]:
    """Mix every image of a batch with the one before it, by mixup, cutmix or, with both, either.

    The first image's partner is the last one. Each image has its own share, drawn from
    Beta(alpha, alpha).

    References:
        - Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899. Each with
          probability one half when both are wanted, as timm `Mixup`, but drawn per image.
    """
    import tensorflow as tf

    images, labels = tf.cast(images, tf.float32), tf.cast(labels, tf.float32)
    if not mixup_alpha and not cutmix_alpha:
        return images, labels
    batch = tf.shape(images)[0]
    keys = tf.random.split(tf.cast(seed, tf.int32), 4, alg="philox")
    if mixup_alpha:
        ones = [1] * (images.shape.rank - 1)
        kept = tf.reshape(beta(mixup_alpha, batch, keys[0]), (batch, *ones))
    if cutmix_alpha:
        share = beta(cutmix_alpha, batch, keys[1])
        uncut = tf.cast(~cut_boxes(share, images.shape[1:3], keys[2]), tf.float32)
        cutting = tf.random.stateless_uniform((batch, 1, 1, 1), keys[3], alg="philox") < 0.5
        kept = tf.where(cutting, uncut, kept) if mixup_alpha else uncut
    return blend(images, labels, kept)


def blend(images: Any, labels: Any, kept: Any) -> tuple[Any, Any]:
    """Mix every image of a batch with the one before it; `kept` broadcasts to `images`."""
    import tensorflow as tf

    images, labels, kept = (tf.convert_to_tensor(value) for value in (images, labels, kept))
    # A missing (NaN) pixel must not spoil a picture none of which it becomes: 0 * NaN is NaN.
    mixed = tf.where(kept == 1, images, kept * images + (1 - kept) * tf.roll(images, 1, 0))
    mixed = tf.where(kept == 0, tf.roll(images, 1, 0), mixed)
    share = tf.reduce_mean(kept, axis=list(range(1, kept.shape.rank)))[:, tf.newaxis]
    return mixed, share * labels + (1 - share) * tf.roll(labels, 1, 0)


def beta(alpha: float, count: Any, seed: Any) -> Any:
    """Draw from Beta(alpha, alpha)."""
    import tensorflow as tf

    # The quotient of two gamma draws. Those of small alpha underflow, their logarithms do not:
    # a draw of Gamma(alpha) is one of Gamma(alpha + 1) times a uniform one to the 1 / alpha.
    gamma_key, uniform_key = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), alg="philox"))
    gammas = tf.random.stateless_gamma((2, count), gamma_key, alpha + 1.0)
    uniforms = tf.random.stateless_uniform((2, count), uniform_key, alg="philox")
    logs = tf.math.log(gammas) + tf.math.log(1.0 - uniforms) / alpha
    return tf.sigmoid(logs[0] - logs[1])


def cut_boxes(share: Any, shape: tuple[int, int], seed: Any) -> Any:
    """Boxes of cutmix, bool `(batch, height, width, 1)`: whole pixels, cut off at the border."""
    import tensorflow as tf

    share = tf.convert_to_tensor(share)
    centers = tf.random.stateless_uniform((2, tf.shape(share)[0], 1), seed, alg="philox")
    inside = []
    for center, size in zip(tf.unstack(centers), shape, strict=True):
        length = tf.round(tf.sqrt(1.0 - share) * size)[:, tf.newaxis]
        first = tf.floor(center * size) - tf.floor(length / 2)
        pixels = tf.range(size, dtype=tf.float32)[tf.newaxis]
        inside.append((pixels >= first) & (pixels < first + length))
    rows, columns = inside
    return rows[:, :, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis, :, tf.newaxis]


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
        samples: `SignalAugmentation` or `SoundAugmentation`, for what is no image; only mixup goes
            with it. Defaults to `None`.

    Raises:
        ValueError: if a number is out of range, or changes of images are combined with `samples`.

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
    samples: SignalAugmentation | SoundAugmentation | None = None

    def __post_init__(self):
        self.cropping()
        limits = {"max_shift": 1, "max_rotation": 180, "magnitude": 1, "erasing_rate": 1}
        limits |= {"num_ops": 16, "mixup_alpha": math.inf, "cutmix_alpha": math.inf}
        for name, high in limits.items():
            value = getattr(self, name)
            check_number(name, value, 0, high)
        check_int("num_ops", self.num_ops)
        if self.samples is not None and self.of_images:
            raise ValueError(
                "`samples` must be None where images are cropped, mirrored, moved or cut together. "
                f"Received: samples={self.samples!r}"
            )

    @classmethod
    def preset(cls, name: str, kind: str = "images") -> "ClassificationAugmentation":
        """Return a named augmentation.

        Args:
            name: `"none"`; `"light"`: of images small shifts and rotations, after which digits and
                letters still mean the same, of signals small changes of scale and a little noise,
                of sound small shifts and narrow bands; or `"paper"`: of images that of the MAE
                paper, for photographs, of sound that of Audio-MAE.
            kind: `"images"`, `"signals"` or `"sound"`.

        Returns:
            `ClassificationAugmentation`.

        Raises:
            ValueError: if there is none of that name.
        """
        presets = _PRESETS[check_choice("kind", kind, tuple(_PRESETS))]
        if name not in presets:
            close = difflib.get_close_matches(str(name), presets, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            of = "" if kind == "images" else f" for {kind}"
            raise ValueError(
                f"augmentation must be one of {', '.join(presets)}{of}.{hint} "
                f"Received: augmentation={name!r}."
            )
        return cls(**presets[name])

    @property
    def of_images(self) -> bool:
        """Whether any of the changes is for images only."""
        cropped = self.crop_scale is not None or self.flip
        return bool(cropped or self.moves or self.cutmix_alpha)

    @property
    def moves(self) -> bool:
        """Whether Keras's preprocessing layers have anything to do."""
        return bool(self.max_shift or self.max_rotation or self.num_ops or self.erasing_rate)

    def cropping(self) -> Augmentation | SignalAugmentation | SoundAugmentation | None:
        """The changes that the pipeline of pretraining makes, or `None` without any."""
        if self.samples is not None:
            return self.samples
        if self.crop_scale is None and not self.flip:
            return None
        return Augmentation(self.crop_scale, self.crop_ratio, self.flip)


_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "images": {
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
    },
    "signals": {
        "none": {},
        "light": {"samples": SignalAugmentation(scale=0.1, jitter=0.03)},
    },
    "sound": {
        "none": {},
        "light": {"samples": SoundAugmentation.preset("light")},
        "paper": {"samples": SoundAugmentation.preset("paper")},
    },
}


def labeled_batches(
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
    >>> batches = labeled_batches(split, 4, 3, seed=0, epochs=1)
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
    samples = augmentation.samples
    if samples is not None and len(split.image_shape) != samples.rank:
        raise ValueError(
            f"{type(samples).__name__} expects samples of {samples.rank} axes. Received: "
            f"image_shape={split.image_shape}."
        )
    if augmentation.of_images and len(split.image_shape) != 3:
        raise ValueError(
            "augmentation other than mixup expects images (height, width, channels). "
            f"Received: image_shape={split.image_shape}."
        )
