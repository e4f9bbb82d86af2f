"""What the columns of a table are: `TableSchema` turns tables into numbers and back.

Imports neither Keras nor pandas: models keep a schema in their config, and pandas is imported
where a table is read.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import LARGEST_WIDTH, check_choice
from mae_keras.table_cells import category_key, days_of, factorized, filled, numbers_of, shown

KINDS = ("number", "category", "date")
LONGEST_NAME = 500  # letters of a column or category; files are read with words of up to 1,000
LEAST_ENTROPY = 0.1  # nats: a category that hardly varies would drown the others
_SECONDS_PER_DAY = 86_400.0


@dataclasses.dataclass(frozen=True)
class TableColumn:
    """What a column of a table holds, and how its cells become numbers.

    Args:
        name: str.
        kind: `"number"`; `"category"`; or `"date"`, whose cells become days since 1970-01-01.
        mean: float, of the numbers that the column was made of.
        std: float, their standard deviation, positive.
        quantiles: floats, increasing, or `()`: numbers are standardized by `mean` and `std`. With
            quantiles, they become the scores of the quantiles, straight lines between.
        scores: as many floats, increasing.
        categories: str, int, float or bool each, all different.
        shares: one float for each category, which part of the known cells has it.
        whole: bool, whether all numbers, or days, are whole. Those that come back are rounded.

    Raises:
        ValueError: if the parts contradict each other.

    Example:
    >>> TableColumn("color", "category", categories=("red", "blue"), shares=(0.5, 0.5)).size
    2
    """

    name: str
    kind: str
    mean: float = 0.0
    std: float = 1.0
    quantiles: Sequence[float] = ()
    scores: Sequence[float] = ()
    categories: Sequence[Any] = ()
    shares: Sequence[float] = ()
    whole: bool = False

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        for name in ("quantiles", "scores", "categories", "shares"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not isinstance(self.name, str) or len(self.name) > LONGEST_NAME:
            raise ValueError(
                f"`name` must be text of at most {LONGEST_NAME} letters. Received: "
                f"name={str(self.name)[:80]!r}"
            )
        if not (_finite((self.mean, self.std)) and self.std > 0):
            raise ValueError(
                f"`std` must be positive, and `mean` finite. Received: mean={self.mean!r}, "
                f"std={self.std!r} for column {self.name!r}"
            )
        for name in ("quantiles", "scores"):
            values = getattr(self, name)
            if not _finite(values) or any(np.diff(values) <= 0) or len(values) == 1:
                raise ValueError(
                    f"`{name}` must be two numbers or more, increasing. Received: "
                    f"{name}={values} for column {self.name!r}"
                )
        if len(self.quantiles) != len(self.scores):
            raise ValueError(
                f"`scores` must be as many as `quantiles`. Received: {len(self.scores)} and "
                f"{len(self.quantiles)} for column {self.name!r}"
            )
        keys = [category_key(value) for value in self.categories]
        plain = all(isinstance(value, (str, int, float)) for value in self.categories)
        short = max(map(len, keys), default=0) <= LONGEST_NAME
        if not plain or not short or len(set(keys)) != len(keys) or len(keys) > LARGEST_WIDTH:
            raise ValueError(
                f"`categories` must be different texts or numbers, of at most {LONGEST_NAME} "
                f"letters. Received: categories={str(self.categories)[:200]} for column "
                f"{self.name!r}"
            )
        if (self.kind == "category") != bool(keys) or len(self.shares) != len(keys):
            raise ValueError(
                "`categories` must be given for the kind 'category' alone, and `shares` for each "
                f"of them. Received: kind={self.kind!r} with {len(keys)} categories and "
                f"{len(self.shares)} shares for column {self.name!r}"
            )
        if not _finite(self.shares) or any(share < 0 for share in self.shares):
            raise ValueError(
                f"`shares` must be at least 0. Received: shares={self.shares[:20]} for column "
                f"{self.name!r}"
            )

    @property
    def size(self) -> int:
        """How many categories there are; 0 for numbers and dates."""
        return len(self.categories)

    @property
    def spread(self) -> float:
        """Loss of a guess that does not look at the row: 1 for numbers, of categories the entropy.

        In nats, and at least 0.1.
        """
        if not self.size:
            return 1.0
        total = sum(self.shares) or 1.0
        parts = [share / total for share in self.shares if share > 0]
        return max(LEAST_ENTROPY, -sum(part * math.log(part) for part in parts))

    def to_codes(self, cells: Any, where: str = "") -> np.ndarray:
        """Cells to numbers.

        Args:
            cells: `pandas.Series`.
            where: str, put before messages, such as the path of a file.

        Returns:
            float64 `(rows,)`: scaled numbers, or numbers of categories from 0 on, of which
            `size` stands for any that is not known. NaN is missing.

        Raises:
            ValueError: if cells are of another type.
        """
        place = f"{where}column {self.name!r}"
        if self.kind == "category":
            return self._category_codes(cells, place)
        values = days_of(cells, place) if self.kind == "date" else numbers_of(cells, place)
        return self._scaled(values)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if not self.quantiles:
            return (values - self.mean) / self.std
        scores = np.interp(values, self.quantiles, self.scores)
        return np.where(np.isnan(values), np.nan, scores)

    def _category_codes(self, cells: Any, place: str) -> np.ndarray:
        codes, values = factorized(cells)
        known = {category_key(value): number for number, value in enumerate(self.categories)}
        numbers = np.array([known.get(category_key(value), self.size) for value in values] + [-1])
        if len(values) and (numbers[:-1] == self.size).all() and self._is_of_another_type(values):
            expected = ", ".join(map(repr, self.categories[:5]))
            raise ValueError(
                f"{place} must hold categories, as in training: {expected}. Received: "
                f"{', '.join(map(repr, values[:5]))}"
            )
        encoded = numbers[codes].astype("float64")
        encoded[codes < 0] = np.nan
        return encoded

    def _is_of_another_type(self, values: Sequence[Any]) -> bool:
        ours, theirs = (
            {isinstance(value, str) for value in some} for some in (self.categories, values)
        )
        return not ours & theirs

    def to_cells(self, codes: np.ndarray) -> np.ndarray:
        """Numbers to cells: undo `to_codes`.

        Args:
            codes: float `(rows,)`, as `to_codes` gives them; categories are rounded.

        Returns:
            Array `(rows,)` of float64, of `datetime64[s]`, or of objects; missing ones and unknown
            categories are NaN, NaT or `None`.
        """
        codes = np.asarray(codes, "float64")
        missing = np.isnan(codes)
        if self.kind == "category":
            cells = np.array([*self.categories, None], dtype=object)
            places = np.where(missing, self.size, np.rint(np.nan_to_num(codes)))
            return cells[np.clip(places, 0, self.size).astype(int)]
        if self.quantiles:
            values = np.interp(codes, self.scores, self.quantiles)
            values = np.where(missing, np.nan, values)
        else:
            values = codes * self.std + self.mean
        values = np.rint(values) if self.whole else values
        if self.kind == "number":
            return values
        seconds = np.rint(np.nan_to_num(values) * _SECONDS_PER_DAY).astype("int64")
        return np.where(missing, np.datetime64("NaT"), seconds.astype("datetime64[s]"))

    def to_dict(self) -> dict[str, Any]:
        """The arguments that differ from their defaults, as JSON holds them."""
        fields = {field.name: field.default for field in dataclasses.fields(self)}
        values = {name: getattr(self, name) for name in fields}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value != fields[name]
        }

    def describe(self) -> str:
        """What the column holds, in a few words."""
        if self.kind == "number":
            return f"{self.mean:.4g} ± {self.std:.3g}"
        if self.kind == "date":
            first, last = (
                str(np.datetime64(0, "D") + round(self.mean + sign * self.std)) for sign in (-1, 1)
            )
            return f"{first} to {last}, most of them"
        shown = ", ".join(map(str, self.categories[:4]))
        return f"{self.size}: {shown}{', ...' if self.size > 4 else ''}"


class TableSchema:
    """The columns of a table that a model uses: their names, types and scales.

    `data.load_table` makes one of a table. `encode` turns tables with the same columns into
    numbers, by names, so that the order of the columns does not matter; `decode` turns numbers
    back. A schema is saved with the model that has it.

    Args:
        columns: each a `TableColumn` or a dict of its arguments, in the order in which they are
            encoded.
        label: `TableColumn` or dict, the column to predict, which is no feature; or `None`.
        left_out: name to reason, columns that are not used. Defaults to `None`: none.

    Raises:
        ValueError: if there is no column, or two have the same name.

    Example:
    >>> import pandas as pd
    >>> schema = TableSchema([TableColumn("size", "number", mean=2.0, std=0.5)])
    >>> schema.encode(pd.DataFrame({"size": [3.0, None]})).tolist()
    [[2.0], [nan]]
    """

    def __init__(
        self,
        columns: Sequence[TableColumn | Mapping[str, Any]],
        label: TableColumn | Mapping[str, Any] | None = None,
        left_out: Mapping[str, str] | None = None,
    ):
        if isinstance(columns, (str, Mapping)) or not isinstance(columns, Iterable):
            raise TypeError(
                f"`columns` must be a sequence of columns. Received: {type(columns).__name__}"
            )
        self.columns = tuple(map(_as_column, columns))
        self.label = None if label is None else _as_column(label)
        self.left_out = {str(name): str(reason) for name, reason in (left_out or {}).items()}
        names = [*self.names, *([self.label.name] if self.label else ())]
        if not self.columns:
            raise ValueError("`columns` must be at least one. Received: columns=[]")
        again = sorted({name for name in names if names.count(name) > 1})
        if again:
            raise ValueError(f"`columns` must have different names. Received twice: {again}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in the order in which they are encoded."""
        return tuple(column.name for column in self.columns)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Categories of each column; 0 for numbers and dates."""
        return tuple(column.size for column in self.columns)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes of the label, in the order of their numbers."""
        if self.label is None or not self.label.size:
            return None
        return tuple(category_key(value) for value in self.label.categories)

    def encode(self, table: Any, where: str = "") -> np.ndarray:
        """A table to numbers; other columns than those of the schema are left out.

        Args:
            table: `pandas.DataFrame`.
            where: str, put before messages, such as the path of a file.

        Returns:
            float32 `(rows, columns)`: scaled numbers, numbers of categories. NaN is missing.

        Raises:
            TypeError: if it is no table.
            ValueError: if a column is missing or of another type.
        """
        if not is_table(table):
            raise TypeError(f"`table` must be a pandas DataFrame. Received: {type(table).__name__}")
        self._check_names(table, where)
        positions = {str(name): place for place, name in enumerate(table.columns)}
        encoded = np.empty((len(table), len(self.columns)), "float32")
        for place, column in enumerate(self.columns):
            codes = column.to_codes(table.iloc[:, positions[column.name]], where)
            with np.errstate(over="ignore"):
                encoded[:, place] = codes
            if np.isinf(encoded[:, place]).any():
                row = int(np.argmax(np.isinf(encoded[:, place])))
                raise ValueError(
                    f"{where}column {column.name!r} must hold finite numbers. Received: "
                    f"{shown(table.iloc[row, positions[column.name]])} in row {row + 1}"
                )
        return encoded

    def labels(self, table: Any, where: str = "") -> np.ndarray | None:
        """The label of each row.

        Args:
            table: `pandas.DataFrame`.
            where: str, put before messages, such as the path of a file.

        Returns:
            int32 `(rows,)` numbers of classes, -1 without a label; of a label of numbers or
            dates, float32, as in the table, NaN without a label. `None` if the schema has no
            label, or the table no such column.

        Raises:
            ValueError: if a label is no class of the schema.
        """
        names = {str(name): place for place, name in enumerate(table.columns)}
        if self.label is None or self.label.name not in names:
            return None
        cells = table.iloc[:, names[self.label.name]]
        codes = self.label.to_codes(cells, where)
        if not self.label.size:
            return (codes * self.label.std + self.label.mean).astype("float32")
        unknown = codes == self.label.size
        if unknown.any():
            row = int(np.argmax(unknown))
            raise ValueError(
                f"{where}column {self.label.name!r} must hold the classes "
                f"{', '.join(map(repr, self.class_names))}. Received: {shown(cells.iloc[row])} in "
                f"row {row + 1}"
            )
        return np.where(np.isnan(codes), -1, codes).astype("int32")

    def decode(self, values: Any, like: Any = None) -> Any:
        """Numbers to a table: undo `encode`.

        Args:
            values: float array `(rows, columns)`, as `encode` gives it.
            like: `pandas.DataFrame` with as many rows, or `None`. With it, its missing cells are
                filled from `values`, and everything else stays as it is: other columns, index
                and known cells. A column of text gets dates as text.

        Returns:
            `pandas.DataFrame`.

        Raises:
            ValueError: if the shape does not fit.
        """
        import pandas as pd

        values = np.asarray(values)
        rows = values.shape[0] if like is None and values.ndim else len(like)
        if values.shape != (rows, len(self.columns)):
            raise ValueError(
                f"`values` must have shape ({rows}, {len(self.columns)}), one row for each of the "
                f"table and one value for each column. Received: shape {values.shape}"
            )
        cells = {c.name: c.to_cells(values[:, n]) for n, c in enumerate(self.columns)}
        if like is None:
            return pd.DataFrame(cells)
        missing = np.isnan(self.encode(like))
        result = like.copy()
        positions = {str(name): place for place, name in enumerate(like.columns)}
        for place, column in enumerate(self.columns):
            rows = missing[:, place]
            if rows.any():
                position = positions[column.name]
                series = filled(like.iloc[:, position], rows, cells[column.name], column.kind)
                result.isetitem(position, series)
        return result

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON holds them."""
        config: dict[str, Any] = {"columns": [column.to_dict() for column in self.columns]}
        if self.label is not None:
            config["label"] = self.label.to_dict()
        # A list: a column may have the name of a key that Keras takes for something else.
        config["left_out"] = [list(pair) for pair in self.left_out.items()]
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TableSchema":
        """The schema of a config.

        Args:
            config: as `get_config` gives it.

        Returns:
            `TableSchema`.

        Raises:
            TypeError, ValueError: if it is none.
        """
        return cls(**{**config, "left_out": dict(config.get("left_out") or {})})

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, TableSchema) and self.get_config() == other.get_config()

    __hash__ = None

    def __repr__(self) -> str:
        return f"TableSchema({len(self.columns)} columns: {', '.join(self.names[:8])}...)"

    def __str__(self) -> str:
        lines = [(column.name, column.kind, column.describe()) for column in self.columns]
        if self.label is not None:
            lines.append((self.label.name, "label", self.label.describe()))
        lines += [(name, "left out", reason) for name, reason in self.left_out.items()]
        widths = [max(len(line[n]) for line in lines) for n in range(2)]
        return "\n".join(
            f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {text}" for name, kind, text in lines
        )

    def _check_names(self, table: Any, where: str) -> None:
        given = [str(name) for name in table.columns]
        again = sorted({name for name in given if given.count(name) > 1 and name in self.names})
        if again:
            raise ValueError(f"{where}columns must have different names. Received twice: {again}")
        absent = [name for name in self.names if name not in given]
        if not absent:
            return
        known = {*self.names, *self.left_out, *([self.label.name] if self.label else ())}
        others = [name for name in given if name not in known]
        near = difflib.get_close_matches(absent[0], others, 1, 0.4) or others[:1]
        hint = f" If {near[0]!r} is the same under another name, rename it." if near else ""
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise ValueError(
            f"{where}column {absent[0]!r}{more} must be there, as in training; an empty column "
            f"stands for values that are not known.{hint} Received: columns "
            f"{', '.join(given[:12])}{', ...' if len(given) > 12 else ''}"
        )


def is_table(value: Any) -> bool:
    """Whether something is a `pandas.DataFrame`, without importing pandas.

    Args:
        value: anything.

    Returns:
        bool.

    Example:
    >>> is_table(np.zeros((2, 2)))
    False
    """
    return hasattr(value, "columns") and hasattr(value, "iloc")


def _as_column(column: Any) -> TableColumn:
    if isinstance(column, TableColumn):
        return column
    if not isinstance(column, Mapping):
        raise TypeError(
            "`columns` must be TableColumns or dicts of their arguments. Received: "
            f"{type(column).__name__}"
        )
    known = [field.name for field in dataclasses.fields(TableColumn)]
    unknown = sorted(set(map(str, column)) - set(known))
    if unknown:
        raise ValueError(f"`columns` must have the keys {known}. Received: {unknown}")
    return TableColumn(**column)


def _finite(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
