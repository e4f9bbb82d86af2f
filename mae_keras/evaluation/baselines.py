"""Losses of naive baselines, which predict without learning. Imports NumPy only."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_int, check_ints

# Elements of the largest temporary array, (images, num_patches, num_patches): 64 MB of float32.
_BLOCK_ELEMENTS = 2**24


def trivial_losses(
    train_targets_mean: Any,
    targets: Any,
    patch_mask: Any,
    grid: Sequence[int],
    *,
    channels: int = 1,
    missing_mask: Any = None,
    frames: bool = False,
) -> dict[str, float]:
    """Loss of three predictors that need no training, in the space the model predicts in.

    All work on targets as the loss sees them. Where a model standardizes its targets, so that
    they are `(patch - mean) / std` with each patch's own statistics, the predictors are given
    standardized patches too, and the numbers compare with the model's loss:

    - `mean_image`: each hidden patch is the training set's mean target at its place;
    - `visible_mean`: each channel has the mean of the image's visible values in that channel;
    - `nearest_visible`: the mean of the visible patches at the smallest Euclidean distance on
      the grid, all that tie.

    Of video there are two more, unless no hidden patch has a visible one at its place in another
    frame, as under tube masks; where one patch has none, it is predicted as `nearest_visible`:

    - `nearest_frame`: the visible patch at the same place nearest in time, or the mean of two;
    - `linear_in_time`: interpolated between the visible patches before and after it.

    The loss is the model's: the mean over images of each image's mean over its hidden patches of
    the mean squared error in a patch. An image without any visible patch to copy from is
    predicted by the training mean throughout; one with no hidden patch counts as 0.

    Args:
        train_targets_mean: array `(num_patches, patch_dim)`, mean over training images.
        targets: array `(batch, num_patches, patch_dim)` of held-out images; channels are
            innermost in a patch. Patches with NaN are missing: never copied, never counted.
        patch_mask: bool array `(batch, num_patches)`, `True` = hidden.
        grid: ints, patches per axis.
        channels: int, divides `patch_dim`.
        missing_mask: bool array `(batch, num_patches)`, `True` = missing, for targets whose NaN
            were replaced; or `None`.
        frames: bool, whether the first axis of the grid is the time of video. Defaults to `False`.

    Returns:
        Dict of the names to float.

    Raises:
        ValueError: if shapes do not fit together.

    Example:
    >>> targets = np.array([[[0.0], [1.0], [4.0]]])
    >>> trivial_losses(np.zeros((3, 1)), targets, [[False, False, True]], (3,))
    {'mean_image': 16.0, 'visible_mean': 12.25, 'nearest_visible': 9.0}
    """
    grid, channels = check_ints("grid", grid, 1), check_int("channels", channels, 1)
    masks = check_array("patch_mask", patch_mask, kinds="bui", empty=True).astype(bool)
    arrays = check_array("targets", targets, empty=True).astype("float32"), masks
    if np.isinf(arrays[0]).any():
        raise ValueError("`targets` must be finite (NaN means missing). Received: infinite values")
    train_mean = check_array("train_targets_mean", train_targets_mean, finite=True)
    train_mean = train_mean.astype("float32")
    missing = _missing(arrays[0], missing_mask)
    _check_shapes(train_mean, arrays[0], arrays[1], missing, grid, channels)
    if frames:
        hidden, seen = (m.reshape(len(m), grid[0], -1) for m in (masks, ~masks & ~missing))
        frames = bool((hidden & seen.any(axis=1, keepdims=True)).any())
    totals: dict[str, float] = {}
    for block in _blocks(*arrays[0].shape[:2]):
        parts = (array[block] for array in (*arrays, missing))
        for name, losses in _block_losses(train_mean, *parts, grid, channels, frames):
            totals[name] = totals.get(name, 0.0) + float(losses.sum())
    return {name: total / len(arrays[0]) for name, total in totals.items()}


def _blocks(batch: int, num_patches: int) -> Iterator[slice]:
    size = max(1, _BLOCK_ELEMENTS // num_patches**2)
    return (slice(start, start + size) for start in range(0, batch, size))


def _block_losses(
    train_mean: np.ndarray,
    targets: np.ndarray,
    patch_mask: np.ndarray,
    missing: np.ndarray,
    grid: Sequence[int],
    channels: int,
    frames: bool,
) -> Iterator[tuple[str, np.ndarray]]:
    """The name of each predictor with its loss on every image of the block."""
    targets = np.where(missing[..., None], 0.0, targets)
    counted, seen = patch_mask & ~missing, ~patch_mask & ~missing
    blind = ~seen.any(axis=1)[:, None, None]
    predictions = {
        "mean_image": train_mean,
        "visible_mean": _visible_mean(targets, seen, channels),
        "nearest_visible": _nearest_visible(targets, seen, grid),
    }
    if frames:
        predictions |= _other_frames(targets, seen, grid, predictions["nearest_visible"])
    for name, predicted in predictions.items():
        errors = np.mean((np.where(blind, train_mean, predicted) - targets) ** 2, axis=-1)
        hidden = np.maximum(counted.sum(axis=1), 1)
        yield name, np.sum(errors * counted, axis=1, dtype="float64") / hidden


def _visible_mean(targets: np.ndarray, seen: np.ndarray, channels: int) -> np.ndarray:
    batch, num_patches, patch_dim = targets.shape
    # (batch, num_patches, pixels in a patch, channels)
    values = targets.reshape(batch, num_patches, -1, channels).mean(axis=2)
    weights = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    means = np.einsum("bn,bnc->bc", weights.astype("float32"), values)
    return np.tile(means, patch_dim // channels)[:, None]


def _nearest_visible(targets: np.ndarray, seen: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    distances = _squared_distances(grid)
    # (batch, to, from): distance where the source is visible, else more than any distance
    reach = np.where(seen[:, None], distances, distances.max() + 1)
    nearest = (reach == reach.min(axis=2, keepdims=True)).astype("float32")
    return (nearest @ targets) / nearest.sum(axis=2, keepdims=True)


def _other_frames(
    targets: np.ndarray, seen: np.ndarray, grid: Sequence[int], otherwise: np.ndarray
) -> dict[str, np.ndarray]:
    """Predictions from the same place in other frames, and `otherwise` where none is visible."""
    # (batch, time, places, patch_dim)
    values = targets.reshape(len(targets), grid[0], -1, targets.shape[-1])
    seen = seen.reshape(values.shape[:3])
    time = np.arange(grid[0])[:, None]
    never = 2 * grid[0]
    before = np.maximum.accumulate(np.where(seen, time, -never), axis=1)
    after = np.where(seen, time, 2 * never)[:, ::-1]
    after = np.minimum.accumulate(after, axis=1)[:, ::-1]
    ends = [
        np.take_along_axis(values, np.clip(end, 0, grid[0] - 1)[..., None], axis=1)
        for end in (before, after)
    ]
    gaps = [np.abs(time - end)[..., None] for end in (before, after)]
    known = [gap < never - grid[0] for gap in gaps]
    both = known[0] & known[1]
    share = gaps[0] / np.maximum(gaps[0] + gaps[1], 1)
    nearest = np.where(gaps[0] < gaps[1], 0.0, np.where(gaps[0] > gaps[1], 1.0, 0.5))
    otherwise = otherwise.reshape(values.shape)
    predictions = {
        "nearest_frame": nearest,
        "linear_in_time": np.where(both, share, nearest),
    }
    for name, weight in predictions.items():
        mixed = (1 - weight) * ends[0] + weight * ends[1]
        mixed = np.where(known[0] | known[1], mixed, otherwise)
        predictions[name] = mixed.reshape(targets.shape).astype("float32")
    return predictions


def _squared_distances(grid: Sequence[int]) -> np.ndarray:
    axes = np.meshgrid(*map(np.arange, grid), indexing="ij")
    places = np.stack([axis.ravel() for axis in axes], axis=-1)
    return ((places[:, None] - places[None]) ** 2).sum(axis=-1).astype("int32")


def _missing(targets: np.ndarray, missing_mask: Any) -> np.ndarray:
    missing = np.isnan(targets).any(axis=-1)
    if missing_mask is None:
        return missing
    marked = check_array("missing_mask", missing_mask, kinds="bui").astype(bool)
    if marked.shape != missing.shape:
        raise ValueError(
            f"`missing_mask` must have shape {missing.shape}, as `patch_mask`. "
            f"Received: missing_mask.shape={marked.shape}"
        )
    return missing | marked


def _check_shapes(
    train_mean: np.ndarray,
    targets: np.ndarray,
    patch_mask: np.ndarray,
    missing: np.ndarray,
    grid: Sequence[int],
    channels: int,
) -> None:
    if targets.ndim != 3 or 0 in targets.shape:
        raise ValueError(
            f"`targets` must have shape (batch, num_patches, patch_dim), none of them 0. "
            f"Received: targets.shape={targets.shape}"
        )
    if int(np.prod(grid)) != targets.shape[1]:
        raise ValueError(
            f"`grid` must hold as many patches as `targets`, {targets.shape[1]}. "
            f"Received: grid={tuple(grid)}"
        )
    for name, array, expected in (
        ("train_targets_mean", train_mean, targets.shape[1:]),
        ("patch_mask", patch_mask, targets.shape[:2]),
    ):
        if array.shape != expected:
            raise ValueError(
                f"`{name}` must have shape {expected}, to go with `targets` of shape "
                f"{targets.shape}. Received: {name}.shape={array.shape}"
            )
    if channels < 1 or targets.shape[2] % channels:
        raise ValueError(
            f"`channels` must divide the {targets.shape[2]} values of a patch. "
            f"Received: channels={channels!r}"
        )
