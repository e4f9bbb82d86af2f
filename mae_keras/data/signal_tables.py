"""Signals in tables, CSV, TSV and Parquet: one row a signal, one row a time step, or one series.

Needs pandas, and PyArrow for Parquet, which are imported on use.
"""

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.data.signal_files import Sampling, SignalFile
from mae_keras.extras import install_command
from mae_keras.files import open_regular
from mae_keras.table_cells import read_dates

LABEL_NAMES = ("label", "class", "target", "y")
SAMPLE_NAMES = (
    *("sample", "sample_id", "id", "series", "series_id", "recording", "recording_id"),
    *("signal", "signal_id", "case", "case_id", "unique_id"),
)
TIME_NAMES = ("time", "timestamp", "date", "datetime", "t", "step", "timestep", "time_step", "ds")
# Of numbers only: "None" and "NA" may be names of classes.
MISSING = ["", "?", "nan", "NaN", "NAN", "NA", "N/A", "null", "NULL", "None"]
_FEW_ROWS = 3  # text that differs in every row names rows, not classes, beyond so many


_FEW_CHANNELS = 8
_JUDGED_ROWS = 200  # that tell whether the first row is a header


def read_table(
    path: Path, groups: str | None = None, window: int | None = None, *, required: bool = True
) -> SignalFile:
    """Read a table; a single series is cut into windows of `window` steps.

    `groups` names a column that holds no values; `required` says whether it must be there.
    """
    frame = read_frame(path, groups)
    if groups not in frame.columns and not required:
        groups = None
    table = _Table(path, frame.reset_index(drop=True), groups)
    if table.sample is not None and frame[table.sample].duplicated().any():
        _check_long(table)
        return _long(table)
    if table.time is not None:
        return _series(table, window)
    return _wide(table)


def read_frame(path: Path, text_column: str | None = None) -> Any:
    """Read a CSV, TSV or Parquet file as a data frame.

    In text, cells such as `?` and `NA` are missing, but in a column of labels and in `text_column`.
    """
    frame = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path, text_column)
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"{path} must hold a table. Received: no rows")
    return frame


