"""Stochastic depth: whole residual branches left out at random, per sample."""

import random
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import LARGEST_SEED, check_int, check_number
from mae_keras.branches import first_of_branch, in_first_branch
from mae_keras.ops import counter_noise
from mae_keras.replicas import first_sample


@keras.saving.register_keras_serializable(package="mae_keras")
class DropPath(keras.layers.Layer):
    """Leave out a residual branch for some samples, scaling it up for the others.

    Like the masks, what is dropped is a function of (seed, saved step, number of the sample), so
    that a resumed run goes on as if it had not stopped; Keras's own dropout forgets its state. The
    seed is saved as a weight too, since layers that hold this one do not keep its config.

    Args:
        drop_path_rate: float in [0, 1), probability to drop a sample's branch.
        seed: int in [0, 2**31), or `None` to draw one now (it is kept in the config).
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        inputs: tensor `(batch, ...)`, the branch's output.
        training: bool; nothing is dropped outside training.

    Returns:
        Tensor of the shape of `inputs`.

    Raises:
        ValueError: if `drop_path_rate` is not in [0, 1), or `seed` out of range.

    Example:
    >>> import numpy as np
    >>> float(DropPath(0.5)(np.ones((1, 2)))[0, 0])
    1.0

    References:
        - Huang et al. 2016, arXiv:1603.09382; scaling as timm `drop_path`.
    """

    def __init__(self, drop_path_rate: float = 0.0, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.drop_path_rate = check_number("drop_path_rate", drop_path_rate, 0, 1, below=True)
        check_int("seed", seed, 0, LARGEST_SEED, optional=True)
        self.seed = random.randrange(2**31) if seed is None else int(seed)
        self.micro_step = self.stream = None

    def build(self, input_shape: Any) -> None:
        if self.built:
            return
        if self.drop_path_rate > 0.0:
            self.micro_step = self._counter("micro_step", 0)
            self.stream = self._counter("stream", self.seed)
        self.built = True

    def _counter(self, name: str, value: int) -> keras.Variable:
        initializer = keras.initializers.Constant(value)
        return self.add_weight(
            shape=(), dtype="int32", initializer=initializer, trainable=False, name=name
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.micro_step is None:
            return inputs
        if in_first_branch():
            self.micro_step.assign(self.micro_step + 1)
        batch = ops.shape(inputs)[0]
        samples = first_sample(batch) + first_of_branch() + ops.arange(batch, dtype="int32")
        noise = counter_noise(self.stream, self.micro_step, samples, 1)
        kept = ops.reshape(noise >= self.drop_path_rate, (batch, *[1] * (len(inputs.shape) - 1)))
        return inputs * ops.cast(kept, inputs.dtype) / (1.0 - self.drop_path_rate)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {"drop_path_rate": self.drop_path_rate, "seed": self.seed}
        return {**super().get_config(), **own}
