"""The optimizer of masked pretraining: AdamW, decay only where it belongs, warmup and cosine."""

from collections.abc import Sequence
from typing import Any

import keras

from mae_keras.arguments import LARGEST_SEED, check_int, check_number
from mae_keras.training.fused_adam import FusedAdam
from mae_keras.training.replicated_accumulation import AccumulatesOnReplicas

LARGEST_BATCH = 2**24
NO_DECAY = ("class_token", "mask_token", "positions")


@keras.saving.register_keras_serializable(package="mae_keras")
class MaskedAdamW(AccumulatesOnReplicas, FusedAdam, keras.optimizers.AdamW):
    """AdamW whose weight decay spares biases, norms, tokens and positions.

    Keras's `exclude_from_weight_decay` does the same until the model is saved: the exclusions are
    not in the optimizer's config, and a reloaded model decays everything. Here the rule is part
    of the config.

    Args:
        learning_rate: float or schedule.
        weight_decay: float. Defaults to `0.05`.
        beta_1, beta_2: floats. Default to `0.9` and the paper's `0.95`.
        no_decay: names of weights to spare besides all those with fewer than two axes.
        **kwargs: passed to `keras.optimizers.AdamW`.

    Example:
    >>> MaskedAdamW(1e-3).get_config()["no_decay"]
    ('class_token', 'mask_token', 'positions')

    References:
        - He et al. 2021, arXiv:2111.06377, table 8; exclusions as facebookresearch/mae
          (`timm.optim.optim_factory.param_groups_weight_decay`).
    """

    def __init__(
        self,
        learning_rate: Any = 1.5e-4,
        weight_decay: float = 0.05,
        beta_1: float = 0.9,
        beta_2: float = 0.95,
        no_decay: Sequence[str] = NO_DECAY,
        **kwargs: Any,
    ):
        check_adam(learning_rate, weight_decay, beta_1, beta_2)
        super().__init__(
            learning_rate, weight_decay=weight_decay, beta_1=beta_1, beta_2=beta_2, **kwargs
        )
        self.no_decay = tuple(no_decay)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            spared = [v for v in variables if len(v.shape) < 2 or v.name in self.no_decay]
            self.exclude_from_weight_decay(var_list=spared)
        super().build(variables)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "no_decay": self.no_decay}


def check_adam(learning_rate: Any, weight_decay: Any, beta_1: Any, beta_2: Any) -> None:
    """Refuse numbers with which Adam moves nothing, or away from the minimum, or to NaN."""
    check_learning_rate(learning_rate)
    check_number("weight_decay", weight_decay, 0)
    check_number("beta_1", beta_1, 0, 1, below=True)
    check_number("beta_2", beta_2, 0, 1, below=True)


def check_learning_rate(learning_rate: Any) -> None:
    """Refuse a learning rate that is neither a positive number nor a schedule or variable."""
    if not isinstance(learning_rate, (keras.Variable, dict)) and not callable(learning_rate):
        check_number("learning_rate", learning_rate, 0)


def pretraining_optimizer(
    base_learning_rate: float,
    batch_size: int,
    total_steps: int,
    warmup_steps: int = 0,
    weight_decay: float = 0.05,
    gradient_accumulation_steps: int | None = None,
    **kwargs: Any,
) -> MaskedAdamW:
    """AdamW with linear warmup and cosine decay to 0, its rate scaled by the batch.

    `learning_rate = base_learning_rate * images per update / 256`.

    Args:
        base_learning_rate: float, the rate for 256 images per update.
        batch_size: int, images per step.
        total_steps: int, steps of `fit` in the whole run, warmup included.
        warmup_steps: int, steps of linear warmup from 0.
        weight_decay: float.
        gradient_accumulation_steps: int or `None`, steps per update.
        **kwargs: passed to `MaskedAdamW`, such as `use_ema`.

    Returns:
        `MaskedAdamW`.

    Raises:
        ValueError: if the rate is not positive or the warmup is not shorter than the run.

    Example:
    >>> optimizer = pretraining_optimizer(1.5e-4, 512, total_steps=100, warmup_steps=10)
    >>> round(float(optimizer.learning_rate), 6)
    0.0

    References:
        - He et al. 2021, table 8; Goyal et al. 2017, arXiv:1706.02677 (linear scaling).
    """
    check_int("batch_size", batch_size, 1, LARGEST_BATCH)
    steps = gradient_accumulation_steps
    check_int("gradient_accumulation_steps", steps, 1, LARGEST_SEED, optional=True)
    images = batch_size * (gradient_accumulation_steps or 1)
    # Keras feeds schedules every step, accumulated ones counted singly, unlike `iterations`.
    return MaskedAdamW(
        scaled_warmup_cosine(base_learning_rate, images, total_steps, warmup_steps),
        weight_decay=weight_decay,
        gradient_accumulation_steps=gradient_accumulation_steps,
        **kwargs,
    )


def scaled_warmup_cosine(
    base_learning_rate: float, images_per_update: int, total_steps: int, warmup_steps: int
) -> keras.optimizers.schedules.CosineDecay:
    """`warmup_cosine` up to `base_learning_rate * images_per_update / 256`, its numbers checked.

    Args:
        base_learning_rate: float, the rate for 256 images per update.
        images_per_update: int.
        total_steps: int, steps in all.
        warmup_steps: int, steps of warmup among them.

    Returns:
        `keras.optimizers.schedules.CosineDecay`.

    Raises:
        ValueError: if the rate is not positive or the warmup is not shorter than the run.

    Example:
    >>> float(scaled_warmup_cosine(0.5, 512, total_steps=10, warmup_steps=2)(2))
    1.0
    """
    check_number("base_learning_rate", base_learning_rate, 0, 100, above=True)
    check_int("total_steps", total_steps, 1, LARGEST_SEED)
    check_int("warmup_steps", warmup_steps, 0)
    if warmup_steps >= total_steps:
        raise ValueError(
            f"`warmup_steps` must be at least 0 and less than `total_steps`. Received: "
            f"warmup_steps={warmup_steps}, total_steps={total_steps}"
        )
    peak = base_learning_rate * images_per_update / 256
    return warmup_cosine(peak, total_steps, warmup_steps)


def warmup_cosine(
    peak: float, total_steps: int, warmup_steps: int
) -> keras.optimizers.schedules.CosineDecay:
    """Keras's `CosineDecay`, from 0 to `peak` linearly, then to 0 along a half cosine.

    Args:
        peak: float, highest learning rate.
        total_steps: int, updates in all.
        warmup_steps: int, updates of warmup among them.

    Returns:
        `keras.optimizers.schedules.CosineDecay`.

    Example:
    >>> schedule = warmup_cosine(1.0, 10, 2)
    >>> [round(float(schedule(step)), 2) for step in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    check_number("peak", peak, 0, above=True)
    check_int("total_steps", total_steps, 1, LARGEST_SEED)
    check_int("warmup_steps", warmup_steps, 0, total_steps)
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(peak, total_steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, total_steps - warmup_steps, warmup_target=peak, warmup_steps=warmup_steps
    )
