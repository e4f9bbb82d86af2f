"""The layer that cuts images into patches."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from mae_keras.ops import as_patch_size, patch_grid, patchify


@keras.saving.register_keras_serializable(package="mae_keras")
class PatchExtraction(keras.layers.Layer):
    """Cut images into non-overlapping patches, one row of pixel values per patch.

    Works for one, two or three spatial axes, any channel count, square or rectangular.

    Args:
        patch_size: int, or one int per spatial axis, in pixels.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        images: tensor `(batch, *spatial, channels)`, any dtype.

    Returns:
        Tensor `(batch, num_patches, prod(patch_size) * channels)`, dtype as given.

    Raises:
        ValueError: if `patch_size` is not positive or does not divide the image.

    Example:
    >>> import numpy as np
    >>> tuple(PatchExtraction(4)(np.zeros((2, 28, 28, 1))).shape)
    (2, 49, 16)

    References:
        - He et al. 2021, arXiv:2111.06377, section 3; layout as facebookresearch/mae `patchify`.
    """

    def __init__(self, patch_size: int | Sequence[int], **kwargs: Any):
        # Pixels keep their dtype: casting 0..255 to half precision would lose values.
        super().__init__(**{"autocast": False, **kwargs})
        rank = len(patch_size) if isinstance(patch_size, Sequence) else 1
        if not 1 <= rank <= 3:
            raise ValueError(
                "`patch_size` must be an int, or one for each of one to three spatial axes. "
                f"Received: patch_size={patch_size!r}"
            )
        sizes = as_patch_size(patch_size, rank)
        self.patch_size = sizes if isinstance(patch_size, Sequence) else sizes[0]

    def call(self, images: Any) -> Any:
        return patchify(images, self.patch_size)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        batch, *image_shape = input_shape
        grid = patch_grid(tuple(image_shape), self.patch_size)
        pixels = math.prod(as_patch_size(self.patch_size, len(grid)))
        return batch, math.prod(grid), pixels * image_shape[-1]

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(images.shape), dtype=images.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "patch_size": self.patch_size}
