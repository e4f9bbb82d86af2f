"""Cells of a pandas column to numbers, dates and categories, and back. Imports pandas on use."""

from typing import Any

import numpy as np

_SECONDS_PER_DAY = 86_400.0


def category_key(value: Any) -> str:
    """What a category is compared by, so that 1, 1.0 and "1" are the same.

    Args:
        value: str, int, float or bool.

    Returns:
        str.

    Example:
    >>> category_key(1.0), category_key(" red "), category_key(True)
    ('1', 'red', 'True')
    """
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def shown(value: Any) -> str:
    """A cell as messages show it.

    Args:
        value: what the cell holds.

    Returns:
        str.

    Example:
    >>> shown(np.float64(1.5)), shown("red")
    ('1.5', "'red'")
    """
    return repr(value.item() if isinstance(value, np.generic) else value)[:100]


def numbers_of(cells: Any, place: str) -> np.ndarray:
    """Cells of numbers, or of text that are numbers.

    Args:
        cells: `pandas.Series`.
        place: str, what messages begin with.

    Returns:
        float64 `(rows,)`, NaN where a cell is missing.

    Raises:
        ValueError: if a cell is something else.

    Example:
    >>> import pandas as pd
    >>> numbers_of(pd.Series(["1.5", ""]), "column 'a'").tolist()
    [1.5, nan]
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
        return cells.to_numpy("float64", na_value=np.nan)
    present = present_cells(cells)
    values = pd.Series(np.nan, cells.index, "float64")
    kinds = (pd.api.types.is_bool_dtype, pd.api.types.is_datetime64_any_dtype)
    if any(is_kind(cells) for is_kind in kinds):
        wrong = present
    else:
        parsed = pd.to_numeric(cells[present].astype(str), errors="coerce")
        values[present] = parsed
        wrong = present & values.isna()
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        raise ValueError(
            f"{place} must hold numbers. Received: {shown(cells.iloc[row])} in row {row + 1}"
        )
    return values.to_numpy()


def present_cells(cells: Any) -> Any:
    """Which cells are neither missing nor empty text.

    Args:
        cells: `pandas.Series`.

    Returns:
        `pandas.Series` of bool.

    Example:
    >>> import pandas as pd
    >>> present_cells(pd.Series(["a", "", None])).tolist()
    [True, False, False]
    """
    present = cells.notna()
    if cells.dtype.kind == "O" or str(cells.dtype) in ("string", "str", "category"):
        present &= cells.astype(str).str.strip() != ""
    return present.astype(bool)


def read_dates(where: str, texts: Any) -> Any:
    """Dates in one order of day, month and year; refuse what could be read in two ways.

    Args:
        where: str, what messages begin with.
        texts: `pandas.Series` of str.

    Returns:
        `pandas.Series` of dates, in UTC where the texts have time zones.

    Raises:
        ValueError: if they are no dates, or day and month cannot be told apart.

    Example:
    >>> import pandas as pd
    >>> str(read_dates("column 'day'", pd.Series(["31/01/2024"]))[0].date())
    '2024-01-31'
    """
    import pandas as pd

    iso = "dates must be unambiguous, such as 2024-01-31."
    aware = texts.str.contains(r"\d:\d\d.*(?:Z|[+-]\d\d:?\d\d)$")
    if aware.any() and not aware.all():
        raise ValueError(
            f"{where}: all times must have a time zone, or none. Received: {texts[~aware].iloc[0]} "
            f"and {texts[aware].iloc[0]}"
        )
    parts = texts.str.extract(r"^(\d{1,2})[./-](\d{1,2})[./-](\d{4}|\d{2})(?!\d)").dropna()
    how: dict[str, Any] = {"format": "ISO8601"}
    if len(parts):
        first, second = parts[0].astype(int).max(), parts[1].astype(int).max()
        year_may_be_first = first > 12 and (parts[2].str.len() == 2).any()
        if (first > 12) == (second > 12) or year_may_be_first or len(parts) < len(texts):
            raise ValueError(
                f"{where}: {iso} Received: {texts.iloc[0]}, whose day and month cannot be told "
                "apart"
            )
        how = {"format": "mixed", "dayfirst": first > 12}
    elif texts.str.contains(r"^\d{1,2}:\d\d|[A-Za-z]{3}").all():  # times of a day, named months
        how = {"format": "mixed"}
    elif texts.str.contains(r"^\d{4}[./-](?:\d[./-]|\d\d[./-]\d(?!\d))").any():  # 2024/1/2
        how = {"format": pd.tseries.api.guess_datetime_format(texts.iloc[0])}
    try:
        return pd.to_datetime(texts, utc=bool(aware.any()), **how)
    except (ValueError, TypeError) as error:
        reason = str(error).split(". ")[0].splitlines()[0]
        raise ValueError(f"{where} must hold numbers or dates; {iso} {reason}") from error


def days_of(cells: Any, place: str) -> np.ndarray:
    """Cells of dates, or of text that are dates, to days since 1970-01-01.

    Args:
        cells: `pandas.Series`.
        place: str, what messages begin with.

    Returns:
        float64 `(rows,)`, in UTC where dates have a time zone; NaN where a cell is missing.

    Raises:
        ValueError: if a cell is something else.

    Example:
    >>> import pandas as pd
    >>> days_of(pd.Series(["1970-01-02T12:00:00", None]), "column 'day'").tolist()
    [1.5, nan]
    """
    import pandas as pd

    dates = cells
    if not pd.api.types.is_datetime64_any_dtype(cells):
        present = present_cells(cells)
        if pd.api.types.is_numeric_dtype(cells) and present.any():
            row = int(np.argmax(present.to_numpy()))
            raise ValueError(
                f"{place} must hold dates. Received: {shown(cells.iloc[row])} in row {row + 1}"
            )
        texts = cells[present].astype(str).str.strip()
        dates = read_dates(place, texts) if len(texts) else pd.to_datetime(texts)
        dates = dates.reindex(cells.index)
    if dates.dt.tz is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    seconds = (dates - pd.Timestamp(0)).dt.total_seconds()
    return seconds.to_numpy("float64", na_value=np.nan) / _SECONDS_PER_DAY


def factorized(cells: Any) -> tuple[np.ndarray, list[Any]]:
    """Number the values of cells.

    Args:
        cells: `pandas.Series`.

    Returns:
        int `(rows,)`, the number of each cell's value, -1 where it is missing; and the values.

    Example:
    >>> import pandas as pd
    >>> codes, values = factorized(pd.Series(["b", None, "a", "b"]))
    >>> codes.tolist(), values
    ([0, -1, 1, 0], ['b', 'a'])
    """
    import pandas as pd

    codes, values = pd.factorize(cells.where(present_cells(cells)), use_na_sentinel=True)
    return codes, [value.item() if isinstance(value, np.generic) else value for value in values]


def filled(cells: Any, rows: np.ndarray, values: np.ndarray, kind: str) -> Any:
    """A column some of whose cells are filled, as far as possible of the same type.

    Args:
        cells: `pandas.Series`.
        rows: bool `(rows,)`, which cells to fill.
        values: array `(rows,)`, of which those of `rows` are used: float64, `datetime64` or
            objects.
        kind: `"number"`, `"category"` or `"date"`. Dates in a column of text become text.

    Returns:
        `pandas.Series`, a copy.

    Example:
    >>> import pandas as pd
    >>> rows, values = np.array([False, True]), np.array([0.0, 2.5])
    >>> filled(pd.Series([1.0, None]), rows, values, "number").tolist()
    [1.0, 2.5]
    """
    import pandas as pd

    if kind == "date":
        dates = pd.Series(values[rows]).astype("datetime64[ns]")
        if not pd.api.types.is_datetime64_any_dtype(cells):
            whole = (dates.dt.normalize() == dates).all()
            dates = dates.dt.strftime("%Y-%m-%d" if whole else "%Y-%m-%dT%H:%M:%S")
        elif cells.dt.tz is not None:
            dates = dates.dt.tz_localize("UTC").dt.tz_convert(cells.dt.tz)
        values = dates.to_numpy(dtype=object)
    else:
        values = values[rows]
    if kind == "number":
        is_float = pd.api.types.is_float_dtype(cells)
        if isinstance(cells.dtype, pd.api.extensions.ExtensionDtype) and not is_float:
            cells = cells.astype("Float64")  # whole numbers with gaps
        elif not is_float:
            cells = pd.Series(numbers_of(cells, ""), cells.index, name=cells.name)
    elif kind == "category" and isinstance(cells.dtype, pd.CategoricalDtype):
        known = {category_key(value): value for value in cells.cat.categories}
        values = np.array([known.get(category_key(v), v) for v in values], dtype=object)
        new = [value for value in dict.fromkeys(values) if value not in cells.cat.categories]
        cells = cells.cat.add_categories(new)
    elif kind == "category" and pd.api.types.is_string_dtype(cells):
        values = np.array([category_key(value) for value in values], dtype=object)
    result = cells.copy()
    result[rows] = values
    return result
