"""Several masks of one image that together hide every patch. Imports `keras.ops` only."""

import math
from typing import Any

from keras import ops

from mae_keras.ops.noise import counter_noise


def covering_masks(num_patches: int, count: int, num_masks: int, seed: int, samples: Any) -> Any:
    """Draw masks that hide every patch of every image about equally often.

    The patches are put in a random order and hidden `count` at a time, the first, the next, and
    so on; what the last mask lacks it takes from the start of the order. After these
    `ceil(num_patches / count)` masks, which have hidden everything, a fresh order follows.
    A mask is a function of (seed, number of the sample) alone, whatever the batch.

    Args:
        num_patches: int, patches per image.
        count: int, patches hidden by one mask, less than `num_patches`.
        num_masks: int, at least 2 and at least `ceil(num_patches / count)`.
        seed: int.
        samples: int tensor `(batch,)`, position of each sample in the whole set.

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
    together = max(2, math.ceil(num_patches / count))
    if isinstance(num_masks, bool) or not hasattr(num_masks, "__index__") or num_masks < together:
        raise ValueError(
            f"`num_masks` must be an int, at least {together}: so many masks it takes to hide each "
            f"of {num_patches} patches, {count} at a time. Received: num_masks={num_masks!r}"
        )
    masks = []
    for number in range(num_masks):
        turn, part = divmod(number, math.ceil(num_patches / count))
        noise = counter_noise(seed, turn, samples, num_patches)
        places = ops.argsort(ops.argsort(noise, axis=-1), axis=-1)
        masks.append(ops.mod(places - part * count, num_patches) < count)
    return ops.stack(masks)
