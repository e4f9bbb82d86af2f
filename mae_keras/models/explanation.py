"""What a decision rests on: attention rolled out over all blocks, and occlusion.

Check maps with `mae_keras.evaluation.localization` and `map_correlations` before you believe them.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from mae_keras.arguments import check_array, check_choice, check_int, check_ints
from mae_keras.models.classifier import ImageClassifier
from mae_keras.models.encoder import ViTEncoder
from mae_keras.models.inspection import attention_weights, encoder_of, read_inspected_images

_FILLS = ("mean", "missing")
# Log odds of a probability of 1 in float32 would be infinite.
_LARGEST_LOG_ODDS = 30.0


def attention_rollout(model: Any, images: Any, batch_size: int = 32) -> np.ndarray:
    """How much of each patch reaches the features, following attention through all blocks.

    Each block passes on half of a token itself (its residual connection) and half of what it
    attends to, the mean over heads; rollout is the product of these over the blocks. What it shows
    is read from the class token if the features are, else from the mean over the patches. It knows
    no classes, and nothing of the head.

    Args:
        model: `ImageClassifier`, `ViTEncoder`, or a model that has one as its `encoder`.
        images: array `(batch, *spatial, channels)` of pixels as stored; NaN means missing.
        batch_size: int, images at a time.

    Returns:
        float32 NumPy array `(batch, num_patches)`, patches in raster order. With `[:, None]`,
        `mae_keras.figures.attention_figure` draws it. Sums to 1, less what stays with the class
        token; patches with missing pixels get 0.

    Raises:
        TypeError: if the model has no such encoder, or images are not an array.
        ValueError: if the images do not fit the encoder.

    Example:
    >>> encoder = ViTEncoder((8, 8, 1), 2, hidden_dim=16, num_layers=2, num_heads=4, mlp_dim=32)
    >>> attention_rollout(encoder, np.zeros((3, 8, 8, 1), "uint8")).shape
    (3, 16)

    References:
        - Abnar and Zuidema 2020, "Quantifying attention flow in transformers", arXiv:2005.00928,
          section 3 and equation 1.
    """
    encoder = encoder_of(model)
    images = read_inspected_images(images, encoder)
    batch_size = check_int("batch_size", batch_size, 1)
    pooling = getattr(model, "pooling", "token" if encoder.use_class_token else "mean")
    starts = range(0, len(images), batch_size)
    return np.concatenate(
        [_rollout(encoder, images[start : start + batch_size], pooling) for start in starts]
    )


def _rollout(encoder: ViTEncoder, images: np.ndarray, pooling: Any) -> np.ndarray:
    grid = encoder.sample_inputs.grid_of(images.shape[1:])
    patches, missing = encoder.to_patches(ops.convert_to_tensor(images))
    tokens, attended = encoder._embed(patches, missing, grid=grid)
    identity = np.eye(tokens.shape[1], dtype="float32")
    flow = identity[None]
    for block in encoder.blocks:
        weights = attention_weights(block.attention, block.attention_norm(tokens), attended)
        mixed = ops.convert_to_numpy(ops.mean(weights, axis=1))
        flow = (0.5 * mixed + 0.5 * identity) @ flow
        tokens = block(tokens, attention_mask=attended)
    prefix = encoder.num_prefix_tokens
    if pooling == "token":
        return flow[:, 0, prefix:]
    rows = flow[:, prefix:, prefix:]
    if attended is None:
        return rows.mean(axis=1)
    looking = ops.convert_to_numpy(attended)[:, prefix:, None].astype("float32")
    rolled = (rows * looking).sum(axis=1) / np.maximum(looking.sum(axis=1), 1)
    return rolled.astype("float32")


def occlusion_maps(
    model: Any,
    images: Any,
    classes: Any = None,
    *,
    window: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    fill: str | float = "mean",
    batch_size: int = 256,
) -> np.ndarray:
    """How much a classifier loses when a part of an image is covered.

    A window is moved over the image. Each pixel gets the mean, over the windows that cover it, of
    the fall in the class's log odds, `log(p / (1 - p))`: positive where the pixel speaks for the
    class, negative where it speaks against it. Log odds, unlike probabilities, show a change of a
    classifier that is sure.

    Args:
        model: `ImageClassifier`.
        images: array `(batch, *spatial, channels)` of pixels as stored, without NaN.
        classes: int array `(batch,)`, the class to explain. Defaults to the predicted one.
        window: int, or one for each spatial axis, sides in pixels. Defaults to the patch size.
        stride: int, or one for each spatial axis, steps in pixels. Defaults to half the window,
            rounded up; for `fill="missing"` to the patch size.
        fill: `"mean"` covers with the mean of the image's channel, a number with this pixel value.
            `"missing"` makes the patches missing, so that no token attends to them; window and
            stride must then be multiples of the patch size. Defaults to `"mean"`.
        batch_size: int, covered images at a time.

    Returns:
        float32 NumPy array `(batch, *spatial)`, in natural log odds.

    Raises:
        TypeError: if the model is no `ImageClassifier`, or images are not numbers.
        ValueError: if images, classes, window or stride do not fit.

    Example:
    >>> encoder = ViTEncoder((8, 8, 1), 4, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
    >>> model = ImageClassifier.from_pretrained(encoder, num_classes=3)
    >>> occlusion_maps(model, np.zeros((2, 8, 8, 1), "uint8"), classes=[0, 2]).shape
    (2, 8, 8)

    References:
        - Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks",
          arXiv:1311.2901, section 4.2.
    """
    if not isinstance(model, ImageClassifier):
        raise TypeError(f"`model` must be an ImageClassifier. Received: {type(model).__name__}")
    images = _read_whole(images, model)
    check_int("batch_size", batch_size, 1)
    if isinstance(fill, str):
        check_choice("fill", fill, _FILLS, other="a number")
    else:
        check_array("fill", fill, 0, finite=True)
    spatial, patch = images.shape[1:-1], model.encoder.patch_size
    window = _sides("window", patch if window is None else window, spatial)
    if stride is None:
        stride = patch if fill == "missing" else tuple(-(-side // 2) for side in window)
    stride = _sides("stride", stride, spatial)
    _check_steps(window, stride, patch, fill)
    starts = _starts(spatial, window, stride)
    whole = model.probabilities(images, batch_size)
    classes = _read_classes(classes, whole)
    before = _log_odds(whole, classes)
    maps = np.empty(images.shape[:-1], "float32")
    for number, (image, label) in enumerate(zip(images, classes, strict=True)):
        covered = _covered(image, starts, window, fill)
        shares = model.probabilities(covered, batch_size)
        falls = before[number] - _log_odds(shares, np.full(len(shares), label))
        maps[number] = _spread(falls, starts, window, spatial)
    return maps


def _read_whole(images: Any, model: ImageClassifier) -> np.ndarray:
    images = read_inspected_images(images, model.encoder)
    if images.shape[1:] != tuple(model.image_shape):
        raise ValueError(
            f"`images` must have shape {('batch', *model.image_shape)}. Received: "
            f"images.shape={images.shape}"
        )
    if images.dtype.kind == "f" and np.isnan(images).any():
        raise ValueError("`images` must be whole, to be covered. Received: NaN pixels")
    return images


def _sides(name: str, value: Any, spatial: tuple[int, ...]) -> tuple[int, ...]:
    if np.ndim(value) == 0:
        value = (check_int(name, value, 1),) * len(spatial)
    sides = check_ints(name, value, 1, length=len(spatial))
    if any(side > size for side, size in zip(sides, spatial, strict=True)):
        raise ValueError(
            f"`{name}` must be at most the sides of an image, {spatial}. Received: {name}={sides}"
        )
    return sides


def _check_steps(
    window: tuple[int, ...], stride: tuple[int, ...], patch: tuple[int, ...], fill: Any
) -> None:
    if any(step > side for step, side in zip(stride, window, strict=True)):
        raise ValueError(
            f"`stride` must be at most `window`, or pixels would never be covered. Received: "
            f"stride={stride}, window={window}"
        )
    if fill == "missing" and any(
        side % own or step % own for side, step, own in zip(window, stride, patch, strict=True)
    ):
        raise ValueError(
            f"`window` and `stride` must be multiples of the patch size, {patch}, with "
            f'`fill="missing"`. Received: window={window}, stride={stride}'
        )


def _starts(
    spatial: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Corners of the windows, the last ones flush with the end."""
    axes = [
        sorted({*range(0, size - side + 1, step), size - side})
        for size, side, step in zip(spatial, window, stride, strict=True)
    ]
    return list(itertools.product(*axes))


def _covered(
    image: np.ndarray, starts: list[tuple[int, ...]], window: tuple[int, ...], fill: Any
) -> np.ndarray:
    """A copy of the image for each window, covered there."""
    value = fill
    if fill == "mean":
        value = image.mean(axis=tuple(range(image.ndim - 1)))
        value = np.round(value) if image.dtype.kind in "ui" else value
    elif fill == "missing":
        value = np.nan
    kept = image.dtype if fill == "mean" or image.dtype.kind == "f" else np.dtype("float32")
    covered = np.repeat(image[None].astype(kept), len(starts), axis=0)
    for one, start in zip(covered, starts, strict=True):
        one[_place(start, window)] = value
    return covered


def _place(start: tuple[int, ...], window: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(begin, begin + side) for begin, side in zip(start, window, strict=True))


def _spread(
    falls: np.ndarray,
    starts: list[tuple[int, ...]],
    window: tuple[int, ...],
    spatial: tuple[int, ...],
) -> np.ndarray:
    """For each pixel, the mean over the windows that cover it."""
    totals, counts = np.zeros(spatial), np.zeros(spatial)
    for fall, start in zip(falls, starts, strict=True):
        totals[_place(start, window)] += fall
        counts[_place(start, window)] += 1
    return totals / counts


def _read_classes(classes: Any, probabilities: np.ndarray) -> np.ndarray:
    if classes is None:
        return probabilities.argmax(axis=1)
    classes = check_array("classes", classes, 1, kinds="ui")
    number, most = probabilities.shape
    if len(classes) != number or classes.min() < 0 or classes.max() >= most:
        raise ValueError(
            f"`classes` must be a class in [0, {most}) for each of the {number} images. Received: "
            f"classes.shape={classes.shape}, values from {classes.min()} to {classes.max()}"
        )
    return classes.astype("int64")


def _log_odds(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Of a class against all others; from their probabilities, since 1 - p would cancel."""
    rows = np.arange(len(probabilities))
    shares = probabilities.astype("float64")
    own = shares[rows, classes]
    shares[rows, classes] = 0
    others = shares.sum(axis=1)
    tiny = math.exp(-_LARGEST_LOG_ODDS)
    return np.log(np.maximum(own, tiny)) - np.log(np.maximum(others, tiny))
