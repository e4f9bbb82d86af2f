"""Signals from files: UCR/UEA `.ts` files and tables, padded to one length and checked.

A signal is float32 `(length, channels)`. What is missing is NaN: gaps in a file, and the padding at
the end of signals shorter than the longest. TensorFlow is imported on use.
"""

import collections
import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.data.arrays import in_memory_data, machine_memory, read_signal_arrays
from mae_keras.data.division import Division, content_key, default_fractions
from mae_keras.data.signal_files import SignalFile, check_sampling, read_ts, sampling_in, some
from mae_keras.data.splits import ArraySplit, ImageData, Split

_FEW_STEPS = 8
_FITTING = "{0} must have as many channels as {2}, {1}. Received: {3}"


def load_signals(
    paths: Mapping[str, Path],
    *,
    division: Division,
    groups: Any = None,
    kind: str | None = None,
    length: int | None = None,
    labels: bool = True,
    image_size: tuple[int, int] | None = None,
    resize: str = "crop",
) -> ImageData:
    """Load signal files as `ImageData`; see `mae_keras.data.load`."""
    name = " + ".join(str(path) for path in paths.values())
    if kind not in (None, "signals"):
        raise ValueError(f"`kind` must be 'signals' for {name}. Received: kind={kind!r}")
    if image_size is not None:
        raise ValueError(
            f"`image_size` is for images; `length` is for signals. Received: "
            f"image_size={image_size} for {name}"
        )
    notes: list[str] = []
    paths = _with_official_test(paths, division, notes)
    column = groups if isinstance(groups, str) else None
    files = {
        part: read_signal_file(path, column, length, required=part == "train")
        for part, path in paths.items()
    }
    if groups is not None and column is None:
        files["train"].groups = _group_names(groups, files["train"])
    if files["train"].windows:
        files, division = _windows_in_order(files, division, groups)
    files = {part: file.checked().with_values_in(length) for part, file in files.items()}
    notes += dict.fromkeys(note for file in files.values() for note in file.notes)
    sampling = files["train"].sampling
    for file in files.values():
        check_sampling(file.path, file.sampling, sampling, files["train"].path.name)
    files = _with_channels_of_train(files)
    _check_channels(files, length, notes)
    _note_shared_groups(files, notes)
    keys = {part: _keys(file, part) for part, file in files.items()}
    arrays = _padded(files, length, notes)
    class_names, numbers = _numbered_labels(files, notes) if labels else (None, {})
    pairs = {part: (arrays[part], numbers.get(part)) for part in files}
    data = in_memory_data(
        name,
        *pairs["train"],
        test=pairs.get("test"),
        validation=pairs.get("validation"),
        class_names=class_names,
        division=division,
        groups=files["train"].groups,
        keys=keys,
        mix=True,
        kind="signals",
        notes=notes,
    )
    if sampling is None:
        return data
    return dataclasses.replace(data, preprocessing={"signal": sampling._asdict()})


def read_signal_file(
    path: Path, groups: str | None = None, window: int | None = None, *, required: bool = True
) -> SignalFile:
    """Read one file of any format. One long series is cut into windows of `window` steps.

    `groups` is a column of a table that holds no values; `required` says whether it must be there.
    """
    if path.suffix == ".ts":
        if groups is not None and required:
            raise ValueError(
                f"`groups` must be an array with an entry per signal for a .ts file, which has no "
                f"columns. Received: groups={groups!r}"
            )
        return read_ts(path)
    from mae_keras.data.signal_tables import read_table

    return read_table(path, groups, window, required=required)