class _Table:
    """A table, and which of its columns is what."""

    def __init__(self, path: Path, frame: Any, groups: str | None):
        self.path, self.frame, self.notes, self.sampling = path, frame, [], None
        if groups is not None and groups not in frame.columns:
            raise ValueError(
                f"`groups` must be an array or the name of a column of {path}, one of "
                f"{_listed(frame.columns)}. Received: groups={groups!r}"
            )
        self.groups = groups
        free = [name for name in frame.columns if name != groups]
        self.label = first_named(free, LABEL_NAMES)
        self.sample = first_named(free, SAMPLE_NAMES)
        self.time = first_named(free, TIME_NAMES)
        special = (self.label, self.sample, self.time)
        rest = [name for name in free if name not in special]
        counting = [name for name in rest if _counts_rows(frame, name)]
        self._leave_out(counting)
        rest = [name for name in rest if name not in counting]
        self.text = [name for name in rest if self._holds_text(name)]
        self.numbers = [name for name in rest if name not in self.text]

    def _leave_out(self, names):
        if names:
            self.notes.append(f"not used of {self.path.name}: {_listed(names)}.")

    def _holds_text(self, name):
        """Whether a column is text; a word among numbers is an error."""
        import pandas as pd

        column = self.frame[name]
        if pd.api.types.is_numeric_dtype(column):
            return False
        present = column[column.notna() & ~column.isin(MISSING)].astype(str)
        wrong = present[pd.to_numeric(present, errors="coerce").isna()]
        if len(wrong) and wrong.str.fullmatch(r"\s*[+-]?\d[\d.]*,\d+\s*").all():
            raise ValueError(
                f"{self.path}, column {name!r}: numbers must have a decimal point. Received: "
                f"{wrong.iloc[0]!r}"
            )
        if len(wrong) > len(present) / 2:
            return True
        if len(wrong):
            raise ValueError(
                f"{self.path}, row {wrong.index[0] + 1}, column {name!r}: values must be numbers. "
                f"Received: {wrong.iloc[0]!r}"
            )
        self.frame[name] = pd.to_numeric(present).reindex(column.index)
        return False

    def holds_dates(self, name: Any) -> bool:
        """Whether a column of times holds something else than numbers."""
        import pandas as pd

        return not pd.api.types.is_numeric_dtype(self.frame[name])

    def choose_label(self, signals: Any) -> None:
        """Take the one column of text for the label, where none is named so."""
        if self.label is None:
            classes = [name for name in self.text if _names_classes(signals[name])]
            if len(classes) > 1:
                raise ValueError(
                    f"{self.path} must have one column of labels: name it label. Received: "
                    f"several columns of text, {_listed(classes)}"
                )
            self.label = classes[0] if classes else None
        self._leave_out([name for name in self.text if name != self.label])

    def take_for_values(self, label: Any) -> None:
        """Make the column of labels one of values, where it stands in the file."""
        self.label = None
        self.numbers = [name for name in self.frame.columns if name in (*self.numbers, label)]

    def values(self, rows: Any = slice(None)) -> np.ndarray:
        """All values, float32 `(rows, columns)`."""
        if not self.numbers:
            raise ValueError(f"{self.path} must have columns of numbers. Received: none")
        values = self.frame[self.numbers].to_numpy("float64", na_value=np.nan)[rows]
        with np.errstate(over="ignore"):  # infinite values are refused later
            return values.astype("float32")

    def signals(
        self, values: list, places: list[str], channels: list[str], rows: Any, named: bool = False
    ) -> Any:
        """The `SignalFile`; `rows` are those whose labels and groups are those of the signals."""
        first = self.frame.iloc[rows]
        return SignalFile(
            self.path,
            values,
            places,
            channels,
            None if self.label is None else self._labels(first[self.label], places),
            None if self.groups is None else first[self.groups].to_numpy().astype(str),
            named=named,
            sampling=self.sampling,
            notes=self.notes,
        )

    def _labels(self, column, places):
        """Names of classes; none where there are no labels or where they are fractions."""
        texts = [_class_name(value) for value in column]
        absent = [place for place, text in zip(places, texts, strict=True) if not text]
        if len(absent) == len(texts):
            return None
        if absent:
            raise ValueError(
                f"{self.path} must have a label for every signal, or for none. Received: none in "
                f"{_listed(absent)}"
            )
        if any(re.fullmatch(r"[+-]?\d*\.\d+(e[+-]?\d+)?", text) for text in texts):
            self.notes.append(
                f"{self.path.name}: fractions in {self.label!r} are no classes and not used."
            )
            return None
        return texts


def _wide(table):
    """One row is a signal, one column a time step."""
    table.choose_label(table.frame)
    table._leave_out([] if table.sample is None else [table.sample])
    values = table.values()
    places = [f"row {number}" for number in range(1, len(values) + 1)]
    signals = [row[:, np.newaxis] for row in values]
    return table.signals(signals, places, ["channel 1"], slice(None))


def _check_long(table):
    """Refuse to guess whether a column that repeats names signals or, say, people."""
    numbers = table.numbers
    named = all(re.fullmatch(r"(?i)(t|time|step)?[ _]?\d+(\.\d+)?", str(n)) for n in numbers)
    rows = table.frame[table.sample].value_counts().median()
    count = len(numbers)
    if table.time is None and count > 1 and (named or count > max(_FEW_CHANNELS, rows)):
        raise ValueError(
            f"{table.path}: {table.sample!r} names the same in several rows, and columns "
            f"({_listed(numbers)}) may be time steps. If each row is a signal, rename "
            f"{table.sample!r} or pass groups={table.sample!r}; if each row is a time step, add a "
            "column `time`"
        )


