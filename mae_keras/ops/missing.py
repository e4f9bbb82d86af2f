"""Missing data: pixels that are NaN, and the patches that hold them.

Imports `keras.ops` only.
"""

from typing import Any

from keras import ops

from mae_keras.arguments import check_tensor


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
    check_tensor("patches", patches)
    absent = ops.isnan(patches)
    return ops.where(absent, ops.zeros_like(patches), patches), ops.any(absent, axis=-1)


def is_usable(missing_mask: Any) -> Any:
    """Which samples a masked autoencoder can learn from: one patch to see and one to predict.

    Args:
        missing_mask: bool tensor `(batch, num_patches)`, `True` = missing.

    Returns:
        bool tensor `(batch,)`, `True` where 2 or more patches are present.

    Example:
    >>> import numpy as np
    >>> np.asarray(is_usable(np.array([[True, True, False], [False, True, False]]))).tolist()
    [False, True]
    """
    present = ops.logical_not(ops.cast(missing_mask, "bool"))
    return ops.sum(ops.cast(present, "int32"), axis=-1) >= 2
