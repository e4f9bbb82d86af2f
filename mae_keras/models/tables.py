"""Tables in a model: a token for each column, and what is predicted of hidden cells."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.layers.columns import ColumnEmbedding
from mae_keras.models.inputs import Inputs
from mae_keras.models.targets import Target
from mae_keras.table_schema import TableSchema, is_table

_NOWHERE = -1e9  # a logit of what cannot be


@keras.saving.register_keras_serializable(package="mae_keras")
class TableInputs(Inputs):
    """Rows of a table, a token for each column; no weights.

    Samples are float32 `(num_columns,)` as `TableSchema.encode` gives them: scaled numbers, and
    numbers of categories. NaN is missing. Models with these inputs also take pandas tables, which
    the schema encodes.

    Args:
        schema: `TableSchema`, as `data.load_table(...).schema`; or a dict, its config.

    Raises:
        TypeError: if it is something else.

    Example:
    >>> from mae_keras.data import TableColumn, TableSchema
    >>> inputs = TableInputs(TableSchema([TableColumn("age", "number", mean=40.0, std=10.0)]))
    >>> rows, missing = inputs.rows(ops.convert_to_tensor([[0.5], [float("nan")]]))
    >>> np.asarray(rows)[:, 0].tolist(), np.asarray(missing)[:, 0].tolist()
    ([[0.5], [0.0]], [False, True])
    """

    default_target = "table"

    def __init__(self, schema: TableSchema | Mapping[str, Any]):
        if isinstance(schema, Mapping):
            schema = TableSchema.from_config(schema)
        if not isinstance(schema, TableSchema):
            raise TypeError(
                "`schema` must be a TableSchema, such as data.load_table(...).schema. Received: "
                f"{type(schema).__name__}"
            )
        self.schema = schema
        self.sample_shape = self.grid = (len(schema.columns),)
        self.row_dim = 1

    @property
    def sizes(self) -> dict[str, Any]:
        """What decides how many weights the encoder has, for messages."""
        return {"num_columns": self.num_tokens, "num_categories": sum(self.schema.sizes)}

    def as_samples(self, data: Any) -> Any:
        """A pandas table to numbers; anything else as it is.

        Args:
            data: `pandas.DataFrame`, array or dataset.

        Returns:
            float32 array `(rows, num_columns)`, or `data`.

        Raises:
            ValueError: if a column is missing or of another type than in training.
        """
        return self.schema.encode(data) if is_table(data) else data

    def as_given(self, samples: np.ndarray, data: Any) -> Any:
        """Filled samples to what they were given as: a pandas table, its empty cells filled.

        Args:
            samples: float array `(rows, num_columns)`.
            data: what `as_samples` made them of.

        Returns:
            `pandas.DataFrame`, or `samples`.
        """
        return self.schema.decode(samples, data) if is_table(data) else samples

    def rows(self, samples: Any) -> tuple[Any, Any]:
        """Encoded rows of a table to one row for every cell; see `Inputs.rows`."""
        cells = ops.cast(samples, "float32")
        missing = ops.isnan(cells)
        return ops.where(missing, 0.0, cells)[..., None], missing

    def embedding(self, hidden_dim: int, **options: Any) -> keras.layers.Layer:
        """A new layer that turns cells into tokens: `ColumnEmbedding`."""
        return ColumnEmbedding(self.schema.sizes, hidden_dim, **options)

    def embed(self, layer: Any, rows: Any, indices: Any = None) -> Any:
        """Cells to tokens, by the weights of their columns; see `Inputs.embed`."""
        return layer(rows, indices=indices)

    def positions(self, kind: str, **options: Any) -> keras.layers.Layer:
        """A layer that adds nothing: every column has a bias of its own, which is learned."""
        return _NoPositions(**options)

    def samples(self, rows: Any, like: Any = None, hidden: Any = None) -> Any:
        """Undo `rows`: `(batch, num_columns)`, as `TableSchema.decode` takes it."""
        return self.assemble(rows)

    def assemble(self, rows: Any) -> Any:
        """One value for every cell to `(batch, num_columns)`."""
        return rows[..., 0]

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"schema": self.schema.get_config()}


class _NoPositions(keras.layers.Layer):
    """Takes what `PositionEmbedding` takes, and gives the tokens back."""

    def call(self, tokens: Any, indices: Any = None, grid: Any = None) -> Any:
        return tokens


@keras.saving.register_keras_serializable(package="mae_keras")
class TableTarget(Target):
    """The value of a hidden cell: squared error for numbers, cross-entropy for categories.

    Each column has outputs of its own, one for a number and one for each category. Losses are
    divided by those of a guess that does not look at the row: numbers by their variance, which is
    1 once they are scaled, categories by the entropy of their shares, at least 0.1. So every
    column counts alike, and a loss of 1 means that nothing was learned. Unknown categories are
    predicted by none and count 0.

    Example:
    >>> from mae_keras.data import TableColumn, TableSchema
    >>> size = TableColumn("size", "number")
    >>> color = TableColumn("color", "category", categories=("red", "blue"), shares=(0.5, 0.5))
    >>> target = TableTarget()
    >>> target.build(TableInputs(TableSchema([size, color])))
    >>> target.dim  # 1 for the number, 2 for the categories
    3
    >>> targets = target.encode(ops.convert_to_tensor([[[1.5], [0.0]]]))
    >>> [round(float(loss), 3) for loss in target.loss(targets, np.zeros((1, 2, 3)))[0]]
    [2.25, 1.0]
    """

    name = "table"
    per_token = True

    def build(self, inputs: Any) -> None:
        schema = getattr(inputs, "schema", None)
        if not isinstance(schema, TableSchema):
            raise ValueError(
                "`target` can be 'table' for models of tables alone, with `TableInputs`. Received: "
                f"target='table' with {type(inputs).__name__}"
            )
        sizes = np.array(schema.sizes)
        outputs = np.maximum(sizes, 1)
        self.dim = int(outputs.sum())
        self.num_channels = 1
        self._num_columns = len(sizes)
        # Of each output: its column, its number there, and what the column's loss is divided by.
        self._column = np.repeat(np.arange(len(sizes)), outputs).astype("float32")
        starts = np.cumsum(outputs) - outputs
        self._category = np.arange(self.dim) - np.repeat(starts, outputs)
        self._category = self._category.astype("float32")
        self._is_number = np.repeat(sizes == 0, outputs)
        self._spread = np.repeat([c.spread for c in schema.columns], outputs).astype("float32")

    @property
    def encoded_dim(self) -> int:
        """Values of an encoded target: the column and what the cell holds."""
        return 2

    def encode(self, rows: Any, indices: Any = None, missing: Any = None) -> Any:
        if indices is None:
            indices = ops.arange(self._num_columns, dtype="float32")[None]
        columns = ops.broadcast_to(ops.cast(indices, "float32"), ops.shape(rows)[:2])
        return ops.concatenate([columns[..., None], rows], axis=-1)

    def decode(self, predictions: Any, rows: Any, hidden: Any, statistics: str = "original") -> Any:
        # (num_columns, dim): which outputs a column has
        own = np.arange(self._num_columns)[:, None] == self._column
        best = ops.argmax(ops.where(ops.convert_to_tensor(own), predictions, _NOWHERE), axis=-1)
        categories = ops.take(ops.convert_to_tensor(self._category), best, axis=0)
        numbers = ops.sum(ops.where(ops.convert_to_tensor(own), predictions, 0.0), axis=-1)
        is_number = (own & self._is_number).any(axis=1)
        return ops.where(ops.convert_to_tensor(is_number), numbers, categories)[..., None]

    def probabilities(self, predictions: Any) -> list[Any]:
        """Predictions of all columns, as probabilities of categories.

        Args:
            predictions: array `(batch, num_columns, dim)`, as `predict_patches` gives them.

        Returns:
            For each column a NumPy array: `(batch, num_categories)`, or of numbers `(batch,)`, as
            scaled.
        """
        predictions = ops.convert_to_numpy(predictions)
        results = []
        for number in range(self._num_columns):
            own = self._column == number
            logits = predictions[:, number, own]
            if self._is_number[own][0]:
                results.append(logits[:, 0])
                continue
            exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
            results.append(exponents / exponents.sum(axis=-1, keepdims=True))
        return results

    def loss(self, targets: Any, predictions: Any) -> Any:
        targets, predictions = (ops.cast(x, "float32") for x in (targets, predictions))
        columns, cells = targets[..., :1], targets[..., 1:]
        own = ops.equal(columns, ops.convert_to_tensor(self._column))  # (batch, tokens, dim)
        is_number = ops.logical_and(own, ops.convert_to_tensor(self._is_number))
        errors = ops.sum(ops.where(is_number, ops.square(predictions - cells), 0.0), axis=-1)
        # Outputs of other columns take no part, and a number has one output: its loss here is 0.
        logits = ops.where(own, predictions, _NOWHERE)
        surprise = -ops.log_softmax(logits, axis=-1)
        is_category = ops.logical_and(own, ops.logical_not(ops.convert_to_tensor(self._is_number)))
        correct = ops.logical_and(
            is_category, ops.equal(cells, ops.convert_to_tensor(self._category))
        )
        surprise = ops.where(correct, surprise / ops.convert_to_tensor(self._spread), 0.0)
        return errors + ops.sum(surprise, axis=-1)