def read_signals(
    path: str | os.PathLike,
    image_shape: Sequence[int],
    groups: str | None = None,
    *,
    preprocessing: Mapping[str, Any] | None = None,
    announce: Callable[[str], Any] = lambda line: None,
) -> np.ndarray:
    r"""Read the signals of one file as a model takes them, in the order of the file.

    Args:
        path: `.ts`, `.csv`, `.tsv`, `.parquet`, `.npy` or `.npz` file.
        image_shape: `(length, channels)` of the model. Longer signals are cut at the end, shorter
            ones are padded with NaN (missing).
        groups: str, name of a column that holds no values, if the file is a table that has it;
            or `None`.
        preprocessing: dict, `model.encoder.preprocessing`; signals of a table with another time
            from value to value than it says are refused. `None`: not known.
        announce: called with a line if signals are cut.

    Returns:
        float32 array `(num_signals, length, channels)`.

    Raises:
        ValueError: if the file cannot be read, has another number of channels or infinite values,
            or a signal has no value.

    Example:
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.csv"
    >>> _ = path.write_text("t0,t1,t2,label\n1,2,3,a\n4,5,6,b\n")
    >>> read_signals(path, (4, 1))[..., 0].tolist()
    [[1.0, 2.0, 3.0, nan], [4.0, 5.0, 6.0, nan]]
    """
    path = Path(path).expanduser()
    length, channels = image_shape
    if not path.is_file():
        received = "a folder" if path.is_dir() else "no such file"
        raise ValueError(f"{str(path)!r} must be a file of signals. Received: {received}")
    if path.suffix in (".npy", ".npz"):
        values = list(read_signal_arrays(path))
        places = [f"signal {number}" for number in range(1, len(values) + 1)]
        file = SignalFile(path, values, places, [])
    elif path.suffix in SUFFIXES:
        file = read_signal_file(path, groups, length, required=False)
    else:
        raise ValueError(
            f"{str(path)!r} must be a file of signals: {', '.join(SUFFIXES)}, .npy or .npz"
        )
    check_sampling(path, file.sampling, sampling_in(preprocessing), "the training data")
    kept = file.checked().with_values_in(length)
    if len(kept.values) < len(file.values):
        empty = [place for place in file.places if place not in set(kept.places)]
        raise ValueError(
            f"{path}: every signal must have values among its first {length}. Received: none in "
            f"{some(empty)}"
        )
    if file.values[0].shape[1] != channels:
        raise ValueError(_FITTING.format(path, channels, "the model", file.values[0].shape[1]))
    sizes = [len(_trimmed(values)) for values in file.values]
    if longer := sum(size > length for size in sizes):
        announce(
            f"Cut {longer:,} of {len(sizes):,} signals of {path}, of up to {max(sizes):,} steps, "
            f"to {length}, the steps of the model."
        )
    return _stacked(file.values, length)


SUFFIXES = (".ts", ".csv", ".tsv", ".parquet")


def _with_official_test(paths, division, notes):
    """Take NAME_TEST beside NAME_TRAIN for the test split, unless a test split is to be cut."""
    found = re.fullmatch(r"(.*)_(TRAIN|train)", paths["train"].stem)
    cut = division.fractions is not None and division.fractions[2] > 0
    if found is None or "test" in paths:
        return paths
    other = "TEST" if found[2] == "TRAIN" else "test"
    test = paths["train"].with_name(f"{found[1]}_{other}{paths['train'].suffix}")
    if not test.is_file():
        return paths
    if cut:
        notes.append(f"{test.name} is not used: `splits` cuts a test split.")
        return paths
    notes.append(f"the test split is {test.name}, which lies beside {paths['train'].name}.")
    return {**paths, "test": test}


def _group_names(groups, file):
    groups = np.asarray(groups)
    if groups.shape != (len(file.values),):
        raise ValueError(
            f"`groups` must have one entry per signal of {file.path}, shape "
            f"({len(file.values)},). Received: shape {groups.shape}"
        )
    return groups.astype(str)


