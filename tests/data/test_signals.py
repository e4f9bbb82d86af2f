"""Files of signals: `.ts`, CSV, TSV and Parquet."""

import os
import pathlib
import re

import numpy as np
import pytest

from mae_keras.data import default_augmentation, load, read_signals

HEADER = "#a comment\n@problemName Waves\n@timeStamps false\n@classLabel true up down\n"
DATA = os.environ.get("MAE_KERAS_TEST_DATA")
UCR = pathlib.Path(DATA or "nowhere") / "ucr_ts"


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file


def signals_of(data):
    """All signals and labels of a data set, in the order of their first values."""
    parts = [split.arrays() for split in (data.train, data.validation, data.test) if len(split)]
    signals = np.concatenate([signals for signals, _ in parts])
    order = np.lexsort(np.nan_to_num(signals[:, ::-1, 0]).T)
    if parts[0][1] is None:
        return signals[order], None
    return signals[order], np.concatenate([labels for _, labels in parts])[order]


def ts_rows(count=9, dims=1, label=True):
    """Lines whose n-th signal has n + 2 steps, from n * 10 on."""
    lines = []
    for n in range(count):
        values = ":".join(
            ",".join(str(n * 10 + step + dim / 2) for step in range(n + 2)) for dim in range(dims)
        )
        lines.append(f"{values}:{'up' if n % 2 else 'down'}" if label else values)
    return "\n".join(lines)


def test_a_ts_file_of_unequal_lengths_is_padded_at_the_end(write):
    data = load(write("waves.ts", f"{HEADER}@data\n{ts_rows(dims=2)}\n"))
    signals, labels = signals_of(data)
    assert data.image_shape == (10, 2) and data.value_range is None
    for n, signal in enumerate(signals):
        expected = 10 * n + np.arange(n + 2)[:, None] + [0, 0.5]
        np.testing.assert_array_equal(signal[: n + 2], expected)
        assert np.isnan(signal[n + 2 :]).all()
    assert [data.class_names[label] for label in labels] == ["down", "up"] * 4 + ["down"]
    assert any("signals of 2 to 10 steps are padded to 10" in note for note in data.notes)


def test_question_marks_are_missing_values(write):
    rows = [f"{n},?,NaN,{n}:up" for n in range(4)]
    signals, _ = signals_of(load(write("holes.ts", f"{HEADER}@data\n" + "\n".join(rows))))
    np.testing.assert_array_equal(np.isnan(signals[..., 0]), [[False, True, True, False]] * 4)


@pytest.mark.parametrize("suffix", ["ts", "tsv"])
def test_the_test_file_beside_is_the_test_split(write, suffix):
    def text(first):
        rows = range(first, first + 9)
        if suffix == "tsv":  # as the UCR archive writes them
            return "\n".join(f"{n % 2}\t{n}.5\t{n}\t1" for n in rows)
        return f"{HEADER}@data\n" + "\n".join(
            f"{n}.5,{n},1:{'up down'.split()[n % 2]}" for n in rows
        )

    path, test = (write(f"Waves_{p}.{suffix}", text(n)) for p, n in (("TRAIN", 0), ("TEST", 50)))
    data = load(path)
    np.testing.assert_array_equal(data.test.arrays()[0][:, 0, 0], 50.5 + np.arange(9))
    np.testing.assert_array_equal(data.test.labels, (np.arange(9) + (suffix == "ts")) % 2)
    assert any(test.name in note for note in data.notes)
    alone, cut = load(test), load(path, splits=(0.6, 0.2, 0.2))
    assert signals_of(alone)[0].min() == 1 and len(signals_of(cut)[0]) == 9
    assert signals_of(cut)[0].max() < 50


def test_a_length_pads_and_cuts_and_moves_no_signal_to_another_split(write):
    path = write("waves.ts", f"{HEADER}@data\n{ts_rows(20)}\n")
    whole, longer, shorter = load(path), load(path, length=32), load(path, length=5)
    for split in ("train", "validation", "test"):
        first, padded, cut = (getattr(d, split).arrays()[0] for d in (whole, longer, shorter))
        np.testing.assert_array_equal(padded[:, :21], first)
        assert padded.shape[1] == 32 and np.isnan(padded[:, 21:]).all()
        np.testing.assert_array_equal(cut, first[:, :5])
    assert any("cut 16 of 20 signals, of up to 21 steps, to 5" in note for note in shorter.notes)


