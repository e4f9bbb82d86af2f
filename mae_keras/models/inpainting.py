"""Filling holes on tensors, as an exported model does it: `Restoring.inpaint` for one batch."""

import math
from collections.abc import Sequence
from typing import Any

from keras import ops


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
