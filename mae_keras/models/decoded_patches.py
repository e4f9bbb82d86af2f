"""Which of the patches in the loss a training step decodes."""

import math
from typing import Any

from keras import ops

from mae_keras.ops import counter_noise

# Keeps the draw apart from that of the masks, which has the same seed.
_STREAM = 0x2545F491


def num_decoded(num_counted: int, decode_ratio: float) -> int:
    """How many of the patches in the loss are decoded.

    Args:
        num_counted: int, patches in the loss.
        decode_ratio: float in (0, 1].

    Returns:
        int, at least 1.

    Example:
    >>> num_decoded(48, 0.25), num_decoded(3, 0.1)
    (12, 1)
    """
    return max(1, math.floor(num_counted * decode_ratio + 0.5))


def draw_decoded(counted: Any, count: int, seed: int, step: Any, samples: Any) -> Any:
    """Draw patches to decode among those that count, as many in every image.

    A function of (seed, step, number of the sample) alone, as masks are.

    Args:
        counted: bool `(batch, num_patches)`, patches in the loss.
        count: int, patches to draw; where fewer count, others are drawn too.
        seed: int, that of the masks.
        step: int scalar.
        samples: int tensor `(batch,)`, position of each sample in the global batch.

    Returns:
        int32 tensor `(batch, count)`, in the order of the draw.

    Example:
    >>> import keras, numpy as np
    >>> counted = np.array([[True, False, True, False]])
    >>> drawn = draw_decoded(counted, 2, 0, 1, np.arange(1))
    >>> sorted(keras.ops.convert_to_numpy(drawn)[0].tolist())
    [0, 2]
    """
    noise = counter_noise(seed ^ _STREAM, step, samples, counted.shape[-1])
    order = ops.argsort(ops.where(counted, noise, noise + 1.0), axis=-1)
    return ops.cast(order[:, :count], "int32")
