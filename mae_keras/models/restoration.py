"""Filling holes, removing noise and finding what does not belong, with a trained autoencoder."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from mae_keras.models.checks import (
    as_one_array,
    check_shape,
    cover_pixels,
    read_missing,
    touched_patches,
)
from mae_keras.ops import covering_masks, num_hidden


class Restoration(NamedTuple):
    """What several masks of one image say about its pixels; every array has the images' shape.

    Attributes:
        denoised: float32, mean over the predictions of a pixel, made while it was hidden; NaN where
            `count` is 0.
        uncertainty: float32, their standard deviation (divisor `count - 1`), in pixel values:
            how much a prediction depends on what else is seen; NaN where `count` is 0 or 1.
        anomaly: float32, absolute difference between image and `denoised`, in pixel values; NaN
            where either is.
        count: int32, how many masks hid the pixel.
    """

    denoised: np.ndarray
    uncertainty: np.ndarray
    anomaly: np.ndarray
    count: np.ndarray


class Restoring:
    """Methods of the masked autoencoders that repair images or doubt them.

    All use what is seen of an image alone: models of standardised patches take brightness and
    contrast of a hidden patch from the visible patches around, never from what it hides. Pictures
    come out better from models that predict pixels. Predictions are clipped to `value_range`.
    """

    def inpaint(self, images: Any, missing: Any, batch_size: int = 32) -> np.ndarray:
        """Fill in missing pixels.

        Every patch that a missing pixel touches is hidden whole: the model sees nothing of it, not
        even its known pixels, and the values that stand in for missing pixels influence nothing.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored; NaN pixels are missing
                too. What stands at missing pixels is never read, so it may be anything.
            missing: bool array, `True` = missing: of shape `spatial`, with or without channels
                (1 or all) after it, for all images or with the batch before it (a shape that could
                be either is read as a batch); `None` for the NaN pixels alone.
            batch_size: int.

        Returns:
            float32 array of the shape of the images: known pixels as given, missing ones as
            predicted, clipped to `value_range`.

        Raises:
            TypeError: if `missing` is not boolean, or the images are not numbers.
            ValueError: if shapes do not fit, or an image has a missing pixel in every patch.

        Example:
        >>> from mae_keras.models import DenseMaskedAutoencoder
        >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
        >>> model.inpaint(np.zeros((2, 4, 4, 1), "uint8"), np.eye(4, dtype=bool)).shape
        (2, 4, 4, 1)
        """
        images = self._read_pixels(images)
        missing = _unknown(images, missing)
        erased = self._erase(images, missing)
        self._checked(erased, batch_size)
        hidden = touched_patches(missing, self.grid)
        _refuse_blind(hidden, "missing", "missing pixels")
        known = images.astype("float32")
        if not missing.any():
            return known
        return np.where(missing, self._predict_hidden(erased, hidden, batch_size), known)

    def restore(
        self,
        images: Any,
        num_masks: int = 16,
        mask_ratio: float | None = None,
        seed: int = 0,
        batch_size: int = 32,
    ) -> Restoration:
        """Predict every pixel of images from the others, several times.

        The masks are `ops.covering_masks`: every patch is hidden about equally often, at least
        once; they depend on (seed, number of the image) alone. A pixel counts only where it was
        hidden, so noise that the model cannot foresee does not come through.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored. Patches with NaN are
                hidden by every mask; `mask_ratio` counts the others, of which every mask leaves
                at least one visible. If only one is without NaN, it comes out NaN: nothing is
                left to predict it from.
            num_masks: int, at least 2 and enough to hide every patch; each is one more run over
                the images.
            mask_ratio: float in (0, 1), fraction hidden by one mask; defaults to the model's.
            seed: int, which masks.
            batch_size: int, without effect on the masks.

        Returns:
            `Restoration(denoised, uncertainty, anomaly, count)` of NumPy arrays, in pixels as
            given, `denoised` within `value_range`.

        Raises:
            TypeError: if the images are not numbers.
            ValueError: if the images do not fit the model, one has NaN in every patch, or the
                masks are too few.

        Example:
        >>> from mae_keras.models import DenseMaskedAutoencoder
        >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,), mask_ratio=0.5)
        >>> model.restore(np.zeros((2, 4, 4, 1), "uint8"), num_masks=4).count[0, 0, 0].tolist()
        [2]
        """
        images = self._read_pixels(images)
        self._checked(images, batch_size)
        count = num_hidden(self.num_patches, self.mask_ratio if mask_ratio is None else mask_ratio)
        samples = np.arange(len(images), dtype="int32")
        absent = touched_patches(_unknown(images, None), self.grid)
        _refuse_blind(absent, "images", "NaN")
        missing = absent if absent.any() else None
        masks = covering_masks(self.num_patches, count, num_masks, seed, samples, missing)
        moments = _Moments(images.shape)
        for hidden in ops.convert_to_numpy(masks):
            prediction = self._predict_hidden(images, hidden, batch_size)
            moments.add(prediction, cover_pixels(hidden, self.grid, self.image_shape))
        return moments.restoration(images.astype("float32"))

    def denoise(
        self,
        images: Any,
        num_masks: int = 16,
        mask_ratio: float | None = None,
        seed: int = 0,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Replace every pixel by the mean of its predictions: `restore(...).denoised`.

        Args:
            images: as for `restore`, and so are the others.
            num_masks: int.
            mask_ratio: float in (0, 1) or `None`.
            seed: int.
            batch_size: int.

        Returns:
            float32 array of the shape of the images.

        Raises:
            TypeError, ValueError: as `restore`.
        """
        return self.restore(images, num_masks, mask_ratio, seed, batch_size).denoised

    def anomaly_map(
        self,
        images: Any,
        num_masks: int = 16,
        mask_ratio: float | None = None,
        seed: int = 0,
        batch_size: int = 32,
    ) -> np.ndarray:
        """How far every pixel is from what the others let expect: `restore(...).anomaly`.

        Args:
            images: as for `restore`, and so are the others.
            num_masks: int.
            mask_ratio: float in (0, 1) or `None`.
            seed: int.
            batch_size: int.

        Returns:
            float32 array of the shape of the images, in pixel values.

        Raises:
            TypeError, ValueError: as `restore`.
        """
        return self.restore(images, num_masks, mask_ratio, seed, batch_size).anomaly

    def _read_pixels(self, images: Any) -> np.ndarray:
        images = as_one_array(images)
        if hasattr(images, "element_spec") or isinstance(images, dict):
            raise TypeError(
                f"`images` must be an array. Received: a {type(images).__name__}; take one batch"
            )
        check_shape(images.shape, self.image_shape)
        images = np.asarray(ops.convert_to_numpy(images))
        # NumPy takes bfloat16 for no number and asks it for no NaN
        return images.astype("float32") if str(images.dtype) == "bfloat16" else images

    def _erase(self, images: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Put NaN, or black where the dtype has none, in place of what nobody may see."""
        if images.dtype.kind in "uib":
            black = 0 if self.value_range is None else self.value_range[0]
            return np.where(missing, black, images).astype(images.dtype)
        if images.dtype.kind != "f":
            return images  # refused by the check that follows
        return np.where(missing, np.nan, images).astype("float32")

    def _predict_hidden(
        self, images: np.ndarray, patch_mask: np.ndarray, batch_size: int
    ) -> np.ndarray:
        inputs = {"images": images, "patch_mask": patch_mask}
        prediction = self._reconstructed(inputs, "visible", batch_size)["prediction"]
        return prediction if self.value_range is None else np.clip(prediction, *self.value_range)


class _Moments:
    """Mean and spread of predictions as they come (Welford's update), over those that count."""

    def __init__(self, shape: tuple[int, ...]):
        self.count = np.zeros(shape, "int32")
        self.mean = np.zeros(shape, "float32")
        self.squares = np.zeros(shape, "float32")

    def add(self, prediction: np.ndarray, counted: np.ndarray) -> None:
        self.count += counted
        prediction = np.where(counted, prediction, self.mean)  # the others change nothing
        change = prediction - self.mean
        self.mean += change / np.maximum(self.count, 1)
        self.squares += change * (prediction - self.mean)

    def restoration(self, images: np.ndarray) -> Restoration:
        variance = self.squares / np.maximum(self.count - 1, 1)
        spread = np.where(self.count > 1, np.sqrt(variance), np.nan).astype("float32")
        denoised = np.where(self.count > 0, self.mean, np.nan).astype("float32")
        return Restoration(denoised, spread, np.abs(images - denoised), self.count)


def _unknown(images: np.ndarray, missing: Any) -> np.ndarray:
    """Bool array of the shape of the images: what is missing, NaN included."""
    absent = np.isnan(images) if images.dtype.kind == "f" else np.zeros(images.shape, bool)
    return absent if missing is None else absent | read_missing(missing, images.shape)


def _refuse_blind(hidden: np.ndarray, argument: str, cause: str) -> None:
    blind = np.flatnonzero(hidden.all(axis=1))
    if len(blind):
        shown = ", ".join(map(str, blind[:5])) + (", ..." if len(blind) > 5 else "")
        raise ValueError(
            f"`{argument}` must leave at least one patch of every image whole, for the model sees "
            f"whole patches only. Received: {cause} in all {hidden.shape[1]} patches of "
            f"{len(blind)} of {len(hidden)} images: {shown}"
        )


def inpaint_batch(model: Any, images: Any, missing: Any) -> dict[str, Any]:
    """One batch of `model.inpaint`: tensors in, a dict of tensors out.

    Args:
        model: masked autoencoder.
        images: tensor `(batch, *spatial, channels)` of pixels as stored; NaN is missing too.
        missing: bool tensor `(batch, *spatial)`, `True` = missing, in all channels.

    Returns:
        `pasted`: float32, known pixels as given, missing ones as predicted, within `value_range`;
        `patch_mask`: bool `(batch, num_patches)`, the patches that were hidden. Where that is all
        of an image's, the model saw nothing and `pasted` means nothing; `model.inpaint` refuses.

    Example:
    >>> import numpy as np
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> holes = np.eye(4, dtype=bool)[None]
    >>> made = inpaint_batch(model, np.zeros((1, 4, 4, 1), "uint8"), holes)
    >>> tuple(made["pasted"].shape), int(np.sum(made["patch_mask"]))
    ((1, 4, 4, 1), 4)
    """
    # Floats from the start: LiteRT has no `where` of bytes.
    pixels = ops.cast(images, "float32")
    unknown = ops.logical_or(missing[..., None], ops.isnan(pixels))
    black = 0.0 if model.value_range is None else model.value_range[0]
    erased = ops.where(unknown, black, pixels)
    hidden = _touched(unknown, model.image_shape, model.grid)
    prediction = model.reconstruct_batch(erased, hidden, "visible")["prediction"]
    if model.value_range is not None:
        prediction = ops.clip(prediction, *model.value_range)
    return {
        "pasted": ops.where(unknown, prediction, pixels),
        "patch_mask": hidden,
    }


def _touched(pixels: Any, image_shape: Sequence[int], grid: Sequence[int]) -> Any:
    """`pixel_masks.touched_patches` on tensors: the patches that hold any of the pixels."""
    # One axis at a time, so that no tensor has more axes than the images and one.
    for axis, count in enumerate(grid, start=1):
        shape = tuple(pixels.shape[1:])
        split = (*shape[: axis - 1], count, shape[axis - 1] // count, *shape[axis:])
        pixels = ops.any(ops.reshape(pixels, (-1, *split)), axis=axis + 1)
    if len(image_shape) > len(grid):
        pixels = ops.any(pixels, axis=-1)
    return ops.reshape(pixels, (-1, math.prod(grid)))
