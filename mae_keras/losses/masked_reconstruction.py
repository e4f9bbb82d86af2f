"""The masked reconstruction loss, and the weights that carry the mask to it."""

from typing import Any

import keras
from keras import ops

from mae_keras.arguments import check_array, check_choice, check_tensor

_REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)


@keras.saving.register_keras_serializable(package="mae_keras")
class MaskedReconstructionLoss(keras.losses.Loss):
    """Mean error per patch; which patches count, and how much, is in `sample_weight`.

    A plain Keras loss: the models pass `reconstruction_weights(...)` as `sample_weight`, so that
    the default reduction gives the mean over images of each image's mean over its hidden
    patches. Without `sample_weight` every patch counts. Arithmetic is float32 under every dtype
    policy.

    Args:
        error: `"squared"` (the paper's) or `"absolute"`.
        reduction: as in `keras.losses.Loss`. Defaults to `"sum_over_batch_size"`.
        name: str.
        dtype: dtype of the arithmetic. Defaults to `"float32"`.

    Call arguments:
        y_true: tensor `(batch, num_patches, patch_dim)`, target patches.
        y_pred: tensor of the same shape.
        sample_weight: tensor that broadcasts to `(batch, num_patches)`, or `None`.

    Raises:
        ValueError: if `error` is unknown.

    Example:
    >>> import numpy as np
    >>> patches = np.array([[[0.0, 0.0], [3.0, 3.0]]])
    >>> patch_mask = np.array([[True, False]])
    >>> loss = MaskedReconstructionLoss()
    >>> float(loss(patches, np.ones((1, 2, 2)), reconstruction_weights(patch_mask)))
    1.0

    References:
        - He et al. 2021, arXiv:2111.06377, section 3 ("Reconstruction target").
        - facebookresearch/mae `forward_loss`: the same value when every image has as many hidden
          patches; there the mean is pooled over the batch, which differs when they do not.
    """

    def __init__(
        self,
        error: str = "squared",
        reduction: str | None = "sum_over_batch_size",
        name: str = "masked_reconstruction",
        dtype: Any = "float32",
    ):
        check_choice("error", error, ("squared", "absolute"))
        check_choice("reduction", reduction, _REDUCTIONS)
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.error = error

    def call(self, y_true: Any, y_pred: Any) -> Any:
        difference = y_pred - y_true
        power = ops.square(difference) if self.error == "squared" else ops.abs(difference)
        return ops.mean(power, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "error": self.error, "dtype": self.dtype}


def reconstruction_weights(counted: Any, sample_weight: Any = None) -> Any:
    """Loss weights with which each image shares one unit among its counted patches.

    `user_i * counted_ij * num_patches / max(1, counted_i)`: the mean over all (image, patch) pairs
    of weight times loss is then the mean over images. Linear in the images, so replicas and
    accumulated micro-batches add up to the joined batch, which a pooled mean does not.

    Args:
        counted: bool `(batch, num_patches)`, patches that count.
        sample_weight: tensor `(batch,)` or `(batch, 1)`, the user's weights, or `None`.

    Returns:
        float32 tensor `(batch, num_patches)`.

    Example:
    >>> import numpy as np
    >>> np.asarray(reconstruction_weights(np.array([[True, True, False, False]]))).tolist()
    [[2.0, 2.0, 0.0, 0.0]]
    """
    check_tensor("counted", counted, 2)
    counted = ops.cast(counted, "float32")
    total = ops.sum(counted, axis=-1, keepdims=True)
    weights = counted * counted.shape[-1] / ops.maximum(total, 1.0)
    if sample_weight is None:
        return weights
    if isinstance(sample_weight, (int, float, list, tuple)):
        sample_weight = ops.convert_to_tensor(check_array("sample_weight", sample_weight))
    check_tensor("sample_weight", sample_weight)
    sizes = tuple(sample_weight.shape)
    one_each = len(sizes) == 1 or len(sizes) == 2 and sizes[1] == 1
    if not one_each or sizes[0] not in (None, counted.shape[0]) and counted.shape[0] is not None:
        raise ValueError(
            "`sample_weight` must have one weight per image, shape (batch,). "
            f"Received: sample_weight.shape={sizes} for {counted.shape[0]} images"
        )
    return weights * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
