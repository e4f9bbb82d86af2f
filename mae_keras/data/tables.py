"""Tables: columns of numbers, categories and dates, read and turned into numbers for a model.

Needs pandas, and PyArrow for Parquet, which are imported on use.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from mae_keras.arguments import LARGEST_SEED, LARGEST_WIDTH, check_choice, check_int
from mae_keras.data.signal_tables import LABEL_NAMES, MISSING, first_named, read_frame
from mae_keras.table_cells import (
    category_key,
    days_of,
    factorized,
    numbers_of,
    present_cells,
    read_dates,
    shown,
)
from mae_keras.table_schema import KINDS, LONGEST_NAME
from mae_keras.table_schema import TableColumn as TableColumn
from mae_keras.table_schema import TableSchema as TableSchema

_FEW_ROWS = 20  # of which values may all differ by chance
_MOST_REFERENCES = 101  # quantiles that are kept of a column
_OUTERMOST = 1e-3  # which quantile the smallest number stands for


@dataclasses.dataclass(frozen=True)
class TableData:
    """A table as numbers for a model, and as it was read.

    Attributes:
        values: float32 `(rows, columns)`, what models take: scaled numbers and numbers of
            categories; NaN where a cell is missing.
        labels: int32 `(rows,)` numbers of classes, -1 without a label; float32 where the label is
            a number; `None` without a column of labels. Labels are not in `values`.
        schema: `TableSchema`, what the columns are.
        frame: `pandas.DataFrame`, the table as it was read.
        notes: what was left out or changed, one line each.
    """

    values: np.ndarray
    labels: np.ndarray | None
    schema: TableSchema
    frame: Any
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, in the order of their numbers."""
        return self.schema.class_names


def load_table(
    table: Any,
    label: str | bool | None = None,
    *,
    schema: TableSchema | None = None,
    kinds: Mapping[str, str] | None = None,
    numbers: str = "standard",
    max_categories: int = 256,
    min_count: int = 2,
) -> TableData:
    """Read a table, find out what its columns are, and turn it into numbers.

    Columns of numbers are numbers, those of text categories or dates, and those of two values
    categories. Columns without a value, of one value alone, and of values that number or name the
    rows are left out; `print(data.schema)` shows everything. Means, scales and categories are
    those of this table: pass the rows for training, and for others the `schema` of those.

    Args:
        table: `pandas.DataFrame`; or path of a CSV, TSV or Parquet file.
        label: name of the column to predict, which is not in the values; `False`: there is none.
            Defaults to `None`: the column named `label`, `class`, `target` or `y`, if there is one.
        schema: `TableSchema` of the table for training, by which this one is read; or `None`.
        kinds: name of a column to `"number"`, `"category"`, `"date"` or `"ignore"`, where the
            types found are not right. Defaults to `None`.
        numbers: `"standard"`: less the mean, divided by the standard deviation; or `"quantile"`:
            the normal scores of quantiles, for numbers of very different size.
        max_categories: int of at least 2, the most frequent categories of a column that are told
            apart; others are unknown. Defaults to `256`.
        min_count: int of at least 1, rows that a category needs. Rarer ones are unknown, as are
            those that other tables have. Defaults to `2`.

    Returns:
        `TableData`.

    Raises:
        TypeError: if `table` is neither a table nor a path.
        ValueError: if a column is missing or of another type, or nothing of the table can be used.

    Example:
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": [31, 44, None, 38], "city": ["Oslo", "Rome", "Rome", "Oslo"]})
    >>> table = load_table(frame)
    >>> print(table.schema)
    age   number    37.67 ± 5.31
    city  category  2: Oslo, Rome
    >>> load_table(pd.DataFrame({"city": ["Bern"], "age": [38]}), schema=table.schema).values[:, 1]
    array([2.], dtype=float32)
    """
    check_choice("numbers", numbers, ("standard", "quantile"))
    max_categories = check_int("max_categories", max_categories, 2, LARGEST_WIDTH)
    min_count = check_int("min_count", min_count, 1, LARGEST_SEED)
    frame, where = _frame(table, label)
    if schema is not None:
        return _by_schema(frame, where, schema, label, kinds)
    names = _names(frame, where)
    label = _label_column(names, label, where)
    kinds = _checked_kinds(kinds, names, where)
    notes: list[str] = []
    columns, left_out, label_column = [], {}, None
    for name, cells in names.items():
        if name == label:
            label_column = _label(name, cells, kinds.get(name), where)
            continue
        kind, reason = _kind(cells, kinds.get(name))
        if reason:
            left_out[name] = reason
            continue
        column = _column(name, cells, kind, where, numbers, max_categories, min_count, notes)
        columns.append(column)
    notes = [f"not used: {name} ({reason})." for name, reason in left_out.items()] + notes
    if not columns:
        raise ValueError(
            f"{where}a table must have a column to learn from. {' '.join(notes)} Received: columns "
            f"{', '.join(names)}"
        )
    found = TableSchema(columns, label_column, left_out)
    return _data(frame, where, found, notes)


