"""Membership inference: can it be told from a model's losses which images it was trained on?

Images of the training split are compared with images that were held out of the same data. Where
the attack cannot tell them apart, the area under its ROC curve is 0.5.
"""

from typing import Any, NamedTuple

import numpy as np

from mae_keras.arguments import LARGEST_SEED, check_array, check_int, check_number

_CHUNK = 256  # images whose patches are in memory at a time


class MembershipResult(NamedTuple):
    """How well an attacker tells training images from held-out ones by the loss.

    Attributes:
        auc: float, chance that a training image has a lower loss than a held-out one, ties counted
            as half: 0.5 where nothing can be told.
        interval: two floats, bounds of the 95 % interval of `auc`.
        true_positive_rate: float, share of the training images that are recognized by the threshold
            at which `false_positive_rate` of the held-out ones are taken for training images.
        false_positive_rate: float.
        num_members: int, training images.
        num_others: int, held-out images.
    """

    auc: float
    interval: tuple[float, float]
    true_positive_rate: float
    false_positive_rate: float
    num_members: int
    num_others: int


def membership_attack(
    member_losses: Any,
    other_losses: Any,
    false_positive_rate: float = 0.01,
    num_bootstraps: int = 1000,
    seed: int = 0,
) -> MembershipResult:
    """Attack by a threshold on the loss: what has a lower loss was trained on.

    The interval holds percentiles over images of both groups drawn with replacement (bootstrap).
    It is that of the images; another training run may leak more or less.

    Args:
        member_losses: array `(num_members,)`, losses of images that were trained on.
        other_losses: array `(num_others,)`, losses of images that were not.
        false_positive_rate: float in (0, 1). Defaults to `0.01`.
        num_bootstraps: int, draws for the interval. Defaults to `1000`.
        seed: int, of the draws.

    Returns:
        `MembershipResult`.

    Raises:
        ValueError: if there are fewer than two losses of a kind, or one is not finite.

    Example:
    >>> result = membership_attack([0.1, 0.2, 0.3], [0.25, 0.4, 0.5])
    >>> round(result.auc, 3)
    0.889

    References:
        - Yeom et al. 2018, arXiv:1709.01604 (loss threshold); Carlini et al. 2022, arXiv:2112.03570
          (report the rate at few false positives).
    """
    members = _losses("member_losses", member_losses)
    others = _losses("other_losses", other_losses)
    rate = check_number("false_positive_rate", false_positive_rate, 0, 1, above=True, below=True)
    count = check_int("num_bootstraps", num_bootstraps, 1, 10**6)
    rng = np.random.default_rng(check_int("seed", seed, 0, LARGEST_SEED))
    drawn = [
        _auc(rng.choice(members, len(members)), rng.choice(others, len(others)))
        for _ in range(count)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    # At most this share of the held-out images may lie below the threshold.
    threshold = np.sort(others)[int(rate * len(others))]
    return MembershipResult(
        _auc(members, others),
        (float(low), float(high)),
        float((members < threshold).mean()),
        rate,
        len(members),
        len(others),
    )


def _losses(name: str, losses: Any) -> np.ndarray:
    losses = check_array(name, losses, 1, finite=True).astype("float64")
    if len(losses) < 2:
        raise ValueError(f"`{name}` must hold two losses or more. Received: {len(losses)}")
    return losses


def _auc(members: np.ndarray, others: np.ndarray) -> float:
    others = np.sort(others)
    above = len(others) - np.searchsorted(others, members, side="right")
    level = len(others) - np.searchsorted(others, members, side="left") - above
    return float((above + 0.5 * level).mean() / len(others))


def masked_losses(model: Any, images: Any, num_masks: int = 8, batch_size: int = 32) -> np.ndarray:
    """Loss of each image as training computes it, the mean over several masks.

    Args:
        model: `MaskedAutoencoder` or `DenseMaskedAutoencoder`.
        images: array `(num_images, *spatial, channels)` of pixels as stored.
        num_masks: int, masks drawn for each image. Defaults to `8`. Strategies that look at the
            image draw one.
        batch_size: int.

    Returns:
        float64 array `(num_images,)`; 0 where no patch counts.

    Raises:
        TypeError, ValueError: if the images do not fit the model.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,), mask_ratio=0.5)
    >>> masked_losses(model, np.zeros((3, 4, 4, 1), "uint8"), num_masks=2).shape
    (3,)
    """
    num_masks = check_int("num_masks", num_masks, 1, 10**4)
    images = check_array("images", images)
    if len(images) == 0:
        raise ValueError("`images` must not be empty. Received: 0 images")
    losses = []
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK]
        numbers = np.arange(start, start + len(part), dtype="int32")
        if model.masking.uses_patches:
            masks = [None]
        else:
            draws = range(num_masks)
            masks = [np.asarray(model.masking.draw(model.grid, k, numbers)) for k in draws]
        losses.append(np.mean([_loss(model, part, m, batch_size) for m in masks], axis=0))
    return np.concatenate(losses)


def _loss(model: Any, images: np.ndarray, mask: Any, batch_size: int) -> np.ndarray:
    found = model.predict_patches(images, mask, batch_size)
    per_patch = np.asarray(model.target.loss(found.targets, found.predictions), "float64")
    counted = ~found.missing
    if model.loss_on == "hidden":
        counted &= found.patch_mask
    return (per_patch * counted).sum(-1) / np.maximum(counted.sum(-1), 1)
