"""Images to patches and back, for any number of spatial axes; which patches are missing.

Owns the one layout of a patch in this package. A pixel that is NaN is missing, and so is the patch
that holds it. Imports `keras.ops` only.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from mae_keras.arguments import check_int, check_tensor

STATISTICS_EPSILON = 1e-6


def as_patch_size(patch_size: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Return `patch_size` as a tuple with one entry per spatial axis.

    Args:
        patch_size: int (the same for every axis) or one int per axis, in pixels.
        rank: int, number of spatial axes.

    Returns:
        Tuple of `rank` ints.

    Raises:
        ValueError: if an entry is not a positive int, or their number is not `rank`.

    Example:
    >>> as_patch_size(4, 2)
    (4, 4)
    """
    rank = check_int("rank", rank, 1, 3)
    several = isinstance(patch_size, (Sequence, np.ndarray)) and np.ndim(patch_size) == 1
    sizes = tuple(patch_size) if several else (patch_size,) * rank
    if len(sizes) != rank:
        raise ValueError(
            f"`patch_size` must be an int or have one entry for each of the {rank} spatial axes. "
            f"Received: patch_size={patch_size!r}"
        )
    whole = [not isinstance(size, bool) and hasattr(size, "__index__") for size in sizes]
    if not all(whole) or min(sizes) < 1:
        raise ValueError(f"`patch_size` must be positive ints. Received: patch_size={patch_size!r}")
    return tuple(int(size) for size in sizes)


def as_image_shape(image_shape: Sequence[int], name: str = "image_shape") -> tuple[int, ...]:
    """Return `image_shape` as a tuple of one to three sizes and a channel count.

    Args:
        image_shape: ints `(*spatial, channels)`, batch not included.
        name: str, what the error calls the argument.

    Returns:
        Tuple of ints.

    Raises:
        ValueError: if there are not 2 to 4 positive ints.

    Example:
    >>> as_image_shape([28, 28, 1])
    (28, 28, 1)
    """
    shape = tuple(image_shape) if isinstance(image_shape, Sequence) else (image_shape,)
    known = all(hasattr(size, "__index__") and not isinstance(size, bool) for size in shape)
    if not 2 <= len(shape) <= 4 or not known or min(shape) < 1:
        raise ValueError(
            f"`{name}` must be (*spatial, channels) with one to three spatial axes, all positive "
            f"ints, channels last and without the batch. Received: {name}={image_shape!r}"
        )
    return tuple(int(size) for size in shape)


def check_channel_axis(image_shape: Sequence[int], patch_size: int | Sequence[int]) -> None:
    """Refuse (height, width) where (length, channels) is meant, unless the patch size tells.

    Two sizes are taken for an image without channels if there would be more than 4 channels, one
    size is less than twice the other, and an int `patch_size` divides both. Signals of that shape
    have a patch size for their one axis: `(4,)`.

    Args:
        image_shape: ints `(*spatial, channels)`.
        patch_size: as the caller gave it.

    Raises:
        ValueError: showing both ways to say what is meant.

    Example:
    >>> check_channel_axis((1024, 12), 4)
    >>> check_channel_axis((28, 28), (4,))
    """
    if np.shape(image_shape) != (2,) or not hasattr(patch_size, "__index__") or patch_size < 1:
        return
    length, channels = image_shape
    similar = max(length, channels) < 2 * min(length, channels)
    if channels > 4 and similar and not length % patch_size and not channels % patch_size:
        raise ValueError(
            f"`image_shape` looks like an image without its channel axis: pass "
            f"{(length, channels, 1)}, and images of that shape (`images[..., None]`). For signals "
            f"of {channels} channels pass patch_size=({patch_size},), one size for their one axis. "
            f"Received: image_shape={(length, channels)}, patch_size={patch_size}"
        )