@pytest.mark.parametrize("limit", [1 << 30, 100])
def test_a_length_is_for_arrays_of_signals_too(tmp_path, limit):
    signals = np.arange(60, dtype="float32").reshape(12, 5)
    np.save(tmp_path / "data.npy", signals)
    how = {"kind": "signals", "in_memory_limit": limit}
    before = load(tmp_path / "data.npy", **how)
    data = load(tmp_path / "data.npy", length=8, **how)
    assert data.image_shape == (8, 1)
    np.testing.assert_array_equal(data.train.arrays()[0][:, :5], before.train.arrays()[0])
    assert np.isnan(data.train.arrays()[0][:, 5:]).all()
    cut = load(tmp_path / "data.npy", length=3, **how)
    np.testing.assert_array_equal(cut.test.arrays()[0], before.test.arrays()[0][:, :3])


def test_a_length_is_refused_for_images(write):
    with pytest.raises(ValueError, match="`length` is for signals"):
        load("digits", length=8)


@pytest.mark.parametrize("name", ["Label", "kind"])
def test_a_row_of_a_table_is_a_signal(write, name):
    rows = "".join(f"{n},{n + 0.5},{-n},{'NA' if n % 2 else 'b'}\n" for n in range(8))
    data = load(write("wide.csv", f"t0,t1,t2,{name}\n{rows}")) if name == "Label" else None
    if data is None:  # a column of text, whatever it is called
        data = load(write("wide.csv", f"t0,t1,t2,{name}\n{rows.replace('NA', 'a')}"))
    signals, labels = signals_of(data)
    n = np.arange(8)
    np.testing.assert_array_equal(signals[..., 0], np.stack([n, n + 0.5, -n], axis=1))
    assert data.class_names == (("NA", "b") if name == "Label" else ("a", "b"))
    np.testing.assert_array_equal(labels, (n + 1) % 2)


def test_classes_that_are_numbers_are_in_their_order(write):
    rows = "".join(f"{n},{n},1,{n % 3 * 5}.0\n" for n in range(12))
    assert load(write("wide.csv", f"a,b,c,class\n{rows}")).class_names == ("0", "5", "10")


def test_fractions_are_no_classes(write):
    rows = "".join(f"{n},{n},1,{n / 7:.3f}\n" for n in range(12))
    data = load(write("wide.csv", f"a,b,c,target\n{rows}"))
    assert data.num_classes is None and data.image_shape == (3, 1)
    assert any("fractions in 'target'" in note for note in data.notes)


def test_columns_that_count_and_name_rows_are_no_time_steps(write):
    rows = "".join(f"{n},file{n},{n},{n},1\n" for n in range(12))
    data = load(write("wide.csv", f",name,a,b,c\n{rows}"))
    assert data.image_shape == (3, 1) and data.num_classes is None


def test_a_table_without_a_header_may_have_rows_of_unequal_length(write):
    rows = "".join(",".join(str(n + k + 0.5) for k in range(3 + n % 3)) + "\n" for n in range(9))
    signals, _ = signals_of(load(write("wide.csv", rows)))
    assert signals.shape == (9, 5, 1)
    np.testing.assert_array_equal(np.isnan(signals).sum(axis=(1, 2)), [2, 1, 0] * 3)


LONG = [
    ("s1", "2024-01-02", 3, 30, "a", "p"),
    ("s1", "2024-01-01", 2, 20, "a", "p"),
    ("s2", "2024-01-01", 4, 40, "b", "p"),
    ("s3", "2024-01-01", 5, 50, "a", "q"),
    ("s3", "2024-01-03", 7, 70, "a", "q"),
    ("s3", "2024-01-02", 6, "", "a", "q"),
    ("s4", "2024-01-01", 8, 80, "b", "r"),
]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_in_long_format_a_column_names_the_signal_and_others_are_channels(tmp_path, suffix):
    import pandas as pd

    names = ["Sample", "date", "x", "z", "class", "patient"]
    frame = pd.DataFrame(LONG, columns=names)
    frame["z"] = pd.to_numeric(frame["z"])
    path = tmp_path / f"long.{suffix}"
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="," if suffix == "csv" else "\t")
    data = load(path, groups="patient")
    signals, labels = signals_of(data)
    nan = np.nan
    expected = [
        [[2, 20], [3, 30], [nan, nan]],
        [[4, 40], [nan, nan], [nan, nan]],
        [[5, 50], [6, nan], [7, 70]],
        [[8, 80], [nan, nan], [nan, nan]],
    ]
    np.testing.assert_array_equal(signals, expected)
    np.testing.assert_array_equal(labels, [0, 1, 0, 1])
    together = [{2, 4} <= set(split.arrays()[0][:, 0, 0]) for split in (data.train, data.test)]
    apart = [{2, 4} & set(split.arrays()[0][:, 0, 0]) for split in (data.train, data.test)]
    assert any(together) or not any(apart)  # signals of one patient stay together


