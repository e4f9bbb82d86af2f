"""How well holes are filled: a model compared with fillers that learn nothing.

A hole is a function of (seed, number of the image) alone. Imports NumPy; Keras when scores are
computed, scikit-image for its filler.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mae_keras.arguments import (
    LARGEST_MODEL,
    check_array,
    check_int,
    check_ints,
    check_number,
    check_parameters,
)
from mae_keras.evaluation.class_report import MeanInterval, mean_interval
from mae_keras.extras import install_command

# An error of a quarter of a gray level of 256, about that of rounding to them. Flat background
# filled in exactly has infinite PSNR, and one such image would decide a mean.
PSNR_LIMIT = 60.0


class RestorationScore(NamedTuple):
    """How close filled images are to the originals: means over images, with 95 % intervals.

    Attributes:
        hole_psnr: `MeanInterval` in decibels, over the missing pixels alone.
        psnr: `MeanInterval` in decibels, over the whole image.
        ssim: `MeanInterval`, over the whole image, at most 1.
    """

    hole_psnr: MeanInterval
    psnr: MeanInterval
    ssim: MeanInterval


class RestorationComparison(NamedTuple):
    """Scores by filler.

    Attributes:
        scores: dict of `RestorationScore`: `"mean"`, `"biharmonic"`, `"model"`, as requested.
        skipped: dict, why a filler has no score.
        filled: dict of float32 arrays, the filled images.
    """

    scores: dict[str, RestorationScore]
    skipped: dict[str, str]
    filled: dict[str, np.ndarray]


def restoration_scores(
    model: Any,
    images: Any,
    missing: Any,
    fillers: Sequence[str] = ("mean", "biharmonic"),
    batch_size: int = 32,
) -> RestorationComparison:
    """Fill holes with a model and without one, and compare with what was there.

    PSNR of an image is cut at 60 dB, an error of a quarter gray level of 256.

    Args:
        model: `MaskedAutoencoder` or `DenseMaskedAutoencoder`; one that predicts pixels, not
            standardized patches, fills in better.
        images: array `(batch, *spatial, channels)` of held-out images without NaN, pixels as
            stored.
        missing: bool array, `True` = missing, of a shape that `model.inpaint` takes; at least one
            pixel in every image.
        fillers: names to compare with: `"mean"`, `"biharmonic"`, and for clips
            `"linear_in_time"`. One whose library is not installed is left out and named in
            `skipped`.
        batch_size: int.

    Returns:
        `RestorationComparison(scores, skipped, filled)`.

    Raises:
        TypeError, ValueError: if images, holes and model do not fit together, or a filler is
            unknown.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((8, 8, 1), hidden_units=(8,))
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype("uint8")
    >>> comparison = restoration_scores(model, images, np.eye(8, dtype=bool), fillers=("mean",))
    >>> sorted(comparison.scores)
    ['mean', 'model']
    """
    if isinstance(fillers, str) or not isinstance(fillers, Sequence):
        raise ValueError(f"`fillers` must be a sequence of names. Received: fillers={fillers!r}")
    unknown = [name for name in fillers if name not in _FILLERS]
    if unknown:
        raise ValueError(f"`fillers` must be among {tuple(_FILLERS)}. Received: {unknown[0]!r}")
    images, missing = _pixels_and_holes(images, missing)
    _check_whole(images)
    filled, skipped = {}, {}
    for name in fillers:
        try:
            filled[name] = _FILLERS[name](images, missing)
        except ImportError as error:
            skipped[name] = str(error)
    filled["model"] = model.inpaint(images, missing, batch_size)
    low, high = model.value_range or (float(images.min()), float(images.max()))
    clean = images.astype("float32") - low  # SSIM compares brightness too, and takes 0 for black
    score = functools.partial(
        score_filled, images=clean, missing=missing, span=float(high - low) or 1.0
    )
    scores = {name: score(values - low) for name, values in filled.items()}
    return RestorationComparison(scores, skipped, filled)


def is_restorable(images: Any, missing: Any, grid: Sequence[int]) -> np.ndarray:
    """Which images a filler can be scored on: whole ones, with a patch that no hole touches.

    Args:
        images: array `(batch, *spatial, channels)`.
        missing: bool array, as for `restoration_scores`.
        grid: ints, patches per axis of the model.

    Returns:
        bool array `(batch,)`; `False` for an image that holds NaN or has a missing pixel in every
        patch, which `model.inpaint` refuses.

    Example:
    >>> images = np.zeros((2, 4, 4, 1))
    >>> images[1, 0, 0] = np.nan
    >>> is_restorable(images, np.zeros((4, 4), bool), (2, 2)).tolist()
    [True, False]
    """
    images, missing = _pixels_and_holes(images, missing)
    grid = check_ints("grid", grid, 1)
    spatial = images.shape[1:-1]
    if len(grid) != len(spatial) or any(n % m for n, m in zip(spatial, grid, strict=True)):
        raise ValueError(f"`grid` must divide `images` of {spatial} pixels. Received: grid={grid}")
    from mae_keras.models.checks import touched_patches

    seen = ~touched_patches(missing, grid).all(axis=1)
    if images.dtype.kind != "f":
        return seen
    return seen & ~np.isnan(images).any(axis=tuple(range(1, images.ndim)))


def score_filled(filled: Any, images: Any, missing: Any, span: float = 255.0) -> RestorationScore:
    """Compare filled images with the originals.

    Args:
        filled: array `(batch, *spatial, channels)`.
        images: array of that shape, without NaN. Black is 0 here: SSIM depends on it.
        missing: bool array, as for `restoration_scores`.
        span: float, white minus black.

    Returns:
        `RestorationScore`, PSNR cut at 60 dB.

    Raises:
        TypeError: if `missing` is not boolean.
        ValueError: if shapes differ, an image has no missing pixel, or one that is NaN.

    Example:
    >>> images = np.zeros((2, 8, 8, 1))
    >>> score_filled(images, images, np.eye(8, dtype=bool)).psnr.mean
    60.0
    """
    from mae_keras.ops import psnr, ssim

    images, missing = _pixels_and_holes(images, missing)
    _check_whole(images)
    filled = check_array("filled", filled, finite=True)
    check_number("span", span, 0, above=True)
    if filled.shape != images.shape:
        raise ValueError(
            "`filled` must have the shape of `images`. Received: "
            f"filled.shape={filled.shape}, images.shape={images.shape}"
        )
    whole = np.flatnonzero(~missing.reshape(len(images), -1).any(axis=1))
    if len(whole):
        raise ValueError(
            f"`missing` must hold a missing pixel of every image. Received: none in {len(whole)} "
            f"of {len(images)} images, the first is {whole[0]}"
        )
    values = (
        np.minimum(psnr(filled, images, span, counted=missing), PSNR_LIMIT),
        np.minimum(psnr(filled, images, span), PSNR_LIMIT),
        ssim(filled, images, span),
    )
    if not np.isfinite(values).all():
        raise ValueError(
            "`filled` and `images` must be pixels whose squares float32 can hold. Received: up to "
            f"{np.abs(filled).max():g} and {np.abs(images).max():g}"
        )
    return RestorationScore(*(mean_interval(np.asarray(array)) for array in values))


def mean_fill(images: Any, missing: Any) -> np.ndarray:
    """Fill each channel with the mean of the image's known pixels.

    Args:
        images: array `(batch, *spatial, channels)`.
        missing: bool array, as for `restoration_scores`.

    Returns:
        float32 array; 0 where nothing of a channel is known.

    Raises:
        TypeError, ValueError: if `missing` does not fit.

    Example:
    >>> mean_fill([[[2.0], [4.0], [9.0]]], [False, False, True])[0, :, 0].tolist()
    [2.0, 4.0, 3.0]
    """
    images, missing = _pixels_and_holes(images, missing)
    images = images.astype("float32")
    spatial = tuple(range(1, images.ndim - 1))
    known = np.maximum((~missing).sum(axis=spatial, keepdims=True), 1)
    means = np.where(missing, 0, images).sum(axis=spatial, keepdims=True) / known
    return np.where(missing, means, images).astype("float32")


def biharmonic_fill(images: Any, missing: Any) -> np.ndarray:
    """Fill with the smoothest surface through the known pixels (scikit-image).

    Args:
        images: array `(batch, *spatial, channels)`, with something known of every channel.
        missing: bool array, as for `restoration_scores`.

    Returns:
        float32 array.

    Raises:
        ImportError: naming the extra to install, without scikit-image.
        TypeError, ValueError: if `missing` does not fit, or a channel is missing altogether.

    Example:
    >>> row = np.arange(8.0).reshape(1, 1, 8, 1).repeat(8, axis=1)
    >>> missing = np.zeros((8, 8), bool)
    >>> missing[3, 4] = True
    >>> round(float(biharmonic_fill(row, missing)[0, 3, 4, 0]), 3)  # doctest: +SKIP
    4.0

    References:
        - Damelin and Hoang 2018, doi:10.1155/2018/3950312; `skimage.restoration`.
    """
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as error:
        raise ImportError(
            f"The biharmonic filler needs scikit-image: {install_command('restoration')}"
        ) from error
    images, missing = _pixels_and_holes(images, missing)
    filled = images.astype("float32")
    if missing.all(axis=tuple(range(1, missing.ndim - 1))).any():
        raise ValueError(
            "`missing` must leave a pixel of every channel. Received: a channel missing altogether"
        )
    for image, hole in zip(filled, missing, strict=True):
        for channel in np.flatnonzero(hole.reshape(-1, hole.shape[-1]).any(axis=0)):
            lost = np.array(hole[..., channel])  # scikit-image needs one that it might write to
            known = np.where(lost, 0, image[..., channel]).astype("float64")
            image[..., channel] = inpaint_biharmonic(known, lost)
    return filled


def frame_fill(images: Any, missing: Any) -> np.ndarray:
    """Fill each pixel of a clip from the frames that show it: interpolated in time.

    Before the first such frame, and after the last, it is what it is there.

    Args:
        images: array `(batch, frames, *spatial, channels)`.
        missing: bool array, as for `restoration_scores`.

    Returns:
        float32 array; the mean of the known pixels of a channel where no frame shows a pixel.

    Raises:
        TypeError, ValueError: if `missing` does not fit.

    Example:
    >>> clip = np.array([2.0, 0.0, 0.0, 8.0, 0.0]).reshape(1, 5, 1, 1)
    >>> missing = np.array([False, True, True, False, True]).reshape(5, 1)
    >>> frame_fill(clip, missing).ravel().tolist()
    [2.0, 4.0, 6.0, 8.0, 8.0]
    """
    images, missing = _pixels_and_holes(images, missing)
    otherwise = mean_fill(images, missing)
    missing = np.broadcast_to(missing, images.shape)
    values = images.astype("float32")
    num_frames = values.shape[1]
    time = np.arange(num_frames).reshape(1, -1, *(1,) * (values.ndim - 2))
    before = np.maximum.accumulate(np.where(missing, -1, time), axis=1)
    after = np.where(missing, num_frames, time)[:, ::-1]
    after = np.minimum.accumulate(after, axis=1)[:, ::-1]
    no_earlier, no_later = before < 0, after == num_frames
    before, after = np.where(no_earlier, after, before), np.where(no_later, before, after)
    ends = [
        np.take_along_axis(values, np.clip(end, 0, num_frames - 1), axis=1)
        for end in (before, after)
    ]
    share = (time - before) / np.maximum(after - before, 1)
    filled = ends[0] + (ends[1] - ends[0]) * np.clip(share, 0, 1)
    return np.where(no_earlier & no_later, otherwise, filled).astype("float32")


_FILLERS = {"mean": mean_fill, "biharmonic": biharmonic_fill, "linear_in_time": frame_fill}


def _check_whole(images: np.ndarray) -> None:
    if images.dtype.kind == "f" and np.isnan(images).any():
        raise ValueError("`images` must be whole, to compare with. Received: NaN pixels")


def _pixels_and_holes(images: Any, missing: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, which fit each other."""
    images = check_array("images", images)
    if images.ndim < 3:
        raise ValueError(
            "`images` must have shape (batch, *spatial, channels). "
            f"Received: images.shape={images.shape}"
        )
    if np.isinf(images).any():
        raise ValueError("`images` must be finite. Received: infinite pixels")
    missing = check_array("missing", missing, kinds="buif")
    from mae_keras.models.checks import read_missing

    return images, read_missing(missing, images.shape)


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
