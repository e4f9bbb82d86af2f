"""How evenly features spread over directions, as a loss."""

from typing import Any

import keras
from keras import ops

from mae_keras.arguments import check_tensor


@keras.saving.register_keras_serializable(package="mae_keras")
def uniformity(features: Any) -> Any:
    """Mean squared cosine similarity between the features of a batch.

    1 when all point the same way, `1 / min(batch, features)` at best. Added to the
    reconstruction loss with a small weight it keeps features from collapsing into few
    directions, which linear probes suffer from. Arithmetic is float32 under every dtype policy.

    Args:
        features: tensor `(batch, hidden_dim)`.

    Returns:
        float32 scalar in (0, 1].

    Example:
    >>> import numpy as np
    >>> float(uniformity(np.eye(4))), float(uniformity(np.ones((4, 3)))) > 0.999
    (0.25, True)

    References:
        - Zhang et al. 2022, "How Mask Matters", arXiv:2210.08344, equation 11 (U-MAE).
        - Numerics: zhangq327/U-MAE `uniformity_loss`, which divides similarities by `tau = 0.1`
          and weighs by `beta = 1e-4`: a weight of 0.01 here.
    """
    check_tensor("features", features, 2)
    if 0 in features.shape:
        raise ValueError(
            f"`features` must not be empty. Received: features.shape={tuple(features.shape)}"
        )
    features = ops.cast(features, "float32")
    # Not `ops.normalize`, whose gradient is NaN where a feature vector is zero.
    squares = ops.sum(ops.square(features), axis=-1, keepdims=True)
    features = features * ops.rsqrt(squares + 1e-12)
    return ops.mean(ops.square(ops.matmul(features, ops.transpose(features))))