def test_a_value_called_y_is_no_label(write):
    rows = "".join(f"{n // 3},{n % 3},{n}\n" for n in range(12))
    data = load(write("long.csv", f"unique_id,ds,y\n{rows}"))
    signals, labels = signals_of(data)
    np.testing.assert_array_equal(signals[..., 0], np.arange(12).reshape(4, 3))
    assert labels is None


def test_a_long_series_needs_a_length_and_is_divided_in_order(write):
    rows = "".join(f"2024-01-{n // 24 + 1:02} {n % 24:02}:00,{n},{-n}\n" for n in range(203))
    path = write("series.csv", f"date,a,b\n{rows}")
    with pytest.raises(ValueError, match=r"series.csv is one long series: .*`length`, such as 96"):
        load(path)
    data = load(path, length=10)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [14, 3, 3]
    np.testing.assert_array_equal(data.test.arrays()[0][..., 0].ravel(), np.arange(170, 200))
    assert data.train.arrays()[0][..., 1].min() == -139
    other = load(path, length=10, splits=(0.5, 0.5, 0))
    assert [len(split) for split in (other.train, other.validation, other.test)] == [10, 10, 0]


GOOD = "".join(f"{n},{n},1,a\n" for n in range(9))
ROWS = "1,2:up\n3,4:down\n"
BAD = {
    "empty.ts": ("", "an empty file"),
    "page.ts": ("function f() {}\n", "no line @data"),
    "none.ts": (f"{HEADER}@data\n", "must hold signals. Received: none"),
    "times.ts": (HEADER.replace("Stamps false", "stamps true") + f"@data\n{ROWS}", "resample"),
    "word.ts": (f"{HEADER}@data\n1,x:up\n", "line 6: values must be numbers"),
    "dims.ts": (f"{HEADER}@data\n1:2:up\n1:up\n", "line 7: every signal must have 2 channels"),
    "label.ts": (f"{HEADER}@data\n1,2:left\n", "line 6: the label must be one of those of"),
    "ragged.ts": (f"{HEADER}@equalLength true\n@data\n1,2:up\n1:up\n", "line 8: the signal must"),
    "inf.ts": (f"{HEADER}@data\n1,inf:up\n{ROWS}", "line 6: values must be finite"),
    "nan.ts": (f"{HEADER}@data\n?,?:up\n?:up\n", "nothing but missing values"),
    "channel.ts": (f"{HEADER}@data\n1:?:up\n2:?:up\n", "every channel must have values"),
    "empty.csv": ("", "must hold a table"),
    "header.csv": ("a,b,label\n", "no rows"),
    "word.csv": (f"a,b,c,label\n{GOOD}9,x,1,a\n", "row 10, column 'b': values must be numbers"),
    "ragged.csv": (
        f"a,b,c,label\n{GOOD}1,2,3,a,5,6\n",
        "row 10: a row must have at most .* header, 4. Received: 6",
    ),
    "label.csv": (f"a,b,c,label\n{GOOD}9,9,9,\n", "a label for every signal.* none in row 10"),
    "inf.csv": (f"a,b,c,label\n{GOOD}9,inf,1,a\n", "row 10: values must be finite"),
    "text.csv": ("a,b\nx,y\nx,y\nz,w\nz,w\n", "several columns of text, a, b"),
    "names.csv": ("a\nx\nx\nz\nz\n", "must have columns of numbers"),
    "mixed.csv": ("sample,x,label\n1,2,a\n1,3,b\n2,1,a\n", "'label' must be the same in all rows"),
    "twice.csv": ("id,time,x\n1,5,2\n1,5,3\n2,1,1\n", "'time' must differ within a signal"),
    "nobody.csv": ("id,x\n1,2\n,3\n1,1\n", "row 2: 'id' must name the signal"),
    "apart.csv": ("id,time,x\n1,01/02/2024,2\n1,12/02/2024,3\n", "cannot be told apart"),
    "years.csv": ("id,time,x\n1,20/01/02,2\n1,31/01/02,3\n", "cannot be told apart"),
    "zones.csv": ("id,time,x\n1,2024-01-01T10:00Z,2\n1,2024-01-01T11:00,3\n", "time zone"),
    "quotes.csv": ('""\n""\n', "an empty file"),
    "thousands.csv": ("a;b;label\n1,234;2;x\n2,345;3;y\n", "decimal point"),
    "commas.csv": ('a,b\n"1,5",2\n"2,5",3\n', "decimal point"),
    "dates.csv": ("id,time,x\n1,soon,2\n1,late,3\n2,1,1\n", "must hold numbers or dates"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line_that_names_them(write, name):
    text, expected = BAD[name]
    with pytest.raises(ValueError, match=f"(?s){re.escape(name)}.*{expected}") as raised:
        load(write(name, text))
    assert "\n" not in str(raised.value)


def test_signals_without_a_value_are_left_out_and_counted(write):
    data = load(write("some.ts", f"{HEADER}@data\n?,?:up\n{ts_rows()}\n?:down\n"))
    assert len(signals_of(data)[0]) == 9
    assert "left out 2 signals of some.ts without a value: line 6, line 16." in data.notes


def test_a_constant_channel_is_noted(write):
    rows = "".join(f"{n // 3},{n},7\n" for n in range(12))
    data = load(write("long.csv", f"id,a,b\n{rows}"))
    assert "constant in all training signals: b." in data.notes


def test_pictures_are_no_signals(tmp_path, random_images):
    np.save(tmp_path / "images.npy", random_images(9, (8, 8)))
    with pytest.raises(ValueError, match="look like 8 x 8 pixels"):
        load(tmp_path / "images.npy", kind="signals")
    with pytest.raises(ValueError, match="`kind` must be 'signals'"):
        load(_table(tmp_path), kind="images")


def _table(folder):
    (folder / "data.csv").write_text(f"a,b,c,label\n{GOOD}")
    return folder / "data.csv"


def test_image_sizes_and_augmentation_are_for_images(tmp_path):
    path = _table(tmp_path)
    assert default_augmentation(path) is None
    with pytest.raises(ValueError, match="`image_size` is for images; `length`"):
        load(path, image_size=8)


def test_parquet_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match=r"Parquet files need pyarrow: pip install .*parquet"):
        load(tmp_path / "data.parquet")


def test_a_file_is_read_as_a_model_takes_it(write, tmp_path):
    path = write("waves.ts", f"{HEADER}@data\n{ts_rows(3)}\n")
    nan = np.nan
    expected = [[0, 1, nan], [10, 11, 12], [20, 21, 22]]
    np.testing.assert_array_equal(read_signals(path, (3, 1))[..., 0], expected)
    np.savez(tmp_path / "data.npz", signals=np.arange(8.0).reshape(2, 2, 2))
    signals = read_signals(tmp_path / "data.npz", (3, 2))
    np.testing.assert_array_equal(signals[0], [[0, 1], [2, 3], [nan, nan]])
    with pytest.raises(ValueError, match="as many channels as the model, 2. Received: 1"):
        read_signals(path, (3, 2))
    lines = []
    read_signals(path, (2, 1), announce=lines.append)
    assert lines == [
        f"Cut 2 of 3 signals of {path}, of up to 4 steps, to 2, the steps of the model."
    ]
    with pytest.raises(ValueError, match="must be a file of signals. Received: a folder"):
        read_signals(tmp_path, (3, 1))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1, np.inf, 1], "signal 2: values must be finite"),
        ([np.nan] * 3, "every signal must have values.* none in signal 2"),
        ([np.nan, np.nan, 1], "every signal must have values among its first 2"),
    ],
)
def test_arrays_of_signals_are_checked_as_tables_are(tmp_path, row, message):
    np.save(tmp_path / "data.npy", np.array([[1, 2, 3], row], "float32"))
    with pytest.raises(ValueError, match=f"data.npy.*{message}"):
        read_signals(tmp_path / "data.npy", (2, 1))