def _windows_in_order(files, division, groups):
    """Give the first windows of a series to train, the next to validation, the last to test."""
    whole = files["train"]
    if groups is not None or len(files) > 1:
        given = "`groups`" if groups is not None else "another split"
        raise ValueError(f"{whole.path} is one series, divided in order. Received: {given} too")
    number = len(whole.values)
    test, validation = default_fractions(number)
    fractions = division.fractions or (1 - test - validation, validation, test)
    # An epsilon, since 0.7 + 0.15 + 0.15 is below 1.
    ends = [int(end * number + 1e-6) for end in np.cumsum(fractions)]
    starts = [0, *ends[:2]]
    parts = {}
    for part, start, end, share in zip(
        ("train", "validation", "test"), starts, ends, fractions, strict=True
    ):
        if share and start == end or part == "train" and not end:
            raise ValueError(
                f"{whole.path} must be long enough for windows in train, validation and test: "
                f"choose a smaller `length`. Received: {number} windows"
            )
        if share:
            parts[part] = dataclasses.replace(
                whole, values=whole.values[start:end], places=whole.places[start:end]
            )
    return parts, Division((1.0, 0.0, 0.0), by=division.by, seed=division.seed)


def _with_channels_of_train(files):
    """Bring the channels that files name into the order of the training file."""
    train = files["train"]
    ordered = {}
    for part, file in files.items():
        same_number = len(file.channels) == len(train.channels)
        if file.named and train.named and same_number and file.channels != train.channels:
            if set(file.channels) != set(train.channels):
                raise ValueError(
                    f"{file.path} must have the channels of {train.path}, "
                    f"{some(train.channels)}. Received: {some(file.channels)}"
                )
            order = [file.channels.index(name) for name in train.channels]
            values = [signal[:, order] for signal in file.values]
            file = dataclasses.replace(file, values=values, channels=train.channels)
        ordered[part] = file
    return ordered


def _note_shared_groups(files, notes):
    """Groups of official splits are as they are; that they are shared is said."""
    train = files["train"].groups
    for part, file in files.items():
        if part == "train" or train is None or file.groups is None:
            continue
        if shared := sorted({*train} & {*file.groups}):
            notes.append(f"groups of the {part} file are in the training file too: {some(shared)}.")


def _check_channels(files, length, notes):
    train = files["train"]
    count = train.values[0].shape[1]
    for file in files.values():
        for place, values in zip(file.places, file.values, strict=True):
            if values.shape[1] != count:
                received = f"{values.shape[1]} in {place}"
                raise ValueError(_FITTING.format(file.path, count, train.path, received))
    low = np.fmin.reduce([np.fmin.reduce(values[:length]) for values in train.values])
    high = np.fmax.reduce([np.fmax.reduce(values[:length]) for values in train.values])
    empty = [name for name, missing in zip(train.channels, np.isnan(low), strict=True) if missing]
    if empty:
        raise ValueError(
            f"{train.path}: every channel must have values; leave those without out. Received: "
            f"nothing but missing values in {some(empty)}"
        )
    constant = [name for name, same in zip(train.channels, low == high, strict=True) if same]
    if constant:
        notes.append(f"constant in all training signals: {some(constant)}.")


def _keys(file, part):
    """A key per signal that neither padding nor `length` changes: splits stay what they are.

    Windows are divided in order already, and equal ones of one series are no copies.
    """
    if file.windows:
        names = (f"{part} {place}".encode() for place in file.places)
        return np.fromiter(map(content_key, names), np.uint64, count=len(file.values))
    keys = (content_key(np.ascontiguousarray(_trimmed(values)).data) for values in file.values)
    return np.fromiter(keys, np.uint64, count=len(file.values))


def _trimmed(values):
    present = np.flatnonzero(~np.isnan(values).all(axis=1))
    return values[: present[-1] + 1] if len(present) else values[:0]


def _padded(files, length, notes):
    """Bring all signals to one length, the longest signal's by default."""
    sizes = [len(values) for file in files.values() for values in file.values]
    longest = max(sizes)
    length = longest if length is None else length
    if longest > length:
        number = sum(
            len(_trimmed(values)) > length for file in files.values() for values in file.values
        )
        notes.append(
            f"cut {number} of {len(sizes)} signals, of up to {longest} steps, to {length}."
        )
    elif min(sizes) < length:
        span = str(longest) if min(sizes) == longest else f"{min(sizes)} to {longest}"
        notes.append(f"signals of {span} steps are padded to {length} with missing values (NaN).")
    if longest < _FEW_STEPS:
        notes.append(
            f"signals have {longest} steps only: if rows are time steps, add a column `sample` "
            "that names the signal of each row."
        )
    _check_memory(files, length)
    return {part: _stacked(file.values, length) for part, file in files.items()}


