"""Batches of images and masks for training: random crops, changed together.

TensorFlow is imported on use.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import check_int, check_ints, check_range
from mae_keras.data.pipeline import steps_per_epoch, training_batches
from mae_keras.data.segmentation import SegmentationSplit
from mae_keras.data.segmentation_augmentation import SegmentationAugmentation
from mae_keras.data.splits import Split
from mae_keras.runtime.tf_data import settle

# Distinguishes the draws made here from those of `training_batches` with the same seed.
_KEY = 0x7365676D
_MOST_CROPS = 10**6


class _Crops(Split):
    """Crops anywhere in images, with as much around them as changes reach for.

    Every image counts as often as crops fill it.
    """

    def __init__(self, split, crop, window, crops_per_image):
        self._split, self._crop, self._window = split, crop, window
        counts = [crops_per_image or _count(mask.shape, crop) for mask in split.masks]
        self._images = np.repeat(np.arange(len(split)), counts)
        image = split.images[0]
        dtype = image.dtype if image.dtype == np.uint8 else "float32"
        super().__init__((*window, image.shape[-1]), len(self._images), dtype)
        self.num_draws = len(crop)

    @property
    def num_independent(self) -> int:
        return len(self._split)

    @property
    def has_labels(self) -> bool:
        return True

    def fetch(self, indices: Any, draws: Any) -> Any:
        """Return `(images, masks)` for an int64 tensor `(batch,)`, inside tf.data.

        `draws` are float32 `(batch, num_draws)` in [0, 1): where crops begin in their images.
        """
        import tensorflow as tf

        images, masks = tf.numpy_function(self._read, [indices, draws], (self.dtype, tf.int32))
        images.set_shape((indices.shape[0], *self.image_shape))
        masks.set_shape((indices.shape[0], *self._window))
        return images, masks

    def _read(self, indices, draws):
        images = np.empty((len(indices), *self.image_shape), self.dtype)
        masks = np.empty((len(indices), *self._window), "int32")
        around = [(w - c) // 2 for w, c in zip(self._window, self._crop, strict=True)]
        for row, place in enumerate(self._images[indices]):
            # A crop larger than its image lies around it, at random too.
            free = np.subtract(self._split.masks[place].shape, self._crop)
            start = np.minimum(free, 0) + (draws[row] * (np.abs(free) + 1)).astype(int)
            images[row], masks[row] = self._split.read(
                int(place), (start - around).tolist(), self._window
            )
        return images, masks


def _count(shape, crop):
    return int(np.prod([-(-extent // size) for extent, size in zip(shape, crop, strict=True)]))


def segmentation_batches(
    split: SegmentationSplit,
    batch_size: int,
    *,
    seed: int,
    crop_size: int | Sequence[int] | None = None,
    patch_size: int | Sequence[int] = 1,
    crops_per_image: int | None = None,
    augmentation: SegmentationAugmentation | None = None,
    value_range: Sequence[float] | None = None,
    epochs: int | None = None,
    start_epoch: int = 0,
    start_step: int = 0,
    drop_remainder: bool = True,
    shard: tuple[int, int] = (0, 1),
) -> Any:
    """Return shuffled batches of images and masks; the k-th is a pure function of (seed, k).

    Starting at a later epoch or step gives exactly the batches that an unbroken run sees there.

    Args:
        split: `SegmentationSplit`.
        batch_size: int, crops per batch.
        seed: int >= 0.
        crop_size: int or ints, the spatial axes of a crop, which lies anywhere in its image; crops
            larger than an image repeat its last pixels, without label. `None` takes images whole,
            which have to be of one size.
        patch_size: int or ints, of the model; crops have to be multiples of it. Defaults to 1.
        crops_per_image: int, crops of each image in an epoch. Defaults to as many as fill it.
        augmentation: `SegmentationAugmentation`, or `None`. Where it turns or stretches, what comes
            into a crop is taken from around it.
        value_range: `(low, high)` of the pixels, such as `SegmentationData.value_range`; see
            `SegmentationAugmentation.apply`.
        epochs: int, the epoch at which to end, counted from 0; `None` never ends.
        start_epoch: int >= 0, the epoch to start at.
        start_step: int >= 0, steps of that epoch to leave out.
        drop_remainder: bool, whether a last batch that is not full is left out.
        shard: `(index, count)`, the slice of every batch to give, as in `training_batches`.

    Returns:
        A `tf.data.Dataset` of `(images, masks)`: uint8 or float32 `(batch, *crop_size, channels)`,
        pixels as stored, and int32 `(batch, *crop_size)`, -1 where there is no label.

    Raises:
        TypeError: if `split` is no `SegmentationSplit`.
        ValueError: if a number is out of range, there are no images, or crops do not fit the model.

    Example:
    >>> split = SegmentationSplit(np.zeros((5, 20, 20, 1), "uint8"), np.ones((5, 20, 20), "int32"))
    >>> batches = segmentation_batches(split, 4, seed=0, crop_size=8, epochs=1)
    >>> len(batches), [part.shape for part in batches.element_spec]
    (11, [TensorShape([4, 8, 8, 1]), TensorShape([4, 8, 8])])
    """
    check_segmentation_split("split", split)
    if augmentation is not None and not isinstance(augmentation, SegmentationAugmentation):
        raise TypeError(
            f"`augmentation` must be a SegmentationAugmentation. Received: {augmentation!r}"
        )
    crop = _crop_of(split, crop_size, patch_size)
    window = crop if augmentation is None else augmentation.window(crop)
    check_int("crops_per_image", crops_per_image, 1, _MOST_CROPS, optional=True)
    if value_range is not None:
        value_range = check_range("value_range", value_range)
    crops = _Crops(split, crop, window, crops_per_image)
    batches = training_batches(
        crops,
        batch_size,
        seed=seed,
        epochs=epochs,
        start_epoch=start_epoch,
        start_step=start_step,
        drop_remainder=drop_remainder,
        with_labels=True,
        shard=shard,
    )
    if augmentation is None:
        return batches
    if augmentation.brightness and value_range is None and crops.dtype != "uint8":
        raise ValueError(
            "`brightness` is a fraction of the range of pixels, which `value_range` must say. "
            "Received: value_range=None"
        )
    part = None
    if shard[1] > 1:
        part = (shard[0] * batch_size // shard[1], batch_size)
    first = start_epoch * steps_per_epoch(crops, batch_size, drop_remainder) + start_step
    return _changed(batches.enumerate(first), augmentation, seed, crop, value_range, part)


def check_segmentation_split(name: str, split: Any) -> None:
    """Refuse what is not a split of images with masks, or holds none."""
    if not isinstance(split, SegmentationSplit):
        raise TypeError(f"`{name}` must be a SegmentationSplit. Received: {type(split).__name__}")
    if not len(split):
        raise ValueError(f"`{name}` must hold images. Received: an empty split")


def _changed(batches, augmentation, seed, crop, value_range, part):
    import tensorflow as tf

    def change(step: Any, batch: Any) -> Any:
        key = tf.random.experimental.stateless_fold_in(
            tf.constant([seed, _KEY], tf.int64), step, alg="philox"
        )
        return augmentation.apply(*batch, key, crop_size=crop, value_range=value_range, part=part)

    return settle(batches.map(change, num_parallel_calls=tf.data.AUTOTUNE))


def _crop_of(split, crop_size, patch_size):
    if crop_size is not None:
        crop = split.as_crop_size(crop_size)
    elif split.image_shape is None:
        sizes = sorted({mask.shape for mask in split.masks})
        raise ValueError(
            "`crop_size` must be given for images of several sizes. Received: crop_size=None, "
            f"images of {len(sizes)} sizes, such as {sizes[0]} and {sizes[1]}"
        )
    else:
        crop = split.image_shape[:-1]
    if np.ndim(patch_size) == 0:
        patch_size = (check_int("patch_size", patch_size, 1),) * len(crop)
    patch = check_ints("patch_size", patch_size, 1, length=len(crop))
    if any(size % length for size, length in zip(crop, patch, strict=True)):
        given = "images of " if crop_size is None else "crop_size="
        raise ValueError(
            "`crop_size` must be a multiple of the patch, `patch_size`. Received: "
            f"{given}{tuple(crop)}, patch_size={tuple(patch)}"
        )
    return tuple(crop)