@pytest.mark.parametrize("name", ["label.csv", "label.ts"])
def test_text_that_is_not_utf_8_is_refused(tmp_path, name):
    rows = f"@classLabel true gr\xfcn gr\xe4n\n@data\n{ts_rows(9)}".replace("up", "gr\xfcn")
    text = "a,b,label\n1,2,gr\xfcn\n3,4,gr\xe4n\n" if name.endswith("csv") else rows
    (tmp_path / name).write_bytes(text.replace("down", "gr\xe4n").encode("latin-1"))
    with pytest.raises(
        ValueError, match=rf"{name}.* text in UTF-8. Received: other bytes"
    ) as error:
        load(tmp_path / name)
    assert "\n" not in str(error.value)


def test_the_column_of_groups_is_no_time_step_of_any_file(write):
    def rows(start):
        return "".join(f"{n}.5,{n},{n // 2},{'ab'[n % 2]}\n" for n in range(start, start + 20))

    path = write("Waves_TRAIN.csv", f"t0,t1,patient,label\n{rows(0)}")
    test = write("Waves_TEST.csv", f"t0,t1,patient,label\n{rows(18)}")
    data = load(path, groups="patient")
    assert data.image_shape == (2, 1)
    np.testing.assert_array_equal(data.test.arrays()[0][:, 1, 0], np.arange(18, 38))
    assert "groups of the test file are in the training file too: 9." in data.notes
    np.testing.assert_array_equal(read_signals(test, (2, 1), "patient"), data.test.arrays()[0])
    assert read_signals(write("new.csv", "t0,t1\n1,2\n"), (2, 1), "patient").shape == (1, 2, 1)


