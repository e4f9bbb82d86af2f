"""Arguments of figures as arrays, refused where nothing could be drawn. Imports NumPy only."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mae_keras.arguments import check_array


def read_images(
    name: str, value: Any, shape: tuple[int, ...] | None = None, of: str = "images"
) -> np.ndarray:
    """Images as float32, of the `shape` that the argument `of` has."""
    array = check_array(name, value, empty=True)
    if shape is not None and array.shape != shape:
        raise ValueError(
            f"`{name}` must have the shape of `{of}`, {shape}. Received: {name}.shape={array.shape}"
        )
    if not 3 <= array.ndim <= 5 or 0 in array.shape:
        raise ValueError(
            f"`{name}` must have shape (batch, *spatial, channels) with one to three spatial "
            f"axes, none of them 0. Received: {name}.shape={array.shape}"
        )
    return array.astype("float32")


def read_mask(name: str, value: Any) -> np.ndarray:
    """A mask as booleans."""
    mask = check_array(name, value, empty=True)
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"`{name}` must be boolean, True = hidden. Received: dtype {mask.dtype} with "
            f"values other than 0 and 1"
        )
    return mask.astype(bool)


def read_numbers(name: str, values: Any) -> np.ndarray:
    """Numbers as float64, NaN for `None`."""
    if not isinstance(values, (str, bytes)) and hasattr(values, "__iter__"):
        values = [np.nan if value is None else value for value in values]
        return check_array(name, values, empty=True).astype("float64")
    raise TypeError(f"`{name}` must be a sequence of numbers. Received: {name}={values!r}")


def check_mapping(name: str, value: Any, item: str) -> Any:
    """Refuse what is not a dict with at least one entry."""
    if not isinstance(value, Mapping):
        raise TypeError(f"`{name}` must be a dict. Received: {name}={value!r}")
    if not value:
        raise ValueError(f"`{name}` must hold at least one {item}. Received: none")
    return value


def check_names(name: str, value: Any) -> None:
    """Refuse what is not a sequence of names; a single text would be taken for its letters."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__getitem__"):
        raise TypeError(f"`{name}` must be a sequence of names. Received: {name}={value!r}")


def check_value_range(value_range: Any) -> None:
    """Refuse what is not two finite numbers, low and high; a constant image has equal ones."""
    try:
        low, high = (float(check_array("value_range", end, 0, finite=True)) for end in value_range)
        fits = low <= high
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"`value_range` must be two numbers, low and high. Received: {value_range!r}"
        )
