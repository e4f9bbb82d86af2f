"""Histograms of oriented gradients, on any backend."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from mae_keras.arguments import check_int, check_ints, check_tensor

_EPSILON = 1e-5


def oriented_gradients(
    images: Any,
    cell_size: int | Sequence[int] = 8,
    num_bins: int = 9,
    missing: Any = None,
) -> Any:
    """Histogram of gradient directions in every cell of images, each of unit length.

    A pixel adds the length of its gradient to the bin of its direction. Directions are unsigned:
    a bin covers `180 / num_bins` degrees. Gradients are central differences, 0 across the border
    of the image. Arithmetic is float32 under every dtype policy.

    Args:
        images: tensor `(batch, height, width, channels)`, without NaN.
        cell_size: int, or one for height and one for width, in pixels; must divide the image.
            Defaults to `8`.
        num_bins: int from 2 to 180, directions per cell and channel. Defaults to `9`.
        missing: bool tensor `(batch, height, width)`, `True` = missing, or `None`. A gradient
            that a missing pixel takes part in is left out.

    Returns:
        float32 tensor `(batch, height / cell, width / cell, channels * num_bins)`, the bins of one
        channel side by side; 0 in cells without gradients.

    Raises:
        ValueError: if the images have another rank, or cells do not divide them.

    Example:
    >>> import numpy as np
    >>> stripes = np.zeros((1, 8, 8, 1)) + np.arange(8.0)[:, None, None]  # from top to bottom
    >>> [round(float(share), 2) for share in oriented_gradients(stripes)[0, 0, 0]]
    [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]

    References:
        - Dalal & Triggs 2005, "Histograms of oriented gradients for human detection".
        - Wei et al. 2021, "Masked feature prediction", arXiv:2112.09133, section 3.2.
        - Numerics: `skimage.feature.hog` with `cells_per_block=(1, 1)` and `block_norm="L2"`,
          channel by channel. facebookresearch/SlowFast `HOGLayerC` smooths its differences
          (Sobel) and divides by the length without an epsilon.
    """
    check_tensor("images", images, 4)
    num_bins = check_int("num_bins", num_bins, 2, 180)
    height, width, channels = images.shape[1:]
    sizes = (cell_size, cell_size) if hasattr(cell_size, "__index__") else cell_size
    rows, columns = check_ints("cell_size", sizes, 1, length=2)
    if height % rows or width % columns or min(height, width) < 3:
        raise ValueError(
            f"`cell_size` must divide the images, of at least 3 x 3 pixels. "
            f"Received: cell_size={cell_size} for {height} x {width} pixels"
        )
    down, right = _central_differences(ops.cast(images, "float32"))
    length = ops.sqrt(ops.square(down) + ops.square(right))
    if missing is not None:
        length = ops.where(_or_beside(missing)[..., None], 0.0, length)
    upward = down < 0
    angle = ops.arctan2(ops.where(upward, -down, down), ops.where(upward, -right, right))
    # An angle of exactly 180 degrees is one of 0.
    direction = ops.mod(ops.floor(angle * (num_bins / math.pi)), num_bins)
    cells = (-1, height // rows, rows, width // columns, columns, channels)
    # One bin after the other: all at once would take `num_bins` times the memory of the images.
    counts = [
        ops.mean(
            ops.reshape(ops.where(direction == number, length, 0.0), cells),
            axis=(2, 4),
        )
        for number in range(num_bins)
    ]
    histograms = ops.stack(counts, axis=-1)
    squares = ops.sum(ops.square(histograms), axis=-1, keepdims=True)
    histograms = histograms * ops.rsqrt(squares + _EPSILON**2)
    return ops.reshape(histograms, (*cells[:2], cells[3], channels * num_bins))


def _central_differences(images: Any) -> tuple[Any, Any]:
    """Next pixel minus previous one, from top to bottom and from left to right."""
    down = ops.pad(images[:, 2:] - images[:, :-2], [(0, 0), (1, 1), (0, 0), (0, 0)])
    right = ops.pad(images[:, :, 2:] - images[:, :, :-2], [(0, 0), (0, 0), (1, 1), (0, 0)])
    return down, right


def _or_beside(missing: Any) -> Any:
    """Pixels that are missing or next to one that is."""
    missing = ops.cast(missing, "bool")
    wider = ops.pad(missing, [(0, 0), (1, 1), (1, 1)])
    beside = (wider[:, :-2, 1:-1], wider[:, 2:, 1:-1], wider[:, 1:-1, :-2], wider[:, 1:-1, 2:])
    return functools.reduce(ops.logical_or, beside, missing)
