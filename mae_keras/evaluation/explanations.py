"""Whether maps that explain a decision point where they should. Imports NumPy only."""

import dataclasses
from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_int, check_ints


@dataclasses.dataclass(frozen=True, eq=False)
class Localization:
    """What `localization` returns. Chance is what a map of equal values, or a random one, has.

    Attributes:
        mass: float64 array `(num_images,)` in [0, 1], share of a map's positive values inside the
            region.
        hits: bool array `(num_images,)`, whether the largest value is inside the region.
        chance: float64 array `(num_images,)` in [0, 1], share of the pixels that are in the region.
    """

    mass: np.ndarray
    hits: np.ndarray
    chance: np.ndarray

    def text(self) -> str:
        """One line of means."""
        return (
            f"mass in the region {self.mass.mean():.3f}, largest value in it {self.hits.mean():.3f}"
            f"; chance {self.chance.mean():.3f} ({len(self.mass)} images)"
        )


def localization(maps: Any, regions: Any) -> Localization:
    """Compare maps with the regions that are known to decide.

    Where the cause is planted, such as a bright square that decides the class, a map that does not
    find it explains nothing. A map without positive values has a mass of 0 everywhere.

    Args:
        maps: array `(num_images, *spatial)`, such as `models.occlusion_maps` gives; of maps by
            patch, `patch_maps` makes maps of pixels.
        regions: bool or 0/1 array of the same shape, 1 = decides; in each image somewhere, and
            somewhere not.

    Returns:
        `Localization`.

    Raises:
        TypeError: if regions are not integers or booleans.
        ValueError: if shapes do not fit, maps are not finite, or a region is empty or everywhere.

    Example:
    >>> result = localization([[[0.0, 3.0], [1.0, -2.0]]], [[[0, 1], [0, 0]]])
    >>> result.mass.tolist(), result.hits.tolist(), result.chance.tolist()
    ([0.75], [True], [0.25])

    References:
        - Zhang et al. 2016, arXiv:1608.00507, section 4.2: the pointing game (`hits`).
    """
    maps = check_array("maps", maps, finite=True).astype("float64")
    regions = check_array("regions", regions, kinds="bui")
    if maps.ndim < 2 or maps.shape != regions.shape:
        raise ValueError(
            "`maps` and `regions` must have one shape (num_images, *spatial). Received: "
            f"maps.shape={maps.shape}, regions.shape={regions.shape}"
        )
    if not np.isin(regions, (0, 1)).all():
        raise ValueError("`regions` must be 0 and 1, 1 = decides. Received: other values")
    rows, inside = (array.reshape(len(maps), -1) for array in (maps, regions.astype(bool)))
    chance = inside.mean(axis=1)
    if not ((chance > 0) & (chance < 1)).all():
        number = int(np.argmin((chance > 0) & (chance < 1)))
        raise ValueError(
            "`regions` must mark a part of every image. Received: "
            f"{'all' if chance[number] else 'nothing'} of image {number}"
        )
    positive = np.maximum(rows, 0)
    # relative to the largest, so that sums of tiny or huge values stay finite
    positive /= np.maximum(positive.max(axis=1, keepdims=True), 1e-300)
    total = positive.sum(axis=1)
    mass = np.where(inside, positive, 0).sum(axis=1) / np.where(total > 0, total, 1)
    hits = inside[np.arange(len(rows)), rows.argmax(axis=1)]
    return Localization(mass, hits, chance)


def map_correlations(maps: Any, others: Any) -> np.ndarray:
    """Rank correlation of two maps of each image.

    The sanity check of an explanation: maps of the trained model and of one with random weights. A
    correlation near 1 says that the map shows the image, not what was learned.

    Args:
        maps: array `(num_images, *spatial)`.
        others: array of the same shape, of the same images by another model.

    Returns:
        float64 array `(num_images,)` in [-1, 1], Spearman's; 0 where a map has one value only.

    Raises:
        ValueError: if shapes do not fit, or maps are not finite.

    Example:
    >>> map_correlations([[[0.0, 1.0], [2.0, 3.0]]], [[[9.0, 4.0], [1.0, 0.0]]]).tolist()
    [-1.0]

    References:
        - Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv:1810.03292, section 3.
    """
    from scipy.stats import rankdata

    maps = check_array("maps", maps, finite=True)
    others = check_array("others", others, finite=True)
    if maps.ndim < 2 or maps.shape != others.shape:
        raise ValueError(
            "`maps` and `others` must have one shape (num_images, *spatial). Received: "
            f"maps.shape={maps.shape}, others.shape={others.shape}"
        )
    ranks = [rankdata(array.reshape(len(maps), -1), axis=1) for array in (maps, others)]
    one, other = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    spread = np.sqrt(np.square(one).sum(axis=1) * np.square(other).sum(axis=1))
    product = (one * other).sum(axis=1) / np.where(spread > 0, spread, 1)
    return np.clip(product, -1, 1)


def patch_maps(values: Any, patch_size: Any, image_shape: Any) -> np.ndarray:
    """Maps of pixels from one value for each patch.

    Args:
        values: array `(num_images, num_patches)`, patches in raster order, such as
            `models.attention_rollout` gives.
        patch_size: int, or one for each spatial axis.
        image_shape: ints `(*spatial, channels)`; patches must divide it.

    Returns:
        Array `(num_images, *spatial)`.

    Raises:
        ValueError: if sizes do not fit.

    Example:
    >>> patch_maps([[1.0, 2.0]], 2, (2, 4, 1))[0].tolist()
    [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """
    values = check_array("values", values, 2)
    spatial = check_ints("image_shape", image_shape, 1)[:-1]
    if np.ndim(patch_size) == 0:
        patch_size = (check_int("patch_size", patch_size, 1),) * len(spatial)
    sides = check_ints("patch_size", patch_size, 1, length=len(spatial) or 1)
    grid = [size // side for size, side in zip(spatial, sides, strict=False)]
    fits = spatial and all(size % side == 0 for size, side in zip(spatial, sides, strict=True))
    if not fits or int(np.prod(grid, dtype="float64")) != values.shape[1]:
        raise ValueError(
            f"`values` must be one for each of the patches of {sides} pixels that divide images of "
            f"{spatial}. Received: values.shape={values.shape}"
        )
    maps = values.reshape(len(values), *grid)
    for axis, side in enumerate(sides, start=1):
        maps = maps.repeat(side, axis=axis)
    return maps
