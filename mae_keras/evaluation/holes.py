"""Made-up holes in images: boxes, scratches and whole patches. Imports NumPy only.

A hole is a function of (seed, number of the image) alone.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from mae_keras.arguments import LARGEST_MODEL, check_int, check_ints, check_number, check_parameters


def random_boxes(
    num_images: int, image_shape: Sequence[int], fraction: float = 0.2, seed: int = 0
) -> np.ndarray:
    """One box per image, of the image's proportions, anywhere inside it.

    Args:
        num_images: int.
        image_shape: ints `(*spatial, channels)`, in pixels.
        fraction: float in (0, 1), share of the pixels in the box, as near as whole pixels allow.
        seed: int.

    Returns:
        bool array `(num_images, *spatial)`, `True` = missing.

    Raises:
        ValueError: if `fraction` is not in (0, 1).

    Example:
    >>> random_boxes(3, (8, 8, 1), fraction=0.25).sum(axis=(1, 2)).tolist()
    [16, 16, 16]
    """
    _check_fraction("fraction", fraction)
    spatial = np.array(_spatial(image_shape))
    sides = np.clip(np.round(spatial * fraction ** (1 / len(spatial))), 1, spatial).astype(int)

    def box(rng: np.random.Generator, missing: np.ndarray) -> None:
        corner = rng.integers(0, spatial - sides + 1)
        missing[tuple(slice(c, c + s) for c, s in zip(corner, sides, strict=True))] = True

    return _each(num_images, image_shape, seed, box)


def random_scratches(
    num_images: int,
    image_shape: Sequence[int],
    num_scratches: int = 2,
    width: float = 1.5,
    seed: int = 0,
) -> np.ndarray:
    """Straight scratches, each a quarter to a half of the image's longest side.

    Args:
        num_images: int.
        image_shape: ints `(*spatial, channels)`, in pixels.
        num_scratches: int, at least 1.
        width: float, in pixels.
        seed: int.

    Returns:
        bool array `(num_images, *spatial)`, `True` = missing; at least one pixel in every image.

    Raises:
        ValueError: if `num_scratches` or `width` is too small.

    Example:
    >>> random_scratches(3, (8, 8, 1)).any(axis=(1, 2)).tolist()
    [True, True, True]
    """
    check_int("num_scratches", num_scratches, 1, 10**4)
    check_number("width", width, 0, above=True)
    spatial = np.array(_spatial(image_shape))
    check_parameters(int(np.prod(spatial, dtype="float64")), image_shape=image_shape)
    places = np.stack(np.meshgrid(*map(np.arange, spatial), indexing="ij"), -1).astype("float64")

    def scratch(rng: np.random.Generator, missing: np.ndarray) -> None:
        for _ in range(num_scratches):
            middle = rng.integers(0, spatial)
            direction = rng.normal(size=len(spatial))
            direction /= np.linalg.norm(direction)
            half = max(spatial) * rng.uniform(0.125, 0.25)
            # Distance to the segment: along it, go no further than its ends.
            along = np.clip((places - middle) @ direction, -half, half)
            nearest = middle + along[..., None] * direction
            missing |= np.linalg.norm(places - nearest, axis=-1) <= width / 2

    return _each(num_images, image_shape, seed, scratch)


def random_patches(
    num_images: int,
    image_shape: Sequence[int],
    patch_size: int | Sequence[int],
    mask_ratio: float = 0.5,
    seed: int = 0,
) -> np.ndarray:
    """Whole patches of a model's grid, as in training.

    Args:
        num_images: int.
        image_shape: ints `(*spatial, channels)`, in pixels.
        patch_size: int or one int per spatial axis, in pixels; divides the image.
        mask_ratio: float in (0, 1), share of the patches.
        seed: int.

    Returns:
        bool array `(num_images, *spatial)`, `True` = missing.

    Raises:
        ValueError: if `mask_ratio` is not in (0, 1), or `patch_size` does not divide the image.

    Example:
    >>> random_patches(2, (8, 8, 1), patch_size=4, mask_ratio=0.5).sum(axis=(1, 2)).tolist()
    [32, 32]
    """
    _check_fraction("mask_ratio", mask_ratio)
    from mae_keras.ops import as_patch_size, patch_grid  # Keras is not needed for the others

    sizes = as_patch_size(patch_size, len(_spatial(image_shape)))
    grid = patch_grid(image_shape, sizes)
    count = int(np.floor(np.prod(grid) * mask_ratio + 0.5))

    def hide(rng: np.random.Generator, missing: np.ndarray) -> None:
        hidden = (rng.permutation(int(np.prod(grid))) < count).reshape(grid)
        missing[...] = np.kron(hidden, np.ones(sizes, bool))

    return _each(num_images, image_shape, seed, hide)


def _each(
    num_images: int,
    image_shape: Sequence[int],
    seed: int,
    draw: Callable[[np.random.Generator, np.ndarray], None],
) -> np.ndarray:
    check_int("num_images", num_images, 0)
    check_int("seed", seed, 0)
    pixels = math.prod(_spatial(image_shape))
    check_parameters(num_images * pixels, num_images=num_images, image_shape=image_shape)
    missing = np.zeros((num_images, *image_shape[:-1]), bool)
    for number, hole in enumerate(missing):
        draw(np.random.default_rng([seed, number]), hole)
    return missing


def _check_fraction(name: str, value: float) -> None:
    check_number(name, value, 0, 1, above=True, below=True)


def _spatial(image_shape: Sequence[int]) -> tuple[int, ...]:
    shape = check_ints("image_shape", image_shape, 1)
    if not 2 <= len(shape) <= 4:
        raise ValueError(
            "`image_shape` must be (*spatial, channels) with one to three spatial axes. "
            f"Received: image_shape={image_shape!r}"
        )
    if math.prod(shape) > LARGEST_MODEL:
        raise ValueError(
            f"`image_shape` must be that of images that fit into memory, at most {LARGEST_MODEL} "
            f"values. Received: image_shape={image_shape!r}"
        )
    return shape[:-1]
