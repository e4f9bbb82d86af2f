"""Refusing samples, labels and numbers that do not fit a model, before Keras sees them."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.arguments import LARGEST_SEED, check_array, check_int, check_number


def read_missing(missing: Any, images_shape: Sequence[int]) -> np.ndarray:
    """Bring a user's mask of missing pixels to the shape of the images.

    Args:
        missing: bool array, `True` = missing: `spatial`, `(*spatial, 1)` or
            `(*spatial, channels)`, for all images or with a batch axis before it.
        images_shape: ints `(batch, *spatial, channels)`.

    Returns:
        NumPy bool array of shape `images_shape`, not to be written to.

    Raises:
        TypeError: if it is not boolean.
        ValueError: if the shape does not fit.

    Example:
    >>> read_missing(np.eye(4, dtype=bool), (2, 4, 4, 3)).sum()
    np.int64(24)
    """
    given, whole = check_array("missing", missing, empty=True), tuple(images_shape)
    if given.dtype != bool:
        raise TypeError(
            f"`missing` must be boolean, True = missing (`mask > 0` makes it so). "
            f"Received: missing.dtype={given.dtype}"
        )
    batch, *spatial, channels = whole
    for axes in ((batch, *spatial), tuple(spatial)):
        if given.shape == axes:
            return np.broadcast_to(given[..., None], whole)
        if given.shape in ((*axes, 1), (*axes, channels)):
            return np.broadcast_to(given, whole)
    raise ValueError(
        f"`missing` must have shape {tuple(spatial)} for all images or {(batch, *spatial)}, either "
        f"with or without 1 or {channels} channels after it. "
        f"Received: missing.shape={given.shape}"
    )


def touched_patches(pixels: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """Find the patches that hold any of the pixels.

    Args:
        pixels: bool array `(batch, *spatial, channels)`.
        grid: ints, patches per axis.

    Returns:
        bool array `(batch, num_patches)`.

    Example:
    >>> touched_patches(np.eye(4, dtype=bool)[None, ..., None], (2, 2)).tolist()
    [[True, False, False, True]]
    """
    shape = pixels.shape
    parts = [
        part
        for length, count in zip(shape[1:], grid, strict=False)
        for part in (count, length // count)
    ]
    # (batch, g1, p1, g2, p2, ..., rest), of which only the grid stays
    split = pixels.reshape(shape[0], *parts, *shape[1 + len(tuple(grid)) :])
    inside = [axis for axis in range(1, split.ndim) if axis % 2 == 0 or axis > len(parts)]
    return split.any(axis=tuple(inside)).reshape(shape[0], -1)


def cover_pixels(
    patch_mask: np.ndarray, grid: Sequence[int], image_shape: Sequence[int]
) -> np.ndarray:
    """Spread a mask of patches over their pixels.

    Args:
        patch_mask: bool array `(batch, num_patches)`.
        grid: ints, patches per axis.
        image_shape: ints `(*spatial, channels)`.

    Returns:
        bool array `(batch, *spatial, channels)`, not to be written to.

    Example:
    >>> cover_pixels(np.array([[True, False]]), (2,), (4, 1))[0, :, 0].tolist()
    [True, True, False, False]
    """
    grid, image_shape = tuple(grid), tuple(image_shape)
    covered = patch_mask.reshape(-1, *grid)
    for axis, (length, count) in enumerate(zip(image_shape, grid, strict=False)):
        covered = covered.repeat(length // count, axis=axis + 1)
    covered = covered.reshape(covered.shape + (1,) * (len(image_shape) - len(grid)))
    return np.broadcast_to(covered, (len(covered), *image_shape))


_TOLERANCE = 1e-3
_CHUNK = 2**22  # values looked at together, so that a scan needs little memory


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
        if got is not None and want is not None and got != want:
            raise ValueError(
                f"`images` must have the shape the model was made for, {('batch', *image_shape)}, "
                f"channels last. Received: images.shape={received}"
            )


def check_dtype(dtype: str, value_range: tuple[float, float] | None) -> None:
    """Refuse what is no real number, and booleans where `True` does not mean white.

    Args:
        dtype: str, name of a dtype.
        value_range: `(low, high)` of the model, or `None`.

    Raises:
        TypeError: if values are not real numbers.
        ValueError: if they are booleans, but the model takes 0 and 1 for two blacks.
    """
    if dtype == "bool":
        if value_range is not None and tuple(value_range) != (0, 1):
            raise ValueError(
                f"`images` are boolean, but the model's value_range={value_range}: True would be "
                f"nearly black. Pass `numpy.where(images, {value_range[1]:g}, {value_range[0]:g})`"
                ", or build the model with value_range=(0, 1). Received: images.dtype=bool"
            )
    elif not dtype.lstrip("u").startswith(("int", "float", "bfloat")):
        raise TypeError(f"`images` must be real numbers. Received: images.dtype={dtype}")


def needs_scan(dtype: str, value_range: tuple[float, float] | None) -> bool:
    """Whether images of a dtype that `check_dtype` let through may hold values that do not fit.

    Args:
        dtype: str, name of a dtype.
        value_range: `(low, high)` of the model, or `None`.

    Returns:
        bool: always for floats, which may be infinite; for integers if the range is narrower.

    Example:
    >>> needs_scan("uint8", (0, 255)), needs_scan("int16", (0, 255)), needs_scan("int16", None)
    (False, True, False)
    """
    if dtype == "bool" or "int" in dtype:
        if dtype == "bool" or value_range is None:
            return False
        limits = np.iinfo(dtype)
        return limits.min < value_range[0] or limits.max > value_range[1]
    return True


def check_values(
    images: np.ndarray, value_range: tuple[float, float] | None, check_units: bool = True
) -> None:
    """Refuse pixels that cannot be in `value_range`, above all [0, 1] given as (0, 255).

    Args:
        images: NumPy array, of which every value is looked at.
        value_range: `(low, high)` or `None`: nothing to check but infinity.
        check_units: bool, whether floats that all lie in [0, 1] are refused for a range such as
            (0, 255): for whole arrays and first batches. Whole numbers, all 0 and 1, are taken for
            dark images; they are refused if a value is between, as of a photograph divided by 255.

    Raises:
        TypeError: if the values are not real numbers.
        ValueError: if a value is infinite or outside the range.
    """
    check_dtype(images.dtype.name, value_range)
    if not images.size or not needs_scan(images.dtype.name, value_range):
        return
    smallest, largest = _extremes(images)
    if np.isinf(smallest) or np.isinf(largest):
        raise ValueError("`images` must be finite (NaN means missing). Received: infinite pixels")
    if value_range is None or np.isnan(smallest):
        return
    low, high = value_range
    slack = _TOLERANCE * (high - low)
    if smallest < low - slack or largest > high + slack:
        raise ValueError(
            f"`images` must be within the model's value_range={value_range}. "
            f"{_overshoot_hint(images, smallest, largest, value_range)}"
            f"Received: values from {smallest:.6g} to {largest:.6g}"
        )
    pixels = high >= 16 and low == 0 and images.dtype.kind not in "iu"
    if check_units and pixels and 0 < largest <= 1 and _has_fraction(images):
        raise ValueError(
            f"`images` seem to be scaled to [0, 1], but the model takes pixels as stored, "
            f"value_range={value_range}, and scales them itself. Pass the images undivided, or "
            f"build the model with value_range=(0, 1). Received: values from {smallest:.6g} to "
            f"{largest:.6g}"
        )


def _overshoot_hint(
    images: np.ndarray, smallest: float, largest: float, value_range: tuple[float, float]
) -> str:
    """What to do with values a little outside the range, such as from -28.6 to 291.3."""
    low, high = value_range
    excess = max(low - smallest, largest - high)
    # Standardized pixels, which clipping would spoil, do not fill the range.
    standardized = largest - low < (high - low) / 2
    if images.dtype.kind in "iu" or standardized or excess >= (high - low) / 4:
        return ""
    return (
        "Resizing with bicubic or Lanczos interpolation overshoots: clip with "
        f"tf.clip_by_value(images, {low:g}, {high:g}). "
    )


def _has_fraction(images: np.ndarray) -> bool:
    """Whether a value is between 0 and 1, rounding aside."""
    images = np.atleast_1d(images)
    rows = max(1, _CHUNK * len(images) // images.size)
    parts = (images[start : start + rows] for start in range(0, len(images), rows))
    return any(np.any((part > _TOLERANCE) & (part < 1 - _TOLERANCE)) for part in parts)


def _extremes(images: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value, NaN aside; two NaNs where there is nothing else."""
    found = []
    rows = max(1, _CHUNK * len(images) // images.size) if images.ndim else 1
    images = np.atleast_1d(images)
    for start in range(0, len(images), rows):
        part = images[start : start + rows]
        if part.dtype.name in ("bfloat16", "float16"):
            part = part.astype("float32")
        low, high = part.min(), part.max()
        if np.isnan(low):  # NaN wins in `min`, which is the faster
            low, high = np.fmin.reduce(part, axis=None), np.fmax.reduce(part, axis=None)
        found.append((float(low), float(high)))
    lows, highs = zip(*found, strict=True)
    return float(np.fmin.reduce(lows)), float(np.fmax.reduce(highs))


def filled_array(array: np.ma.MaskedArray, name: str = "images") -> np.ndarray:
    """A NumPy masked array with NaN for what is masked, which otherwise would be used as data.

    Args:
        array: masked array.
        name: str, the argument's name, for errors.

    Returns:
        NumPy array.

    Raises:
        ValueError: if integers are masked: they have no NaN.

    Example:
    >>> filled_array(np.ma.masked_equal([1.0, 9.0], 9.0)).tolist()
    [1.0, nan]
    """
    if not np.ma.is_masked(array):
        return np.asarray(array.data)
    if array.dtype.kind != "f":
        raise ValueError(
            f"`{name}` must not be masked unless they are floats: integers have no NaN to say that "
            f"a value is missing. Use {name}.astype('float32'), or {name}.data to ignore the mask. "
            f"Received: a masked array of {array.dtype}"
        )
    return array.filled(np.nan)


def as_one_array(images: Any) -> Any:
    """Stack a list of images; refuse what is neither an array, a list nor a dataset.

    Args:
        images: what a user gave to `encode` or `reconstruct`.

    Returns:
        Array or dataset; of a NumPy masked array, an array with NaN for what is masked.

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
        if any(isinstance(image, np.ma.MaskedArray) for image in images):
            return filled_array(np.ma.stack(images))
        return np.asarray(images)
    if isinstance(images, np.ma.MaskedArray):
        return filled_array(images)
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


def check_weights(weights: Any, num_images: int, name: str = "sample_weight") -> Any:
    """Refuse weights that ruin training without a word: NaN, infinite or negative ones.

    Args:
        weights: array `(num_images,)` or `(num_images, 1)`, or `None`.
        num_images: int.
        name: str, the argument's name, for errors.

    Returns:
        NumPy array, or `None`.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if the shape or a value does not fit.

    Example:
    >>> check_weights(np.array([1.0, -1.0]), 2)
    Traceback (most recent call last):
    ValueError: `sample_weight` must be finite and at least 0. Received: values from -1 to 1
    """
    if weights is None:
        return None
    if isinstance(weights, np.ma.MaskedArray):
        weights = filled_array(weights, name)
    if isinstance(weights, (list, tuple)):
        weights = check_array(name, weights, empty=True)
    weights = to_numpy(weights)
    if weights.dtype.kind not in "uifb" and weights.dtype.name != "bfloat16":
        raise TypeError(f"`{name}` must be numbers. Received: {name}.dtype={weights.dtype}")
    if weights.shape not in ((num_images,), (num_images, 1)):
        raise ValueError(
            f"`{name}` must have one weight per image, shape ({num_images},). "
            f"Received: {name}.shape={weights.shape}"
        )
    values = weights.astype("float64")
    if not np.all((values >= 0) & (values < np.inf)):  # written so that NaN is refused too
        raise ValueError(
            f"`{name}` must be finite and at least 0. "
            f"Received: values from {values.min():.6g} to {values.max():.6g}"
        )
    return weights


def check_class_weight(class_weight: Any) -> None:
    """Refuse class weights that are not finite and at least 0.

    Args:
        class_weight: dict of class number to weight, or `None`.

    Raises:
        TypeError: if it is no dict of numbers.
        ValueError: if a weight is negative, NaN or infinite.
    """
    if class_weight is None:
        return
    if not isinstance(class_weight, dict):
        raise TypeError(
            "`class_weight` must be a dict of class number to weight. "
            f"Received: {type(class_weight).__name__}"
        )
    for number, weight in class_weight.items():
        if not 0 <= weight < float("inf"):
            raise ValueError(
                "`class_weight` must be finite and at least 0 for every class. "
                f"Received: {weight} for class {number}"
            )


def blind_samples(images: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """Which images have NaN in every patch, so that nothing of them can be seen.

    Args:
        images: array `(batch, *spatial, channels)`.
        grid: ints, patches per axis.

    Returns:
        int array of their numbers.

    Example:
    >>> blind_samples(np.array([[[np.nan], [0.0]], [[np.nan], [np.nan]]]), (2,)).tolist()
    [1]
    """
    if images.dtype.kind != "f":
        return np.zeros(0, int)
    rows = max(1, _CHUNK * len(images) // images.size)
    blind = []
    for start in range(0, len(images), rows):
        missing = np.isnan(images[start : start + rows])
        if missing.any():
            hidden = touched_patches(missing, grid).all(axis=1)
            blind.append(start + np.flatnonzero(hidden))
    return np.concatenate(blind) if blind else np.zeros(0, int)


def warn_of_blind(rows: Sequence[Any], num_images: int | None) -> None:
    """Warn of images of which the model saw nothing.

    Args:
        rows: their numbers.
        num_images: int, of how many, or `None`: unknown.
    """
    if not len(rows):
        return
    shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    among = "" if num_images is None else f" of {num_images}"
    warnings.warn(
        f"{len(rows)}{among} `images` have a missing (NaN) pixel in every patch: {shown}. The "
        "model sees whole patches only, so what it gives for them means nothing.",
        stacklevel=3,
    )


def check_input(
    x: Any,
    image_shape: Sequence[int],
    value_range: tuple[float, float] | None,
    check_units: bool = True,
) -> Any:
    """Check what was given to `fit`, `evaluate`, `encode` or `reconstruct`, as far as it is there.

    Of arrays every value is looked at. Of `tf.data` sets of known length whose images are floats
    the first batch is: reading one may cost a data set from a generator that batch. Everything
    else is checked as it comes, by `batch_checks`.

    Args:
        x: array, `tf.data.Dataset` or anything else `fit` takes.
        image_shape: `(*spatial, channels)` of the model.
        value_range: `(low, high)` of the model, or `None`.
        check_units: bool, of arrays, as for `check_values`.

    Returns:
        `x`; of a NumPy masked array, an array with NaN for what is masked.

    Raises:
        TypeError, ValueError: saying what does not fit.
    """
    if isinstance(x, dict):
        raise TypeError(
            f"`images` must be an array or a dataset of arrays (or of (images, labels)), not a "
            f"dictionary. Received: a dict with keys {sorted(map(str, x))}"
        )
    if isinstance(x, np.ma.MaskedArray):
        x = filled_array(x)
    if hasattr(x, "element_spec"):
        _check_dataset(x, image_shape, value_range)
    elif hasattr(x, "shape") and hasattr(x, "dtype"):
        check_shape(x.shape, image_shape)
        if not x.shape[0]:
            raise ValueError(f"`images` must not be empty. Received: images.shape={x.shape}")
        check_values(to_numpy(x), value_range, check_units)
    elif isinstance(x, (list, tuple)):
        raise TypeError(
            "`images` must be one array, not a list. Received: "
            f"{type(x).__name__} of {len(x)}; numpy.stack makes an array of equal shapes"
        )
    return x


def _check_dataset(
    dataset: Any, image_shape: Sequence[int], value_range: tuple[float, float] | None
) -> None:
    spec = dataset.element_spec
    spec = spec[0] if isinstance(spec, (tuple, list)) else spec
    if isinstance(spec, dict):
        check_input(spec, image_shape, value_range)
    if spec.shape.rank is not None:
        check_shape(tuple(spec.shape), image_shape)
    check_dtype(spec.dtype.name, value_range)
    length = int(dataset.cardinality()) if hasattr(dataset, "take") else -1
    if length == 0:
        raise ValueError("`images` must not be empty. Received: a dataset without a batch")
    if spec.dtype.is_floating and length > 0:
        for batch in dataset.take(1):
            images = batch[0] if isinstance(batch, (tuple, list)) else batch
            check_values(to_numpy(images), value_range)
    elif spec.dtype.is_integer and value_range is not None and spec.dtype.max > value_range[1] <= 1:
        raise ValueError(
            f"`images` must be within the model's value_range={value_range}. "
            f"Received: integer pixels of type {spec.dtype.name}"
        )


def check_called(images: Any, image_shape: Any, value_range: Any) -> Any:
    """Check what a model is called with, as far as its values are there: not while it is traced.

    Args:
        images: array, tensor or symbolic tensor.
        image_shape: ints `(*spatial, channels)`; sizes may be `None`: any.
        value_range: `(low, high)` of the model, or `None`.

    Returns:
        The images; of a NumPy masked array, an array with NaN for what is masked.
    """
    if isinstance(images, keras.KerasTensor) or not is_array(images):
        return images
    if isinstance(images, np.ma.MaskedArray) or isinstance(images, np.ndarray):
        return check_input(images, image_shape, value_range)
    try:
        values = to_numpy(images)
    except Exception:  # each backend has an error of its own for a tensor without values
        return images
    check_input(values, image_shape, value_range)
    return images


def is_array(x: Any) -> bool:
    """Whether `x` holds all its values: an array or a tensor, and no data set."""
    return hasattr(x, "shape") and hasattr(x, "dtype")


def to_numpy(x: Any) -> np.ndarray:
    """The values of an array or tensor of any library, bfloat16 as float32."""
    return x if isinstance(x, np.ndarray) else keras.ops.convert_to_numpy(x)


def check_labels(
    labels: Any,
    num_images: int,
    num_classes: int,
    name: str = "labels",
    mask_shape: Sequence[int] | None = None,
) -> None:
    """Refuse labels that are no class numbers from 0 on and no shares of classes either.

    Args:
        labels: int array `(num_images,)` or `(num_images, 1)`, or float array
            `(num_images, num_classes)` of shares that sum to 1 (one-hot, mixed, smoothed).
        num_images: int.
        num_classes: int.
        name: str, the argument's name, for errors.
        mask_shape: ints, where every image has a class number for each of its pixels, -1 where it
            is not known: the shape of such a mask. Defaults to `None`: one label for each image.

    Raises:
        TypeError: if there are no labels, or class numbers are not integers.
        ValueError: if the shape or a value does not fit.

    Example:
    >>> check_labels(np.array([0, 2, 1]), num_images=3, num_classes=3)
    """
    if labels is None:
        what = "label" if mask_shape is None else "mask"
        raise TypeError(f"`{name}` must be given: one {what} for each image. Received: None")
    if isinstance(labels, np.ma.MaskedArray):
        labels = filled_array(labels, name)
    if isinstance(labels, (list, tuple)):
        labels = check_array(name, labels, empty=True)
    labels = labels if isinstance(labels, np.ndarray) else keras.ops.convert_to_numpy(labels)
    if labels.shape[:1] != (num_images,):
        raise ValueError(
            f"`{name}` must have one label for each of the {num_images} images. "
            f"Received: {name}.shape={labels.shape}"
        )
    if mask_shape is not None:
        _check_masks(labels, num_classes, name, tuple(mask_shape))
    elif labels.ndim == 1 or labels.shape[1:] == (1,):
        _check_numbers(labels, num_classes, name)
    elif labels.shape[1:] == (num_classes,):
        _check_shares(labels, name)
    else:
        raise ValueError(
            f"`{name}` must have shape ({num_images},), class numbers, or ({num_images}, "
            f"{num_classes}), shares of the classes. Received: {name}.shape={labels.shape}"
        )


def check_labeled(
    x: Any, y: Any, num_classes: int, mask_shape: Sequence[int] | None = None
) -> None:
    """Check the labels of what was given to `fit` or `evaluate`, as far as they are there.

    Of `tf.data` sets of known length the first batch is looked at. Everything else is checked as
    it comes, by `batch_checks`, since reading it may consume it.

    Args:
        x: images, or a dataset of (images, labels).
        y: labels, or `None` where `x` brings them.
        num_classes: int.
        mask_shape: as for `check_labels`.

    Raises:
        TypeError, ValueError: saying what does not fit.
    """
    if hasattr(x, "element_spec"):
        spec = x.element_spec
        if not isinstance(spec, (tuple, list)) or len(spec) < 2:
            raise TypeError(
                "`labels` must be given: a dataset of (images, labels). Received: a dataset of "
                "images alone"
            )
        known = hasattr(x, "take") and int(x.cardinality()) > 0
        for images, labels, *_ in x.take(1) if known else ():
            check_labels(labels, int(images.shape[0]), num_classes, mask_shape=mask_shape)
    elif hasattr(x, "shape"):
        check_labels(y, x.shape[0], num_classes, mask_shape=mask_shape)


def _check_numbers(labels: np.ndarray, num_classes: int, name: str) -> None:
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"`{name}` must be integers from 0 to {num_classes - 1}. "
            f"Received: {name}.dtype={labels.dtype}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"`{name}` must be integers from 0 to {num_classes - 1} for num_classes={num_classes}; "
            f"numpy.unique(labels, return_inverse=True) numbers any labels from 0. "
            f"Received: values from {labels.min()} to {labels.max()}"
        )


def _check_masks(
    masks: np.ndarray, num_classes: int, name: str, mask_shape: tuple[int, ...]
) -> None:
    if masks.shape[1:] != mask_shape:
        hint = ""
        if masks.shape[1:-1] == mask_shape and masks.shape[-1] in (3, 4):
            hint = " These have colors: masks hold one class number for each pixel."
        elif masks.shape[1:] == (*mask_shape, 1):
            hint = " Drop the last axis: masks[..., 0]."
        raise ValueError(
            f"`{name}` must be masks of the images' size, shape {(len(masks), *mask_shape)}.{hint} "
            f"Received: {name}.shape={masks.shape}"
        )
    if masks.dtype.kind not in "iu":
        raise TypeError(
            f"`{name}` must be integers from 0 to {num_classes - 1}, or -1 for pixels without a "
            f"label; masks.astype('int32') makes them of whole numbers and booleans. "
            f"Received: {name}.dtype={masks.dtype}"
        )
    if masks.size and not -1 <= masks.min() <= masks.max() < num_classes:
        values, counts = np.unique(masks, return_counts=True)
        unknown = (values < -1) | (values >= num_classes)
        pairs = zip(values[unknown][:5], counts[unknown][:5], strict=True)
        hint = ""
        if 255 in values[unknown]:
            hint = " 255 often stands for no label (use -1) or for a foreground (use masks > 0)."
        raise ValueError(
            f"`{name}` must hold class numbers from 0 to {num_classes - 1}, or -1 for pixels "
            f"without a label.{hint} Received: "
            + ", ".join(f"{value} ({count} pixels)" for value, count in pairs)
        )


def _check_shares(labels: np.ndarray, name: str) -> None:
    totals = labels.sum(axis=1, dtype="float64")
    # written so that NaN is refused too
    if not (np.all(labels >= 0) and np.all(np.abs(totals - 1) < 1e-2)):
        raise ValueError(
            f"`{name}` must hold shares of the classes: at least 0, summing to 1 for each image. "
            f"Received: values from {labels.min():.6g} and sums from {totals.min():.6g} to "
            f"{totals.max():.6g}"
        )


def check_fit_arguments(options: Mapping[str, Any]) -> None:
    """Refuse numbers out of their range.

    Args:
        options: arguments of `keras.Model.fit` by name, some or all.

    Raises:
        ValueError: naming the argument.

    Example:
    >>> check_fit_arguments({"batch_size": 32, "epochs": 10})
    """
    for name in (
        "batch_size",
        "steps_per_epoch",
        "steps",
        "validation_batch_size",
        "validation_steps",
    ):
        check_int(name, options.get(name), 1, LARGEST_SEED, optional=True)
    for name in ("epochs", "initial_epoch"):
        check_int(name, options.get(name, 0), 0, LARGEST_SEED)
    split = options.get("validation_split") or 0.0
    check_number("validation_split", split, 0, 1, below=True)
