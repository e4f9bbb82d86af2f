"""Batches as the accounting of private training assumes: every sample in by a coin of its own.

NumPy alone, so that every backend and every data pipeline draws the same batches. Imports nothing
of the package.
"""

import logging

import numpy as np

LOGGER = logging.getLogger("mae_keras")


def poisson_numbers(
    key: tuple[int, int], step: int, num_samples: int, sampling_probability: float, size: int
) -> np.ndarray:
    """Numbers of the samples in the batch of a step, padded with -1 to a static size.

    Each sample is in with the same probability, whatever the others do. The probability is rounded
    down to a multiple of 2**-64. Where more than `size` are drawn, the last ones are left out and a
    warning is logged; `mae_keras.accounting` makes this improbable and pays for it.

    Args:
        key: two ints in [0, 2**31): who knows them knows the batches.
        step: int >= 0.
        num_samples: int.
        sampling_probability: float in (0, 1].
        size: int.

    Returns:
        int32 array `(size,)`, in ascending order before the padding.

    Example:
    >>> poisson_numbers((1, 2), 0, num_samples=3, sampling_probability=1.0, size=4).tolist()
    [0, 1, 2, -1]
    """
    low, high = key
    bits = np.random.Philox(key=low | high << 64, counter=[0, 0, 0, int(step)])
    drawn = bits.random_raw(num_samples)
    if sampling_probability < 1:
        numbers = np.flatnonzero(drawn < np.uint64(int(sampling_probability * 2**64)))
    else:
        numbers = np.arange(num_samples)
    if len(numbers) > size:
        LOGGER.warning(
            "Step %d drew %d samples, more than the %d that a batch holds: %d are left out.",
            step,
            len(numbers),
            size,
            len(numbers) - size,
        )
    padded = np.full(size, -1, "int32")
    padded[: len(numbers)] = numbers[:size]
    return padded
