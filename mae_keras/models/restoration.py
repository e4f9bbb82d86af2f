"""What a trained autoencoder gives back: reconstructions, holes filled, noise and anomalies found.

Methods of `MaskedModel` call these functions. Inpainting and restoring use what is seen of an image
alone: models of standardized patches take brightness and contrast of a hidden patch from the
visible patches around, never from what it hides. Pictures come out better from models that predict
pixels. Predictions are clipped to `value_range`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import check_array
from mae_keras.models.checks import (
    as_one_array,
    check_shape,
    cover_pixels,
    read_missing,
    touched_patches,
)
from mae_keras.ops import covering_masks, num_hidden


class Reconstruction(NamedTuple):
    """Reconstructed images, in pixels as given.

    Attributes:
        prediction: float32 `(batch, *spatial, channels)`, every patch as predicted, not clipped.
        patch_mask: bool `(batch, num_patches)`, `True` = hidden.
        pasted: float32, the images with their hidden patches replaced by the prediction.
        statistics: whose mean and variance gave standardized predictions their brightness,
            `"original"` or `"visible"`; `None` when the model predicts pixels.
    """

    prediction: np.ndarray
    patch_mask: np.ndarray
    pasted: np.ndarray
    statistics: str | None


class PatchPrediction(NamedTuple):
    """Targets and predictions as the loss sees them.

    Attributes:
        targets: float32 `(batch, num_patches, dim)`, what the model is trained to predict; of
            pixels normalized, and 0 where data is missing.
        predictions: float32, of the same shape.
        patch_mask: bool `(batch, num_patches)`, `True` = hidden.
        missing: bool `(batch, num_patches)`, `True` = holds NaN.
    """

    targets: np.ndarray
    predictions: np.ndarray
    patch_mask: np.ndarray
    missing: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """Bool `(batch, num_patches)`: the patches in the loss, hidden and not missing."""
        return self.patch_mask & ~self.missing


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


def read_patch_mask(patch_mask: Any, grid: Sequence[int], batch: int) -> np.ndarray:
    """Bring a user's mask to bool `(batch, num_patches)`.

    Args:
        patch_mask: bool or 0/1 array: `(num_patches,)`, `grid`, or either with a batch before it.
        grid: ints, patches per axis.
        batch: int, number of images.

    Returns:
        NumPy bool array.

    Raises:
        ValueError: if the shape fits neither, or values are not 0 and 1.

    Example:
    >>> read_patch_mask([[1, 0], [0, 0]], (2, 2), 3).shape
    (3, 4)
    """
    if isinstance(patch_mask, (list, tuple)):
        patch_mask = check_array("patch_mask", patch_mask)
    given = np.asarray(keras.ops.convert_to_numpy(patch_mask))
    if given.dtype != bool and not np.isin(given, (0, 1)).all():
        raise ValueError(
            f"`patch_mask` must be boolean, True = hidden. Received: dtype {given.dtype} with "
            f"values other than 0 and 1"
        )
    num_patches, grid = math.prod(grid), tuple(grid)
    if given.shape in ((num_patches,), grid):
        return np.broadcast_to(given.astype(bool).reshape(1, -1), (batch, num_patches)).copy()
    if given.shape in ((batch, num_patches), (batch, *grid)):
        return given.astype(bool).reshape(batch, num_patches)
    raise ValueError(
        f"`patch_mask` must have shape ({num_patches},), {grid}, ({batch}, {num_patches}) or "
        f"{(batch, *grid)}. Received: patch_mask.shape={given.shape}"
    )


def inpaint(model: Any, images: Any, missing: Any, batch_size: int) -> np.ndarray:
    """See `MaskedModel.inpaint`."""
    model.check_reconstructs()
    images = _read_pixels(model, images)
    missing = _unknown(images, missing)
    erased = _erase(images, missing, model.value_range)
    model._checked(erased, batch_size)
    hidden = touched_patches(missing, model.grid)
    if len(model.image_shape) == 1:
        _refuse_empty_rows(hidden)
    _refuse_blind(hidden, "missing", "missing pixels")
    known = images.astype("float32")
    if not missing.any():
        return known
    return np.where(missing, _predict_hidden(model, erased, hidden, batch_size), known)


def restore(
    model: Any,
    images: Any,
    num_masks: int,
    mask_ratio: float | None,
    seed: int,
    batch_size: int,
) -> Restoration:
    """See `MaskedModel.restore`."""
    model.check_reconstructs()
    if len(model.image_shape) == 1:
        raise ValueError(
            "`images` must be images, signals or volumes, whose predictions have a mean. Received: "
            "rows of a table; `impute` fills empty cells, and `predict_patches` gives predictions"
        )
    images = _read_pixels(model, images)
    model._checked(images, batch_size)
    count = num_hidden(model.num_patches, model.mask_ratio if mask_ratio is None else mask_ratio)
    samples = np.arange(len(images), dtype="int32")
    absent = touched_patches(_unknown(images, None), model.grid)
    _refuse_blind(absent, "images", "NaN")
    missing = absent if absent.any() else None
    masks = covering_masks(model.num_patches, count, num_masks, seed, samples, missing)
    moments = _Moments(images.shape)
    for hidden in ops.convert_to_numpy(masks):
        prediction = _predict_hidden(model, images, hidden, batch_size)
        moments.add(prediction, cover_pixels(hidden, model.grid, model.image_shape))
    return moments.restoration(images.astype("float32"))


def _read_pixels(model: Any, images: Any) -> np.ndarray:
    images = as_one_array(model.as_samples(images))
    if hasattr(images, "element_spec") or isinstance(images, dict):
        raise TypeError(
            f"`images` must be an array. Received: a {type(images).__name__}; take one batch"
        )
    check_shape(images.shape, model.image_shape)
    images = np.asarray(ops.convert_to_numpy(images))
    # NumPy takes bfloat16 for no number and asks it for no NaN
    return images.astype("float32") if str(images.dtype) == "bfloat16" else images


def _erase(images: np.ndarray, missing: np.ndarray, value_range: Any) -> np.ndarray:
    """Put NaN, or black where the dtype has none, in place of what nobody may see."""
    if images.dtype.kind in "uib":
        black = 0 if value_range is None else value_range[0]
        return np.where(missing, black, images).astype(images.dtype)
    if images.dtype.kind != "f":
        return images  # refused by the check that follows
    return np.where(missing, np.nan, images).astype("float32")


def _predict_hidden(
    model: Any, images: np.ndarray, patch_mask: np.ndarray, batch_size: int
) -> np.ndarray:
    inputs = {"images": images, "patch_mask": patch_mask}
    prediction = model._reconstruct_checked(inputs, "visible", batch_size)["prediction"]
    return prediction if model.value_range is None else np.clip(prediction, *model.value_range)


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


def _refuse_empty_rows(hidden: np.ndarray) -> None:
    empty = np.flatnonzero(hidden.all(axis=1))
    if len(empty):
        raise ValueError(
            "`samples` must have a value in every row of the table, to fill the others from. "
            f"Received: none in {len(empty)} of {len(hidden)} rows: "
            f"{', '.join(map(str, empty[:5]))}{', ...' if len(empty) > 5 else ''}"
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