def _long(table):
    """One row is a time step of the signal that a column names; other columns are channels."""
    import pandas as pd

    codes, names = pd.factorize(table.frame[table.sample])
    if (codes < 0).any():
        raise ValueError(
            f"{table.path}, row {np.argmax(codes < 0) + 1}: {table.sample!r} must name the "
            "signal. Received: an empty cell"
        )
    order = _in_time(table, codes, names)
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) > 0])
    if table.label is not None and _varies(table, table.label, codes) is not None:
        _take_for_values(table, codes, names)
    table._leave_out([c for c in table.text if _varies(table, c, codes) is not None])
    table.text = [c for c in table.text if _varies(table, c, codes) is None]
    table.choose_label(table.frame.iloc[order[starts]])
    if table.groups is not None:
        _check_constant(table, table.groups, codes, names)
    signals = np.split(table.values(order), starts[1:])
    places = [f"{table.sample} {name!s}" for name in names]
    channels = [str(name) for name in table.numbers]
    return table.signals(signals, places, channels, order[starts], named=True)


def _in_time(table, codes, names):
    """The order of the rows: signal by signal, each in the order of time."""
    if table.time is None:
        return np.argsort(codes, kind="stable")
    times = _times(table)
    order = np.lexsort((times, codes))
    steps, same = np.diff(times[order]), np.diff(codes[order]) == 0
    if (steps[same] == 0).any():
        row = np.flatnonzero(same & (steps == 0))[0] + 1
        raise ValueError(
            f"{table.path}: {table.time!r} must differ within a signal. Received: two rows of "
            f"{names[codes[order[row]]]} at {table.frame[table.time].iloc[order[row]]}"
        )
    if not same.any():
        return order
    step = _common_step(table, steps[same], codes[order][1:][same], names)
    if step is None:
        table.notes.append(
            f"{table.path.name}: steps in {table.time!r} differ; values are taken for evenly "
            "spaced."
        )
    else:
        unit = "seconds" if table.holds_dates(table.time) else str(table.time)
        table.sampling = Sampling(step, unit)
    return order


def _common_step(table, steps, codes, names):
    """The step of all signals, or `None` where those within a signal differ.

    Signals that are even each, but not alike, are refused.
    """
    import pandas as pd

    own = pd.Series(steps).groupby(codes)
    medians = own.median()
    if not np.allclose(steps, own.transform("median"), rtol=_SAME_STEP):
        return None
    low, high = medians.idxmin(), medians.idxmax()
    if medians[high] > (1 + _SAME_STEP) * medians[low]:
        raise ValueError(
            f"{table.path}: all signals must be sampled alike: resample them to one step of "
            f"{table.time!r}. Received: {medians[low]:g} in {names[low]}, {medians[high]:g} in "
            f"{names[high]}"
        )
    return float(f"{medians.median():.9g}")


_SAME_STEP = 0.01


def _times(table):
    """Times as float64; of dates, in seconds."""
    import pandas as pd

    column = table.frame[table.time]
    if table.holds_dates(table.time):
        dates = column
        if not pd.api.types.is_datetime64_any_dtype(column):
            dates = read_dates(
                f"{table.path}: {table.time!r}", column.dropna().astype(str).str.strip()
            )
            dates = dates.reindex(column.index)
        column = (dates - dates.min()).dt.total_seconds()
    times = column.to_numpy("float64", na_value=np.nan)
    if np.isnan(times).any():
        raise ValueError(
            f"{table.path}, row {np.argmax(np.isnan(times)) + 1}: {table.time!r} must hold a time. "
            "Received: an empty cell"
        )
    return times


def _varies(table, name, codes):
    """The number of a signal within which a column changes, or `None`."""
    import pandas as pd

    values, _ = pd.factorize(table.frame[name])
    _, first = np.unique(codes, return_index=True)
    other = values != values[first][codes]
    return int(codes[np.argmax(other)]) if other.any() else None


def _check_constant(table, name, codes, names):
    number = _varies(table, name, codes)
    if number is not None:
        raise ValueError(
            f"{table.path}: {name!r} must be the same in all rows of a signal. Received: several "
            f"values in {table.sample} {names[number]!s}"
        )


def _take_for_values(table, codes, names):
    """A column called y or target is often the signal itself."""
    label = table.label
    if str(label).lower() not in ("y", "target") or table._holds_text(label):
        _check_constant(table, label, codes, names)
    table.take_for_values(label)