@pytest.mark.parametrize(
    ("text", "steps", "count"),
    [
        ("0,1,0,a\n1,1,0,b\n0,0,1,a\n", 3, 3),  # no header
        ("file0,0,1\nfile1,1,1\nfile2,0,0\nfile3,1,0\n", 2, 4),
        ("0,1,2,label\n1,1,0,b\n0,0,1,a\n", 3, 2),
        ("activity,1,2,3,4\na,1,0,1,1\nb,1,0,1,0\n", 4, 2),
        ("label,0.1,0.2,0.4\na,1,0,1\nb,1,0,1\n", 3, 2),
        (",0,1,2\n7,1,0,2\n3,0,0,1\n", 3, 2),
    ],
)
def test_the_first_row_is_a_header_only_if_it_names_numbers(write, text, steps, count):
    path = write("wide.csv", text)
    signals = read_signals(path, (steps, 1))
    assert signals.shape == (count, steps, 1) and not np.isnan(signals).any()


def test_channels_are_matched_by_their_names(write):
    def rows(order, start):
        first = {"x": 0, "target": 100, "z": 200}
        steps = range(start, start + 20)
        return "".join(f"{n // 2},{','.join(str(first[c] + n) for c in order)}\n" for n in steps)

    path = write("Waves_TRAIN.csv", f"id,x,target,z\n{rows(['x', 'target', 'z'], 0)}")
    test = write("Waves_TEST.csv", f"id,z,x,target\n{rows(['z', 'x', 'target'], 20)}")
    signals = load(path).test.arrays()[0]
    np.testing.assert_array_equal(signals[0, 0], [20, 120, 220])  # `target` stays in its place
    test.write_text(test.read_text().replace("z", "w"))
    with pytest.raises(ValueError, match=r"must have the channels of .*x, target, z. Received: w"):
        load(path)


@pytest.mark.parametrize(
    "form", ["%d/%m/%Y", "%m/%d/%Y %I:%M %p", "%d.%m.%Y", "%Y/%m/%d", "%d %b %Y", "%Y-%m-%dT%H:%MZ"]
)
def test_dates_of_one_form_are_in_their_order(write, form):
    import datetime

    days = [datetime.datetime(2024, 2, 1) + datetime.timedelta(n) for n in range(40)]
    rows = "".join(f"s,{day.strftime(form)},{n}\n" for n, day in reversed([*enumerate(days)]))
    signals = read_signals(write("long.csv", f"id,date,x\n{rows}"), (40, 1))
    np.testing.assert_array_equal(signals[0, :, 0], np.arange(40))


