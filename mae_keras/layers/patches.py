"""From pixels to patches in a model: normalization, patch extraction, positions."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import (
    LARGEST_WIDTH,
    check_array,
    check_choice,
    check_ints,
    check_parameters,
    check_range,
)
from mae_keras.ops import (
    as_patch_size,
    interpolate_positions,
    patch_grid,
    patchify,
    sincos_positions,
)


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


# What custom constants may be above the largest standard deviation of values in [0, 1], 0.5.
_LARGEST_STD = 2.0
_SLACK = 1e-3
_BATCH_BYTES = 2**24


@keras.saving.register_keras_serializable(package="mae_keras")
class PixelNormalization(keras.layers.Layer):
    """Scale pixels from `value_range` to [0, 1], then standardize each channel.

    It lives inside the model, so that a saved or exported model takes pixels as stored and
    training and serving cannot disagree. Always float32, whatever the dtype policy.

    Args:
        value_range: two floats, the pixel values that mean black and white, or `None` for data
            without a range (only `mean` and `std` are applied). Defaults to `(0, 255)`.
        mean: float or one float per channel, in units of the scaled values: in [0, 1], as
            ImageNet's constants are given, where there is a `value_range`. Defaults to `None`: 0.
            `adapt` computes both from images.
        std: like `mean`, positive and at most 2. Defaults to `None`: 1.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        images: tensor `(..., channels)`, any dtype.

    Returns:
        float32 tensor of the same shape.

    Raises:
        ValueError: if `value_range` is empty or reversed, `std` is not positive, or constants are
            not in units of the scaled values.

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
            value_range = check_range("value_range", value_range)
        self.value_range = value_range
        self.mean = _per_channel("mean", mean)
        self.std = _per_channel("std", std)
        if self.std is not None and np.min(self.std) <= 0:
            raise ValueError(f"`std` must be positive. Received: std={std!r}")
        if value_range is not None:
            _check_unit("mean", self.mean, value_range, 1.0)
            _check_unit("std", self.std, value_range, _LARGEST_STD)
        # Whether a compiled function holds the constants, which are not weights.
        self._compiled = False
        self._channels: int | None = None

    def adapt(self, images: Any) -> None:
        """Set `mean` and `std` to those of images, channel by channel, before training.

        As `keras.layers.Normalization.adapt`, with missing pixels (NaN) left out, in float64 and
        one batch at a time. A channel that never changes gets `std` 1. The constants are saved
        with the model.

        Args:
            images: array `(num_images, *spatial, channels)` of pixels as stored, or a finite
                dataset of batches, with or without labels.

        Raises:
            TypeError: if it is neither.
            ValueError: if there are no images, pixels are infinite or outside `value_range`, or
                the layer was compiled with other constants.

        Example:
        >>> layer = PixelNormalization()
        >>> layer.adapt(np.array([[[0], [255]]], "uint8"))
        >>> layer.mean, layer.std
        ([0.5], [0.5])
        """
        mean, std = channel_statistics(images, self.value_range)
        if self._compiled and (mean, std) != (self.mean, self.std):
            raise ValueError(
                "`adapt` must be called before the model is first used: functions that were "
                "compiled since, and what was learned, hold the earlier constants. Build a new "
                "model and adapt it first."
            )
        if self._channels is not None:
            _check_channels(mean, std, self._channels)
        self.mean, self.std = mean, std

    def build(self, input_shape: Sequence[int | None]) -> None:
        _check_channels(self.mean, self.std, input_shape[-1])
        self._channels = input_shape[-1]
        self.built = True

    def scale_and_offset(self) -> tuple[np.ndarray, np.ndarray]:
        """NumPy `scale`, `offset` with normalized = pixels * scale + offset.

        Returns:
            Two float32 arrays, `()` or one number for each channel.

        Example:
        >>> scale, offset = PixelNormalization((0, 255), mean=0.5).scale_and_offset()
        >>> float(offset)
        -0.5
        """
        low, high = self.value_range or (0.0, 1.0)
        mean = np.asarray(0.0 if self.mean is None else self.mean)
        std = np.asarray(1.0 if self.std is None else self.std)
        scale = 1.0 / ((high - low) * std)
        return scale.astype("float32"), (-low * scale - mean / std).astype("float32")

    @property
    def _changes_nothing(self) -> bool:
        return self.value_range is None and self.mean is None and self.std is None

    def call(self, images: Any) -> Any:
        self._compiled = self._compiled or _is_traced(images)
        if self._changes_nothing:
            return ops.cast(images, "float32")  # exact, so that numbers of classes stay whole
        scale, offset = self.scale_and_offset()
        return ops.cast(images, "float32") * scale + offset

    def denormalize(self, values: Any) -> Any:
        """Undo the call: normalized values to pixels in `value_range`.

        Args:
            values: tensor `(..., channels)`.

        Returns:
            float32 tensor of the same shape, not clipped.
        """
        if self._changes_nothing:
            return ops.cast(values, "float32")
        scale, offset = self.scale_and_offset()
        return (ops.cast(values, "float32") - offset) / scale

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {"value_range": self.value_range, "mean": self.mean, "std": self.std}
        return {**super().get_config(), **own}


