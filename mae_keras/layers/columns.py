"""Cells of tables to tokens: a vector for each column, and one for each category."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, check_int, check_ints, check_parameters


@keras.saving.register_keras_serializable(package="mae_keras")
class ColumnEmbedding(keras.layers.Layer):
    """Turn every cell of a table into a token, by weights of its column.

    The token of a number `x` in column `j` is `b[j] + x * w[j]`, that of category `c` is
    `b[j] + e[j, c]`. A category that the column does not have is unknown; its token is `b[j]`.

    Args:
        sizes: ints, categories of each column; 0 for numbers.
        hidden_dim: int, features per token.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        rows: float tensor `(batch, num_tokens, 1)`, scaled numbers and numbers of categories.
        indices: int tensor `(batch, num_tokens)`, the column of each token, or `None`: all columns
            in order.

    Returns:
        Tensor `(batch, num_tokens, hidden_dim)`, in the compute dtype.

    Raises:
        ValueError: if a size is negative, or rows and columns do not fit.

    Example:
    >>> import numpy as np
    >>> tuple(ColumnEmbedding((0, 3), 8)(np.array([[[0.5], [2.0]]])).shape)
    (1, 2, 8)

    References:
        - Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data",
          arXiv:2106.11959, section 3.3 (feature tokenizer).
    """

    def __init__(self, sizes: Sequence[int], hidden_dim: int, **kwargs: Any):
        # Numbers of categories would not survive half precision.
        super().__init__(**{"autocast": False, **kwargs})
        self.sizes = check_ints("sizes", sizes, 0, LARGEST_WIDTH)
        self.hidden_dim = check_int("hidden_dim", hidden_dim, 1, LARGEST_WIDTH)
        self._starts = tuple(itertools.accumulate(self.sizes, initial=0))[:-1]

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        num_columns, num_categories = len(self.sizes), sum(self.sizes)
        count = (2 * num_columns + num_categories) * self.hidden_dim
        check_parameters(count, num_categories=num_categories, hidden_dim=self.hidden_dim)
        self.vectors = self._table(num_columns, "column_vectors")
        self.biases = self._table(num_columns, "column_biases")
        self.category_vectors = None
        if num_categories:
            self.category_vectors = self._table(num_categories, "category_vectors")
        self.built = True

    def _table(self, count: int, name: str) -> Any:
        initializer = keras.initializers.RandomNormal(stddev=self.hidden_dim**-0.5)
        return self.add_weight(shape=(count, self.hidden_dim), initializer=initializer, name=name)

    def call(self, rows: Any, indices: Any = None) -> Any:
        columns = ops.arange(len(self.sizes), dtype="int32") if indices is None else indices
        if indices is None and rows.shape[1] not in (None, len(self.sizes)):
            raise ValueError(
                f"`rows` must be one for each of the {len(self.sizes)} columns, or `indices` say "
                f"of which they are. Received: rows.shape={tuple(rows.shape)}"
            )
        cells = ops.cast(rows[..., 0], "float32")
        sizes = self._of(columns, self.sizes)
        numbers = ops.where(sizes == 0, cells, 0.0)
        tokens = self._of(columns, self.vectors) * numbers[..., None]
        if self.category_vectors is not None:
            known = ops.logical_and(cells >= 0, cells < sizes)
            starts = self._of(columns, self._starts)
            places = ops.cast(ops.where(known, cells + starts, 0.0), "int32")
            vectors = ops.take(_float32(self.category_vectors), places, axis=0)
            tokens = ops.where(known[..., None], vectors, tokens)
        return ops.cast(tokens + self._of(columns, self.biases), self.compute_dtype)

    def _of(self, columns: Any, values: Any) -> Any:
        """A value of each token's column, `(batch or 1, num_tokens, ...)`."""
        taken = ops.take(_float32(values), columns, axis=0)
        return taken[None] if len(columns.shape) == 1 else taken

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.hidden_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sizes": self.sizes, "hidden_dim": self.hidden_dim}


def _float32(values: Any) -> Any:
    # An encoder in half precision around this layer would have its weights read in that.
    return ops.cast(ops.convert_to_tensor(values), "float32")
