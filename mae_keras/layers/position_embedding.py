"""The layer that tells tokens where their patches were."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, check_choice, check_ints, check_parameters
from mae_keras.ops import interpolate_positions, sincos_positions


@keras.saving.register_keras_serializable(package="mae_keras")
class PositionEmbedding(keras.layers.Layer):
    """Add a position vector to every token.

    Args:
        grid: ints, patches per axis.
        kind: `"sincos"` (fixed, as in the paper; no weights) or `"learned"`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_tokens, hidden_dim)`.
        indices: int tensor `(batch, num_tokens)`, the patch each token stands for, or `None`: all
            patches in raster order.
        grid: ints or `None`; another grid than the layer's own. Sin-cos tables are computed for
            it, learned ones interpolated.

    Returns:
        Tensor of the shape of `tokens`.

    Raises:
        ValueError: if `kind` is unknown, or `hidden_dim` is too small for the number of axes.

    Example:
    >>> import numpy as np
    >>> tuple(PositionEmbedding((2, 3))(np.zeros((1, 6, 8))).shape)
    (1, 6, 8)

    References:
        - He et al. 2021, arXiv:2111.06377, appendix A.1.
    """

    def __init__(self, grid: Sequence[int], kind: str = "sincos", **kwargs: Any):
        super().__init__(**kwargs)
        self.grid = check_ints("grid", grid, 1, LARGEST_WIDTH)
        self.kind = check_choice("kind", kind, ("sincos", "learned"))
        self.positions = None

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        self.hidden_dim = input_shape[-1]
        check_parameters(math.prod(self.grid) * self.hidden_dim, grid=self.grid)
        if self.kind == "learned":
            self.positions = self.add_weight(
                shape=(math.prod(self.grid), self.hidden_dim),
                initializer=keras.initializers.TruncatedNormal(stddev=0.02),
                name="positions",
            )
        self.built = True

    def _table(self, grid: tuple[int, ...]) -> Any:
        """Position vectors `(num_patches, hidden_dim)` for a grid."""
        if self.kind == "sincos":
            return ops.convert_to_tensor(sincos_positions(grid, self.hidden_dim))
        return interpolate_positions(ops.convert_to_tensor(self.positions), self.grid, grid)

    def call(self, tokens: Any, indices: Any = None, grid: Sequence[int] | None = None) -> Any:
        grid = self.grid if grid is None else tuple(grid)
        if indices is None and tokens.shape[1] not in (None, math.prod(grid)):
            raise ValueError(
                f"`tokens` must be one for each of the {math.prod(grid)} patches of the grid "
                f"{grid}. Received: tokens.shape={tuple(tokens.shape)}"
            )
        table = ops.cast(self._table(grid), tokens.dtype)
        return tokens + (table if indices is None else ops.take(table, indices, axis=0))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid, "kind": self.kind}
