"""Random changes of images and their masks together, inside tf.data, keyed by a stateless seed.

TensorFlow is imported on use. Imports nothing of the package but checks.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import (
    UNLABELED,
    check_array,
    check_int,
    check_ints,
    check_number,
    check_range,
)

AXES = ("depth", "height", "width")
_LARGEST_SCALE = 10.0
_LARGEST_SHIFT = 10_000  # pixels
# How far beyond the drawn shifts a cubic surface between them may go: 1.25 along each axis.
_OVERSHOOT = 1.25**2
# Rows of random numbers: flips of three axes, quarter turns, angle, scale, brightness, contrast.
_TURN, _ANGLE, _SCALE, _BRIGHTNESS, _CONTRAST, _NUM_DRAWS = 3, 4, 5, 6, 7, 8


@dataclasses.dataclass(frozen=True)
class SegmentationAugmentation:
    """The random changes made to each training image and to its mask alike.

    Classes are taken from the nearest pixel, values of images are interpolated linearly. Where a
    change reaches over the edge, images repeat their last pixels and masks say -1, unlabeled.

    Args:
        flip_axes: of `"depth"` (of volumes), `"height"` and `"width"`, the axes along which half of
            the images are mirrored, each by itself.
        quarter_turns: bool, whether images are turned by 0, 90, 180 or 270 degrees, in the plane
            of height and width, which have to be equal.
        max_rotation: float in [0, 180], degrees that images are turned by at most, both ways.
        scale: `(low, high)`, what images are magnified by, drawn log-uniformly, or `None`.
        elastic: float, pixels that points of a coarse grid are moved by at most along each axis,
            as tissue on a slide is stretched; pixels between them move smoothly.
        elastic_spacing: int, pixels from one of these points to the next.
        brightness: float in [0, 1], fraction of the range of pixels that is added at most, or
            subtracted.
        contrast: float in [0, 1), by how much the distance from the image's mean is changed at
            most: 0.2 is a factor between 0.8 and 1.2.

    Raises:
        ValueError: if a number is out of range or there is no such axis.

    Example:
    >>> light = SegmentationAugmentation(max_rotation=10.0)
    >>> light.flip_axes, light.window((64, 64))
    (('height', 'width'), (75, 75))

    References:
        - Ronneberger et al. 2015, arXiv:1505.04597: elastic deformation, by displacements of a
          coarse grid with cubic interpolation between, where few images are labeled.
    """

    flip_axes: tuple[str, ...] = ("height", "width")
    quarter_turns: bool = False
    max_rotation: float = 0.0
    scale: tuple[float, float] | None = None
    elastic: float = 0.0
    elastic_spacing: int = 32
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self):
        axes = (self.flip_axes,) if isinstance(self.flip_axes, str) else self.flip_axes
        if not isinstance(axes, Sequence) or not all(axis in AXES for axis in axes):
            raise ValueError(
                f"`flip_axes` must be of {', '.join(AXES)}. Received: flip_axes={self.flip_axes!r}"
            )
        object.__setattr__(self, "flip_axes", tuple(axes))
        if not isinstance(self.quarter_turns, bool):
            raise ValueError(
                "`quarter_turns` must be True or False. Received: "
                f"quarter_turns={self.quarter_turns!r}"
            )
        check_number("max_rotation", self.max_rotation, 0, 180)
        check_number("elastic", self.elastic, 0, _LARGEST_SHIFT)
        check_int("elastic_spacing", self.elastic_spacing, 2, _LARGEST_SHIFT)
        check_number("brightness", self.brightness, 0, 1)
        check_number("contrast", self.contrast, 0, 0.99)
        if self.scale is not None:
            self._check_scale()

    def _check_scale(self):
        try:
            low, high = (check_number("scale", bound) for bound in self.scale)
            valid = 1 / _LARGEST_SCALE <= low <= high <= _LARGEST_SCALE
        except (TypeError, ValueError):
            valid = False
        if not valid:
            raise ValueError(
                f"`scale` must be a pair (low, high) in [{1 / _LARGEST_SCALE}, "
                f"{_LARGEST_SCALE:g}] with low <= high. Received: scale={self.scale!r}"
            )
        object.__setattr__(self, "scale", (low, high))

    @property
    def warps(self) -> bool:
        """Whether pixels are interpolated: flips and quarter turns only exchange them."""
        return bool(self.max_rotation or self.elastic or self.scale)

    def window(self, crop_size: Sequence[int]) -> tuple[int, ...]:
        """Pixels along each axis to read, so that a crop out of their middle reaches no edge.

        Args:
            crop_size: ints, the spatial axes of what `apply` is to return.

        Returns:
            tuple of ints, none smaller than that of `crop_size`.

        Raises:
            ValueError: if the crop is no image or volume, or cannot be turned or warped.
        """
        crop = check_ints("crop_size", crop_size, 1)
        self._check_axes(crop)
        if not self.warps:
            return tuple(crop)
        height, width = crop
        angles = np.radians(np.linspace(0, min(self.max_rotation, 90.0), 91))
        sine, cosine = np.sin(angles), np.cos(angles)
        reach = (height * cosine + width * sine).max(), (height * sine + width * cosine).max()
        smallest = 1.0 if self.scale is None else min(1.0, self.scale[0])
        margin = 2 * self.elastic
        return tuple(
            max(size, math.ceil(extent / smallest + margin))
            for size, extent in zip(crop, reach, strict=True)
        )

    def _check_axes(self, size):
        if len(size) not in (2, 3):
            raise ValueError(
                f"SegmentationAugmentation expects images or volumes, two or three spatial axes. "
                f"Received: {tuple(size)}"
            )
        if self.warps and len(size) != 2:
            raise ValueError(
                "`max_rotation`, `scale` and `elastic` are for images; volumes are mirrored and "
                f"turned by quarters. Received: volumes of {tuple(size)} voxels"
            )
        if self.quarter_turns and size[-1] != size[-2]:
            raise ValueError(
                "`quarter_turns` needs height and width to be equal. Received: "
                f"{size[-2]} x {size[-1]} pixels"
            )

    def apply(
        self,
        images: Any,
        masks: Any,
        seed: Any,
        *,
        crop_size: Sequence[int] | None = None,
        value_range: Sequence[float] | None = None,
        part: tuple[int, int] | None = None,
    ) -> tuple[Any, Any]:
        """Change a batch of images and their masks.

        Args:
            images: uint8 or float tensor `(batch, *spatial, channels)`, spatial axes static.
            masks: integer tensor `(batch, *spatial)`.
            seed: int tensor `(2,)`; the same seed gives the same changes.
            crop_size: ints, the spatial axes to return, out of the middle; `window` says how much
                more to give. Defaults to all.
            value_range: `(low, high)` of the pixels, to which changed ones are clipped. `None` is
                `(0, 255)` for uint8 images; others need it for `brightness`.
            part: `(first, whole)` if these are only a part of a batch of `whole` images, from the
                one numbered `first` on; they are changed as in the whole batch.

        Returns:
            `(images, masks)`, `(batch, *crop_size[, channels])`, dtypes as given. A missing (NaN)
            pixel stays missing, and so do the pixels interpolated from it.

        Raises:
            ValueError: if shapes do not fit each other.

        Example:
        >>> images = np.zeros((2, 8, 8, 1), "uint8")
        >>> images, masks = SegmentationAugmentation().apply(images, images[..., 0], seed=(0, 1))
        >>> images.shape, masks.shape
        (TensorShape([2, 8, 8, 1]), TensorShape([2, 8, 8]))
        """
        import tensorflow as tf

        images, masks = _as_tensors(images, masks)
        size = tuple(images.shape[1:-1])
        crop = size if crop_size is None else tuple(check_ints("crop_size", crop_size, 1))
        if len(crop) != len(size) or any(c > s for c, s in zip(crop, size, strict=True)):
            raise ValueError(
                f"`crop_size` must fit into the images, {size}. Received: crop_size={crop}"
            )
        self._check_axes(crop)
        value_range = self._range(images.dtype, value_range)
        if not tf.is_tensor(seed):
            seed = check_ints("seed", seed, -(2**63), 2**63 - 1, length=2)
        batch = tf.shape(images)[0]
        first, whole = (0, batch) if part is None else part
        draws = tf.random.stateless_uniform((_NUM_DRAWS, whole), seed, alg="philox")
        draws = draws[:, first : first + batch]
        dtype = images.dtype
        if self.warps:
            shifts = self._shifts(crop, seed, whole)[first : first + batch] if self.elastic else 0.0
            images, masks = _sampled(images, masks, self._places(crop, size, draws, shifts))
        else:
            images, masks = _middle(images, crop), _middle(masks, crop)
        images, masks = self._exchanged(images, masks, draws, len(crop))
        if self.brightness or self.contrast:
            images = self._recolored(images, draws, value_range)
        return _as_stored(images, dtype), masks

    def _range(self, dtype, value_range):
        if value_range is not None:
            return check_range("value_range", value_range)
        if dtype.is_integer:
            return (max(0, dtype.min), dtype.max)
        if self.brightness:
            raise ValueError(
                "`brightness` is a fraction of the range of pixels, which `value_range` must say. "
                "Received: value_range=None"
            )
        return None

    def _exchanged(self, images, masks, draws, rank):
        """Flips and quarter turns, which leave every value as it is."""
        import tensorflow as tf

        def choose(chosen: Any, changed: Any, plain: Any) -> Any:
            return tf.where(tf.reshape(chosen, (-1, *[1] * (plain.shape.rank - 1))), changed, plain)

        for axis, name in enumerate(AXES[-rank:], start=1):
            if name in self.flip_axes:
                chosen = draws[AXES.index(name)] < 0.5
                images = choose(chosen, tf.reverse(images, [axis]), images)
                masks = choose(chosen, tf.reverse(masks, [axis]), masks)
        if self.quarter_turns:
            turns = tf.cast(tf.floor(4 * draws[_TURN]), tf.int32)
            # Two turns are both flips, one is a transposition and a flip.
            turned = turns >= 2
            images = choose(turned, tf.reverse(images, [rank - 1, rank]), images)
            masks = choose(turned, tf.reverse(masks, [rank - 1, rank]), masks)
            axes = [*range(rank - 1), rank, rank - 1]
            once = turns % 2 == 1
            across = tf.transpose(images, [*axes, rank + 1])
            images = choose(once, tf.reverse(across, [rank - 1]), images)
            masks = choose(once, tf.reverse(tf.transpose(masks, axes), [rank - 1]), masks)
        return images, masks

    def _places(self, crop, size, draws, shifts):
        """Where each pixel of a crop comes from, float32 `(batch, height, width, 2)`."""
        import tensorflow as tf

        rows, columns = tf.meshgrid(
            *(tf.range(extent, dtype=tf.float32) - (extent - 1) / 2 for extent in crop),
            indexing="ij",
        )
        rows, columns = rows[tf.newaxis], columns[tf.newaxis]
        angle = (2 * draws[_ANGLE] - 1) * math.radians(self.max_rotation)
        low, high = (0.0, 0.0) if self.scale is None else map(math.log, self.scale)
        shrunk = tf.exp(-(low + (high - low) * draws[_SCALE]))
        cosine = (tf.cos(angle) * shrunk)[:, tf.newaxis, tf.newaxis]
        sine = (tf.sin(angle) * shrunk)[:, tf.newaxis, tf.newaxis]
        turned = tf.stack([cosine * rows - sine * columns, sine * rows + cosine * columns], axis=-1)
        # Float rounding would take the pixels just inside an edge for outside.
        places = turned + tf.constant([(extent - 1) / 2 for extent in size]) + shifts
        nearest = tf.round(places)
        return tf.where(tf.abs(places - nearest) < 1e-3, nearest, places)

    def _shifts(self, crop, seed, whole):
        """How far each pixel is moved, float32 `(whole, height, width, 2)`: smooth in space."""
        import tensorflow as tf

        points = [max(2, math.ceil(extent / self.elastic_spacing) + 1) for extent in crop]
        key = tf.random.experimental.stateless_fold_in(
            tf.cast(tf.convert_to_tensor(seed), tf.int64), 1, alg="philox"
        )
        drawn = tf.random.stateless_uniform((whole, *points, 2), key, -1.0, 1.0, alg="philox")
        return tf.image.resize(drawn * (self.elastic / _OVERSHOOT), crop, "bicubic")

    def _recolored(self, images, draws, value_range):
        import tensorflow as tf

        def of_images(values: Any) -> Any:
            return tf.reshape(values, (-1, *[1] * (images.shape.rank - 1)))

        values = tf.cast(images, tf.float32)
        present = tf.cast(tf.math.is_finite(values), tf.float32)
        axes = list(range(1, images.shape.rank))
        total = tf.reduce_sum(tf.where(present > 0, values, 0.0), axes)
        mean = of_images(total / tf.maximum(tf.reduce_sum(present, axes), 1.0))
        factor = of_images(1 + self.contrast * (2 * draws[_CONTRAST] - 1))
        values = mean + factor * (values - mean)
        if value_range is None:
            return values
        low, high = value_range
        added = self.brightness * (high - low) * (2 * draws[_BRIGHTNESS] - 1)
        return tf.clip_by_value(values + of_images(added), low, high)


def _as_tensors(images, masks):
    import tensorflow as tf

    if not tf.is_tensor(images):
        images = check_array("images", images, empty=True)
    if not tf.is_tensor(masks):
        masks = check_array("masks", masks, kinds="iu", empty=True)
    images, masks = tf.convert_to_tensor(images), tf.convert_to_tensor(masks)
    if images.shape.rank is None or images.shape[1:-1] != masks.shape[1:]:
        raise ValueError(
            "`masks` must have the shape of `images` without channels, (batch, *spatial). "
            f"Received: masks.shape={masks.shape} for images.shape={images.shape}"
        )
    if not masks.dtype.is_integer:
        raise ValueError(f"`masks` must hold integers. Received: masks of {masks.dtype.name}")
    # Unsigned ones could not say that a pixel has no label.
    return images, masks if masks.dtype in (tf.int32, tf.int64) else tf.cast(masks, tf.int32)


def _middle(values, crop):
    spatial = values.shape[1 : len(crop) + 1]
    starts = [(extent - length) // 2 for extent, length in zip(spatial, crop, strict=True)]
    cut = (slice(start, start + length) for start, length in zip(starts, crop, strict=True))
    return values[(slice(None), *cut)]


def _sampled(images, masks, places):
    """Images and masks at places between their pixels."""
    import tensorflow as tf

    last = tf.constant([extent - 1 for extent in masks.shape[1:]], tf.int32)
    inside = tf.clip_by_value(places, 0.0, tf.cast(last, tf.float32))
    below = tf.cast(tf.floor(inside), tf.int32)
    above = tf.minimum(below + 1, last)
    weight = inside - tf.cast(below, tf.float32)
    values = tf.cast(images, tf.float32)

    def at(rows: Any, columns: Any) -> Any:
        return tf.gather_nd(values, tf.stack([rows, columns], axis=-1), batch_dims=1)

    def between(first: Any, second: Any, share: Any) -> Any:
        # A missing pixel that has no weight spoils nothing: 0 * NaN is NaN.
        return tf.where(share == 0, first, (1 - share) * first + share * second)

    across = weight[..., 1, tf.newaxis]
    upper = between(at(below[..., 0], below[..., 1]), at(below[..., 0], above[..., 1]), across)
    lower = between(at(above[..., 0], below[..., 1]), at(above[..., 0], above[..., 1]), across)
    images = between(upper, lower, weight[..., 0, tf.newaxis])
    nearest = tf.cast(tf.floor(inside + 0.5), tf.int32)
    classes = tf.gather_nd(masks, tf.minimum(nearest, last), batch_dims=1)
    # A pixel is a square: what lies less than half a pixel beyond the last center is in it still.
    limits = tf.cast(last, tf.float32) + 0.5
    known = tf.reduce_all((places >= -0.5) & (places <= limits), axis=-1)
    return images, tf.where(known, classes, tf.constant(UNLABELED, masks.dtype))


def _as_stored(images, dtype):
    import tensorflow as tf

    if dtype.is_integer and not images.dtype.is_integer:
        images = tf.clip_by_value(tf.round(images), dtype.min, dtype.max)
    return tf.cast(images, dtype)
