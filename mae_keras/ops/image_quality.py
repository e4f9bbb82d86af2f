"""How close images are to references: PSNR and SSIM, per image. Imports `keras.ops` only."""

from typing import Any

import numpy as np
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, check_int, check_number, check_tensor


def psnr(images: Any, references: Any, max_value: float = 255.0, counted: Any = None) -> Any:
    """Peak signal-to-noise ratio of each image, `10 log10(max_value^2 / MSE)`.

    Args:
        images: tensor `(batch, *spatial, channels)`, uint8 or float.
        references: tensor of the shape of `images`.
        max_value: float, the span of the pixels, white minus black. Defaults to `255`.
        counted: bool tensor that broadcasts to `images`, the pixels to compare; all by default.

    Returns:
        float32 tensor `(batch,)`, in decibels; infinity where nothing differs, NaN where
        `counted` leaves no pixel.

    Raises:
        ValueError: if the shapes differ or `max_value` is not positive.

    Example:
    >>> images, references = np.full((1, 8, 8, 1), 25.5), np.zeros((1, 8, 8, 1))
    >>> round(float(psnr(images, references)[0]), 3)
    20.0
    """
    images, references = _same_scale(images, references, max_value)
    axes = tuple(range(1, len(images.shape)))
    errors = ops.square(images - references)
    if counted is not None:
        check_tensor("counted", counted, kinds="buif")
        sizes = zip(counted.shape[::-1], errors.shape[::-1], strict=False)
        if len(counted.shape) > len(errors.shape) or any(a not in (1, b, None) for a, b in sizes):
            raise ValueError(
                "`counted` must broadcast to `images`. Received: counted.shape="
                f"{tuple(counted.shape)}, images.shape={tuple(images.shape)}"
            )
    if counted is None:
        mean = ops.mean(errors, axis=axes)
    else:
        weights = ops.broadcast_to(ops.cast(counted, "float32"), ops.shape(errors))
        mean = ops.sum(errors * weights, axis=axes) / ops.sum(weights, axis=axes)
    return -10.0 * ops.log10(mean)


def ssim(
    images: Any,
    references: Any,
    max_value: float = 255.0,
    filter_size: int = 11,
    sigma: float = 1.5,
) -> Any:
    """Structural similarity of each image, under a Gaussian window, mean over places and channels.

    Only windows that lie wholly inside the image count. An axis shorter than the window gets the
    longest odd window that fits, of the same sigma (7 pixels on the 8 x 8 digits): other
    implementations refuse such images, and values of images of different size are then not the
    same measure.

    Args:
        images: tensor `(batch, *spatial, channels)`, uint8 or float, with one to three spatial
            axes.
        references: tensor of the shape of `images`.
        max_value: float, the span of the pixels, white minus black. Defaults to `255`.
        filter_size: odd int, side of the window in pixels. Defaults to `11`.
        sigma: float, standard deviation of the window in pixels. Defaults to `1.5`.

    Returns:
        float32 tensor `(batch,)`, at most 1, which equal images have.

    Raises:
        ValueError: if the shapes differ, `filter_size` is not odd, or `sigma` or `max_value` is not
            positive.

    Example:
    >>> images = np.arange(64, dtype="uint8").reshape(1, 8, 8, 1)
    >>> float(ssim(images, images)[0])
    1.0

    References:
        - Wang et al. 2004, "Image quality assessment: from error visibility to structural
          similarity" (K1 = 0.01, K2 = 0.03; population covariance).
        - Numerics: scikit-image `structural_similarity(gaussian_weights=True, sigma=1.5,
          use_sample_covariance=False)` and `tf.image.ssim`, from 11 pixels per side on.
    """
    filter_size = check_int("filter_size", filter_size, 1, LARGEST_WIDTH)
    if filter_size % 2 == 0:
        raise ValueError(f"`filter_size` must be an odd int. Received: filter_size={filter_size!r}")
    check_number("sigma", sigma, 0, above=True)
    images, references = _same_scale(images, references, max_value)
    moments = (images, references, images * images, references * references, images * references)
    # One pass over all five: (batch, *spatial, channels) -> (batch, *windows, 5 * channels)
    averages = ops.concatenate(moments, axis=-1)
    for axis in range(1, len(images.shape) - 1):
        averages = _windowed(averages, axis, filter_size, sigma)
    mean, mean_reference, square, square_reference, product = ops.split(averages, 5, axis=-1)
    luminance, contrast = 0.01**2, 0.03**2
    both, squares = mean * mean_reference, mean * mean + mean_reference * mean_reference
    similarity = (2 * both + luminance) / (squares + luminance)
    similarity *= (2 * (product - both) + contrast) / (
        square + square_reference - squares + contrast
    )
    return ops.mean(similarity, axis=tuple(range(1, len(images.shape))))


def _windowed(values: Any, axis: int, filter_size: int, sigma: float) -> Any:
    """Gaussian means along one axis, over the windows that fit."""
    # Sums of slices, not a convolution: on recent GPUs those multiply with 10 bits, and a variance
    # computed as the difference of two means does not survive that.
    length = values.shape[axis]
    size = min(filter_size, length - 1 + length % 2)
    offsets = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    windows = length - size + 1
    before = (slice(None),) * axis
    return sum(
        float(weight) * values[(*before, slice(start, start + windows))]
        for start, weight in enumerate(weights)
    )


def _same_scale(images: Any, references: Any, max_value: float) -> tuple[Any, Any]:
    """Both as float32 in units of `max_value`."""
    check_number("max_value", max_value, 0, above=True)
    check_tensor("images", images)
    check_tensor("references", references)
    shape, expected = tuple(images.shape), tuple(references.shape)
    if shape != expected or not 3 <= len(shape) <= 5:
        raise ValueError(
            f"`images` and `references` must have one shape, (batch, *spatial, channels). "
            f"Received: images.shape={shape}, references.shape={expected}"
        )
    images, references = (ops.cast(array, "float32") for array in (images, references))
    return images / max_value, references / max_value
