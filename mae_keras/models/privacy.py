"""The settings of differentially private training, what they spend, and what they exclude."""

import secrets
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from mae_keras.accounting import (
    LARGEST_NOISE,
    check_accounting,
    epsilon_spent,
    largest_batch,
    noise_for_epsilon,
    steps_within,
)
from mae_keras.arguments import LARGEST_SEED, check_int, check_number
from mae_keras.runtime.poisson import poisson_numbers
from mae_keras.runtime.replicas import num_replicas

_MICRO_BATCH = 16


@keras.saving.register_keras_serializable(package="mae_keras")
class Privacy:
    """Train by DP-SGD: `model.compile(privacy=Privacy(...))`.

    In every step each sample is in the batch with probability `batch_size / num_samples`. Its
    gradient is clipped to the norm `max_grad_norm`, the clipped gradients are added up, Gaussian
    noise of standard deviation `noise_multiplier * max_grad_norm` is added to each entry of the
    sum, and the result is divided by `batch_size`, the expected size. The optimizer goes on from
    there. The trained weights are then (epsilon, delta)-differentially private for one sample
    added to the training data or removed. See docs/privacy.md for what that does not promise.

    One object belongs to one model. The seed is not saved with the model: who knows it can take the
    noise off again. A model that is loaded draws a new one, which keeps the guarantee.

    Args:
        noise_multiplier: float > 0, or `None`: the smallest with which `steps` steps stay within
            `target_epsilon`.
        max_grad_norm: float > 0, norm that a sample's gradient is clipped to. Defaults to `1.0`.
        delta: float in (0, 1 / num_samples), chance that the guarantee does not hold.
        num_samples: int, training samples. It counts as public.
        batch_size: int, expected samples per step, at most `num_samples`.
        target_epsilon: float > 0, the budget: training ends before it is exceeded. Defaults to
            `None`: no limit.
        steps: int, planned steps, or `None`. Refused where they do not fit the budget.
        seed: int in [0, 2**62), or `None`: a secret one, drawn now. Give one in tests only.
        micro_batch_size: int, samples whose gradients are in memory at a time. Defaults to 16.
        report_loss: bool, whether `fit` reports the training loss, which is computed from private
            data without noise and is not covered by the guarantee. Defaults to `False`.

    Raises:
        ImportError: if `dp-accounting` is missing: the extra `privacy`.
        ValueError: if a number is out of range, or the budget does not suffice for the steps.

    Example:
    >>> privacy = Privacy(1.0, delta=1e-5, num_samples=6400, batch_size=64)
    >>> round(privacy.epsilon(1000), 2)
    1.83

    References:
        - Abadi et al. 2016, "Deep learning with differential privacy", arXiv:1607.00133.
    """

    # Loading a model to use it must not need the extra, which training on asks for.
    _loading = False

    def __init__(
        self,
        noise_multiplier: float | None = None,
        max_grad_norm: float = 1.0,
        *,
        delta: float,
        num_samples: int,
        batch_size: int,
        target_epsilon: float | None = None,
        steps: int | None = None,
        seed: int | None = None,
        micro_batch_size: int = _MICRO_BATCH,
        report_loss: bool = False,
    ):
        self.max_grad_norm = check_number("max_grad_norm", max_grad_norm, 0, above=True)
        self.num_samples = check_int("num_samples", num_samples, 2, LARGEST_SEED)
        self.batch_size = check_int("batch_size", batch_size, 1, self.num_samples)
        self.delta = _check_delta(delta, self.num_samples)
        self.target_epsilon = check_number(
            "target_epsilon", target_epsilon, 0, above=True, optional=True
        )
        self.steps = check_int("steps", steps, 1, LARGEST_SEED, optional=True)
        self.micro_batch_size = check_int("micro_batch_size", micro_batch_size, 1, 2**20)
        self.report_loss = bool(report_loss)
        seed = check_int("seed", seed, 0, 2**62 - 1, optional=True)
        self.use_seed(secrets.randbits(62) if seed is None else seed)
        self.sampling_probability = self.batch_size / self.num_samples
        self.first_step: int | None = None
        self._owner: Callable[[], Any] = lambda: None
        noise = check_number(
            "noise_multiplier", noise_multiplier, 0, LARGEST_NOISE, above=True, optional=True
        )
        if noise is not None:
            self.noise_multiplier = noise
        if not self._loading:
            check_accounting()
            if noise is None:
                self.noise_multiplier = self._noise_for_budget()
            self._check_budget()

    def use_seed(self, seed: int) -> None:
        """Set the secret seed of batches and noise, before training: a resumed run's own.

        Args:
            seed: int in [0, 2**62).
        """
        self._key = (seed & LARGEST_SEED, seed >> 31)

    @property
    def key(self) -> tuple[int, int]:
        """The secret seed as two ints of 31 bits."""
        return self._key

    @property
    def padded_batch_size(self) -> int:
        """Static size of a batch, which the number of drawn samples exceeds once in 1e30 steps."""
        size = largest_batch(self.num_samples, self.sampling_probability)
        return -(-size // self.micro_batch_size) * self.micro_batch_size

    def epsilon(self, steps: int) -> float:
        """Epsilon that so many steps spend.

        Args:
            steps: int >= 0.

        Returns:
            float.
        """
        return epsilon_spent(self.noise_multiplier, self.sampling_probability, steps, self.delta)

    @property
    def max_steps(self) -> int | None:
        """Most steps within `target_epsilon`, or within `steps`; `None`: no limit."""
        if self.target_epsilon is None:
            return None
        # The noise was found for these steps: searching would take seconds.
        if self.steps is not None:
            return self.steps
        return steps_within(
            self.target_epsilon, self.noise_multiplier, self.sampling_probability, self.delta
        )

    def numbers(self, step: int) -> np.ndarray:
        """Numbers of the samples in the batch of a step, a function of (seed, step).

        Args:
            step: int >= 0.

        Returns:
            int32 array `(padded_batch_size,)`, -1 where there is none.
        """
        return poisson_numbers(
            self.key, step, self.num_samples, self.sampling_probability, self.padded_batch_size
        )

    def batches(self, images: np.ndarray, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Unending batches of an array, from a step on.

        Args:
            images: array `(num_samples, ...)`.
            step: int >= 0.

        Yields:
            Images `(padded_batch_size, ...)`, any where there is no sample, and `numbers(step)`.
        """
        while True:
            numbers = self.numbers(step)
            yield images[np.maximum(numbers, 0)], numbers
            step += 1

    def summary(self, steps: int) -> dict[str, Any]:
        """What a model card says of the guarantee after so many steps.

        Args:
            steps: int >= 0.

        Returns:
            Dict that JSON can hold.
        """
        return {
            "epsilon": self.epsilon(steps),
            "delta": self.delta,
            "target_epsilon": self.target_epsilon,
            "noise_multiplier": self.noise_multiplier,
            "max_grad_norm": self.max_grad_norm,
            "sampling_probability": self.sampling_probability,
            "steps": steps,
            "num_samples": self.num_samples,
            "unit": "one sample, added or removed",
            "accountant": "dp-accounting PLD",
        }

    def begin(self, model: Any, step: int) -> None:
        """Note the model that these settings train, and its step when they began to.

        Args:
            model: `MaskedModel`.
            step: int, steps that the model has taken.

        Raises:
            ValueError: if another model is trained with this object: it would get the same noise.
        """
        owner = self._owner()
        if owner is not None and owner is not model:
            raise ValueError(
                "`privacy` must be an object of its own for each model: the same noise in two "
                "models cancels out. Received: one that another model was compiled with"
            )
        self._owner = weakref.ref(model)
        if self.first_step is None:
            self.first_step = step

    def spent_steps(self, step: int) -> int:
        """Private steps among a model's steps.

        Args:
            step: int, steps that the model has taken.
        """
        return step - (self.first_step or 0)

    def _noise_for_budget(self) -> float:
        if self.target_epsilon is None or self.steps is None:
            raise ValueError(
                "`noise_multiplier` must be given, or `target_epsilon` and `steps`, from which it "
                f"is found. Received: noise_multiplier=None, target_epsilon={self.target_epsilon}, "
                f"steps={self.steps}"
            )
        try:
            return noise_for_epsilon(
                self.target_epsilon, self.sampling_probability, self.steps, self.delta
            )
        except ValueError as error:
            raise ValueError(
                f"`target_epsilon` must be larger: no noise up to {LARGEST_NOISE:g} keeps "
                f"{self.steps:,} steps within it. Received: target_epsilon={self.target_epsilon}"
            ) from error

    def _check_budget(self) -> None:
        if self.target_epsilon is None:
            return
        steps = 1 if self.steps is None else self.steps
        spent = self.epsilon(steps)
        if spent <= self.target_epsilon:
            return
        settings = self.sampling_probability, self.delta
        most = steps_within(self.target_epsilon, self.noise_multiplier, *settings)
        noise = noise_for_epsilon(self.target_epsilon, self.sampling_probability, steps, self.delta)
        fewer = f", or at most {most:,} steps" if most else ""
        raise ValueError(
            f"`target_epsilon` cannot be kept in {steps:,} steps, which spend {spent:.3g}: "
            f"noise_multiplier={noise:.3g} would do{fewer}. Received: "
            f"target_epsilon={self.target_epsilon}, noise_multiplier={self.noise_multiplier}"
        )

    def get_config(self) -> dict[str, Any]:
        """Everything but the seed, which is secret."""
        return {
            "noise_multiplier": self.noise_multiplier,
            "max_grad_norm": self.max_grad_norm,
            "delta": self.delta,
            "num_samples": self.num_samples,
            "batch_size": self.batch_size,
            "target_epsilon": self.target_epsilon,
            "steps": self.steps,
            "micro_batch_size": self.micro_batch_size,
            "report_loss": self.report_loss,
            "first_step": self.first_step,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Privacy":
        config = dict(config)
        first_step = config.pop("first_step", None)
        privacy = cls.__new__(cls)
        privacy._loading = True
        privacy.__init__(**config)
        privacy._loading = False
        privacy.first_step = first_step
        return privacy


def _check_delta(delta: Any, num_samples: int) -> float:
    delta = check_number("delta", delta, 0, 1, above=True, below=True)
    if delta >= 1 / num_samples:
        raise ValueError(
            f"`delta` must be less than 1 / {num_samples:,}, one over the number of samples: with "
            f"more, publishing one of them would count as private. Received: delta={delta}"
        )
    return float(delta)


def check_private(model: Any, options: dict[str, Any]) -> None:
    """Refuse to compile what would break the guarantee of private training.

    Args:
        model: `MaskedModel`, compiled.
        options: arguments of `compile`, by name.

    Raises:
        TypeError: if `privacy` is none.
        ValueError: if samples are mixed, constants were measured, or steps are not accounted for.
    """
    privacy = model.privacy
    if getattr(model, "uniformity_weight", 0):
        _refuse(
            "uniformity_weight", "0", "it compares samples with each other", model.uniformity_weight
        )
    if getattr(model, "measured_constants", False):
        raise ValueError(
            "`privacy` excludes `adapt`, which measures constants of the private data: give the "
            "model `mean` and `std`, such as 0.5 and 0.25. Received: a model that was adapted"
        )
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            raise ValueError(
                "`privacy` excludes batch normalization, which mixes the samples of a batch. "
                f"Received: the layer {layer.name!r}"
            )
        rates = [getattr(layer, name, 0) for name in ("drop_path_rate", "rate")]
        if any(isinstance(rate, float) and rate > 0 for rate in rates):
            raise ValueError(
                "`privacy` excludes dropout and stochastic depth, whose state advances with each "
                f"sample. Received: the layer {layer.name!r} with a rate of {max(rates)}"
            )
    steps = options.get("steps_per_execution", 1)
    if steps != 1:
        _refuse("steps_per_execution", "1", "training must be able to end at any step", steps)
    for name in ("metrics", "weighted_metrics"):
        if options.get(name):
            _refuse(name, "None", "they would be computed of private data", options[name])
    if options.get("skip_nonfinite"):
        _refuse("skip_nonfinite", "False", "a gradient that is not finite adds nothing", True)
    accumulated = getattr(model.optimizer, "gradient_accumulation_steps", None)
    if accumulated:
        why = "the accounting counts one noisy update a step; raise `batch_size`"
        _refuse("gradient_accumulation_steps", "None", why, accumulated)
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            "`privacy` excludes `mixed_float16`: scaled losses would be clipped at another norm. "
            "Use `mixed_bfloat16`. Received: a LossScaleOptimizer"
        )
    if num_replicas() > 1:
        _refuse("distribution", "none", "one device draws and clips a batch", num_replicas())
    privacy.begin(model, int(keras.ops.convert_to_numpy(model.micro_step)))


def _refuse(name: str, wanted: str, why: str, value: Any) -> None:
    raise ValueError(f"`{name}` must be {wanted} with `privacy`: {why}. Received: {name}={value!r}")