def _series(table, window):
    """One long series: a row for each time step, and no column that names signals."""
    label = table.label
    if label is not None and str(label).lower() != "class" and not table._holds_text(label):
        table.take_for_values(label)
        table.notes.append(f"{table.path.name} is one series: {label!r} is a channel.")
    table._leave_out([name for name in (table.label, table.sample, *table.text) if name])
    if table.groups is not None:
        raise ValueError(f"`groups` must be left out: {table.path} is one series")
    if window is None:
        raise ValueError(
            f"{table.path} is one long series: {table.time!r} names the time of each row, and no "
            f"column ({', '.join(SAMPLE_NAMES[:3])}) names its signal. Pass `length`, such as "
            "96, to cut it into windows of so many steps, or drop the column if each row is a "
            "signal"
        )
    codes = np.zeros(len(table.frame), int)
    values = table.values(_in_time(table, codes, ["the series"]))
    number = len(values) // window
    if not number:
        raise ValueError(
            f"{table.path} must be longer than `length`. Received: {len(values)} rows, "
            f"length={window}"
        )
    rest = f"; the last {left} steps are left out" if (left := len(values) % window) else ""
    table.notes.append(
        f"{table.path.name} is one series, cut into {number} windows of {window} steps{rest}; the "
        "first are for training, the next for validation, the last for testing."
    )
    return SignalFile(
        table.path,
        list(values[: number * window].reshape(number, window, -1)),
        [f"window {place}" for place in range(1, number + 1)],
        [str(name) for name in table.numbers],
        windows=True,
        sampling=table.sampling,
        notes=table.notes,
    )


def first_named(columns: Any, wanted: Any) -> Any:
    """The column of one of the names, the earlier name first, in any case."""
    names = {str(name).strip().lower(): name for name in reversed(columns)}
    return next((names[name] for name in wanted if name in names), None)


def _listed(names):
    shown = ", ".join(map(str, list(names)[:8]))
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def _counts_rows(frame, name):
    """Whether a column is the index that pandas writes, also of some or of shuffled rows."""
    import pandas as pd

    if not re.fullmatch(r"Unnamed: 0|index|__index_level_0__", str(name)):
        return False
    column = frame[name]
    if not pd.api.types.is_integer_dtype(column) or column.isna().any():
        return False
    return not column.duplicated().any()


def _names_classes(column):
    return len(column) <= _FEW_ROWS or column.duplicated().any()


def _class_name(value):
    """What a class is called: whole numbers without a point, whatever the file writes."""
    text = "" if value is None else str(value).strip()
    if text.lower() in ("nan", "<na>", "?"):
        return ""
    return text.split(".")[0] if re.fullmatch(r"[+-]?\d+\.0*", text) else text


def _read_parquet(path):
    try:
        import pandas as pd
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(f"Parquet files need pyarrow: {install_command('parquet')}") from error
    try:
        frame = pd.read_parquet(io.BytesIO(_bytes(path)))
    except (ValueError, OSError) as error:  # those of PyArrow are among them
        raise ValueError(f"{path} cannot be read as a Parquet file: {error}") from error
    return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()


def _read_text(path, groups):
    import pandas as pd

    text = _decoded(path)
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} must hold a table. Received: an empty file")
    separator = "\t" if path.suffix == ".tsv" else _separator(lines[0])
    # 1,234 alone may be thousands; it is refused later.
    fraction = r"(0?,\d+|\d+,(?!\d{3}(?!\d))\d+)"
    comma = rf"(^|{separator}) *[+-]?{fraction} *($|{separator})"
    decimal = "," if separator != "," and re.search(comma, text, re.MULTILINE) else "."
    head = [*itertools.islice(_rows(path, text, separator), 1 + _JUDGED_ROWS)]
    if not head:
        raise ValueError(f"{path} must hold a table. Received: an empty file")
    first, *later = ([cell.replace(decimal, ".") for cell in row] for row in head)
    header = _is_header(first, later, groups)
    width = _width(path, _rows(path, text, separator), len(first) if header else None)
    if header:
        # Rows that all end in a separator have one cell more than names.
        names = _unique_names(head[0] + [""] * (width - len(first)))
        named = {name for name in names if name.lower() in LABEL_NAMES or name == groups}
    else:
        names, named = [f"t{number}" for number in range(width)], {"label"}
        if path.suffix == ".tsv" and _are_class_numbers(lines, separator):
            names = ["label", *names[:-1]]  # as the UCR archive has it
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=0 if header else None,
            names=names,
            keep_default_na=False,
            na_values={name: MISSING for name in names if name not in named},
            index_col=False,
            low_memory=False,
            skipinitialspace=True,
            decimal=decimal,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise ValueError(f"{path} cannot be read as a table: {reason}") from error
    ends = header and names[-1].startswith("Unnamed: ") and frame[names[-1]].isna().all()
    return frame.drop(columns=names[-1]) if ends and len(frame) else frame


