"""The optimizer of fine-tuning: AdamW whose learning rate shrinks from the head to the pixels."""

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import LARGEST_DEPTH, check_int, check_number
from mae_keras.training.optimizers import LARGEST_BATCH, MaskedAdamW, scaled_warmup_cosine

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