def channel_statistics(
    images: Any, value_range: Sequence[float] | None = (0, 255)
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, in units of the scaled values.

    Args:
        images: as for `PixelNormalization.adapt`.
        value_range: two floats, pixel values that mean black and white, or `None`.

    Returns:
        `mean`, `std`: one float per channel; a channel that never changes has std 1.

    Raises:
        TypeError, ValueError: as `PixelNormalization.adapt` does.

    Example:
    >>> channel_statistics(np.array([[[0, 51], [255, 51]]], "uint8"))
    ([0.5, 0.2], [0.5, 1.0])
    """
    low, high = (0.0, 1.0) if value_range is None else check_range("value_range", value_range)
    count = mean = deviation = smallest = largest = None
    for batch in _batches(images):
        pixels = _as_pixels(batch)
        # NaN is left out of everything.
        present = ~np.isnan(pixels)
        number = present.sum(axis=0)
        total = np.where(present, pixels, 0.0).sum(axis=0)
        center = total / np.maximum(number, 1)
        spread = (np.where(present, pixels - center, 0.0) ** 2).sum(axis=0)
        least = np.where(present, pixels, np.inf).min(axis=0)
        most = np.where(present, pixels, -np.inf).max(axis=0)
        if count is None:
            count, mean, deviation, smallest, largest = number, center, spread, least, most
            continue
        if len(number) != len(count):
            raise ValueError(
                "`images` must have as many channels in every batch. Received: "
                f"{len(count)} and {len(number)}"
            )
        # Chan et al. 1979: sums of squares about two means become one about their joint mean.
        joint = np.maximum(count + number, 1)
        apart = center - mean
        deviation = deviation + spread + apart**2 * count * number / joint
        mean = mean + apart * number / joint
        count = count + number
        smallest, largest = np.minimum(smallest, least), np.maximum(largest, most)
    if count is None or not np.all(count):
        empty = "no images" if count is None else f"channel {int(np.argmin(count))} is all NaN"
        raise ValueError(f"`images` must have pixels in every channel. Received: {empty}")
    slack = _SLACK * (high - low)
    below, above = float(smallest.min()), float(largest.max())
    if value_range is not None and (below < low - slack or above > high + slack):
        raise ValueError(
            f"`images` must be within value_range={tuple(value_range)}. "
            f"Received: values from {below:.6g} to {above:.6g}"
        )
    std = np.where(smallest == largest, 1.0, np.sqrt(deviation / count) / (high - low))
    return ((mean - low) / (high - low)).tolist(), np.where(std > 0, std, 1.0).tolist()


def _batches(images: Any) -> Iterable[Any]:
    """Arrays in parts, data sets batch by batch, labels left out."""
    if isinstance(images, (list, tuple)):
        images = check_array("images", images)
    if hasattr(images, "shape") and hasattr(images, "dtype"):
        if len(images.shape) < 2:
            raise ValueError(
                "`images` must have shape (num_images, *spatial, channels). "
                f"Received: images.shape={tuple(images.shape)}"
            )
        width = max(1, int(np.prod(images.shape[1:])) * 8)
        rows = max(1, _BATCH_BYTES // width)
        return (images[start : start + rows] for start in range(0, images.shape[0], rows))
    if isinstance(images, keras.utils.PyDataset):
        images = map(images.__getitem__, range(images.num_batches or 0))
    if hasattr(images, "cardinality") and int(images.cardinality()) == -1:
        raise ValueError("`images` must end. Received: an infinite dataset; `take` some of it")
    if not hasattr(images, "__iter__") or isinstance(images, (str, bytes, dict)):
        raise TypeError(
            f"`images` must be an array or a dataset of batches. Received: {type(images).__name__}"
        )
    return (batch[0] if isinstance(batch, (list, tuple)) else batch for batch in images)


def _as_pixels(batch: Any) -> np.ndarray:
    """A batch as float64 `(num_pixels, channels)`."""
    pixels = batch if isinstance(batch, np.ndarray) else ops.convert_to_numpy(batch)
    if pixels.dtype.kind not in "uif" and str(pixels.dtype) != "bfloat16":
        raise TypeError(f"`images` must be real numbers. Received: images.dtype={pixels.dtype}")
    if pixels.ndim < 2 or not pixels.shape[-1]:
        raise ValueError(
            "`images` must have shape (num_images, *spatial, channels). "
            f"Received: a batch of shape {pixels.shape}"
        )
    pixels = pixels.reshape(-1, pixels.shape[-1]).astype("float64")
    if np.isinf(pixels).any():
        raise ValueError("`images` must be finite (NaN means missing). Received: infinite pixels")
    return pixels


def _is_traced(tensor: Any) -> bool:
    """Whether a function is being compiled: the tensor has no values and is no Keras symbol."""
    if isinstance(tensor, (np.ndarray, keras.KerasTensor)):
        return False
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return not hasattr(tensor, "numpy") if on_tensorflow else "Tracer" in type(tensor).__name__


def _check_unit(name: str, value: Any, value_range: tuple[float, float], largest: float) -> None:
    """Refuse constants that are not in units of the scaled values, such as gray levels."""
    if value is None:
        return
    values = np.asarray(value)
    if np.all((values >= 0) & (values <= largest)):
        return
    low, high = value_range
    hint = ""
    if np.all((values >= low) & (values <= high)):
        scaled = values / (high - low) if name == "std" else (values - low) / (high - low)
        formula = (
            f"/ {high - low:g}" if name == "std" or not low else f"- {low:g}) / {high - low:g}"
        )
        formula = f"{name} {formula}" if formula[0] == "/" else f"({name} {formula}"
        shown = np.round(scaled, 4).tolist()
        hint = f" It seems to be in pixel values: pass {formula}, which is {shown}, or use `adapt`."
    raise ValueError(
        f"`{name}` must be in units of the scaled values, from 0 to {largest:g}, not in those of "
        f"value_range={value_range}.{hint} Received: {name}={value}"
    )


def _check_channels(mean: Any, std: Any, channels: int) -> None:
    for name, value in (("mean", mean), ("std", std)):
        if isinstance(value, list) and len(value) != channels:
            raise ValueError(
                f"`{name}` must have one value for each of the {channels} channels. "
                f"Received: {name}={value}"
            )


def _per_channel(name: str, value: Any) -> float | list[float] | None:
    if value is None:
        return None
    try:
        array = np.asarray(value)
        array = array.astype("float64") if array.dtype.kind in "uif" else np.full(1, np.nan)
    except (TypeError, ValueError, OverflowError):
        array = np.full(1, np.nan)
    if array.ndim > 1 or not array.size or not np.all(np.isfinite(array)):
        raise ValueError(
            f"`{name}` must be a finite number or one per channel. Received: {name}={value!r}"
        )
    return float(array) if array.ndim == 0 else [float(v) for v in array]


@keras.saving.register_keras_serializable(package="mae_keras")
class PositionEmbedding(keras.layers.Layer):
    """Add a position vector to every token.

    Args:
        grid: ints, patches per axis.
        kind: `"sincos"` (fixed, as in the paper; no weights) or `"learned"`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_tokens, hidden_dim)`.
        indices: int tensor `(batch, num_tokens)`, the patch each token stands for, or `None`: all
            patches in raster order.
        grid: ints or `None`; another grid than the layer's own. Sin-cos tables are computed for
            it, learned ones interpolated.

    Returns:
        Tensor of the shape of `tokens`.

    Raises:
        ValueError: if `kind` is unknown, or `hidden_dim` is too small for the number of axes.

    Example:
    >>> import numpy as np
    >>> tuple(PositionEmbedding((2, 3))(np.zeros((1, 6, 8))).shape)
    (1, 6, 8)

    References:
        - He et al. 2021, arXiv:2111.06377, appendix A.1.
    """

    def __init__(self, grid: Sequence[int], kind: str = "sincos", **kwargs: Any):
        super().__init__(**kwargs)
        self.grid = check_ints("grid", grid, 1, LARGEST_WIDTH)
        self.kind = check_choice("kind", kind, ("sincos", "learned"))
        self.positions = None

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        self.hidden_dim = input_shape[-1]
        check_parameters(math.prod(self.grid) * self.hidden_dim, grid=self.grid)
        if self.kind == "learned":
            self.positions = self.add_weight(
                shape=(math.prod(self.grid), self.hidden_dim),
                initializer=keras.initializers.TruncatedNormal(stddev=0.02),
                name="positions",
            )
        self.built = True

    def _table(self, grid: tuple[int, ...]) -> Any:
        """Position vectors `(num_patches, hidden_dim)` for a grid."""
        if self.kind == "sincos":
            return ops.convert_to_tensor(sincos_positions(grid, self.hidden_dim))
        return interpolate_positions(ops.convert_to_tensor(self.positions), self.grid, grid)

    def call(self, tokens: Any, indices: Any = None, grid: Sequence[int] | None = None) -> Any:
        grid = self.grid if grid is None else tuple(grid)
        if indices is None and tokens.shape[1] not in (None, math.prod(grid)):
            raise ValueError(
                f"`tokens` must be one for each of the {math.prod(grid)} patches of the grid "
                f"{grid}. Received: tokens.shape={tuple(tokens.shape)}"
            )
        table = ops.cast(self._table(grid), tokens.dtype)
        return tokens + (table if indices is None else ops.take(table, indices, axis=0))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid, "kind": self.kind}
