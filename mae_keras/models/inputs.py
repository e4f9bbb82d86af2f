"""What a sample is: how raw samples become rows, one for every token, and rows become samples."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from mae_keras.layers import PatchExtraction, PixelNormalization, PositionEmbedding
from mae_keras.models.checks import check_input
from mae_keras.ops import (
    as_image_shape,
    as_patch_size,
    can_be_missing,
    check_channel_axis,
    patch_grid,
    split_missing,
    unpatchify,
)


@keras.saving.register_keras_serializable(package="mae_keras")
class PatchInputs:
    """Images, signals and volumes in patches, normalization included; no weights.

    Args:
        image_shape: ints `(*spatial, channels)`, one to three spatial axes, in pixels.
        patch_size: int, or one int per spatial axis, in pixels.
        value_range: two floats, pixel values that mean black and white, or `None`. Defaults to
            `(0, 255)`.
        mean: float, or one per channel, in units of [0, 1]. Defaults to `None`: 0.
        std: like `mean`, positive. Defaults to `None`: 1.

    Attributes:
        grid: ints, patches per axis.
        num_tokens: int, patches.
        row_dim: int, values of a patch.

    Raises:
        ValueError: if patches do not divide the image, or a constant does not fit.

    Example:
    >>> import numpy as np
    >>> rows, missing = PatchInputs((8, 8, 1), 2).rows(np.zeros((3, 8, 8, 1), "uint8"))
    >>> tuple(rows.shape), missing
    ((3, 16, 4), None)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        patch_size: int | Sequence[int],
        value_range: Sequence[float] | None = (0, 255),
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
    ):
        self.image_shape = as_image_shape(image_shape)
        check_channel_axis(self.image_shape, patch_size)
        self.patch_size = as_patch_size(patch_size, len(self.image_shape) - 1)
        self.grid = patch_grid(self.image_shape, self.patch_size)
        self.num_tokens = math.prod(self.grid)
        self.row_dim = math.prod(self.patch_size) * self.image_shape[-1]
        self.normalization = PixelNormalization(value_range, mean, std, name="normalization")
        self.patch_extraction = PatchExtraction(self.patch_size, name="patch_extraction")

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Pixel values that mean black and white."""
        return self.normalization.value_range

    @property
    def any_size(self) -> tuple[int | None, ...]:
        """The shape of samples of any size: `(*[None], channels)`."""
        return (*[None] * len(self.grid), self.image_shape[-1])

    def grid_of(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Patches per axis of samples of another size.

        Args:
            image_shape: ints `(*spatial, channels)`.

        Returns:
            Tuple of ints.
        """
        return patch_grid(tuple(image_shape), self.patch_size)

    def check(self, samples: Any) -> Any:
        """Refuse samples that do not fit, as far as they are there.

        Args:
            samples: array, or `tf.data.Dataset` of batches.

        Returns:
            `samples`; of a NumPy masked array, an array with NaN for what is masked.

        Raises:
            TypeError, ValueError: saying what does not fit.
        """
        return check_input(samples, self.image_shape, self.value_range)

    def adapt(self, samples: Any) -> None:
        """Set mean and standard deviation to those of samples; see `PixelNormalization.adapt`.

        Args:
            samples: array, or finite dataset of batches.
        """
        self.normalization.adapt(self.check(samples))

    def rows(self, samples: Any) -> tuple[Any, Any]:
        """Raw samples to one row for every token.

        Args:
            samples: tensor `(batch, *spatial, channels)` of pixels as stored.

        Returns:
            float32 `(batch, num_tokens, row_dim)`, normalized, 0 in place of NaN; which tokens
            are missing: bool `(batch, num_tokens)`, or `None` where the dtype has no NaN.
        """
        dtype = keras.backend.standardize_dtype(samples.dtype)
        rows = self.patch_extraction(self.normalization(samples))
        return split_missing(rows) if can_be_missing(dtype) else (rows, None)

    def assemble(self, rows: Any) -> Any:
        """Rows of values to an array of the shape of samples, not denormalized.

        Args:
            rows: tensor `(batch, num_tokens, row_dim)`.

        Returns:
            Tensor `(batch, *spatial, channels)`.
        """
        return unpatchify(rows, self.patch_size, self.image_shape)

    def samples(self, rows: Any) -> Any:
        """Undo `rows`: pixels as stored, not clipped.

        Args:
            rows: float32 `(batch, num_tokens, row_dim)`.

        Returns:
            float32 `(batch, *spatial, channels)`.
        """
        return self.normalization.denormalize(self.assemble(rows))

    def embedding(self, hidden_dim: int, **options: Any) -> keras.layers.Layer:
        """A new layer that turns rows into tokens.

        Args:
            hidden_dim: int, features per token.
            **options: `name` and `dtype`.

        Returns:
            `keras.layers.Dense`.
        """
        return keras.layers.Dense(hidden_dim, **options)

    def positions(self, kind: str, **options: Any) -> keras.layers.Layer:
        """A new layer that adds a position to every token.

        Args:
            kind: `"sincos"` or `"learned"`.
            **options: `name` and `dtype`.

        Returns:
            `PositionEmbedding` over the grid.
        """
        return PositionEmbedding(self.grid, kind, **options)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, with the constants that `adapt` found."""
        return {
            "image_shape": self.image_shape,
            "patch_size": self.patch_size,
            "value_range": self.value_range,
            "mean": self.normalization.mean,
            "std": self.normalization.std,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PatchInputs":
        """The inputs of a config."""
        return cls(**config)
