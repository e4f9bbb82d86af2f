"""The layer that turns pixels as stored into the values a model learns from, and back."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="mae_keras")
class PixelNormalization(keras.layers.Layer):
    """Scale pixels from `value_range` to [0, 1], then standardise each channel.

    It lives inside the model, so that a saved or exported model takes pixels as stored and
    training and serving cannot disagree. Always float32, whatever the dtype policy.

    Args:
        value_range: two floats, the pixel values that mean black and white, or `None` for data
            without a range (only `mean` and `std` are applied). Defaults to `(0, 255)`.
        mean: float or one float per channel, in units of the scaled values ([0, 1], as ImageNet's
            constants are given). Defaults to `None`: 0.
        std: like `mean`, positive. Defaults to `None`: 1.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        images: tensor `(..., channels)`, any dtype.

    Returns:
        float32 tensor of the same shape.

    Raises:
        ValueError: if `value_range` is empty or reversed, or `std` is not positive.

    Example:
    >>> import numpy as np
    >>> layer = PixelNormalization((0, 255), mean=0.5, std=0.25)
    >>> float(layer(np.array([[255]], "uint8"))[0, 0])
    2.0
    """

    def __init__(
        self,
        value_range: Sequence[float] | None = (0, 255),
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})
        if value_range is not None:
            value_range = tuple(float(end) for end in value_range)
            if len(value_range) != 2 or not value_range[0] < value_range[1]:
                raise ValueError(
                    "`value_range` must be (low, high) with low < high, such as (0, 255), or "
                    f"None. Received: value_range={value_range}"
                )
        self.value_range = value_range
        self.mean = _per_channel("mean", mean)
        self.std = _per_channel("std", std)
        if self.std is not None and np.min(self.std) <= 0:
            raise ValueError(f"`std` must be positive. Received: std={std!r}")

    def build(self, input_shape: Sequence[int | None]) -> None:
        channels = input_shape[-1]
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, list) and len(value) != channels:
                raise ValueError(
                    f"`{name}` must have one value for each of the {channels} channels. "
                    f"Received: {name}={value}"
                )
        self.built = True

    def _scale_and_offset(self) -> tuple[np.ndarray, np.ndarray]:
        """NumPy `scale`, `offset` with normalised = pixels * scale + offset."""
        low, high = self.value_range or (0.0, 1.0)
        mean = np.asarray(0.0 if self.mean is None else self.mean)
        std = np.asarray(1.0 if self.std is None else self.std)
        scale = 1.0 / ((high - low) * std)
        return scale.astype("float32"), (-low * scale - mean / std).astype("float32")

    def call(self, images: Any) -> Any:
        scale, offset = self._scale_and_offset()
        return ops.cast(images, "float32") * scale + offset

    def denormalize(self, values: Any) -> Any:
        """Undo the call: normalised values to pixels in `value_range`.

        Args:
            values: tensor `(..., channels)`.

        Returns:
            float32 tensor of the same shape, not clipped.
        """
        scale, offset = self._scale_and_offset()
        return (ops.cast(values, "float32") - offset) / scale

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {"value_range": self.value_range, "mean": self.mean, "std": self.std}
        return {**super().get_config(), **own}


def _per_channel(name: str, value: Any) -> float | list[float] | None:
    if value is None:
        return None
    array = np.asarray(value, "float64")
    if array.ndim > 1 or not np.all(np.isfinite(array)):
        raise ValueError(
            f"`{name}` must be a finite number or one per channel. Received: {name}={value!r}"
        )
    return float(array) if array.ndim == 0 else [float(v) for v in array]
