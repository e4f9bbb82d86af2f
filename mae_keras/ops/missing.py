"""Missing data: pixels that are NaN, and the patches that hold them.

Imports `keras.ops` only.
"""

from typing import Any

from keras import ops


def can_be_missing(dtype: str) -> bool:
    """Whether values of this dtype can be NaN at all.

    Args:
        dtype: str, a dtype name.

    Returns:
        bool.

    Example:
    >>> can_be_missing("uint8"), can_be_missing("float32")
    (False, True)
    """
    return "float" in str(dtype)


def split_missing(patches: Any) -> tuple[Any, Any]:
    """Separate missing values from the rest.

    Zeroing must come before any arithmetic, for inputs and targets alike: a NaN that is only
    multiplied by a zero weight still gives NaN gradients.

    Args:
        patches: float tensor `(batch, num_patches, patch_dim)`, NaN where data is missing.

    Returns:
        `patches` with 0 in place of NaN, and `missing_mask`: bool `(batch, num_patches)`, `True`
        for a patch with any missing value.

    Example:
    >>> import numpy as np
    >>> clean, missing_mask = split_missing(np.array([[[1.0, np.nan], [2.0, 3.0]]]))
    >>> np.asarray(missing_mask).tolist()
    [[True, False]]
    """
    absent = ops.isnan(patches)
    return ops.where(absent, ops.zeros_like(patches), patches), ops.any(absent, axis=-1)
