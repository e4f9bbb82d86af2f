"""Predictions of a model over samples larger than it: by windows that overlap, blended.

NumPy only; any number of spatial axes.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_choice, check_int, check_ints, check_number

BLENDING = ("gaussian", "uniform")
_SIGMA = 1 / 8  # of a window's side, as in nnU-Net and MONAI
_MOST_WINDOWS = 10_000_000
_LEAST_WEIGHT = 1e-3  # of the highest: corners count, too


def sliding_window(
    predict: Callable[[np.ndarray], Any],
    sample: Any,
    window: Sequence[int],
    *,
    overlap: float = 0.5,
    blending: str = "gaussian",
    batch_size: int = 4,
) -> np.ndarray:
    """Predict a sample of any size with a model that takes windows of one size.

    Windows cover the sample, the last ones flush with its end. Where they overlap, predictions are
    averaged with weights: equal ones, or those of a Gaussian, which trust the middle of a window
    more than its edges. What is NaN in a prediction is left out of the average.

    A sample smaller than the window is padded with NaN (missing) at its end, and the prediction is
    cut accordingly. Only one batch of windows is read at a time: `sample` may be a memory map.

    Args:
        predict: function of windows `(batch, *window, channels)`, as stored. It returns values
            for each place, `(batch, *window, values)`, such as a reconstruction; or one vector for
            each window, `(batch, values)`, such as features.
        sample: array `(*spatial, channels)`.
        window: one int for each spatial axis.
        overlap: in [0, 1), fraction of a window's side that two neighbors share at least. Defaults
            to `0.5`.
        blending: `"gaussian"` or `"uniform"`. Vectors are averaged equally. Defaults to
            `"gaussian"`.
        batch_size: int, windows per call of `predict`. Defaults to `4`.

    Returns:
        float32 array `(*spatial, values)`, NaN where nothing was predicted; of vectors `(values,)`.

    Raises:
        ValueError: if an argument or what `predict` returns does not fit.

    Example:
    >>> signal = np.arange(6.0)[:, None]
    >>> sliding_window(lambda windows: 2 * windows, signal, (4,))[:, 0].round(3).tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]

    References:
        - Isensee et al. 2021 (nnU-Net): half a window of overlap, Gaussian weights.
    """
    sample = sample if isinstance(sample, np.ndarray) else np.asarray(sample)
    window = check_ints("window", window, 1)
    if sample.ndim != len(window) + 1 or 0 in sample.shape:
        raise ValueError(
            f"`sample` must have {len(window)} spatial axes, as `window`, and channels. Received: "
            f"sample.shape={sample.shape}, window={window}"
        )
    check_array("sample", sample[:0], kinds="buif", empty=True)
    check_number("overlap", overlap, 0, 1, below=True)
    check_choice("blending", blending, BLENDING)
    check_int("batch_size", batch_size, 1)
    spatial = sample.shape[:-1]
    extents = tuple(map(max, spatial, window))
    weights = window_weights(window, blending)[..., np.newaxis]
    totals: np.ndarray | None = None
    for starts in _batched(window_starts(extents, window, overlap), batch_size):
        windows = np.stack([_window(sample, start, window) for start in starts])
        predictions = np.asarray(predict(windows), "float32")
        dense = _check(predictions, windows)
        if totals is None:
            shape = (*extents, predictions.shape[-1]) if dense else predictions.shape[-1:]
            totals, sums = np.zeros(shape, "float32"), np.zeros(shape, "float32")
        for start, prediction in zip(starts, predictions, strict=True):
            own = weights if dense else np.ones(1, "float32")
            place = tuple(map(slice, start, np.add(start, window))) if dense else slice(None)
            known = ~np.isnan(prediction)
            sums[place] += np.where(known, prediction, 0) * own
            totals[place] += known * own
    known = totals > 0
    blended = np.divide(sums, totals, out=np.full_like(sums, np.nan), where=known)
    return blended[tuple(map(slice, spatial))] if dense else blended


def window_starts(
    spatial: Sequence[int], window: Sequence[int], overlap: float = 0.5
) -> list[tuple[int, ...]]:
    """Where windows begin that cover a sample evenly, in raster order.

    Args:
        spatial: sides of the sample, each at least as long as the window's.
        window: sides of a window.
        overlap: in [0, 1), fraction of a window's side that two neighbors share at least. Defaults
            to `0.5`.

    Returns:
        List of tuples of ints.

    Raises:
        ValueError: if a window does not fit.

    Example:
    >>> window_starts((10,), (4,), overlap=0.5)
    [(0,), (2,), (4,), (6,)]
    """
    spatial, window = check_ints("spatial", spatial, 1), check_ints("window", window, 1)
    check_number("overlap", overlap, 0, 1, below=True)
    if len(spatial) != len(window) or any(map(int.__lt__, spatial, window)):
        raise ValueError(
            "`window` must have a side for each of `spatial`, none longer. Received: "
            f"spatial={spatial}, window={window}"
        )
    steps = [max(1, math.floor(side * (1 - overlap))) for side in window]
    free = [extent - side for extent, side in zip(spatial, window, strict=True)]
    counts = [-(-length // step) + 1 for length, step in zip(free, steps, strict=True)]
    if math.prod(counts) > _MOST_WINDOWS:
        raise ValueError(
            f"`spatial` must be covered by at most {_MOST_WINDOWS:,} windows. Received: "
            f"spatial={spatial}, window={window}, overlap={overlap}"
        )
    pairs = zip(free, counts, strict=True)
    axes = [np.linspace(0, length, count).round().astype(int) for length, count in pairs]
    return list(itertools.product(*(axis.tolist() for axis in axes)))


def window_weights(window: Sequence[int], blending: str = "gaussian") -> np.ndarray:
    """How much each place of a window counts where windows overlap.

    Args:
        window: sides of a window.
        blending: `"gaussian"`, with a standard deviation of an eighth of each side, and at least
            a thousandth of the middle's weight; or `"uniform"`. Defaults to `"gaussian"`.

    Returns:
        float32 array of shape `window`, at most 1, all positive.

    Raises:
        ValueError: if an argument is out of range.

    Example:
    >>> window_weights((3,), "uniform").tolist()
    [1.0, 1.0, 1.0]
    """
    window = check_ints("window", window, 1)
    check_choice("blending", blending, BLENDING)
    weights = np.ones(window)
    if blending == "gaussian":
        for axis, side in enumerate(window):
            places = (np.arange(side) - (side - 1) / 2) / (_SIGMA * side)
            shape = [-1 if each == axis else 1 for each in range(len(window))]
            weights = weights * np.exp(-0.5 * places**2).reshape(shape)
        weights = np.maximum(weights / weights.max(), _LEAST_WEIGHT)
    return weights.astype("float32")


def _batched(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _window(sample: np.ndarray, start: Sequence[int], window: Sequence[int]) -> np.ndarray:
    part = np.asarray(sample[tuple(map(slice, start, np.add(start, window)))])
    missing = [(0, side - there) for side, there in zip(window, part.shape, strict=False)]
    if not any(length for _, length in missing):
        return part
    return np.pad(part.astype("float32"), [*missing, (0, 0)], constant_values=np.nan)


def _check(predictions: np.ndarray, windows: np.ndarray) -> bool:
    """Whether predictions are values for each place; refuse what is neither that nor vectors."""
    dense = predictions.shape[:-1] == windows.shape[:-1]
    if not dense and (predictions.ndim != 2 or len(predictions) != len(windows)):
        shape = ", ".join(map(str, windows.shape[:-1]))
        raise ValueError(
            f"`predict` must return values for each place, ({shape}, values), or for each window, "
            f"({len(windows)}, values). Received: shape {predictions.shape}"
        )
    return dense
