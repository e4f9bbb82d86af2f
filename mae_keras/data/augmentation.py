"""Random crops and flips of whole batches inside tf.data, keyed by a stateless seed.

TensorFlow is imported on use. Imports nothing of the package.
"""

import dataclasses
import math
from typing import Any

from mae_keras.arguments import check_array, check_ints, check_number

# Crops are kept this far (relative) inside the image: crop_and_resize paints pixels that float
# rounding puts outside black.
_MARGIN = 1e-6


_LARGEST_RATIO = 1000.0  # crops of a longer shape are lines


def check_positive_range(argument: str, bounds: Any, limit: float) -> None:
    """Refuse what is not `(low, high)` with 0 < low <= high <= limit."""
    try:
        low, high = (check_number(argument, bound) for bound in bounds)
        valid = 0 < low <= high <= limit
    except (TypeError, ValueError):
        valid = False
    if not valid:
        within = f"(0, {limit:g}]"
        raise ValueError(
            f"{argument} must be a pair (low, high) in {within} with low <= high. "
            f"Received: {argument}={bounds!r}."
        )


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The random changes made to each training image.

    Args:
        crop_scale: `(low, high)`, fraction of the image's area that a random crop keeps, in
            (0, 1]; the crop is resized to the full image. `None` never crops.
        crop_ratio: `(low, high)`, width over height of the crop in pixels, drawn log-uniformly
            and limited to what fits.
        flip: bool, whether half of the images are mirrored left to right.

    Raises:
        ValueError: if a range is empty or out of bounds.

    Example:
    >>> Augmentation(crop_scale=None, flip=True).flip
    True

    References:
        - He et al. 2021, arXiv:2111.06377, table 8: crops and flips are all that MAE needs.
    """

    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False

    def __post_init__(self):
        if self.crop_scale is not None:
            check_positive_range("crop_scale", self.crop_scale, 1.0)
        check_positive_range("crop_ratio", self.crop_ratio, _LARGEST_RATIO)

    def apply(self, samples: Any, seed: Any, part: tuple[int, int] | None = None) -> Any:
        """Change a batch of images; see `augment`."""
        return augment(samples, self, seed, part)


# Digits change their meaning when mirrored, and their strokes fill the frame already.
DEFAULTS = {
    "mnist-sample": None,
    "digits": None,
    "mnist": None,
    "fashion_mnist": Augmentation(crop_scale=None, flip=True),
    "cifar10": Augmentation(flip=True),
    "tfds": Augmentation(flip=True),
    "folder": Augmentation(flip=True),
    "arrays": None,
    "signals": None,
    "sound": None,
    "video": None,
    "volumes": None,
}


def default_augmentation(name: str) -> Augmentation | None:
    """Return the augmentation that suits a data set.

    Args:
        name: data set, as given to `load`.

    Returns:
        `Augmentation`, or `None` where none suits or, of a registered source, none is known.

    Example:
    >>> default_augmentation("digits") is None
    True
    >>> default_augmentation("tfds:cifar10") == default_augmentation("cifar10")
    True
    """
    from mae_keras.data.sources import kind

    base = str(name).removeprefix("tfds:").split(":")[0].split("/")[0]
    found = kind(name)
    return DEFAULTS.get(base if found == "tfds" and base in DEFAULTS else found)


def augment(
    images: Any, augmentation: Augmentation, seed: Any, part: tuple[int, int] | None = None
) -> Any:
    """Crop and flip each image of a batch at random.

    Args:
        images: uint8 or float tensor `(batch, height, width, channels)`, height and width static.
        augmentation: `Augmentation`.
        seed: int tensor `(2,)`; the same seed gives the same changes.
        part: `(first, whole)` if `images` are only a part of a batch of `whole` images, from the
            one numbered `first` on; they are changed as in the whole batch.

    Returns:
        A tensor of the same shape and dtype. A missing (NaN) pixel stays missing, and so do the
        pixels interpolated from it.

    Example:
    >>> import numpy as np
    >>> augment(np.ones((2, 8, 8, 1), "uint8"), Augmentation(), seed=(0, 1)).shape
    TensorShape([2, 8, 8, 1])
    """
    import tensorflow as tf

    if not tf.is_tensor(images):
        images = check_array("images", images, empty=True)
    images = tf.convert_to_tensor(images)
    if images.shape.rank not in (None, 4):
        raise ValueError(
            "`images` must have shape (batch, height, width, channels). "
            f"Received: images.shape={tuple(images.shape)}"
        )
    if not isinstance(augmentation, Augmentation):
        raise TypeError(f"`augmentation` must be an Augmentation. Received: {augmentation!r}")
    if not tf.is_tensor(seed):
        seed = check_ints("seed", seed, -(2**63), 2**63 - 1, length=2)
    batch = tf.shape(images)[0]
    first, whole = (0, batch) if part is None else part
    draws = tf.random.stateless_uniform((5, whole), seed, alg="philox")[:, first : first + batch]
    if augmentation.crop_scale is not None:
        height, width = images.shape[1:3]
        boxes = _crop_boxes(draws[:4], height, width, augmentation)
        images = _crop(images, boxes)
    if augmentation.flip:
        flipped = (draws[4] < 0.5)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        images = tf.where(flipped, tf.reverse(images, [2]), images)
    return images


def _crop_boxes(draws, height, width, augmentation):
    import tensorflow as tf

    low, high = augmentation.crop_scale
    scale = low + (high - low) * draws[0]
    low, high = (math.log(bound) for bound in augmentation.crop_ratio)
    ratio = tf.exp(low + (high - low) * draws[1])
    # A crop h x w with h * w = scale * H * W fits exactly when scale * W / H <= w / h <= W / H /
    # scale, so limiting the ratio keeps the area as drawn.
    ratio = tf.clip_by_value(ratio, scale * width / height, width / height / scale)
    area = scale * height * width
    tops, bottoms = _crop_sides(draws[2], tf.sqrt(area / ratio), height)
    lefts, rights = _crop_sides(draws[3], tf.sqrt(area * ratio), width)
    return tf.stack([tops, lefts, bottoms, rights], axis=1)


def _crop_sides(draw, size, full):
    """Return first and last sampled pixel as fractions of the axis, as crop_and_resize wants."""
    import tensorflow as tf

    size = tf.clip_by_value(size, 1.0, float(full))
    first = draw * (full - size)
    steps = max(full - 1, 1)
    last = tf.where(size == full, 1.0, tf.minimum((first + size - 1) / steps, 1 - _MARGIN))
    return first / steps, last


def _crop(images, boxes):
    import tensorflow as tf

    shape = images.shape
    rows = tf.range(tf.shape(images)[0])
    cropped = tf.image.crop_and_resize(images, boxes, rows, shape[1:3])
    cropped = tf.ensure_shape(cropped, shape)
    if images.dtype != tf.uint8:
        return tf.cast(cropped, images.dtype)
    return tf.cast(tf.clip_by_value(tf.round(cropped), 0.0, 255.0), tf.uint8)