def _check_memory(files, length):
    count = sum(len(file.values) for file in files.values())
    needed = 4 * count * length * files["train"].values[0].shape[1]
    held = machine_memory()
    if held is not None and needed > held:
        raise ValueError(
            f"{files['train'].path} needs more than this machine's memory when all signals are "
            f"padded to {length} steps: choose a smaller `length`. Received: "
            f"{needed / 2**30:.1f} GiB, memory of {held / 2**30:.1f} GiB"
        )


def _stacked(values, length):
    padded = np.full((len(values), length, values[0].shape[1]), np.nan, "float32")
    for row, signal in zip(padded, values, strict=True):
        row[: len(signal)] = signal[:length]
    return padded


def _numbered_labels(files, notes):
    """Class names of all splits, in the order of their numbers or of the alphabet, and codes."""
    missing = [part for part, file in files.items() if file.labels is None]
    if missing:
        if len(missing) < len(files):
            notes.append(f"labels are dropped: the {missing[0]} signals have none.")
        return None, {}
    counts = collections.Counter(label for file in files.values() for label in file.labels)
    unseen = sorted(set(counts) - set(files["train"].labels))
    if unseen:
        notes.append(f"no training signal has a label of the other splits: {some(unseen)}.")
    whole = all(re.fullmatch(r"[+-]?\d+", label) for label in counts)
    names = sorted(counts, key=int if whole else str)
    codes = {name: code for code, name in enumerate(names)}
    numbers = {part: np.array([codes[label] for label in f.labels]) for part, f in files.items()}
    return tuple(names), numbers


def with_length(data: ImageData, length: int) -> ImageData:
    """Pad the signals of a data set at the end with NaN (missing), or cut them, to one length.

    The splits stay what they are.

    Args:
        data: `ImageData` of signals, `(length, channels)`.
        length: int, time steps.

    Returns:
        `ImageData`, with a note on what was changed.

    Raises:
        ValueError: if the samples are no signals.
    """
    if len(data.image_shape) != 2:
        raise ValueError(
            f"`length` is for signals, (length, channels). Received: length={length} for samples "
            f"of shape {tuple(data.image_shape)}"
        )
    before, channels = data.image_shape
    if before == length:
        return data
    if length > before:
        note = f"signals of {before} steps are padded to {length} with missing values (NaN)."
    else:
        note = f"signals of {before} steps are cut to {length}."
    parts = {name: _split_of_length(getattr(data, name), length) for name in _SPLITS}
    shape = (length, channels)
    return dataclasses.replace(data, image_shape=shape, notes=(*data.notes, note), **parts)


_SPLITS = ("train", "validation", "test")


def _split_of_length(split, length):
    if isinstance(split, ArraySplit):
        return (
            ArraySplit(_stacked(list(split.images), length), split.labels)
            if len(split)
            else (ArraySplit(np.zeros((0, length, split.image_shape[1]), "float32"), split.labels))
        )
    return PaddedSplit(split, length)


class PaddedSplit(Split):
    """Signals of another split, padded with NaN or cut when fetched: a file stays on disk.

    Args:
        split: `Split` of signals with random access.
        length: int, time steps.
    """

    def __init__(self, split: Split, length: int):
        super().__init__((length, split.image_shape[1]), len(split), "float32", split.labels)
        self.split = split

    def _fetch_images(self, indices):
        import tensorflow as tf

        signals = tf.cast(self.split.fetch(indices)[0], "float32")[:, : self.image_shape[0]]
        missing = max(0, self.image_shape[0] - self.split.image_shape[0])
        nan = tf.constant(np.nan, "float32")
        return tf.pad(signals, [[0, 0], [0, missing], [0, 0]], constant_values=nan)