def _data(frame: Any, where: str, schema: TableSchema, notes: list[str]) -> TableData:
    values = schema.encode(frame, where)
    empty = int(np.isnan(values).all(axis=1).sum())
    if empty:
        notes = [*notes, f"{empty} of {len(values)} rows have no value at all."]
    return TableData(values, schema.labels(frame, where), schema, frame, tuple(notes))


def _by_schema(frame: Any, where: str, schema: Any, label: Any, kinds: Any) -> TableData:
    if not isinstance(schema, TableSchema):
        raise TypeError(f"`schema` must be a TableSchema. Received: {type(schema).__name__}")
    known = None if schema.label is None else schema.label.name
    if label not in (None, False, known) or kinds:
        raise ValueError(
            f"`label` and `kinds` must be left out with `schema`, which knows them. Received: "
            f"label={label!r}, kinds={kinds!r}"
        )
    data = _data(frame, where, schema, [])
    notes = list(data.notes)
    for place, column in enumerate(schema.columns):
        unknown = int((data.values[:, place] == column.size).sum()) if column.size else 0
        if unknown:
            notes.append(f"{column.name}: {_rows(unknown)} of unknown categories.")
    return dataclasses.replace(data, notes=tuple(notes))


def _frame(table: Any, label: Any) -> tuple[Any, str]:
    """The table, and what messages begin with."""
    import pandas as pd

    if label is not None and label is not False and not isinstance(label, str):
        raise ValueError(f"`label` must be the name of a column, or False. Received: {label!r}")
    if isinstance(table, pd.DataFrame):
        if not len(table) or not len(table.columns):
            raise ValueError(f"`table` must have rows and columns. Received: shape {table.shape}")
        return table, ""
    if not isinstance(table, (str, os.PathLike)):
        raise TypeError(
            "`table` must be a pandas DataFrame, or the path of a CSV, TSV or Parquet file. "
            f"Received: {type(table).__name__}"
        )
    path = Path(table).expanduser()
    if not path.is_file():
        raise ValueError(f"`table` must be a file. Received: {str(table)!r}, not found")
    frame = read_frame(path, label or None)
    # Of columns named as labels are, "NA" is kept when a file is read: it may name a class.
    features = [name for name in frame.columns if str(name).lower() in LABEL_NAMES]
    for name in features:
        if frame[name].dtype.kind not in "biuf":
            frame[name] = frame[name].where(~frame[name].isin(MISSING))
    return frame, f"{path}, "


def _names(frame: Any, where: str) -> dict[str, Any]:
    """The columns by name."""
    names: dict[str, Any] = {}
    for place, name in enumerate(frame.columns):
        if str(name) in names:
            raise ValueError(
                f"{where}columns must have different names. Received twice: {str(name)!r}"
            )
        names[str(name)] = frame.iloc[:, place]
    return names


def _label_column(names: Mapping[str, Any], label: Any, where: str) -> str | None:
    if label is None:
        return first_named(list(names), LABEL_NAMES)
    if label is False:
        return None
    if label not in names:
        try:
            return check_choice("label", label, list(names))
        except ValueError as error:
            raise ValueError(f"{where}{error}") from None
    return label


def _checked_kinds(kinds: Any, names: Mapping[str, Any], where: str) -> dict[str, str]:
    if not isinstance(kinds, (Mapping, type(None))):
        raise TypeError(f"`kinds` must be a dict of names and types. Received: {kinds!r}")
    kinds = dict(kinds or {})
    for name, kind in kinds.items():
        if name not in names:
            raise ValueError(
                f"{where}`kinds` must name columns of the table: {', '.join(names)}. Received: "
                f"{name!r}"
            )
        check_choice("kinds", kind, (*KINDS, "ignore"))
    return kinds


def _kind(cells: Any, wanted: str | None) -> tuple[str, str]:
    """What a column holds, and why it is left out, if it is."""
    if wanted == "ignore":
        return "", "as asked"
    present = cells[present_cells(cells)]
    if not len(present):
        return "", "no values"
    try:
        _, values = factorized(present)
    except TypeError:  # lists, dicts
        return "", "cells that are neither numbers, text nor dates"
    if len(values) == 1:
        return "", f"the same in all rows: {values[0]!r}"
    kind = wanted or _inferred(present, values)
    if wanted is None:
        return kind, _names_rows(present, values, kind)
    return kind, ""