def test_equal_windows_of_one_series_are_no_copies(write):
    rows = "".join(f"{n},{0 if n < 900 else n % 13}\n" for n in range(1000))
    data = load(write("idle.csv", f"time,x\n{rows}"), length=20)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [35, 7, 8]


def test_an_index_of_some_rows_is_no_time_step(write):
    import pandas as pd

    frame = pd.DataFrame(np.arange(40.0).reshape(10, 4), columns=["a", "b", "c", "d"])
    path = write("some.csv", frame.sample(frac=0.8, random_state=0).to_csv())
    data = load(path)
    assert data.image_shape == (4, 1) and any("not used of some.csv" in n for n in data.notes)


def test_classes_of_different_names_stay_apart(write):
    names = ["1_2", "12", "1e1", "10", "3.0", "3"]
    rows = "".join(f"{n},{n + 1},{names[n % 6]}\n" for n in range(60))
    data = load(write("wide.csv", f"t0,t1,label\n{rows}"))
    assert set(data.class_names) == {"1_2", "12", "1e1", "10", "3"}
    big = ["12345678901234567", "12345678901234568"]
    rows = "".join(f"{n},{n + 1},{big[n % 2]}\n" for n in range(60))
    assert set(load(write("big.csv", f"t0,t1,label\n{rows}")).class_names) == set(big)


def test_signals_whose_values_lie_after_the_length_are_left_out(write):
    rows = [
        f"{'?,?' if n < 3 else '1,2'},{n},{n + 1}:{'up down'.split()[n % 2]}" for n in range(20)
    ]
    path = write("late.ts", f"{HEADER}@data\n" + "\n".join(rows))
    data = load(path, length=2)
    assert not np.isnan(signals_of(data)[0]).any() and len(signals_of(data)[0]) == 17
    assert any(
        "left out 3 signals of late.ts without a value in the first 2" in n for n in data.notes
    )


@pytest.mark.parametrize("name", ["y", "target", "label"])
def test_numbers_called_y_are_a_channel_of_a_series(write, name):
    rows = "".join(f"{n},{2 * n},{3 * n},{4 * n}\n" for n in range(60))
    data = load(write("series.csv", f"ds,x,{name},z\n{rows}"), length=2)
    steps = data.train.arrays()[0].reshape(-1, 3)
    np.testing.assert_array_equal(steps, steps[:, :1] * [1, 1.5, 2])
    rows = "".join(f"{n},{n}\n" for n in range(60))
    assert load(write("alone.csv", f"ds,{name}\n{rows}"), length=4).image_shape == (4, 1)


@pytest.mark.parametrize(
    "text",
    [
        "x,x,x\n1,,3\n4,5,6\n7,8,\n",
        "u ,v z , w\n1,,3\n4,5,6\n7,8,\n",
        "u;v;w\n1,0;;3,0\n4;5;6\n7;8;\n",
        "1,0;;3,0\n4;5;6\n7;8;\n",
        "u,v,w\n1,?,3,\n4,5,6,\n7,8,,\n",
    ],
)
def test_empty_cells_are_missing_whatever_a_column_is_called(write, text):
    nan = np.nan
    signals = read_signals(write("wide.csv", text), (3, 1))[..., 0]
    np.testing.assert_array_equal(signals, [[1, nan, 3], [4, 5, 6], [7, 8, nan]])


def test_an_empty_value_called_y_is_missing(write):
    rows = "".join(f"{n // 3},{n % 3},{'' if n == 4 else n}\n" for n in range(12))
    signals, _ = signals_of(load(write("long.csv", f"unique_id,ds,y\n{rows}")))
    assert np.isnan(signals).sum() == 1 and np.isnan(signals[1, 1, 0])


def test_an_id_that_repeats_is_no_guess(write):
    rows = "".join(f"{n // 3},{n},{n + 1},{n + 2}\n" for n in range(30))
    path = write("ids.csv", f"id,t0,t1,t2\n{rows}")
    with pytest.raises(ValueError, match="ids.csv: 'id' names the same in several rows.*`time`"):
        load(path)
    assert load(path, groups="id").image_shape == (3, 1)
    wide = ",".join(f"f{n}" for n in range(9))
    rows = "".join(f"{n // 3},{','.join([str(n)] * 9)}\n" for n in range(30))
    with pytest.raises(ValueError, match="may be time steps"):
        load(write("many.csv", f"id,{wide}\n{rows}"))


