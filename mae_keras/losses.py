"""The masked reconstruction loss, and what else a model here may be trained on."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import (
    UNLABELED,
    check_array,
    check_choice,
    check_number,
    check_tensor,
)

_REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)

__all__ = [
    "LogitAdjustedCrossentropy",
    "MaskedReconstructionLoss",
    "SegmentationLoss",
    "adjust_logits",
    "reconstruction_weights",
    "uniformity",
]


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


@keras.saving.register_keras_serializable(package="mae_keras")
class LogitAdjustedCrossentropy(keras.losses.Loss):
    """Crossentropy of `logits + tau * log(prior)`: learns scores that favor no class.

    The frequencies are added during training only; the model's own outputs are then the scores to
    predict with, and minimize the balanced error instead of the plain one. A linear classifier
    with a free bias reaches the same by `adjust_logits` after plain training; deeper models
    do not.

    Other ways to treat rare classes need no class here: weights go into
    `fit(class_weight=class_weights(...))`, the focal loss is
    `keras.losses.CategoricalFocalCrossentropy`, and `data.balanced_split` samples evenly.

    Args:
        class_priors: positive number for each class: how many training samples it has, or which
            share. Only the ratios matter.
        tau: float >= 0, strength; 0 is plain crossentropy. Defaults to `1.0`.
        from_logits: bool, whether predictions are logits; otherwise probabilities. Defaults to
            `True`.
        label_smoothing: float in [0, 1), share of each target spread over all classes.
        reduction: as in `keras.losses.Loss`. Defaults to `"sum_over_batch_size"`.
        name: str.
        dtype: dtype of the arithmetic. Defaults to `"float32"`, under every dtype policy.

    Call arguments:
        y_true: integer classes `(batch,)` or `(batch, 1)`, or one-hot or soft targets
            `(batch, num_classes)`. An integer that is no class makes the loss NaN.
        y_pred: tensor `(batch, num_classes)`.
        sample_weight: tensor that broadcasts to `(batch,)`, or `None`.

    Raises:
        ValueError: if an argument is out of range, or shapes do not fit.

    Example:
    >>> loss = LogitAdjustedCrossentropy([90, 10])
    >>> undecided = np.zeros((1, 2))
    >>> round(float(loss([0], undecided)), 3), round(float(loss([1], undecided)), 3)
    (0.105, 2.303)

    References:
        - Menon et al. 2020, "Long-tail learning via logit adjustment", arXiv:2007.07314,
          equation 10.
    """

    def __init__(
        self,
        class_priors: Sequence[float],
        tau: float = 1.0,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "logit_adjusted_crossentropy",
        dtype: Any = "float32",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._offsets = _log_priors(class_priors, tau)
        check_number("label_smoothing", label_smoothing, 0, 1, below=True)
        self.class_priors = tuple(float(prior) for prior in class_priors)
        self.tau, self.from_logits = float(tau), bool(from_logits)
        self.label_smoothing = float(label_smoothing)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        # Keras hands over a list as a list of scalars.
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        targets = self._targets(y_true, y_pred)
        if not self.from_logits:
            epsilon = keras.config.epsilon()
            y_pred = ops.log(ops.clip(y_pred, epsilon, 1.0))
        adjusted = ops.log_softmax(y_pred + ops.cast(self._offsets, y_pred.dtype), axis=-1)
        smoothed = targets * (1.0 - self.label_smoothing)
        smoothed = smoothed + self.label_smoothing / len(self.class_priors)
        return -ops.sum(smoothed * adjusted, axis=-1)

    def _targets(self, y_true, y_pred):
        """Targets `(..., num_classes)` out of integers or of targets."""
        num_classes = len(self.class_priors)
        if y_pred.shape[-1] != num_classes:
            raise ValueError(
                f"`y_pred` must have {num_classes} columns, one for each of `class_priors`. "
                f"Received: y_pred.shape={tuple(y_pred.shape)}"
            )
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == num_classes:
            return y_true
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, axis=-1)
        if len(y_true.shape) != len(y_pred.shape) - 1:
            raise ValueError(
                f"`y_true` must be integers of shape (batch,) or (batch, 1), or targets of shape "
                f"(batch, {num_classes}). Received: y_true.shape={tuple(y_true.shape)} for "
                f"y_pred.shape={tuple(y_pred.shape)}"
            )
        targets = ops.one_hot(ops.cast(y_true, "int32"), num_classes, dtype=y_pred.dtype)
        # A row of zeros would be a loss of 0: a wrong label must not look like a right answer.
        known = ops.sum(targets, axis=-1, keepdims=True) > 0
        return ops.where(known, targets, float("nan"))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "class_priors": list(self.class_priors),
            "tau": self.tau,
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable(package="mae_keras")
class SegmentationLoss(keras.losses.Loss):
    """Crossentropy over labeled pixels, and soft Dice, of masks and logits.

    Pixels that are -1 in the mask have no label: they add nothing, whatever is predicted there.
    Each image counts once, however many of its pixels have a label; one without any counts 0.

    Args:
        crossentropy: float >= 0, weight of the crossentropy, a mean over pixels. Defaults to `1.0`.
        dice: float >= 0, weight of `1 - dice`, where `dice` is the mean over the classes of
            `2 |A and B| / (|A| + |B|)`, of probabilities. It counts a small class as much as a
            large one. Defaults to `1.0`.
        gamma: float >= 0, makes the crossentropy focal: pixels are weighted by `(1 - p)^gamma`,
            where `p` is the probability of their class. Defaults to `0.0`: all alike.
        class_weights: positive number for each class, weight of its pixels in the crossentropy, or
            `None`: all alike.
        reduction: as in `keras.losses.Loss`. Defaults to `"sum_over_batch_size"`.
        name: str.
        dtype: dtype of the arithmetic. Defaults to `"float32"`.

    Call arguments:
        y_true: ints `(batch, *spatial)`, class numbers, -1 where there is no label.
        y_pred: logits `(batch, *spatial, num_classes)`.
        sample_weight: number, or tensor `(batch,)`, or `None`.

    Raises:
        ValueError: if a number is out of range, or both weights are 0.

    Example:
    >>> masks, logits = np.array([[0, 1, -1]]), np.array([[[9.0, -9.0], [-9.0, 9.0], [9.0, 9.0]]])
    >>> bool(SegmentationLoss()(masks, logits) < 1e-6)
    True

    References:
        - Milletari et al. 2016 (V-Net), arXiv:1606.04797: Dice, here without squares; Isensee et
          al. 2021 (nnU-Net): the sum of both; Lin et al. 2017, arXiv:1708.02002: focal.
    """

    def __init__(
        self,
        crossentropy: float = 1.0,
        dice: float = 1.0,
        gamma: float = 0.0,
        class_weights: Sequence[float] | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "segmentation_loss",
        dtype: Any = "float32",
    ):
        check_choice("reduction", reduction, _REDUCTIONS)
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.crossentropy = check_number("crossentropy", crossentropy, 0)
        self.dice = check_number("dice", dice, 0)
        if not self.crossentropy and not self.dice:
            raise ValueError(
                "`crossentropy` or `dice` must be above 0. Received: crossentropy=0, dice=0"
            )
        self.gamma = check_number("gamma", gamma, 0)
        if class_weights is not None:
            weights = check_array("class_weights", class_weights, 1, finite=True)
            if weights.min() <= 0:
                raise ValueError(
                    f"`class_weights` must be above 0. Received: class_weights={class_weights!r}"
                )
            class_weights = weights.astype("float64").tolist()
        self.class_weights = class_weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        sizes = zip(y_true.shape, y_pred.shape, strict=False)
        differ = any(a != b for a, b in sizes if a is not None and b is not None)
        if len(y_true.shape) != len(y_pred.shape) - 1 or differ:
            raise ValueError(
                "`y_true` must have the shape of `y_pred` without its last axis, the classes. "
                f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
            )
        num_classes, spatial = y_pred.shape[-1], tuple(range(1, len(y_true.shape)))
        y_true = ops.cast(y_true, "int32")
        labeled = ops.not_equal(y_true, UNLABELED)
        # Infinite logits there would make NaN of the products with 0.
        logits = ops.where(labeled[..., None], y_pred, 0.0)
        known = ops.cast(labeled, logits.dtype)
        truth = ops.one_hot(y_true, num_classes, dtype=logits.dtype)
        # A pixel of a class that does not exist must not look like one without a label.
        exists = ops.logical_and(y_true >= UNLABELED, y_true < num_classes)
        truth = ops.where(exists[..., None], truth, float("nan"))
        log_probabilities = ops.log_softmax(logits)
        probabilities = ops.exp(log_probabilities) * known[..., None]
        total = 0.0
        if self.crossentropy:
            weights = truth
            if self.class_weights is not None:
                if len(self.class_weights) != num_classes:
                    raise ValueError(
                        f"`class_weights` must have a number for each of the {num_classes} "
                        f"classes. Received: {len(self.class_weights)} numbers"
                    )
                weights = truth * ops.convert_to_tensor(self.class_weights, logits.dtype)
            counted = ops.sum(weights, axis=(*spatial, -1))
            if self.gamma:
                # Powers below 1 have no finite slope at 0.
                weights = weights * ops.maximum(1 - probabilities, 1e-6) ** self.gamma
            errors = -ops.sum(weights * log_probabilities, axis=(*spatial, -1))
            total += self.crossentropy * errors / ops.maximum(counted, 1e-6)
        if self.dice:
            both = 2 * ops.sum(probabilities * truth, axis=spatial)
            sizes = ops.sum(probabilities + truth, axis=spatial)
            # Where a class is neither there nor predicted, both are near 0: it is as it should be.
            scores = (both + _SMOOTH) / (sizes + _SMOOTH)
            any_labeled = ops.cast(ops.any(labeled, axis=spatial), logits.dtype)
            total += self.dice * (1 - ops.mean(scores, axis=-1)) * any_labeled
        return total

    def get_config(self) -> dict[str, Any]:
        own = {
            "crossentropy": self.crossentropy,
            "dice": self.dice,
            "gamma": self.gamma,
            "class_weights": self.class_weights,
            "dtype": self.dtype,
        }
        return {**super().get_config(), **own}


_SMOOTH = 1.0  # pixels


def adjust_logits(logits: Any, class_priors: Sequence[float], tau: float = 1.0) -> Any:
    """Take the training frequencies out of a trained classifier: `logits - tau * log(prior)`.

    With `tau=1` the softmax of the result is the posterior under equally frequent classes, if
    that of `logits` is the posterior under `class_priors`.

    Args:
        logits: tensor `(..., num_classes)`; log-probabilities will do.
        class_priors: positive number for each class, counts or shares; only the ratios matter.
        tau: float >= 0, strength. Defaults to `1.0`.

    Returns:
        Tensor like `logits`, in float32 at least.

    Raises:
        ValueError: if `class_priors` are not positive or not as many as there are classes.

    Example:
    >>> adjusted = ops.convert_to_numpy(adjust_logits(np.log([[0.9, 0.1]]), [9, 1]))
    >>> bool(np.isclose(adjusted[0, 0], adjusted[0, 1]))
    True

    References:
        - Menon et al. 2020, "Long-tail learning via logit adjustment", arXiv:2007.07314,
          equation 9.
    """
    offsets = _log_priors(class_priors, tau)
    if isinstance(logits, (list, tuple)):
        logits = check_array("logits", logits)
    check_tensor("logits", logits)
    if not len(logits.shape):
        raise ValueError("`logits` must have shape (..., num_classes). Received: a scalar")
    logits = ops.convert_to_tensor(logits)
    if logits.shape[-1] != len(offsets):
        raise ValueError(
            f"`class_priors` must have {logits.shape[-1]} entries, one for each class. "
            f"Received: {len(offsets)}"
        )
    dtype = keras.backend.result_type(logits.dtype, "float32")
    return ops.cast(logits, dtype) - ops.cast(offsets, dtype)


def _log_priors(class_priors: Sequence[float], tau: float) -> np.ndarray:
    priors = check_array("class_priors", class_priors, empty=True).astype("float64")
    if priors.ndim != 1 or len(priors) < 2 or not ((priors > 0) & np.isfinite(priors)).all():
        raise ValueError(
            f"`class_priors` must be a positive number for each of at least two classes: a class "
            f"that never occurs has no finite adjustment. Received: class_priors={class_priors!r}"
        )
    check_number("tau", tau, 0)
    return tau * np.log(priors / priors.sum())


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
