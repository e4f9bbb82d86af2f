"""Tensors in a file, read only when asked for. Imports nothing of the package."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_FLOATS = ("float32", "float64", "float16", "bfloat16")
_NUMBERS = (*_FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor whose numbers still lie in a file.

    Attributes:
        shape: tuple of ints.
        dtype: str, a NumPy name or `"bfloat16"`.
        load: reads the numbers, as an array of that shape and dtype.
        read_bytes: int, bytes of the file that `load` reads: more than its own where several
            tensors share them.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray]
    read_bytes: int = 0

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a tensor may not be changed by the pickle that holds it")

    @property
    def num_bytes(self) -> int:
        """Bytes that it takes in memory, as `numpy` gives it."""
        return 4 * math.prod(self.shape)

    def numpy(self) -> np.ndarray:
        """The numbers, as float32."""
        return np.asarray(self.load()).astype("float32").reshape(self.shape)


@dataclasses.dataclass
class Checkpoint:
    """What a checkpoint holds, and what lies beside it.

    Attributes:
        path: str, as it was given.
        tensors: name to `StoredTensor`, names as in the file.
        settings: training arguments saved with the weights (facebookresearch/mae's `args`).
        config: the `config.json` beside the file, or `{}`.
        preprocessor: the `preprocessor_config.json` beside it, or `{}`.
        notes: sentences about how it was read.
    """

    path: str
    tensors: dict[str, StoredTensor]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    preprocessor: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


def joined(parts: Sequence[StoredTensor]) -> StoredTensor:
    """Several tensors as one, one after the other along the first axis.

    Args:
        parts: tensors that differ in their first size only.

    Returns:
        `StoredTensor`.
    """
    rows = sum(part.shape[0] for part in parts)
    return StoredTensor(
        (rows, *parts[0].shape[1:]),
        parts[0].dtype,
        lambda: np.concatenate([part.numpy() for part in parts]),
    )


def made(array: np.ndarray) -> StoredTensor:
    """An array as a tensor of a file.

    Args:
        array: float32 array.

    Returns:
        `StoredTensor`.
    """
    return StoredTensor(array.shape, "float32", lambda: array)


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of a name, bfloat16 included.

    Args:
        name: str.

    Returns:
        `np.dtype`.

    Raises:
        ValueError: if numbers of this kind are not read.
    """
    if name not in _NUMBERS:
        raise ValueError(
            f"Tensors must be one of {', '.join(_NUMBERS)}. Received: a tensor of {name}"
        )
    if name == "bfloat16":
        import ml_dtypes  # comes with Keras

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)
