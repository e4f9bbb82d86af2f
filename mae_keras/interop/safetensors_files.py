"""Reading and writing `.safetensors` files through the `safetensors` package, an extra."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mae_keras.interop.extras import import_extra
from mae_keras.interop.stored_tensors import StoredTensor, numpy_dtype

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path: str) -> dict[str, StoredTensor]:
    """The tensors of a file, read on demand.

    Args:
        path: `.safetensors` file.

    Returns:
        Name to `StoredTensor`.

    Raises:
        ImportError: if `safetensors` is not installed.
        ValueError: if the file is damaged or of another kind.
    """
    package = _package()
    try:
        with package.safe_open(path, framework="np") as file:
            return {name: _stored(package, path, file, name) for name in file.keys()}
    except package.SafetensorError as error:
        raise ValueError(
            f"{path!r} is no whole safetensors file; it is truncated or of another kind ({error})"
        ) from error


def write_safetensors(path: str, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a file that PyTorch libraries read.

    Args:
        path: file to write.
        tensors: name to array.

    Raises:
        ImportError: if `safetensors` is not installed.
    """
    _package()
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    # Hugging Face refuses files whose metadata does not name a framework.
    save_file(whole, path, metadata={"format": "pt"})


def _stored(package: Any, path: str, file: Any, name: str) -> StoredTensor:
    part = file.get_slice(name)
    dtype = _DTYPES.get(part.get_dtype(), part.get_dtype())
    return StoredTensor(tuple(part.get_shape()), dtype, lambda: _load(package, path, name, dtype))


def _load(package: Any, path: str, name: str, dtype: str) -> np.ndarray:
    numpy_dtype(dtype)  # bfloat16 is known to NumPy from here on
    with package.safe_open(path, framework="np") as file:
        return file.get_tensor(name)


def _package() -> Any:
    return import_extra("safetensors", "torch-weights", "a `.safetensors` file")
