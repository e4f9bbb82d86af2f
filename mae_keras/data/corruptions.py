"""Noise, blur, occlusion and lost contrast at five strengths, for testing robustness.

Imports NumPy only.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_choice, check_int, check_range

# What a strength of 1 to 5 means; the units are in the docstring of `corrupt`.
CORRUPTIONS = {
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "blur": (0.1, 0.15, 0.2, 0.3, 0.4),
    "occlusion": (0.06, 0.14, 0.25, 0.4, 0.55),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
}


def corrupt(
    images: Any,
    kind: str,
    strength: int,
    seed: int = 0,
    *,
    value_range: tuple[float, float] | None = None,
    first_index: int = 0,
) -> np.ndarray:
    """Return the images with one kind of corruption.

    `CORRUPTIONS` holds, for each kind, what strengths 1 to 5 stand for:

    - `"noise"`: standard deviation of Gaussian noise, as a fraction of the value range;
    - `"blur"`: standard deviation of a Gaussian, in units of the root of the shorter side in
      pixels: at 0.1, 0.3 pixels in an 8x8 image and 1.5 in one of 224x224. Cut off at four
      deviations; images go on beyond their edges as in a mirror;
    - `"occlusion"`: fraction of the area under a box in the middle of the value range, of the
      image's proportions (a square in a square image), its sides rounded to pixels, at a random
      place inside the image;
    - `"contrast"`: fraction that remains of each value's distance to the mean of its image and
      channel.

    What is random depends on `seed` and on the number of the image alone, not on the batch; and
    not on the strength: stronger noise is the same noise scaled.

    Args:
        images: uint8 or float array `(batch, *spatial, channels)`. A missing (NaN) pixel stays
            missing and touches no other.
        kind: str, one of `CORRUPTIONS`.
        strength: int, 1 (weak) to 5 (strong).
        seed: int >= 0.
        value_range: `(low, high)` of the pixels; results are clipped to it. `None` means
            `(0, 255)` for uint8; for floats it must be given.
        first_index: int >= 0, number of `images[0]` in its data set, so that batches of a data
            set give what the whole gives.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        TypeError: if `images` are neither uint8 nor floats.
        ValueError: if an argument is out of its range, or a pixel out of `value_range`.

    Example:
    >>> images = np.full((2, 8, 8, 1), 200, "uint8")
    >>> darkened = corrupt(images, "occlusion", 3)
    >>> (darkened == 128).mean(axis=(1, 2, 3)).tolist()
    [0.25, 0.25]

    References:
        - Hendrycks and Dietterich 2019, arXiv:1903.12261 (ImageNet-C): noise and contrast as
          there; blur as there at 224 pixels, where it goes from 1 to 6 pixels, but scaled with
          the image. Occlusion is ours.
    """
    images = check_array("images", images, empty=True)
    low, high = _check(images, kind, strength, value_range)
    check_int("seed", seed, 0)
    check_int("first_index", first_index, 0)
    amount, change = CORRUPTIONS[kind][int(strength) - 1], _CHANGES[kind]
    changed = np.empty_like(images)
    working = np.result_type(images.dtype, np.float32)
    for number, image in enumerate(images):
        rng = np.random.default_rng((seed, first_index + number))
        values = change(image.astype(working), amount, rng, (low, high))
        values = np.where(np.isnan(image), np.nan, np.clip(values, low, high))
        changed[number] = np.rint(values) if images.dtype == np.uint8 else values
    return changed


def _noise(
    image: np.ndarray, amount: float, rng: np.random.Generator, value_range: tuple[float, float]
) -> np.ndarray:
    low, high = value_range
    return image + amount * (high - low) * rng.standard_normal(image.shape, dtype="float32")


def _blur(image: np.ndarray, amount: float, *_: Any) -> np.ndarray:
    kernel = _gaussian(amount * math.sqrt(min(image.shape[:-1]))).astype(image.dtype)
    seen = ~np.isnan(image)
    if seen.all():
        return _smoothed(image, kernel)
    # The mean of what is seen under the kernel; where that is nothing, the pixel is missing.
    weights = _smoothed(seen.astype(image.dtype), kernel)
    return _smoothed(np.where(seen, image, 0.0), kernel) / np.where(weights > 0, weights, 1.0)


def _gaussian(deviation: float) -> np.ndarray:
    radius = int(4 * deviation + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    return kernel / kernel.sum()


def _smoothed(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    radius = len(kernel) // 2
    for axis in range(image.ndim - 1):
        length = image.shape[axis]
        margins = [(0, 0)] * image.ndim
        margins[axis] = (radius, radius)
        padded = np.moveaxis(np.pad(image, margins, mode="symmetric"), axis, 0)
        shifted = (weight * padded[start : start + length] for start, weight in enumerate(kernel))
        image = np.moveaxis(sum(shifted), 0, axis)
    return image


def _occlusion(
    image: np.ndarray, amount: float, rng: np.random.Generator, value_range: tuple[float, float]
) -> np.ndarray:
    sides = image.shape[:-1]
    box = []
    for side, draw in zip(sides, rng.random(len(sides)), strict=True):
        size = max(1, int(side * amount ** (1 / len(sides)) + 0.5))
        start = int(draw * (side - size + 1))
        box.append(slice(start, start + size))
    image[tuple(box)] = sum(value_range) / 2
    return image


def _contrast(image: np.ndarray, amount: float, *_: Any) -> np.ndarray:
    seen = ~np.isnan(image)
    axes = tuple(range(image.ndim - 1))
    counts = np.maximum(seen.sum(axis=axes, keepdims=True), 1)
    means = np.where(seen, image, 0.0).sum(axis=axes, keepdims=True) / counts
    return means + amount * (image - means)


_CHANGES: dict[str, Callable[..., np.ndarray]] = {
    "noise": _noise,
    "blur": _blur,
    "occlusion": _occlusion,
    "contrast": _contrast,
}


def _check(
    images: np.ndarray, kind: str, strength: int, value_range: tuple[float, float] | None
) -> tuple[float, float]:
    """Refuse what cannot be corrupted; return the value range."""
    check_choice("kind", kind, CORRUPTIONS)
    check_int("strength", strength, 1, 5)
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise TypeError(f"`images` must be uint8 or floats. Received: dtype {images.dtype}")
    if images.ndim < 3 or 0 in images.shape[1:]:
        raise ValueError(
            f"`images` must have shape (batch, *spatial, channels). "
            f"Received: images.shape={images.shape}"
        )
    if value_range is None:
        if images.dtype != np.uint8:
            raise ValueError(
                "`value_range` must be given for floats, such as (0, 1). Received: None"
            )
        value_range = (0, 255)
    low, high = check_range("value_range", value_range)
    outside = (images < low) | (images > high)
    if outside.any():
        raise ValueError(
            f"`images` must lie in `value_range`, {value_range}. Received: values from "
            f"{np.nanmin(images)} to {np.nanmax(images)}"
        )
    return float(low), float(high)