@pytest.mark.skipif(not UCR.is_dir(), reason="MAE_KERAS_TEST_DATA has no folder ucr_ts")
@pytest.mark.parametrize(
    ("name", "shape", "counts", "classes"),
    [
        ("GunPoint", (150, 1), (50, 150), 2),
        ("ArrowHead", (251, 1), (36, 175), 3),
        ("BasicMotions", (100, 6), (40, 40), 4),
        ("JapaneseVowels", (29, 12), (270, 370), 9),
    ],
)
def test_the_archives_own_files_hold_what_they_say(name, shape, counts, classes):
    data = load(UCR / name / f"{name}_TRAIN.ts")
    assert data.image_shape == shape and data.num_classes == classes
    assert (len(data.train) + len(data.validation), len(data.test)) == counts
    text = (UCR / name / f"{name}_TEST.ts").read_text(encoding="latin-1")
    lines = re.split(r"(?im)^@data\s*$", text)[1].strip().splitlines()
    signals = read_signals(UCR / name / f"{name}_TEST.ts", shape)
    for line, signal in zip(lines[::17], signals[::17], strict=True):
        *channels, _ = line.split(":")
        for number, channel in enumerate(channels):
            values = np.array([float(value) for value in channel.split(",")], "float32")
            np.testing.assert_array_equal(signal[: len(values), number], values)
            assert np.isnan(signal[len(values) :, number]).all()


def long_table(steps, dates=False, count=12, length=9):
    """Signals of which the n-th has a value every `steps[n % len(steps)]`."""
    lines = ["sample,time,x,label"]
    for sample in range(count):
        for place in range(length):
            time = place * steps[sample % len(steps)]
            if dates:
                time = f"2024-01-01 {int(time) // 3600:02}:{int(time) // 60 % 60:02}:00"
            lines.append(f"s{sample},{time},{sample * place % 7},{'ab'[sample % 2]}")
    return "\n".join(lines)


def test_the_time_from_value_to_value_is_kept(write):
    numbers = load(write("numbers.csv", long_table([0.02])))
    assert numbers.preprocessing == {"signal": {"time_step": 0.02, "time_unit": "time"}}
    tiny = load(write("tiny.csv", long_table([7e-10]))).preprocessing["signal"]["time_step"]
    assert tiny == pytest.approx(7e-10)
    dates = load(write("dates.csv", long_table([1800], dates=True)))
    assert dates.preprocessing == {"signal": {"time_step": 1800.0, "time_unit": "seconds"}}
    rows = "".join(f"{n},{n + 1},{'ab'[n % 2]}\n" for n in range(12))
    assert load(write("rows.csv", f"t0,t1,label\n{rows}")).preprocessing is None


def test_signals_that_are_sampled_otherwise_are_refused(write):
    with pytest.raises(ValueError, match=r"sampled alike.* 0\.02 in s0, 0\.04 in s1"):
        load(write("mixed.csv", long_table([0.02, 0.04])))
    train = write("a_TRAIN.csv", long_table([0.02]))
    write("a_TEST.csv", long_table([0.05], count=4))
    message = r"a_TEST.csv must have a value every 0\.02 \(time\), as a_TRAIN.csv has: resample it"
    with pytest.raises(ValueError, match=message):
        load(train)
    preprocessing = {"signal": {"time_step": 0.02, "time_unit": "time"}}
    other = write("other.csv", long_table([0.05], count=2))
    with pytest.raises(ValueError, match="as the training data has"):
        read_signals(other, (9, 1), preprocessing=preprocessing)
    for known in (None, {"signal": {"time_step": 60.0, "time_unit": "seconds"}}):
        assert read_signals(other, (9, 1), preprocessing=known).shape == (2, 9, 1)


def test_uneven_steps_within_signals_are_noted(write):
    text = long_table([1]).replace("s1,3,", "s1,3.4,")
    data = load(write("uneven.csv", text))
    assert data.preprocessing is None
    assert "uneven.csv: steps in 'time' differ; values are taken for evenly spaced." in data.notes
