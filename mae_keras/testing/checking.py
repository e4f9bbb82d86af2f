"""What the checks share: the error, arrays of tensors, and running a function compiled."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


class CheckError(AssertionError):
    """A property that this package relies on does not hold; the message names it.

    Example:
    >>> from mae_keras.layers import RandomMasking
    >>> from mae_keras.testing import check_masking
    >>> check_masking(RandomMasking(0.5, seed=0), fixed=True)
    Traceback (most recent call last):
    mae_keras.testing.checking.CheckError: The masks of RandomMasking must not change with the step
    if it is fixed.
    """


def require(holds: Any, message: str) -> None:
    """Raise `CheckError(message)` unless a property holds."""
    if not holds:
        raise CheckError(message)


def array_of(tensor: Any) -> np.ndarray:
    """A tensor as a NumPy array, half precision as float32."""
    if "float16" in keras.backend.standardize_dtype(tensor.dtype):
        tensor = keras.ops.cast(tensor, "float32")
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def close(one: np.ndarray, other: np.ndarray, tolerance: float = 1e-4) -> bool:
    """Whether arrays agree to within a share of their largest value."""
    if one.shape != other.shape:
        return False
    scale = max(float(np.abs(other).max(initial=0.0)), 1e-6)
    return bool(np.abs(one - other).max(initial=0.0) <= tolerance * scale)


class _Function(keras.Model):
    def __init__(self, function: Callable[[Any], Any]):
        super().__init__(name="compiled", autocast=False)
        self.function = function
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


def compiled(function: Callable[[Any], Any], inputs: Any, jit_compile: bool) -> Any:
    """What a function gives in a compiled graph, with or without XLA."""
    model = _Function(function)
    model.compile(jit_compile=jit_compile)
    return model.predict_on_batch(inputs)