def _decoded(path):
    try:
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be a table of text in UTF-8. Received: other bytes, from byte "
            f"{error.start} on"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path} must be a table of text. Received: bytes that are no text")
    return text


def _separator(first):
    """Semicolons also where the commas of a line are those of numbers, as in 1,5;2,5."""
    parts = first.split(";")
    if len(parts) > 1 and all(re.fullmatch(r"\s*[+-]?\d*,?\d+\s*|[^,]*", part) for part in parts):
        return ";"
    return ","


def _rows(path, text, separator):
    """The cells of each row that is not blank."""
    lines = io.StringIO(text, newline=None)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        yield from (row for row in reader if len(row) > 1 or any(cell.strip() for cell in row))
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error


def _unique_names(cells):
    """Names as pandas makes them, of a column without a name and of several with the same."""
    names: dict[str, None] = {}
    for number, cell in enumerate(cells):
        name = " ".join(cell.strip().splitlines()) or f"Unnamed: {number}"
        again = (f"{name}.{count}" for count in itertools.count(1))
        names[name if name not in names else next(n for n in again if n not in names)] = None
    return list(names)


def _width(path, rows, named):
    """Cells of the longest row; refuse rows longer than a header of `named` cells."""
    width = 0
    for number, row in enumerate(rows):
        if named is not None and len(row) > named and (len(row) > named + 1 or row[-1].strip()):
            raise ValueError(
                f"{path}, row {number}: a row must have at most as many cells as the header, "
                f"{named}. Received: {len(row)}"
            )
        width = max(width, len(row))
    return width


def _bytes(path):
    with open_regular(path) as file:
        return file.read()


def _is_header(first, later, groups):
    """Whether the first row holds names: text above numbers, or what counts the columns."""
    cells = [cell.strip() for cell in first]
    columns = [[row[n].strip() for row in later if n < len(row)] for n in range(len(cells))]
    numeric = {
        n for n, column in enumerate(columns) if any(column) and all(map(_is_number, column))
    }
    texts = {n for n, cell in enumerate(cells) if not _is_number(cell)}
    numbers = [cell for cell in cells if cell not in MISSING and _is_number(cell)]
    if not texts:
        rows = columns[0]
        index = not cells[0] and len({*rows}) == len(rows) and all(map(str.isdigit, rows))
        return _count(cells[1:] if index else cells)
    if not any(cells[n] in columns[n] for n in texts):
        special = {*LABEL_NAMES, *SAMPLE_NAMES, *TIME_NAMES, str(groups).lower()}
        known = any(cells[n].lower() in special for n in texts)
        if _count(numbers) and (known or texts & numeric or len(numbers) > _FEW_ROWS):
            return True
        values = [float(cell) for cell in numbers]
        if known and all(one < other for one, other in itertools.pairwise(values)):
            return True
    return {n for n in numeric if cells[n]} <= texts


def _count(cells):
    counted = [str(number) for number in range(len(cells) + 1)]
    return len(cells) > 1 and cells in (counted[:-1], counted[1:])


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return cell.strip() in MISSING
    return "_" not in cell  # which Python allows in numbers


def _are_class_numbers(lines, separator):
    first = [line.split(separator, 1)[0] for line in lines]
    return all(re.fullmatch(r"\d+|[+-]?\d+\.?0*([eE][+-]?\d+)?", cell.strip()) for cell in first)