def patch_grid(image_shape: Sequence[int], patch_size: int | Sequence[int]) -> tuple[int, ...]:
    """Count the patches along each spatial axis.

    Args:
        image_shape: ints `(*spatial, channels)`, in pixels.
        patch_size: int or one int per spatial axis, in pixels.

    Returns:
        Tuple of ints, patches per axis.

    Raises:
        ValueError: if a patch size does not divide its axis, or `image_shape` looks like an image
            without its channel axis (`check_channel_axis`).

    Example:
    >>> patch_grid((28, 28, 1), 4)
    (7, 7)
    """
    shape = as_image_shape(image_shape)
    check_channel_axis(shape, patch_size)
    sizes = as_patch_size(patch_size, len(shape) - 1)
    for axis, (length, size) in enumerate(zip(shape, sizes, strict=False)):
        if length % size:
            divisors = [d for d in range(1, length + 1) if length % d == 0]
            raise ValueError(
                f"`patch_size` must divide the image: axis {axis} has {length} pixels, which "
                f"patches of {size} do not fill. Divisors of {length}: {divisors}. "
                f"Received: patch_size={patch_size!r}, image_shape={shape}"
            )
    return tuple(length // size for length, size in zip(shape, sizes, strict=False))


def patchify(images: Any, patch_size: int | Sequence[int]) -> Any:
    """Cut images into non-overlapping patches, one row of values per patch.

    Patches are in raster order (last spatial axis fastest), and so are the pixels inside one,
    channels innermost: the order of the reference's `patchify` at rank 2. One reshape, one
    transpose, one reshape, whatever the rank; `keras.ops.image.extract_patches` is a
    convolution with an identity kernel, several times slower.

    Args:
        images: tensor `(batch, *spatial, channels)` with one to three spatial axes.
        patch_size: int or one int per spatial axis, in pixels.

    Returns:
        Tensor `(batch, num_patches, prod(patch_size) * channels)`, dtype as given.

    Raises:
        ValueError: if the rank is not 3 to 5 or `patch_size` does not divide the image.

    Example:
    >>> import numpy as np
    >>> tuple(patchify(np.zeros((2, 28, 28, 1)), 4).shape)
    (2, 49, 16)

    References:
        - He et al. 2021, arXiv:2111.06377, section 3 ("Masking").
        - facebookresearch/mae `patchify`; there 3 channels and square images only.
    """
    check_tensor("images", images)
    shape = as_image_shape(tuple(images.shape[1:]), "images.shape[1:]")
    *spatial, channels = shape
    rank = len(spatial)
    sizes = as_patch_size(patch_size, rank)
    grid = patch_grid(shape, patch_size)
    split = [part for pair in zip(grid, sizes, strict=True) for part in pair]
    # (batch, g1, p1, g2, p2, ..., c) -> (batch, g1, g2, ..., p1, p2, ..., c)
    images = ops.reshape(images, (-1, *split, channels))
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    images = ops.transpose(images, order)
    return ops.reshape(images, (-1, math.prod(grid), math.prod(sizes) * channels))


def unpatchify(patches: Any, patch_size: int | Sequence[int], image_shape: Sequence[int]) -> Any:
    """Put patches back into images: the inverse of `patchify`.

    Args:
        patches: tensor `(batch, num_patches, prod(patch_size) * channels)`.
        patch_size: int or one int per spatial axis, in pixels.
        image_shape: ints `(*spatial, channels)` of the images to make.

    Returns:
        Tensor `(batch, *spatial, channels)`, dtype as given.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
    >>> import numpy as np
    >>> tuple(unpatchify(np.zeros((2, 49, 16)), 4, (28, 28, 1)).shape)
    (2, 28, 28, 1)
    """
    shape = as_image_shape(image_shape)
    rank, channels = len(shape) - 1, shape[-1]
    sizes = as_patch_size(patch_size, rank)
    grid = patch_grid(shape, sizes)
    check_tensor("patches", patches)
    expected = (math.prod(grid), math.prod(sizes) * channels)
    if len(patches.shape) != 3 or tuple(patches.shape[1:]) != expected:
        raise ValueError(
            f"`patches` must have shape (batch, {expected[0]}, {expected[1]}) for images of shape "
            f"{shape} in patches of {sizes}. Received: patches.shape={tuple(patches.shape)}"
        )
    # (batch, g1, g2, ..., p1, p2, ..., c) -> (batch, g1, p1, g2, p2, ..., c)
    patches = ops.reshape(patches, (-1, *grid, *sizes, channels))
    order = [axis for i in range(rank) for axis in (1 + i, 1 + rank + i)]
    patches = ops.transpose(patches, (0, *order, 2 * rank + 1))
    return ops.reshape(patches, (-1, *shape))


def patch_statistics(patches: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of each patch, in float32.

    `std = sqrt(var + 1e-6)` with the unbiased variance, as the reference's `norm_pix_loss`;
    a patch of one value has variance 0. Half precision would overflow on a flat patch.

    Args:
        patches: tensor `(..., patch_dim)`.

    Returns:
        `mean`, `std`: float32 tensors `(..., 1)`.

    Example:
    >>> import numpy as np
    >>> mean, std = patch_statistics(np.array([[1.0, 3.0]]))
    >>> float(mean[0, 0]), round(float(std[0, 0]), 3)
    (2.0, 1.414)

    References:
        - He et al. 2021, section 4.1 ("Reconstruction target"); facebookresearch/mae
          `forward_loss`.
    """
    check_tensor("patches", patches)
    if not patches.shape[-1]:
        raise ValueError(
            f"`patches` must have values. Received: patches.shape={tuple(patches.shape)}"
        )
    patches = ops.cast(patches, "float32")
    count = patches.shape[-1]
    mean = ops.mean(patches, axis=-1, keepdims=True)
    squares = ops.sum(ops.square(patches - mean), axis=-1, keepdims=True)
    return mean, ops.sqrt(squares / max(count - 1, 1) + STATISTICS_EPSILON)


def _check_statistics(patches: Any, mean: Any, std: Any) -> None:
    """Refuse what does not broadcast to patches, or is no number."""
    check_tensor("patches", patches)
    for name, value in (("mean", mean), ("std", std)):
        if isinstance(value, (int, float)):
            continue
        check_tensor(name, value)
        sizes = list(zip(value.shape[::-1], patches.shape[::-1], strict=False))
        if len(value.shape) > len(patches.shape) or any(a not in (1, b, None) for a, b in sizes):
            raise ValueError(
                f"`{name}` must broadcast to `patches`, (..., 1). Received: "
                f"{name}.shape={tuple(value.shape)}, patches.shape={tuple(patches.shape)}"
            )


def standardize_patches(patches: Any, mean: Any = None, std: Any = None) -> Any:
    """Give each patch zero mean and unit variance (the paper's normalized pixel target).

    Args:
        patches: tensor `(..., patch_dim)`.
        mean: tensor `(..., 1)`; by default the patches' own, from `patch_statistics`.
        std: as `mean`.

    Returns:
        float32 tensor, same shape.

    Example:
    >>> import numpy as np
    >>> [round(float(v), 3) for v in standardize_patches(np.array([[1.0, 3.0]]))[0]]
    [-0.707, 0.707]
    """
    if mean is None or std is None:
        mean, std = patch_statistics(patches)
    _check_statistics(patches, mean, std)
    return (ops.cast(patches, "float32") - mean) / std


def unstandardize_patches(patches: Any, mean: Any, std: Any) -> Any:
    """Undo `standardize_patches` with given statistics.

    Args:
        patches: tensor `(..., patch_dim)`.
        mean: tensor `(..., 1)`, as `patch_statistics` returns it, or a number.
        std: as `mean`.

    Returns:
        float32 tensor, same shape.

    Example:
    >>> import numpy as np
    >>> float(unstandardize_patches(np.array([[1.0]]), 2.0, 3.0)[0, 0])
    5.0
    """
    _check_statistics(patches, mean, std)
    return ops.cast(patches, "float32") * std + mean


def can_be_missing(dtype: str) -> bool:
    """Whether values of this dtype can be NaN at all.

    Args:
        dtype: str, a dtype name.

    Returns:
        bool.

    Example:
    >>> can_be_missing("uint8"), can_be_missing("float32")
    (False, True)
    """
    return "float" in str(dtype)


def split_missing(patches: Any) -> tuple[Any, Any]:
    """Separate missing values from the rest.

    Zeroing must come before any arithmetic, for inputs and targets alike: a NaN that is only
    multiplied by a zero weight still gives NaN gradients.

    Args:
        patches: float tensor `(batch, num_patches, patch_dim)`, NaN where data is missing.

    Returns:
        `patches` with 0 in place of NaN, and `missing_mask`: bool `(batch, num_patches)`, `True`
        for a patch with any missing value.

    Example:
    >>> import numpy as np
    >>> clean, missing_mask = split_missing(np.array([[[1.0, np.nan], [2.0, 3.0]]]))
    >>> np.asarray(missing_mask).tolist()
    [[True, False]]
    """
    check_tensor("patches", patches)
    absent = ops.isnan(patches)
    return ops.where(absent, ops.zeros_like(patches), patches), ops.any(absent, axis=-1)


def is_usable(missing_mask: Any) -> Any:
    """Which samples a masked autoencoder can learn from: one patch to see and one to predict.

    Args:
        missing_mask: bool tensor `(batch, num_patches)`, `True` = missing.

    Returns:
        bool tensor `(batch,)`, `True` where 2 or more patches are present.

    Example:
    >>> import numpy as np
    >>> np.asarray(is_usable(np.array([[True, True, False], [False, True, False]]))).tolist()
    [False, True]
    """
    present = ops.logical_not(ops.cast(missing_mask, "bool"))
    return ops.sum(ops.cast(present, "int32"), axis=-1) >= 2
