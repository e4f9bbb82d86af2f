"""Several masks of one image that together hide every patch. Imports `keras.ops` only."""

import math
from typing import Any

import numpy as np
from keras import ops

from mae_keras.arguments import LARGEST_SEED, check_int
from mae_keras.ops.noise import counter_noise


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