def _inferred(present: Any, values: list[Any]) -> str:
    """What the cells of a column are that are not missing."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(present):
        return "date"
    if len(values) == 2 or pd.api.types.is_bool_dtype(present):
        return "category"
    if pd.api.types.is_numeric_dtype(present):
        return "number"
    if isinstance(present.dtype, pd.CategoricalDtype):
        return "category"
    texts = present.astype(str).str.strip()
    if pd.to_numeric(texts, errors="coerce").notna().all():
        return "number"
    if texts.str.match(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]|$)").all():
        try:
            read_dates("", texts)
            return "date"
        except ValueError:
            pass
    return "category"


def _names_rows(present: Any, values: list[Any], kind: str) -> str:
    """Why a column of these values says nothing but which row it is, if so."""
    count = len(present)
    if kind == "category" and any(len(category_key(value)) > LONGEST_NAME for value in values):
        return f"texts of more than {LONGEST_NAME} letters"
    if count < _FEW_ROWS:
        return ""
    if kind == "category" and len(values) > count / 2:
        return f"{len(values)} different values in {count} rows, as names or texts have"
    if kind == "number" and len(values) == count:
        numbers = numbers_of(present, "")
        whole = np.all(numbers == np.rint(numbers))
        if whole and numbers.max() - numbers.min() == count - 1:
            return "it numbers the rows"
        name = str(present.name).lower()
        if whole and (name in ("id", "key", "index") or name.endswith(("_id", " id", "-id"))):
            return "whole numbers, another in every row, as identifiers have"
    return ""


def _column(
    name: str,
    cells: Any,
    kind: str,
    where: str,
    numbers: str,
    max_categories: int,
    min_count: int,
    notes: list[str],
) -> TableColumn:
    place = f"{where}column {name!r}"
    if kind == "category":
        return _category(name, cells, max_categories, min_count, notes)
    values = days_of(cells, place) if kind == "date" else numbers_of(cells, place)
    _check_finite(values, cells, place)
    values = values[~np.isnan(values)]
    mean, std = float(values.mean()), float(values.std())
    whole = bool(np.all(values == np.rint(values)))
    column = TableColumn(name, kind, mean, std if std > 0 else 1.0, whole=whole)
    if numbers == "quantile" and kind == "number":
        quantiles, scores = _references(values)
        column = dataclasses.replace(column, quantiles=quantiles, scores=scores)
    return column


def _check_finite(values: np.ndarray, cells: Any, place: str) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise ValueError(
            f"{place} must hold finite numbers; an empty cell stands for one that is not known. "
            f"Received: {shown(cells.iloc[row])} in row {row + 1}"
        )


def _references(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Some quantiles of numbers, and their normal scores; of equal quantiles, the mean score."""
    shares = np.linspace(0, 1, min(_MOST_REFERENCES, max(2, len(values))))
    quantiles, places = np.unique(np.quantile(values, shares), return_inverse=True)
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(s) for s in np.clip(shares, _OUTERMOST, 1 - _OUTERMOST)])
    means = np.bincount(places, scores) / np.bincount(places)
    return quantiles.tolist(), means.tolist()


def _category(
    name: str, cells: Any, max_categories: int, min_count: int, notes: list[str]
) -> TableColumn:
    codes, values = factorized(cells)
    counts: dict[str, int] = {}
    first: dict[str, Any] = {}
    for value, count in zip(
        values, np.bincount(codes[codes >= 0], minlength=len(values)), strict=True
    ):
        key = category_key(value)
        counts[key] = counts.get(key, 0) + int(count)
        first.setdefault(key, _plain(value))
    frequent = sorted((key for key in counts if counts[key] >= min_count), key=counts.get)[::-1]
    # Where every value is rare, rather all than none.
    kept = sorted((frequent or list(counts))[:max_categories], key=lambda key: _order(first[key]))
    rare = sum(counts.values()) - sum(counts[key] for key in kept)
    if rare:
        others = len(counts) - len(kept)
        notes.append(
            f"{name}: {others} rare categories in {_rows(rare)} are taken for unknown "
            "(min_count, max_categories)."
        )
    total = sum(counts[key] for key in kept)
    shares = [round(counts[key] / total, 6) for key in kept]
    return TableColumn(
        name, "category", categories=tuple(first[key] for key in kept), shares=tuple(shares)
    )


def _plain(value: Any) -> Any:
    """A category as JSON holds it."""
    if isinstance(value, str):
        return value.strip()
    return value if isinstance(value, (bool, int, float)) else str(value)


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


def _label(name: str, cells: Any, kind: str | None, where: str) -> TableColumn:
    """The column to predict: classes if it is text or has few whole numbers, else numbers."""
    present = cells[present_cells(cells)]
    _, values = factorized(present)
    if len(values) < 2:
        raise ValueError(
            f"{where}the label must have two values or more; pass label=False where there is none. "
            f"Received: {name!r} with {values}"
        )
    if kind == "ignore":
        raise ValueError(
            f"`kinds` must not be 'ignore' for the label: pass label=False. Received: {name!r}"
        )
    if kind is None:
        kind = _inferred(present, values)
    return _column(name, cells, kind, where, "standard", LARGEST_WIDTH, 1, [])


def _rows(count: int) -> str:
    return f"{count} row{'s' if count > 1 else ''}"
