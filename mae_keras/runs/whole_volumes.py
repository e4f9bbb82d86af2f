"""Volumes larger than a model, gone over by windows that overlap: reconstructed and classified."""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_keras import data
from mae_keras.data.file_tree import counted
from mae_keras.models.restoration import Reconstruction
from mae_keras.ops import patchify, unpatchify
from mae_keras.runs.options import preprocessing_of
from mae_keras.sliding_window import sliding_window


def read_whole(path: str | os.PathLike[str], model: Any) -> np.ndarray:
    """A volume file, turned, resampled and clipped as the samples of a model were, not cut.

    Args:
        path: volume file, or folder with the slices of a DICOM series.
        model: trained model of volumes.

    Returns:
        float32 array `(depth, height, width, channels)`, of any size.

    Raises:
        ValueError: if the file cannot be read or has other channels.
    """
    *size, channels = model.image_shape
    settings = (preprocessing_of(model) or {}).get("volume", {"crop_size": size})
    volume = data.read_volume(path, settings)
    if volume.shape[-1] != channels:
        raise ValueError(
            f"{os.fspath(path)!r} must have {counted(channels, 'channel', 'channels')}, as the "
            f"model was trained on. Received: {volume.shape[-1]}"
        )
    return volume


def reads_whole(model: Any) -> bool:
    """Whether reconstructions of whole volumes can be drawn: masks must not look at samples.

    Args:
        model: autoencoder of volumes.
    """
    return hasattr(model, "encoder") and not model.masking.uses_patches


def volume_probabilities(model: Any, volume: np.ndarray, batch_size: int = 4) -> np.ndarray:
    """Probabilities of the classes of a whole volume: the mean over windows that overlap by half.

    Windows in which no patch is without missing values do not count.

    Args:
        model: `ImageClassifier` of volumes.
        volume: array `(depth, height, width, channels)`, of any size.
        batch_size: int, windows per step.

    Returns:
        float32 array `(num_classes,)`.

    Raises:
        ValueError: if no window has a whole patch.

    Example:
    >>> from mae_keras.models import ImageClassifier, ViTEncoder
    >>> encoder = ViTEncoder((2, 4, 4, 1), 2, 8, 1, 1, value_range=None)
    >>> volume_probabilities(ImageClassifier(encoder, 3), np.zeros((5, 4, 7, 1))).shape
    (3,)
    """
    cells = _Cells(model, volume)

    def probabilities(windows: np.ndarray) -> np.ndarray:
        crops = cells.joined(windows)
        made = np.full((len(crops), model.num_classes), np.nan, "float32")
        seen = ~cells.missing(cells.per_cell, windows).reshape(len(windows), -1).all(axis=1)
        if seen.any():
            made[seen] = model.probabilities(crops[seen], batch_size)
        return made

    with model.parts_of(volume):
        mean = sliding_window(probabilities, cells.values, cells.window, batch_size=batch_size)
    if np.isnan(mean).any():
        raise ValueError("no patch of the volume is without missing values (NaN)")
    return mean


