"""Which patches are hidden: counts, scores, masks, gathering and putting back.

A strategy gives every patch a score; the patches with the highest scores are hidden, exactly as
many as `num_hidden` says. Imports `keras.ops` only.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from mae_keras.arguments import (
    LARGEST_SEED,
    check_int,
    check_ints,
    check_number,
    check_parameters,
    check_tensor,
)
from mae_keras.ops.noise import counter_noise


def num_hidden(num_patches: int, mask_ratio: float) -> int:
    """How many of `num_patches` are hidden: the only place where this is computed.

    `floor(num_patches * mask_ratio + 0.5)`. The reference keeps
    `int(num_patches * (1 - mask_ratio))`, which float truncation makes 0 of 10 at 0.9.

    Args:
        num_patches: int, at least 2.
        mask_ratio: float in (0, 1).

    Returns:
        int, at least 1 and less than `num_patches`.

    Raises:
        ValueError: if the ratio is not in (0, 1), or would hide none or all.

    Example:
    >>> num_hidden(196, 0.75)
    147
    """
    check_int("num_patches", num_patches, 1, LARGEST_SEED)
    check_number("mask_ratio", mask_ratio, 0, 1, above=True, below=True)
    hidden = math.floor(num_patches * mask_ratio + 0.5)
    if not 0 < hidden < num_patches:
        raise ValueError(
            f"`mask_ratio` must hide at least one patch and leave at least one visible, but of "
            f"{num_patches} patches {mask_ratio} hides {hidden}. Received: mask_ratio={mask_ratio}"
        )
    return hidden


def random_scores(grid: Sequence[int], seed: int, step: Any, samples: Any) -> Any:
    """Scores for random masking: independent uniform noise.

    Args:
        grid: ints, patches per axis.
        seed: as in `counter_noise`.
        step: as in `counter_noise`.
        samples: as in `counter_noise`.

    Returns:
        float32 tensor `(batch, num_patches)`.

    Example:
    >>> tuple(random_scores((2, 3), 0, 1, np.arange(4)).shape)
    (4, 6)
    """
    grid = check_ints("grid", grid, 1, LARGEST_SEED)
    return counter_noise(seed, step, samples, math.prod(grid))


def block_scores(
    grid: Sequence[int],
    seed: int,
    step: Any,
    samples: Any,
    block_fraction: tuple[float, float] = (0.08, 0.25),
    aspect_ratio: float = 10 / 3,
    num_blocks: int = 48,
) -> Any:
    """Scores for block masking: boxes are laid one after another until enough is covered.

    A patch's score falls with the number of the first box that covers it and, within a box, with
    the distance from its center, so that the last box, which is cut to reach the exact count,
    stays in one piece. BEiT retries rejected boxes and may overshoot; this has a static shape.

    Args:
        grid: ints, patches per axis.
        seed: as in `counter_noise`.
        step: as in `counter_noise`.
        samples: as in `counter_noise`.
        block_fraction: two floats in (0, 1), smallest and largest share of the grid in one box.
        aspect_ratio: float >= 1, largest ratio of a box's sides.
        num_blocks: int, boxes to lay; what none covers is hidden last, at random.

    Returns:
        float32 tensor `(batch, num_patches)`.

    Example:
    >>> tuple(block_scores((4, 4), 0, 1, np.arange(3)).shape)
    (3, 16)

    References:
        - Bao et al. 2021, arXiv:2106.08254, algorithm 1; used by He et al. 2021, figure 6.
    """
    grid = check_ints("grid", grid, 1, LARGEST_SEED)
    rank, num_patches = len(grid), math.prod(grid)
    # (batch, num_blocks, 1 + 2 * rank): area, then center and shape per axis
    draws = counter_noise(seed, step, samples, num_blocks * (1 + 2 * rank) + num_patches)
    ties, draws = draws[:, :num_patches], draws[:, num_patches:]
    draws = ops.reshape(draws, (-1, num_blocks, 1, 1 + 2 * rank))
    low, high = block_fraction
    area = low + draws[..., :1] * (high - low)
    stretch = (draws[..., 1 : 1 + rank] - 0.5) * math.log(aspect_ratio)
    stretch = stretch - ops.mean(stretch, axis=-1, keepdims=True)
    sides = np.array(grid, "float32") * area ** (1.0 / rank) * ops.exp(stretch)
    centers = draws[..., 1 + rank :] * np.array(grid, "float32")
    coordinates = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1) + 0.5
    coordinates = coordinates.reshape(1, 1, num_patches, rank).astype("float32")
    # (batch, num_blocks, num_patches): at most 1 inside the box, the largest of the axes
    distance = ops.max(ops.abs(coordinates - centers) / (sides / 2), axis=-1)
    covered_by = np.arange(num_blocks, dtype="float32")[None, :, None] + 0.999 * distance
    covered_by = ops.where(distance <= 1.0, covered_by, float(num_blocks))
    return -(ops.min(covered_by, axis=1) + ties * 1e-3)


def axis_scores(
    grid: Sequence[int], axis: Sequence[int], seed: int, step: Any, samples: Any
) -> Any:
    """Scores for axis masking: the same for all patches at one place of some axes.

    Args:
        grid: ints, patches per axis.
        axis: ints, the axes whose places are drawn.
        seed: as in `counter_noise`.
        step: as in `counter_noise`.
        samples: as in `counter_noise`.

    Returns:
        float32 tensor `(batch, num_patches)`: the rank of the place, and a fraction that grows
        with the position of the patch, so that the place that is hidden in part is cut in one.

    Example:
    >>> scores = np.asarray(axis_scores((3, 4), (1,), 0, 1, np.arange(5)))
    >>> [len(np.unique(column)) for column in np.floor(scores[0]).reshape(3, 4).T]
    [1, 1, 1, 1]
    """
    grid = check_ints("grid", grid, 1, LARGEST_SEED)
    axis = check_ints("axis", axis, 0, len(grid) - 1)
    sides = [size if place in axis else 1 for place, size in enumerate(grid)]
    noise = counter_noise(seed, step, samples, math.prod(sides))
    ranks = ops.cast(ops.argsort(ops.argsort(noise, axis=-1), axis=-1), "float32")
    num_patches = math.prod(grid)
    position = np.arange(num_patches, dtype="float32").reshape(1, *grid) / num_patches
    return ops.reshape(ops.reshape(ranks, (-1, *sides)) + position, (-1, num_patches))


def grid_scores(grid: Sequence[int]) -> np.ndarray:
    """Scores for grid masking: a regular lattice stays visible, the same for every image.

    An ordered-dither (Bayer) pattern, so that any ratio leaves an even lattice: at 0.75 on an
    even 2-D grid exactly one patch of every 2x2 cell, as in the paper.

    Args:
        grid: ints, patches per axis.

    Returns:
        NumPy float32 array `(num_patches,)`.

    Example:
    >>> (grid_scores((4, 4)).reshape(4, 4) < 4).astype(int)
    array([[1, 0, 1, 0],
           [0, 0, 0, 0],
           [1, 0, 1, 0],
           [0, 0, 0, 0]])

    References:
        - He et al. 2021, figure 6 and table 1f ("grid").
        - Bayer 1973, "An optimum method for two-level rendition of continuous-tone pictures".
    """
    grid = check_ints("grid", grid, 1, LARGEST_SEED)
    check_parameters(math.prod(grid), grid=grid)
    axes = np.meshgrid(*map(np.arange, grid), indexing="ij")
    level = np.zeros(tuple(grid), "int64")
    rank, bits = len(grid), max(1, (max(grid) - 1).bit_length())
    for bit in range(bits):
        cell = np.zeros(tuple(grid), "int64")
        for axis in range(rank):
            parity = sum((coordinate >> bit) & 1 for coordinate in axes[axis:]) & 1
            cell = cell * 2 + parity
        level = level * 2**rank + cell
    ranks = np.argsort(np.argsort(level.ravel(), kind="stable"), kind="stable")
    return ranks.astype("float32")


def hide_highest(scores: Any, count: int) -> Any:
    """Hide the `count` patches with the highest scores, exactly, ties included.

    Args:
        scores: float tensor `(batch, num_patches)`.
        count: int, patches to hide in every image.

    Returns:
        bool tensor `(batch, num_patches)`, `True` = hidden.

    Example:
    >>> import keras
    >>> keras.ops.convert_to_numpy(hide_highest(np.array([[0.1, 0.9, 0.5]]), 1)).tolist()
    [[False, True, False]]
    """
    check_tensor("scores", scores)
    count = check_int("count", count, 0, scores.shape[-1])
    ranks = ops.argsort(ops.argsort(scores, axis=-1), axis=-1)
    return ranks >= scores.shape[-1] - count


def present_counts(num_patches: int, mask_ratio: float, missing: str) -> np.ndarray:
    """How many of the present patches are hidden, for every number of present ones.

    A sample has `num_hidden` hidden slots whatever is missing. Missing patches take those that
    present ones leave over. Of 2 or more present patches, at least one is hidden and at least one
    stays visible. Where fewer are present, none is hidden.

    Args:
        num_patches: int, patches per sample, present or missing.
        mask_ratio: float in (0, 1).
        missing: `"proportional"` hides the fraction `mask_ratio` of the present patches;
            `"first"` hides missing patches first, and present ones in the slots left over.

    Returns:
        NumPy int32 array `(num_patches + 1,)`: at `p`, how many of `p` present patches are hidden.

    Example:
    >>> present_counts(8, 0.5, "proportional").tolist()
    [0, 0, 1, 2, 2, 3, 3, 4, 4]
    >>> present_counts(8, 0.5, "first").tolist()
    [0, 0, 1, 1, 1, 1, 2, 3, 4]
    """
    hidden = num_hidden(num_patches, mask_ratio)
    present = np.arange(num_patches + 1)
    if missing == "first":
        counts = hidden - (num_patches - present)
    else:
        counts = np.floor(present * float(mask_ratio) + 0.5)  # as `num_hidden`
    # What is hidden and what is not must both fit into the slots there are.
    most = np.minimum(hidden, present - 1)
    least = np.maximum(present - (num_patches - hidden), 1)
    return np.where(present < 2, 0, np.clip(counts, least, most)).astype("int32")


def hide_present(scores: Any, missing_mask: Any, counts: np.ndarray) -> Any:
    """Hide patches with the highest scores where some are missing, by the number present.

    Works on ranks, so that scores of any size do, and gives `hide_highest` where nothing is
    missing.

    Args:
        scores: float tensor `(batch, num_patches)`.
        missing_mask: bool tensor `(batch, num_patches)`, `True` = missing.
        counts: int array `(num_patches + 1,)`, how many present patches to hide, by the number
            present (`present_counts`); its last entry is how many are hidden in all.

    Returns:
        bool tensor `(batch, num_patches)`, `True` = hidden, equally many in every sample.

    Example:
    >>> import keras
    >>> scores = np.array([[0.1, 0.9, 0.5, 0.3]])
    >>> missing = np.array([[False, True, True, False]])
    >>> hidden = hide_present(scores, missing, present_counts(4, 0.5, "proportional"))
    >>> keras.ops.convert_to_numpy(hidden).tolist()
    [[False, True, False, True]]
    """
    missing_mask = ops.cast(missing_mask, "bool")
    num_patches = missing_mask.shape[-1]
    order = ops.argsort(scores, axis=-1)
    ranks = ops.cast(ops.argsort(order, axis=-1), "int32")
    # Among the missing patches, and so among the present, how many score lower
    missing = ops.cast(missing_mask, "int32")
    ascending = gather_patches(missing[..., None], order)[..., 0]
    lower = gather_patches((ops.cumsum(ascending, axis=-1) - ascending)[..., None], ranks)[..., 0]
    rank = ops.where(missing_mask, lower, ranks - lower)
    num_missing = ops.sum(missing, axis=-1, keepdims=True)
    num_present = num_patches - num_missing
    of_present = ops.take(ops.convert_to_tensor(counts, "int32"), num_present)
    of_missing = int(counts[-1]) - of_present
    return rank >= ops.where(missing_mask, num_missing - of_missing, num_present - of_present)


def visible_indices(patch_mask: Any, num_visible: int) -> Any:
    """Positions of the visible patches, in raster order.

    Raster order makes the mask alone enough to put tokens back (`restore_indices`): no second
    permutation has to travel with it. An encoder does not see the order of its tokens.

    Args:
        patch_mask: bool tensor `(batch, num_patches)`, `True` = hidden, the same number hidden
            in every image.
        num_visible: int, visible patches per image.

    Returns:
        int32 tensor `(batch, num_visible)`, ascending.

    Example:
    >>> import keras
    >>> mask = np.array([[True, False, True, False]])
    >>> keras.ops.convert_to_numpy(visible_indices(mask, 2)).tolist()
    [[1, 3]]
    """
    return split_indices(patch_mask, num_visible)[0]


def split_indices(patch_mask: Any, num_visible: int) -> tuple[Any, Any]:
    """Positions of the visible and of the hidden patches, each in raster order.

    Args:
        patch_mask: bool tensor `(batch, num_patches)`, `True` = hidden, the same number hidden
            in every image.
        num_visible: int, visible patches per image.

    Returns:
        int32 tensors `(batch, num_visible)` and `(batch, num_hidden)`, ascending.

    Example:
    >>> import keras
    >>> mask = np.array([[True, False, True, False]])
    >>> visible, hidden = split_indices(mask, 2)
    >>> keras.ops.convert_to_numpy(hidden).tolist()
    [[0, 2]]
    """
    check_tensor("patch_mask", patch_mask, 2, kinds="b")
    num_patches = patch_mask.shape[-1]
    check_int("num_visible", num_visible, 0, num_patches)
    positions = np.arange(num_patches, dtype="int32")
    key = ops.sort(ops.cast(patch_mask, "int32") * num_patches + positions, axis=-1)
    return key[:, :num_visible], key[:, num_visible:] - num_patches


def restore_indices(patch_mask: Any) -> Any:
    """For every position, where its token stands among the visible ones.

    Args:
        patch_mask: bool tensor `(batch, num_patches)`, `True` = hidden.

    Returns:
        int32 tensor `(batch, num_patches)`; at hidden positions a valid but meaningless index.

    Example:
    >>> import keras
    >>> mask = np.array([[True, False, True, False]])
    >>> keras.ops.convert_to_numpy(restore_indices(mask)).tolist()
    [[0, 0, 0, 1]]
    """
    check_tensor("patch_mask", patch_mask, kinds="b")
    seen = ops.cumsum(ops.cast(ops.logical_not(patch_mask), "int32"), axis=-1)
    return ops.maximum(seen - 1, 0)


def gather_patches(patches: Any, indices: Any) -> Any:
    """Pick patches (or tokens) by position, differently for every image.

    One flat `take`: measured 3 to 4 times faster than `keras.ops.take_along_axis` on TensorFlow.

    Args:
        patches: tensor `(batch, num_patches, features)`.
        indices: int tensor `(batch, num_picked)`.

    Returns:
        Tensor `(batch, num_picked, features)`.

    Example:
    >>> tuple(gather_patches(np.ones((2, 6, 3)), np.array([[0, 5], [1, 2]])).shape)
    (2, 2, 3)
    """
    check_tensor("patches", patches, 3)
    check_tensor("indices", indices, 2, kinds="ui")
    if None not in (patches.shape[0], indices.shape[0]) and patches.shape[0] != indices.shape[0]:
        raise ValueError(
            "`indices` must have a row for each image of `patches`. Received: "
            f"patches.shape={tuple(patches.shape)}, indices.shape={tuple(indices.shape)}"
        )
    num_patches, features = patches.shape[1], patches.shape[2]
    offsets = ops.arange(ops.shape(indices)[0], dtype="int32")[:, None] * num_patches
    flat = ops.reshape(patches, (-1, features))
    return ops.take(flat, ops.cast(indices, "int32") + offsets, axis=0)


def restore_patches(visible: Any, patch_mask: Any, fill: Any) -> Any:
    """Put visible tokens back in place, `fill` everywhere else.

    Args:
        visible: tensor `(batch, num_visible, features)`, in raster order.
        patch_mask: bool tensor `(batch, num_patches)`, `True` = hidden.
        fill: number, or tensor that broadcasts to `(batch, num_patches, features)`.

    Returns:
        Tensor `(batch, num_patches, features)`.

    Raises:
        TypeError, ValueError: naming the argument that does not fit.

    Example:
    >>> import keras
    >>> mask = np.array([[True, False, True]])
    >>> keras.ops.convert_to_numpy(restore_patches(np.array([[[7.0]]]), mask, 0.0)).ravel().tolist()
    [0.0, 7.0, 0.0]
    """
    check_tensor("visible", visible, 3)
    check_tensor("patch_mask", patch_mask, 2, kinds="b")
    if fill is None:
        raise TypeError("`fill` must be a number or a tensor. Received: None")
    rows = visible.shape[0], patch_mask.shape[0]
    if None not in rows and rows[0] != rows[1]:
        raise ValueError(
            "`patch_mask` must have a row for each image of `visible`. Received: "
            f"visible.shape={tuple(visible.shape)}, patch_mask.shape={tuple(patch_mask.shape)}"
        )
    placed = gather_patches(visible, restore_indices(patch_mask))
    return ops.where(patch_mask[..., None], fill, placed)


def covering_masks(
    num_patches: int,
    count: int,
    num_masks: int,
    seed: int,
    samples: Any,
    missing_mask: Any = None,
) -> Any:
    """Draw masks that hide every patch of every image about equally often.

    The patches are put in a random order and hidden `count` at a time, the first, the next, and
    so on; what the last mask lacks it takes from the start of the order. After these
    `ceil(num_patches / count)` masks, which have hidden everything, a fresh order follows.
    A mask is a function of (seed, number of the sample) alone, whatever the batch.

    Where patches are missing, the same is done with the present ones: a mask hides the fraction
    `count / num_patches` of them, rounded up, but never all. Missing patches are hidden by every
    mask. A single present patch is hidden by none.

    Args:
        num_patches: int, patches per image.
        count: int, patches hidden by one mask, less than `num_patches`.
        num_masks: int, at least 2 and at least `ceil(num_patches / count)`; at most that or
            10,000, whichever is more.
        seed: int.
        samples: int tensor `(batch,)`, position of each sample in the whole set.
        missing_mask: bool `(batch, num_patches)`, `True` = missing, or `None`.

    Returns:
        bool tensor `(num_masks, batch, num_patches)`, `True` = hidden.

    Raises:
        ValueError: if the masks are too few to hide every patch.

    Example:
    >>> import numpy as np
    >>> masks = covering_masks(16, 8, 2, 0, np.arange(3))
    >>> bool(np.all(np.asarray(masks[0]) ^ np.asarray(masks[1])))
    True
    """
    num_patches = check_int("num_patches", num_patches, 2, LARGEST_SEED)
    count = check_int("count", count, 1, num_patches - 1)
    together = max(2, math.ceil(num_patches / count))
    if isinstance(num_masks, bool) or not hasattr(num_masks, "__index__") or num_masks < together:
        raise ValueError(
            f"`num_masks` must be an int, at least {together}: so many masks it takes to hide each "
            f"of {num_patches} patches, {count} at a time. Received: num_masks={num_masks!r}"
        )
    num_masks = check_int("num_masks", num_masks, together, max(together, 10_000))
    if missing_mask is None:
        present, hidden = num_patches, count
    else:
        missing_mask = ops.cast(missing_mask, "bool")
        present = num_patches - ops.sum(ops.cast(missing_mask, "int32"), axis=-1, keepdims=True)
        # Rounded up, so that as many masks hide every present patch.
        numbers = np.arange(num_patches + 1)
        counts = np.maximum(np.minimum(-(-numbers * count // num_patches), numbers - 1), 0)
        hidden = ops.take(ops.convert_to_tensor(counts, "int32"), present)
        present = ops.maximum(present, 1)
    masks = []
    for number in range(num_masks):
        turn, part = divmod(number, math.ceil(num_patches / count))
        noise = counter_noise(seed, turn, samples, num_patches)
        if missing_mask is not None:  # last in the order
            noise = ops.where(missing_mask, noise + 1.0, noise)
        places = ops.cast(ops.argsort(ops.argsort(noise, axis=-1), axis=-1), "int32")
        mask = ops.mod(places - part * hidden, present) < hidden
        masks.append(mask if missing_mask is None else ops.logical_or(mask, missing_mask))
    return ops.stack(masks)
