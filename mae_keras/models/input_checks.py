"""Refusing images that do not fit a model, before Keras sees them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

_TOLERANCE = 1e-3


def check_shape(shape: Sequence[int | None], image_shape: Sequence[int]) -> None:
    """Refuse images of another rank, size or channel count.

    Args:
        shape: `(batch, *spatial, channels)`, sizes may be unknown.
        image_shape: `(*spatial, channels)` of the model.

    Raises:
        ValueError: saying what differs.
    """
    received, expected = tuple(shape), (None, *image_shape)
    if len(received) != len(expected):
        hint = ""
        if len(received) == len(expected) - 1:
            hint = " One axis is missing: the batch (`images[None]`) or the channels"
            hint += " (`images[..., None]`)."
        raise ValueError(
            f"`images` must have {len(expected)} axes, {('batch', *image_shape)}, channels last."
            f"{hint} Received: images.shape={received}"
        )
    for got, want in zip(received[1:], expected[1:], strict=True):
        if got is not None and got != want:
            raise ValueError(
                f"`images` must have the shape the model was made for, {('batch', *image_shape)}, "
                f"channels last. Received: images.shape={received}"
            )


def check_values(images: np.ndarray, value_range: tuple[float, float] | None) -> None:
    """Refuse pixels that cannot be in `value_range`, above all [0, 1] given as (0, 255).

    Args:
        images: NumPy array, one batch.
        value_range: `(low, high)` or `None`: nothing to check but infinity.

    Raises:
        TypeError: if the values are not real numbers.
        ValueError: if a value is infinite or outside the range.
    """
    if images.dtype.kind not in "uifb" and str(images.dtype) != "bfloat16":
        raise TypeError(f"`images` must be real numbers. Received: images.dtype={images.dtype}")
    values = images.astype("float32")
    if np.isinf(values).any():
        raise ValueError("`images` must be finite (NaN means missing). Received: infinite pixels")
    values = values[~np.isnan(values)]
    if value_range is None or not values.size:
        return
    low, high = value_range
    smallest, largest = float(values.min()), float(values.max())
    slack = _TOLERANCE * (high - low)
    if smallest < low - slack or largest > high + slack:
        raise ValueError(
            f"`images` must be within the model's value_range={value_range}. "
            f"Received: values from {smallest:.6g} to {largest:.6g}"
        )
    if images.dtype.kind == "f" and high >= 16 and low == 0 and 0 < largest <= 1:
        raise ValueError(
            f"`images` seem to be scaled to [0, 1], but the model takes pixels as stored, "
            f"value_range={value_range}, and scales them itself. Pass the images undivided, or "
            f"build the model with value_range=(0, 1). Received: values from {smallest:.6g} to "
            f"{largest:.6g}"
        )


def as_one_array(images: Any) -> Any:
    """Stack a list of images; refuse what is neither an array, a list nor a dataset.

    Args:
        images: what a user gave to `encode` or `reconstruct`.

    Returns:
        Array or dataset.

    Raises:
        TypeError: if it is something else.
        ValueError: if the images of a list differ in shape.
    """
    if isinstance(images, (list, tuple)):
        shapes = {np.shape(image) for image in images}
        if len(shapes) > 1:
            raise ValueError(
                f"`images` in a list must have equal shapes. Received: {sorted(map(str, shapes))}"
            )
        return np.asarray(images)
    known = hasattr(images, "element_spec") or (
        hasattr(images, "shape") and hasattr(images, "dtype")
    )
    if not known and not isinstance(images, dict):
        raise TypeError(
            f"`images` must be an array of images or a dataset. Received: {str(images)[:60]!r}"
        )
    return images


def stand_in_labels(x: Any, y: Any, sample_weight: Any) -> Any:
    """Labels that mean nothing, where Keras would drop the weights of images without labels.

    Args:
        x: images.
        y: labels or `None`.
        sample_weight: weights or `None`.

    Returns:
        `y`, or zeros.
    """
    return y if y is not None or sample_weight is None else np.zeros(len(x), "int32")


def check_input(
    x: Any, image_shape: Sequence[int], value_range: tuple[float, float] | None
) -> None:
    """Check what was given to `fit`, `evaluate`, `encode` or `reconstruct`, as far as it is there.

    Arrays and `tf.data` sets are looked at (shape always, values of the first batch when they are
    floats); generators and `PyDataset`s are left alone, since reading one consumes it.

    Args:
        x: array, `tf.data.Dataset` or anything else `fit` takes.
        image_shape: `(*spatial, channels)` of the model.
        value_range: `(low, high)` of the model, or `None`.

    Raises:
        TypeError, ValueError: saying what does not fit.
    """
    if isinstance(x, dict):
        raise TypeError(
            f"`images` must be an array or a dataset of arrays (or of (images, labels)), not a "
            f"dictionary. Received: a dict with keys {sorted(map(str, x))}"
        )
    if hasattr(x, "element_spec"):
        _check_dataset(x, image_shape, value_range)
    elif hasattr(x, "shape") and hasattr(x, "dtype"):
        check_shape(x.shape, image_shape)
        if not x.shape[0]:
            raise ValueError(f"`images` must not be empty. Received: images.shape={x.shape}")
        check_values(_to_numpy(x[:256]), value_range)
    elif isinstance(x, (list, tuple)):
        raise TypeError(
            "`images` must be one array, not a list. Received: "
            f"{type(x).__name__} of {len(x)}; numpy.stack makes an array of equal shapes"
        )


def _check_dataset(
    dataset: Any, image_shape: Sequence[int], value_range: tuple[float, float] | None
) -> None:
    spec = dataset.element_spec
    spec = spec[0] if isinstance(spec, (tuple, list)) else spec
    if isinstance(spec, dict):
        check_input(spec, image_shape, value_range)
    if spec.shape.rank is not None:
        check_shape(tuple(spec.shape), image_shape)
    if not (spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool):
        raise TypeError(f"`images` must be real numbers. Received: a dataset of {spec.dtype.name}")
    if int(dataset.cardinality()) == 0:
        raise ValueError("`images` must not be empty. Received: a dataset without a batch")
    if spec.dtype.is_floating:
        batch = next(iter(dataset.take(1)), None)
        if batch is None:
            raise ValueError("`images` must not be empty. Received: a dataset without a batch")
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        check_values(_to_numpy(images), value_range)
    elif spec.dtype.is_integer and value_range is not None and spec.dtype.max > value_range[1] <= 1:
        raise ValueError(
            f"`images` must be within the model's value_range={value_range}. "
            f"Received: integer pixels of type {spec.dtype.name}"
        )


def _to_numpy(x: Any) -> np.ndarray:
    return x if isinstance(x, np.ndarray) else keras.ops.convert_to_numpy(x)
