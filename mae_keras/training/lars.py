"""LARS, the optimizer of the paper's linear probe: one learning rate for every weight tensor."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import check_int, check_number
from mae_keras.training.optimizers import check_learning_rate


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
