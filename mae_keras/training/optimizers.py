"""Optimizers: AdamW for pretraining, layer-wise decay for fine-tuning, LARS for linear probes."""

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import LARGEST_DEPTH, LARGEST_SEED, check_int, check_number
from mae_keras.runtime.fused_adam import fused_adam_step
from mae_keras.runtime.replicas import decide_together, in_replica

LARGEST_BATCH = 2**24
NO_DECAY = (
    *("class_token", "mask_token", "positions"),
    *("column_vectors", "column_biases", "category_vectors"),
)


@keras.saving.register_keras_serializable(package="mae_keras")
class MaskedAdamW(keras.optimizers.AdamW):
    """AdamW whose weight decay spares biases, norms, tokens and positions.

    Keras's `exclude_from_weight_decay` does the same until the model is saved: the exclusions are
    not in the optimizer's config, and a reloaded model decays everything. Here the rule is part
    of the config. Gradients can be accumulated under a `tf.distribute` strategy too.

    Args:
        learning_rate: float or schedule.
        weight_decay: float. Defaults to `0.05`.
        beta_1, beta_2: floats. Default to `0.9` and the paper's `0.95`.
        no_decay: names of weights to spare besides all those with fewer than two axes.
        **kwargs: passed to `keras.optimizers.AdamW`.

    Example:
    >>> MaskedAdamW(1e-3).get_config()["no_decay"][:3]
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

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not fused_adam_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)

    def _backend_apply_gradients(self, grads: Sequence[Any], trainable_variables: Sequence[Any]):
        # Keras asks in each replica, inside `ops.cond`, whether a step updates the weights. There
        # replicas cannot sum their gradients, and TensorFlow refuses the graph. Here they ask
        # together; what follows is Keras's own (`BaseOptimizer._backend_apply_gradients`, 3.12 to
        # 3.15): each adds up its own gradients, the sums meet at the update. `LossScaleOptimizer`
        # leaves its condition to all replicas in the same way.
        if not self.gradient_accumulation_steps or not in_replica():
            super()._backend_apply_gradients(grads, trainable_variables)
            return
        decide_together(
            lambda: ops.equal((self._iterations + 1) % self.gradient_accumulation_steps, 0),
            self._update,
            self._accumulate,
            list(grads),
            list(trainable_variables),
        )
        if self.use_ema:
            self._update_model_variables_moving_average(self._trainable_variables)

    def _update(self, grads: list[Any], variables: list[Any]) -> None:
        steps = self.gradient_accumulation_steps
        sums = zip(grads, self._accumulators(variables), strict=True)
        grads = [(gradient + accumulated) / steps for gradient, accumulated in sums]
        self._apply_weight_decay(variables)
        self._backend_update_step(grads, variables, self.learning_rate)
        self._backend_reset_gradient_accumulators()

    def _accumulate(self, grads: list[Any], variables: list[Any]) -> None:
        self._backend_increment_gradient_accumulators(grads, self._accumulators(variables))

    def _accumulators(self, variables: list[Any]) -> list[Any]:
        return [self._accumulated_gradients[self._get_variable_index(v)] for v in variables]

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


@keras.saving.register_keras_serializable(package="mae_keras")
class LARS(keras.optimizers.Optimizer):
    """SGD with momentum whose steps are as large as the weights they change.

    With weight `w`, gradient `g`, learning rate `lr` and velocity `v` (0 at first):

        u = g + weight_decay * w
        q = trust_coefficient * |w| / (|u| + epsilon), or 1 where either norm is 0
        v = momentum * v + lr * q * u
        w = w - v

    Weights with fewer than `min_axes` axes (biases, norms) and those named in `excluded` get
    neither decay nor adaptation: `u = g` and `q = 1`.

    The learning rate enters the velocity, as in You et al., `optax.lars` and Keras's `SGD`: a
    step keeps the rate of its time. facebookresearch/mae has `v = momentum * v + q * u` and
    `w = w - lr * v`, so that past steps are scaled by today's rate. At a constant rate the two
    are equal; under a schedule they differ by what the rate changes in about
    `1 / (1 - momentum)` steps. You et al. divide by `|g| + weight_decay * |w|`; here as in both
    implementations it is the norm of the sum.

    Args:
        learning_rate: float or schedule. Defaults to `0.1`.
        momentum: float in [0, 1). Defaults to `0.9`.
        weight_decay: float >= 0, added to the gradient before adaptation. Defaults to `0.0`.
        trust_coefficient: float > 0, norm of a step at rate 1 relative to that of the weight.
            Defaults to `0.001`.
        epsilon: float >= 0, added to the norm of the gradient. Defaults to `0.0`.
        min_axes: int, weights with fewer axes are spared. Defaults to `2`; `0` spares none, as
            `optax.lars` does unless it is given masks.
        excluded: names of more weights to spare, such as `"class_token"`.
        **kwargs: passed to `keras.optimizers.Optimizer`.

    Raises:
        ValueError: if a number is out of its range.

    Example:
    >>> weight = keras.Variable([[3.0, 4.0]])
    >>> LARS(1.0, momentum=0.0).apply([ops.convert_to_tensor([[0.0, 2.0]])], [weight])
    >>> round(float(weight[0, 1]), 4)  # moved by 5 * 0.001
    3.995

    References:
        - You et al. 2017, arXiv:1708.03888, algorithm 1.
        - Which weights are spared: facebookresearch/mae `util/lars.py`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        epsilon: float = 0.0,
        min_axes: int = 2,
        excluded: Sequence[str] = (),
        **kwargs: Any,
    ):
        check_learning_rate(learning_rate)
        check_int("min_axes", min_axes, 0, 32)
        _check(momentum, weight_decay, trust_coefficient, epsilon, excluded)
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        self.momentum = momentum
        self.trust_coefficient = trust_coefficient
        self.epsilon = epsilon
        self.min_axes = min_axes
        self.excluded = tuple(excluded)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        # Keras would take decay off the weights; here it joins the gradient before adaptation.
        self.exclude_from_weight_decay(var_list=list(variables))
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")
        # By position: TensorFlow hands `update_step` variables that have lost their names.
        self._adapted = tuple(
            len(v.shape) >= self.min_axes and v.name not in self.excluded for v in variables
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        velocity = self.momentums[index]
        update = ops.cast(gradient, variable.dtype)
        if self._adapted[index]:
            update = ops.add(update, ops.multiply(variable, self.weight_decay or 0.0))
            update = ops.multiply(update, self._trust_ratio(variable, update))
        step = ops.multiply(update, ops.cast(learning_rate, variable.dtype))
        self.assign(velocity, ops.add(ops.multiply(velocity, self.momentum), step))
        self.assign_sub(variable, velocity)

    def _trust_ratio(self, variable: Any, update: Any) -> Any:
        size, change = _norm(variable), _norm(update)
        usable = ops.logical_and(size > 0, change > 0)
        # The divisor is kept from 0 where the quotient is not used either: no NaN, no alarm.
        ratio = self.trust_coefficient * size / ops.where(usable, change + self.epsilon, 1.0)
        return ops.cast(ops.where(usable, ratio, 1.0), variable.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "trust_coefficient": self.trust_coefficient,
            "epsilon": self.epsilon,
            "min_axes": self.min_axes,
            "excluded": self.excluded,
        }


def _norm(tensor: Any) -> Any:
    # Sums of squares leave the range of half precision.
    return ops.sqrt(ops.sum(ops.square(ops.cast(tensor, "float32"))))


def _check(
    momentum: float,
    weight_decay: float | None,
    trust_coefficient: float,
    epsilon: float,
    excluded: Sequence[str],
) -> None:
    check_number("momentum", momentum, 0, 1, below=True)
    check_number("weight_decay", weight_decay, 0, optional=True)
    check_number("trust_coefficient", trust_coefficient, 0, above=True)
    check_number("epsilon", epsilon, 0)
    if isinstance(excluded, str):
        raise ValueError(f"`excluded` must be a sequence of names. Received: {excluded!r}")


BLOCK_PATTERN = r"(?:^|/)block_(\d+)(?:/|$)"
EMBEDDING_NAMES = ("class_token", "patch_projection", "positions")


@keras.saving.register_keras_serializable(package="mae_keras")
class LayerDecayAdamW(MaskedAdamW):
    """AdamW with one learning rate per layer: `layer_decay ** (num_layers + 1 - layer_id)`.

    `layer_id` is 0 for what comes before the blocks, i + 1 for block i and `num_layers + 1` for
    everything else (final norm, head). The factor multiplies the update and the weight decay;
    scaling gradients instead would change nothing, because Adam divides by their size. Layers are
    known by the names in `variable.path`; the rule is part of the config, so a loaded model goes
    on with the same rates.

    Args:
        learning_rate: float or schedule, the rate of the head.
        num_layers: int, blocks of the encoder, frozen ones included.
        layer_decay: float in (0, 1], factor from one layer to the one before. Defaults to `0.75`.
        weight_decay: float. Defaults to `0.05`.
        beta_1, beta_2: floats. Default to `0.9` and `0.999`.
        block_pattern: regular expression with one group, the block's number, searched for in
            `variable.path`.
        embedding_names: parts of `variable.path` that mark what comes before the blocks.
        **kwargs: passed to `MaskedAdamW`, such as `use_ema`.

    Raises:
        ValueError: if `layer_decay` is not in (0, 1], `num_layers` is not a positive int or
            `block_pattern` has not one group; on first use, if a block's number is too large.

    Example:
    >>> optimizer = LayerDecayAdamW(1e-3, num_layers=2, layer_decay=0.5)
    >>> paths = ["encoder/patch_projection/kernel", "encoder/block_1/mlp_in/kernel", "head/kernel"]
    >>> [optimizer.scale_of(path) for path in paths]
    [0.125, 0.5, 1.0]

    References:
        - Clark et al. 2020, arXiv:2003.10555; Bao et al. 2021, arXiv:2106.08254; He et al. 2021,
          table 9. Layers as facebookresearch/mae `util/lr_decay.py` (`param_groups_lrd`).
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        *,
        num_layers: int,
        layer_decay: float = 0.75,
        weight_decay: float = 0.05,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        block_pattern: str = BLOCK_PATTERN,
        embedding_names: Sequence[str] = EMBEDDING_NAMES,
        **kwargs: Any,
    ):
        layer_decay = check_number("layer_decay", layer_decay, 0, 1, above=True)
        num_layers = check_int("num_layers", num_layers, 1, LARGEST_DEPTH)
        super().__init__(learning_rate, weight_decay, beta_1, beta_2, **kwargs)
        if re.compile(block_pattern).groups != 1:
            raise ValueError(
                "`block_pattern` must have one group, the number of the block. "
                f"Received: block_pattern={block_pattern!r}"
            )
        self.num_layers, self.layer_decay = num_layers, layer_decay
        self.block_pattern, self.embedding_names = block_pattern, tuple(embedding_names)

    def layer_of(self, path: str) -> int:
        """Number of the layer a weight belongs to.

        Args:
            path: str, `variable.path`.

        Returns:
            int from 0 to `num_layers + 1`.

        Raises:
            ValueError: if the path names a block beyond `num_layers`.
        """
        found = re.search(self.block_pattern, path)
        if found is None:
            embedded = any(part in self.embedding_names for part in path.split("/"))
            return 0 if embedded else self.num_layers + 1
        block = int(found.group(1))
        if block >= self.num_layers:
            raise ValueError(
                f"`num_layers` must be larger than the number of every block. Received: "
                f"num_layers={self.num_layers} and a weight {path!r}"
            )
        return block + 1

    def scale_of(self, path: str) -> float:
        """Factor on the learning rate of the weight with this path."""
        return self.layer_decay ** (self.num_layers + 1 - self.layer_of(path))

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            # `update_step` gets bare TensorFlow variables, which have no path.
            self._scales = tuple(self.scale_of(variable.path) for variable in variables)
        super().build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        scale = self._scales[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype) * scale
        if self._use_weight_decay(variable):
            self.assign_sub(variable, variable * (self.weight_decay * rate))
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        # Keras would decay all weights at one rate; `update_step` does it at each weight's own.
        return None

    def get_config(self) -> dict[str, Any]:
        own = {
            "num_layers": self.num_layers,
            "layer_decay": self.layer_decay,
            "block_pattern": self.block_pattern,
            "embedding_names": self.embedding_names,
        }
        return {**super().get_config(), **own}


def fine_tuning_optimizer(
    base_learning_rate: float,
    batch_size: int,
    total_steps: int,
    num_layers: int,
    warmup_steps: int = 0,
    **kwargs: Any,
) -> LayerDecayAdamW:
    """AdamW with layer decay, linear warmup and cosine decay to 0, its rate scaled by the batch.

    `learning_rate = base_learning_rate * batch_size / 256`.

    Args:
        base_learning_rate: float, the head's rate for 256 images per update.
        batch_size: int, images per step.
        total_steps: int, steps of `fit` in the whole run, warmup included.
        num_layers: int, blocks of the encoder, frozen ones included.
        warmup_steps: int, steps of linear warmup from 0.
        **kwargs: passed to `LayerDecayAdamW`, such as `layer_decay` and `use_ema`.

    Returns:
        `LayerDecayAdamW`.

    Raises:
        ValueError: if the rate is not positive or the warmup is not shorter than the run.

    Example:
    >>> optimizer = fine_tuning_optimizer(1e-3, 512, total_steps=100, num_layers=6)
    >>> round(float(optimizer.learning_rate), 6)
    0.002

    References:
        - He et al. 2021, arXiv:2111.06377, table 9.
    """
    check_int("batch_size", batch_size, 1, LARGEST_BATCH)
    schedule = scaled_warmup_cosine(base_learning_rate, batch_size, total_steps, warmup_steps)
    return LayerDecayAdamW(schedule, num_layers=num_layers, **kwargs)
