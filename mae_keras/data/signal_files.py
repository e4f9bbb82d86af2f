"""What one file of signals holds, and `.ts` files of the UCR and UEA archives."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_keras.files import open_regular

_NAMED = 5  # samples that a message lists


@dataclasses.dataclass
class SignalFile:
    """What one file holds.

    Args:
        path: the file.
        values: a float32 array `(length, channels)` for each signal; lengths may differ.
        places: what messages call each signal, such as `"line 7"`.
        channels: names of the channels.
        labels: name of the class of each signal, or `None`.
        groups: name of the group of each signal, or `None`.
        named: whether the file itself names the channels.
        windows: whether the signals are consecutive windows of one series.
        sampling: `Sampling`, or `None` where the file says nothing about time.
        notes: sentences worth printing.
    """

    path: Path
    values: list[np.ndarray]
    places: list[str]
    channels: list[str]
    labels: list[str] | None = None
    groups: np.ndarray | None = None
    named: bool = False
    windows: bool = False
    sampling: "Sampling | None" = None
    notes: list[str] = dataclasses.field(default_factory=list)

    def without_values(self) -> dict[str, None]:
        """The places of signals of which every value is missing."""
        pairs = zip(self.places, self.values, strict=True)
        return {place: None for place, values in pairs if np.isnan(values).all()}

    def checked(self) -> "SignalFile":
        """Without the signals that have no value; refuse what cannot be used."""
        if not self.values:
            raise ValueError(f"{self.path} must hold signals. Received: none")
        for place, values in zip(self.places, self.values, strict=True):
            if np.isinf(values).any():
                raise ValueError(
                    f"{self.path}, {place}: values must be finite, or missing (NaN, ? or empty). "
                    f"Received: {int(np.isinf(values).sum())} infinite values"
                )
        return self._without(self.without_values(), "")

    def with_values_in(self, length: int | None) -> "SignalFile":
        """Without the signals of which no value is among the first `length`."""
        if length is None:
            return self
        first = dataclasses.replace(self, values=[values[:length] for values in self.values])
        return self._without(first.without_values(), f" in the first {length} steps")

    def _without(self, empty, where):
        rows = [row for row, place in enumerate(self.places) if place not in empty]
        if not empty:
            return self
        if not rows:
            raise ValueError(
                f"{self.path} must hold signals. Received: nothing but missing values{where}"
            )
        note = (
            f"left out {len(empty)} signals of {self.path.name} without a value{where}: "
            f"{some([*empty])}."
        )
        return dataclasses.replace(
            self,
            values=[self.values[row] for row in rows],
            places=[self.places[row] for row in rows],
            labels=None if self.labels is None else [self.labels[row] for row in rows],
            groups=None if self.groups is None else self.groups[rows],
            notes=[*self.notes, note],
        )


class Sampling(NamedTuple):
    """How far values are apart in time.

    Attributes:
        time_step: float, from one value to the next.
        time_unit: str, `"seconds"` of dates, or the name of a column of numbers.
    """

    time_step: float
    time_unit: str

    def __str__(self) -> str:
        return f"{self.time_step:g} ({self.time_unit})"


_SAME_STEP = 0.01


def sampling_in(preprocessing: Mapping[str, Any] | None) -> Sampling | None:
    """The `Sampling` that a model, or data, was made with, as far as that is known."""
    found = (preprocessing or {}).get("signal")
    return None if found is None else Sampling(**found)


def check_sampling(name: Any, one: Sampling | None, other: Sampling | None, of: Any) -> None:
    """Refuse signals that are sampled otherwise than `of`; what is not known of either passes."""
    if one is None or other is None or one.time_unit != other.time_unit:
        return
    if abs(one.time_step / other.time_step - 1) > _SAME_STEP:
        raise ValueError(
            f"{name} must have a value every {other}, as {of} has: resample it. Received: one "
            f"every {one}"
        )


def some(items: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more


def read_ts(path: Path) -> SignalFile:
    """Read a `.ts` file of the UCR and UEA archives.

    References:
        - Löning et al. 2019, "sktime: A Unified Interface for Machine Learning with Time Series",
          whose documentation defines the format.
    """
    with open_regular(path) as binary:
        # Signs that are no UTF-8 occur in the archive's comments.
        lines = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="replace")
        numbered = ((number, line.strip()) for number, line in enumerate(lines, 1))
        content = [(number, line) for number, line in numbered if line and line[0] not in "#%"]
    header, content = _ts_header(path, content)
    labeled = header.get("classlabel", ["false"])[0].lower() == "true"
    target = header.get("targetlabel", ["false"])[0].lower() == "true"
    known = set(header.get("classlabel", [])[1:])
    values, places, labels = [], [], []
    for number, line in content:
        where = f"{path}, line {number}"
        if "\ufffd" in line:
            raise ValueError(f"{where}: must be text in UTF-8. Received: other bytes")
        parts = line.split(":")
        if labeled or target:
            labels.append(_ts_label(where, parts, known))
        values.append(_ts_values(where, parts))
        places.append(f"line {number}")
        if values[-1].shape[1] != values[0].shape[1]:
            raise ValueError(
                f"{where}: every signal must have {values[0].shape[1]} channels, as the first has. "
                f"Received: {values[-1].shape[1]}"
            )
        _check_ts_length(where, header, values)
    channels = values[0].shape[1] if values else 0
    notes = [f"{path.name}: targets that are no classes are not used."] if target else []
    return SignalFile(
        path,
        values,
        places,
        [f"channel {number}" for number in range(1, channels + 1)],
        labels if labeled else None,
        notes=notes,
    )


def _ts_header(path, content):
    """Return what the lines that begin with @ say, and all others."""
    head = [line[1:].split() or [""] for _, line in content if line[0] == "@"]
    header = {key.lower(): rest or [""] for key, *rest in head}
    if "data" not in header:
        raise ValueError(
            f"{path} must be a UCR/UEA file of signals: lines that begin with @, @data, then one "
            f"signal a line. Received: {'no line @data' if content else 'an empty file'}"
        )
    if header.get("timestamps", ["false"])[0].lower() == "true":
        raise ValueError(
            f"{path}, with @timestamps true, has a time for each value: resample the signals to "
            "even steps and write the values only (@timestamps false)"
        )
    return header, [(number, line) for number, line in content if line[0] != "@"]


def _ts_label(where, parts, known):
    if len(parts) < 2:
        raise ValueError(f"{where}: a class must follow the values, after ':'. Received: none")
    label = parts.pop().strip()
    if known and label not in known:
        raise ValueError(
            f"{where}: the label must be one of those of @classLabel, {some(sorted(known))}. "
            f"Received: {label!r}"
        )
    return label


def _ts_values(where, parts):
    try:
        channels = [
            np.array(part.replace("?", "nan").split(","), "float32") if part.strip() else []
            for part in parts
        ]
    except ValueError as error:
        raise ValueError(f"{where}: values must be numbers: {error}") from error
    values = np.full((max(map(len, channels)), len(channels)), np.nan, "float32")
    for number, channel in enumerate(channels):
        values[: len(channel), number] = channel
    return values


def _check_ts_length(where, header, values):
    """Refuse unequal lengths in a file that says there are none."""
    if header.get("equallength", ["false"])[0].lower() != "true":
        return
    length = header.get("serieslength", [""])[0]
    length = int(length) if length.isdigit() else len(values[0])
    if len(values[-1]) != length:
        raise ValueError(
            f"{where}: the signal must have {length} steps, as the file says (@equalLength true; "
            f"with false, signals are padded). Received: {len(values[-1])}"
        )