def reconstruct_volumes(
    model: Any, volumes: Sequence[np.ndarray], batch_size: int = 4
) -> tuple[np.ndarray, Reconstruction]:
    """Reconstruct whole volumes under one mask each, by windows that overlap by half.

    The mask is drawn for the whole volume, and windows begin at patches, so that a patch is hidden
    in all windows that hold it or in none. Predictions are blended with Gaussian weights. Where
    volumes differ in size, smaller ones are filled up with missing values (NaN) on all sides.

    Args:
        model: `MaskedAutoencoder` of volumes whose masks do not look at the samples.
        volumes: arrays `(depth, height, width, channels)`, of any size.
        batch_size: int, windows per step.

    Returns:
        The volumes side by side, float32 `(batch, depth, height, width, channels)` in whole
        patches; and their `Reconstruction`, whose masks are those of these patches.

    Raises:
        ValueError: if there are no volumes.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset(
    ...     "nano", (4, 4, 4, 1), 2, num_layers=1, value_range=None, mask_ratio=0.5, seed=0
    ... )
    >>> shown, made = reconstruct_volumes(model, [np.zeros((5, 4, 6, 1))])
    >>> shown.shape, made.patch_mask.shape
    ((1, 6, 4, 6, 1), (1, 18))
    """
    if not len(volumes):
        raise ValueError("`volumes` must hold at least one volume. Received: none")
    parts = [_Cells(model, volume) for volume in volumes]
    grid = np.max([cells.grid for cells in parts], axis=0)
    panels, statistics = [], None
    for number, cells in enumerate(parts):
        *made, statistics = _reconstructed(model, cells, number, batch_size)
        gaps = grid - cells.grid
        around = [*zip(gaps // 2, gaps - gaps // 2, strict=True), (0, 0)]
        fills = (np.nan, np.nan, np.nan, 0.0)
        panels.append(
            [
                np.pad(panel, around, constant_values=fill)
                for panel, fill in zip((cells.values, *made), fills, strict=True)
            ]
        )
    originals, predictions, pasted, masks = (np.stack(panel) for panel in zip(*panels, strict=True))
    first = parts[0]
    shown, prediction, pasted = map(first.joined, (originals, predictions, pasted))
    masks = masks.astype(bool).reshape(len(masks), -1)
    return shown, Reconstruction(prediction, masks, pasted, statistics)


def _reconstructed(model: Any, cells: "_Cells", number: int, batch_size: int) -> tuple[Any, ...]:
    """Cells of the prediction and the composite, the mask of each cell, and the statistics."""
    per_cell = cells.per_cell
    grid = (*cells.grid, per_cell) if len(model.grid) > len(cells.grid) else cells.grid
    missing = cells.missing(per_cell)
    mask = model.masking.draw(
        grid,
        0,
        np.full(1, number, "int32"),
        missing.reshape(1, -1) if missing.any() else None,
    )
    mask = np.asarray(mask).reshape(*cells.grid, per_cell)
    width, statistics = cells.values.shape[-1], []

    def predict(windows: np.ndarray) -> np.ndarray:
        values, hidden = windows[..., :width], windows[..., width:] > 0
        crops, hidden = cells.joined(values), hidden.reshape(len(windows), -1)
        made = np.full(values.shape, np.nan, "float32")
        absent = cells.missing(per_cell, values).reshape(len(windows), -1)
        seen = ~(hidden | absent).all(axis=1)
        if seen.any():
            outputs = model.reconstruct(crops[seen], hidden[seen], batch_size)
            statistics.append(outputs.statistics)
            made[seen] = cells.split(outputs.prediction)
        return made

    both = np.concatenate([cells.values, mask.astype("float32")], axis=-1)
    with model.parts_of(cells.values):
        prediction = sliding_window(predict, both, cells.window, batch_size=batch_size)
    covered = (mask | missing)[..., None, :]
    covered = np.broadcast_to(covered, (*cells.grid, width // per_cell, per_cell))
    pasted = np.where(covered.reshape(cells.values.shape), prediction, cells.values)
    return prediction, pasted, mask, statistics[0] if statistics else None


class _Cells:
    """A volume as an array of patches `(*grid, values)`, so that windows begin at patches."""

    def __init__(self, model: Any, volume: np.ndarray):
        *size, self.channels = model.image_shape
        encoder = model.encoder
        self.patch = tuple(encoder.patch_size)
        self.window = tuple(side // patch for side, patch in zip(size, self.patch, strict=True))
        # Tokens of a patch: more than 1 where each channel is one.
        self.per_cell = math.prod(encoder.grid) // math.prod(self.window)
        sides = volume.shape[:-1]
        grid = [-(-side // patch) for side, patch in zip(sides, self.patch, strict=True)]
        self.grid = tuple(map(max, grid, self.window))
        whole = [count * patch for count, patch in zip(self.grid, self.patch, strict=True)]
        end = [(0, side - own) for side, own in zip(whole, sides, strict=True)]
        volume = np.pad(volume.astype("float32"), [*end, (0, 0)], constant_values=np.nan)
        self.values = self.split(volume[None])[0]

    def split(self, volumes: np.ndarray) -> np.ndarray:
        """Volumes `(batch, *spatial, channels)` to cells `(batch, *grid, values)`."""
        pairs = zip(volumes.shape[1:-1], self.patch, strict=True)
        grid = [side // patch for side, patch in pairs]
        return np.asarray(patchify(volumes, self.patch)).reshape(len(volumes), *grid, -1)

    def joined(self, cells: np.ndarray) -> np.ndarray:
        """Undo `split`."""
        sides = [n * patch for n, patch in zip(cells.shape[1:-1], self.patch, strict=True)]
        rows = cells.reshape(len(cells), -1, cells.shape[-1])
        return np.asarray(unpatchify(rows, self.patch, (*sides, self.channels)))

    def missing(self, per_cell: int, values: np.ndarray | None = None) -> np.ndarray:
        """Which cells, or channels of them, hold a missing value: `(..., per_cell)`."""
        values = self.values if values is None else values
        # (..., voxels, channels): channels are apart where each is a token
        absent = np.isnan(values).reshape(*values.shape[:-1], -1, per_cell)
        return absent.any(axis=-2)
