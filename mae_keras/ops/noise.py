"""Uniform noise that is a pure function of (seed, step, sample, element).

Owns the randomness of masks and drop path. Imports `keras.ops` only.

Why not `keras.random`: its generators keep state that Keras does not save, so a resumed run would
replay old masks, and one draw covers a whole batch, so a mask would depend on the batch size. A
counter-based hash has no state: replicas take their slice by counting from their first sample,
`evaluate` counts samples, and every backend gives the same bits.
"""

from typing import Any

import numpy as np
from keras import ops

from mae_keras.arguments import LARGEST_SEED, check_array, check_int, check_tensor

_GOLDEN = 0x9E3779B9


def _int32(value: int) -> int:
    """The int32 with the same 32 bits: multiplication then wraps alike on every backend."""
    return int(np.uint32(value & 0xFFFFFFFF).astype(np.int32))


def _shift_right(x: Any, bits: int) -> Any:
    # int32 shifts copy the sign bit in; the mask makes the shift a logical one.
    return ops.bitwise_and(ops.right_shift(x, bits), (1 << (32 - bits)) - 1)


def _mix(x: Any) -> Any:
    x = ops.bitwise_xor(x, _shift_right(x, 16)) * _int32(0x7FEB352D)
    x = ops.bitwise_xor(x, _shift_right(x, 15)) * _int32(0x846CA68B)
    return ops.bitwise_xor(x, _shift_right(x, 16))


def counter_noise(seed: Any, step: Any, samples: Any, num_elements: int) -> Any:
    """Uniform noise in [0, 1), a function of its four arguments and of nothing else.

    Each argument is folded into a 32-bit hash with full avalanche; the upper 24 bits become a
    float32, so all values are exact multiples of 2**-24.

    Args:
        seed: int or int32 scalar tensor, which stream of noise.
        step: int or int scalar tensor, which draw of the stream.
        samples: int tensor `(batch,)`, position of each sample in the global batch.
        num_elements: int, values per sample.

    Returns:
        float32 tensor `(batch, num_elements)`.

    Example:
    >>> import numpy as np
    >>> whole = counter_noise(0, 3, np.arange(4), 5)
    >>> part = counter_noise(0, 3, np.arange(2, 4), 5)
    >>> bool(np.array_equal(np.asarray(whole)[2:], np.asarray(part)))
    True

    References:
        - Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (counter-based
          generators).
        - Mixing constants: C. Wellons, "Prospecting for hash functions" (lowbias32).
    """
    # Tensors cannot be looked at here; other numbers must be whole, not cut to be.
    seed, step = (
        value if hasattr(value, "dtype") else check_int(name, value)
        for name, value in (("seed", seed), ("step", step))
    )
    if isinstance(samples, (list, tuple, range)):
        samples = check_array("samples", samples, 1, kinds="ui")
    check_tensor("samples", samples, 1, kinds="ui")
    num_elements = check_int("num_elements", num_elements, 1, LARGEST_SEED)
    step = _int32(step) if isinstance(step, int) else step
    step = ops.cast(ops.convert_to_tensor(step), "int32")
    seed = ops.convert_to_tensor(_int32(seed) if isinstance(seed, int) else seed, "int32")
    stream = _mix(_mix(seed) + step * _int32(_GOLDEN))
    samples = ops.cast(ops.convert_to_tensor(samples), "int32")
    rows = _mix(stream + samples * _int32(0x85EBCA6B))[:, None]
    columns = ops.convert_to_tensor(np.arange(num_elements, dtype="int32"))[None, :]
    bits = _mix(_mix(rows + columns * _int32(0xC2B2AE35)) + _int32(_GOLDEN))
    return ops.cast(_shift_right(bits, 8), "float32") * 2.0**-24
