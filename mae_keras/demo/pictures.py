"""Masks, predictions and their spread, drawn as the demo page shows them."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from mae_keras import data
from mae_keras.data.image_files import inspect_file
from mae_keras.data.splits import kind_of
from mae_keras.figures.sheet import HIDDEN, STRIPES, to_pictures
from mae_keras.models.checks import cover_pixels
from mae_keras.runs.options import preprocessing_of

_SIDE = 384  # pixels of a picture's longer side on the page
_BLANK = to_rgb("#eceef1")


def check_shown(model: Any) -> None:
    """Refuse a model that has no pictures to show.

    Args:
        model: masked autoencoder.

    Raises:
        ValueError: if it is no autoencoder of gray or color images, hides single channels, or
            predicts no pixels.
    """
    if not hasattr(model, "reconstruct"):
        raise ValueError(
            f"`run` must be one of an autoencoder: a classifier has no decoder. "
            f"Received: a {type(model).__name__}"
        )
    preprocessing, words = preprocessing_of(model), {"video": "clips", "volumes": "volumes"}
    if preprocessing:
        raise ValueError(
            "`run` must be a run of gray or color images: the page shows pictures. Received: a "
            f"model of {words.get(kind_of(preprocessing), 'recordings')}, which `mae-keras "
            "reconstruct` draws"
        )
    shape = tuple(model.image_shape)
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(
            f"`run` must be a run of gray or color images, (height, width, 1 or 3): the page shows "
            f"pictures. Received: a model of samples of shape {shape}"
        )
    if model.num_patches > math.prod(model.grid[:2]):
        raise ValueError(
            f"`run` must be of a model that hides all channels of a pixel together: a click hides "
            f"them all. Received: a {type(model).__name__} of {model.num_patches:,} patches in "
            f"{model.grid[0]} x {model.grid[1]} places"
        )
    model.check_reconstructs()


def patch_at(point: Sequence[float], size: Sequence[int], grid: Sequence[int]) -> tuple[int, int]:
    """Row and column of the patch under a point of a picture.

    Args:
        point: `(x, y)` from the upper left corner, in pixels of the picture.
        size: `(height, width)` of the picture.
        grid: patches per axis.

    Returns:
        Two ints; a point on the right or lower edge is in the last patch.

    Example:
    >>> patch_at((350, 10), (400, 400), (4, 4))
    (0, 3)
    """
    x, y = point
    row, column = int(y * grid[0] // size[0]), int(x * grid[1] // size[1])
    return min(max(row, 0), grid[0] - 1), min(max(column, 0), grid[1] - 1)


def toggled(patch_mask: np.ndarray, place: tuple[int, int], grid: Sequence[int]) -> np.ndarray:
    """A mask with one more or one less hidden patch.

    Args:
        patch_mask: bool `(num_patches,)`, `True` = hidden.
        place: row and column of the patch.
        grid: patches per axis.

    Example:
    >>> toggled(np.array([True, False, False, False]), (0, 1), (2, 2)).tolist()
    [True, True, False, False]
    """
    cells = patch_mask.reshape(*grid[:2]).copy()
    cells[place] = not cells[place]
    return cells.reshape(-1)


def drawn_mask(model: Any, image: np.ndarray, mask_ratio: float, number: int) -> np.ndarray:
    """A random mask, drawn as in training.

    Args:
        model: masked autoencoder; its mask ratio becomes `mask_ratio`.
        image: pixels as stored.
        mask_ratio: fraction to hide; one patch at least is hidden, and one at least is not.
        number: int, which draw; 0 is that of `model.reconstruct`.

    Returns:
        bool `(num_patches,)`, `True` = hidden.
    """
    least, most = 1 / model.num_patches, 1 - 1 / model.num_patches
    model.set_mask_ratio(min(max(mask_ratio, least), most))
    patches, missing = model.to_patches(image[np.newaxis])
    options = {"patches": patches} if model.masking.uses_patches else {}
    masks = model.masking.draw(model.grid, number, np.zeros(1, "int32"), missing, **options)
    return np.asarray(masks)[0]


def prediction_spread(
    model: Any,
    image: np.ndarray,
    patch_mask: np.ndarray,
    statistics: str = "visible",
    num_masks: int = 16,
    seed: int = 0,
) -> np.ndarray:
    """How much predictions of the hidden patches depend on which of the others are seen.

    Args:
        model: masked autoencoder.
        image: pixels as stored.
        patch_mask: bool `(num_patches,)`, `True` = hidden.
        statistics: as for `model.reconstruct`.
        num_masks: int, each hides another random half of the visible patches as well.
        seed: int.

    Returns:
        float32 of the image's shape: standard deviation of the predictions, in pixel values; NaN
        where nothing is hidden, and everywhere where fewer than two patches are visible.
    """
    visible = np.flatnonzero(~patch_mask)
    if len(visible) < 2 or not patch_mask.any():
        return np.full(image.shape, np.nan, "float32")
    rng = np.random.default_rng(seed)
    masks = np.repeat(patch_mask[np.newaxis], num_masks, axis=0)
    for mask in masks:
        mask[rng.permutation(visible)[: len(visible) // 2]] = True
    images = np.repeat(image[np.newaxis], num_masks, axis=0)
    predictions = model.reconstruct(images, masks, statistics=statistics).prediction
    hidden = cover_pixels(patch_mask[np.newaxis], model.grid, model.image_shape)[0]
    return np.where(hidden, predictions.std(axis=0, ddof=1), np.nan).astype("float32")


class View(NamedTuple):
    """What the page shows of one image and one mask: uint8 pictures, and a sentence."""

    seen: np.ndarray
    predicted: np.ndarray
    composite: np.ndarray
    sentence: str


class Pictures:
    """Images, masks and predictions of one model, drawn as the page shows them.

    Args:
        model: masked autoencoder.
        value_range: pixel values that mean black and white.
    """

    def __init__(self, model: Any, value_range: tuple[float, float]):
        self.model, self.value_range = model, value_range
        self.scale = max(1, round(_SIDE / max(model.image_shape[:2])))
        self.size = tuple(side * self.scale for side in model.image_shape[:2])

    def plain(self, image: np.ndarray) -> np.ndarray:
        """An image, each pixel enlarged to a square."""
        return self._enlarged(to_pictures(image[np.newaxis], self.value_range)[0])

    def view(self, image: np.ndarray, patch_mask: np.ndarray, statistics: str) -> View:
        """Hide patches, predict them and draw the result."""
        result = self.model.reconstruct(
            image[np.newaxis], patch_mask[np.newaxis], statistics=statistics
        )
        hidden = self._hidden(patch_mask)
        low, high = self.value_range
        prediction = np.clip(result.prediction[0], low, high)
        picture = np.where(self._stripes(), to_rgb(STRIPES["edgecolor"]), to_rgb(HIDDEN))
        seen = np.where(hidden, np.rint(255 * picture), self.plain(image)).astype("uint8")
        return View(
            self._with_grid(seen),
            np.where(hidden, self.plain(prediction), np.rint(255 * np.array(_BLANK))).astype(
                "uint8"
            ),
            self.plain(np.clip(result.pasted[0], low, high)),
            self._sentence(image, prediction, patch_mask),
        )

    def spread(self, image: np.ndarray, patch_mask: np.ndarray, statistics: str) -> np.ndarray:
        """Uncertainty of the hidden patches, bright where it is large."""
        spread = prediction_spread(self.model, image, patch_mask, statistics).mean(axis=-1)
        low, high = self.value_range
        # The square root: a spread of a hundredth of the range can still be told from none.
        colors = colormaps["magma"](np.sqrt(np.clip(4 * spread / (high - low), 0, 1)))[..., :3]
        return self._enlarged(np.where(np.isnan(spread)[..., np.newaxis], _BLANK, colors))

    def inverted(self, image: np.ndarray) -> np.ndarray:
        """Black for white."""
        low, high = self.value_range
        return (low + high - image).astype(image.dtype)

    def read(self, path: str | os.PathLike[str], resize: str = "crop") -> np.ndarray:
        """An image file as the model takes it: upright, in its size, gray or color.

        Raises:
            ValueError: if the file is no whole image.
        """
        path = pathlib.Path(path)
        defect = inspect_file(str(path)).defect
        if defect:
            raise ValueError(f"{path.name} cannot be read as a picture: {defect}.")
        shape, value_range = self.model.image_shape, self.model.value_range
        return data.read_image(path, shape, resize=resize, value_range=value_range)

    def _sentence(self, image: np.ndarray, prediction: np.ndarray, patch_mask: np.ndarray) -> str:
        count = int(patch_mask.sum())
        share = f"{count:,} of {len(patch_mask):,} patches hidden ({count / len(patch_mask):.0%})."
        if not 0 < count < len(patch_mask):
            return f"{share} Click patches to {'show' if count else 'hide'} some."
        hidden = cover_pixels(patch_mask[np.newaxis], self.model.grid, image.shape)[0]
        low, high = self.value_range

        def error(values: Any) -> str:
            difference = np.abs(image.astype("float64") - values)[hidden] / (high - low)
            return f"{np.nanmean(difference):.1%}"

        filled = np.nanmean(np.where(hidden, np.nan, image.astype("float64")), axis=(0, 1))
        return (
            f"{share} Mean error of hidden pixels: **{error(prediction)}** of the range from black "
            f"to white; filled with the mean of the visible pixels: {error(filled)}."
        )

    def _hidden(self, patch_mask: np.ndarray) -> np.ndarray:
        """Which pixels of a picture are hidden."""
        cover = cover_pixels(patch_mask[np.newaxis], self.model.grid, self.model.image_shape)[0]
        return np.kron(cover[..., 0], np.ones((self.scale,) * 2, bool))[..., np.newaxis]

    def _stripes(self) -> np.ndarray:
        rows, columns = np.indices(self.size)
        return ((rows + columns) % 12 < 2)[..., np.newaxis]

    def _with_grid(self, picture: np.ndarray) -> np.ndarray:
        rows, columns = (
            side // count for side, count in zip(self.size, self.model.grid[:2], strict=True)
        )
        if min(rows, columns) < 6:
            return picture
        lines = np.zeros(self.size, bool)
        for edge in (-1, 0):  # two pixels wide, as pages show pictures smaller than they are
            lines[edge % rows :: rows] = True
            lines[:, edge % columns :: columns] = True
        return np.where(lines[..., np.newaxis], 0.6 * picture + 0.4 * 128, picture).astype("uint8")

    def _enlarged(self, colors: np.ndarray) -> np.ndarray:
        pixels = np.rint(255 * np.asarray(colors)).astype("uint8")
        return pixels.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
