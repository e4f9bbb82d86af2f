"""Tables: what columns are taken for, their numbers beside scikit-learn's, and what is refused."""

import json
import os
import pathlib

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from mae_keras.data import TableColumn, TableSchema, load_table

TABLES = pathlib.Path(os.environ.get("MAE_KERAS_TEST_DATA") or "nowhere") / "tabular"
RNG = np.random.default_rng(0)


@pytest.fixture
def frame():
    """Forty rows: numbers, categories, dates, gaps, and columns that say nothing."""
    rows = 40
    return pd.DataFrame(
        {
            "id": np.arange(rows) + 100,
            "age": np.where(np.arange(rows) % 7 == 0, np.nan, RNG.normal(40, 10, rows)),
            "city": RNG.choice(["Oslo", "Rome", "Bern"], rows),
            "code": RNG.integers(1, 9, rows).astype(str),
            "smoker": RNG.random(rows) < 0.5,
            "seen": pd.date_range("2024-01-01", periods=rows, freq="36h"),
            "born": [f"19{60 + n:02}-03-{1 + n % 28:02}" for n in range(rows)],
            "name": [f"person {n}" for n in range(rows)],
            "planet": "Earth",
            "empty": [None] * rows,
            "class": np.array(["no", "yes"])[np.arange(rows) % 2],
        }
    )


def test_columns_are_what_they_look_like(frame):
    table = load_table(frame)
    kinds = {column.name: column.kind for column in table.schema.columns}
    assert kinds == {
        **{"age": "number", "city": "category", "code": "number", "smoker": "category"},
        **{"seen": "date", "born": "date"},
    }
    left_out = table.schema.left_out
    assert left_out["id"] == "it numbers the rows" and left_out["empty"] == "no values"
    assert left_out["planet"] == "the same in all rows: 'Earth'"
    assert left_out["name"].startswith("40 different values in 40 rows")
    assert sum("not used" in note for note in table.notes) == 4
    assert table.class_names == ("no", "yes") and table.labels.tolist() == [0, 1] * 20
    assert table.values.shape == (40, 6) and table.values.dtype == np.float32
    shown = str(table.schema)
    assert "smoker  category" in shown and "left out  no values" in shown and "class" in shown
    other = load_table(frame, label=False, kinds={"code": "category", "id": "number"})
    assert {"id", "class"} <= set(other.schema.names) and other.labels is None
    assert other.schema.columns[other.schema.names.index("code")].size > 2


def test_numbers_and_categories_are_those_of_scikit_learn(frame):
    table = load_table(frame)
    names = table.schema.names
    numbers = frame[["age"]].assign(code=frame["code"].astype(float))
    numbers["seen"] = (frame["seen"] - pd.Timestamp("1970-01-01")).dt.total_seconds()
    expected = StandardScaler().fit_transform(numbers)
    ours = table.values[:, [names.index(name) for name in numbers]]
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    categories = OrdinalEncoder().fit_transform(frame[["city", "smoker"]])
    ours = table.values[:, [names.index("city"), names.index("smoker")]]
    np.testing.assert_array_equal(ours, categories)
    column = table.schema.columns[names.index("city")]
    shares = frame["city"].value_counts(normalize=True).sort_index()
    np.testing.assert_allclose(column.shares, shares, atol=1e-6)
    entropy = -(shares * np.log(shares)).sum()
    assert column.spread == pytest.approx(entropy, rel=1e-4)


def test_quantiles_make_numbers_of_any_distribution_normal_and_come_back():
    values = np.exp(RNG.normal(0, 3, 2000))
    table = load_table(pd.DataFrame({"x": values, "z": values**2}), numbers="quantile")
    ranks = values.argsort().argsort() / (len(values) - 1)
    inside = (ranks > 0.05) & (ranks < 0.95)
    from scipy.stats import norm

    np.testing.assert_allclose(table.values[inside, 0], norm.ppf(ranks[inside]), atol=0.06)
    assert table.values.std(axis=0) == pytest.approx([1, 1], abs=0.05)
    again = table.schema.decode(table.values)
    np.testing.assert_allclose(again["x"], values, rtol=1e-3)
    assert np.isnan(table.schema.encode(pd.DataFrame({"x": [np.nan], "z": [0.0]}))[0, 0])


def test_tables_come_back_with_gaps_filled_and_the_rest_as_it_was(frame):
    table = load_table(frame, label="class")
    back = table.schema.decode(table.values)
    np.testing.assert_allclose(back["age"], frame["age"], rtol=1e-5)
    assert back["city"].tolist() == frame["city"].tolist()
    assert back["smoker"].tolist() == frame["smoker"].tolist()
    assert (back["seen"] - frame["seen"]).abs().max() < pd.Timedelta("10s")
    gaps = frame.copy().astype({"smoker": object, "city": "category"})
    gaps.index = [f"row {n}" for n in range(len(gaps))]
    for name in ("city", "smoker", "seen", "born", "code"):
        gaps.loc[gaps.index[3], name] = None
    values = np.where(np.isnan(table.values), 0.0, table.values)
    filled = table.schema.decode(values, gaps)
    assert filled[list(table.schema.names)].notna().all().all()
    assert filled["age"].iloc[0] == pytest.approx(frame["age"].mean(), rel=1e-5)
    assert filled.iloc[3]["city"] == frame.iloc[3]["city"]
    assert filled.iloc[3]["smoker"] == frame.iloc[3]["smoker"]
    assert filled.iloc[3]["born"] == frame.iloc[3]["born"]
    assert float(filled.iloc[3]["code"]) == pytest.approx(float(frame.iloc[3]["code"]), rel=1e-5)
    assert filled["city"].dtype == "category" and filled.index.equals(gaps.index)
    kept = filled.drop(index="row 3").drop(columns=["age", "code"])
    pd.testing.assert_frame_equal(kept, gaps.drop(index="row 3").drop(columns=["age", "code"]))


def test_other_tables_are_read_by_the_schema_of_the_first(frame):
    schema = load_table(frame).schema
    again = TableSchema.from_config(json.loads(json.dumps(schema.get_config())))
    assert again == schema and str(again) == str(schema)
    other = frame.iloc[:5, ::-1].assign(city=["Oslo", "Paris", "Rome", None, " Bern "], more=1)
    table = load_table(other, schema=again)
    names = schema.names
    assert table.values[:, names.index("city")].tolist()[:3] == [1, 3, 2]  # 3 is unknown
    assert np.isnan(table.values[3, names.index("city")])
    assert table.values[4, names.index("city")] == 0
    assert table.notes == ("city: 1 row of unknown categories.",)
    np.testing.assert_array_equal(table.labels, load_table(frame).labels[:5])
    assert load_table(frame.drop(columns="class"), schema=schema).labels is None


def test_columns_of_long_texts_and_of_lists_are_left_out(frame):
    odd = frame.assign(text=["a" * 600, "b" * 600] * 20, lists=[[1, 2]] * 40)
    left_out = load_table(odd).schema.left_out
    assert left_out["text"] == "texts of more than 500 letters"
    assert left_out["lists"] == "cells that are neither numbers, text nor dates"


def test_rare_categories_are_unknown():
    cells = ["a"] * 20 + ["b"] * 10 + ["c"] * 5 + ["d"]
    table = load_table(pd.DataFrame({"x": cells, "n": np.arange(36) ** 2}))
    assert table.schema.columns[0].categories == ("a", "b", "c")
    assert table.values[-1, 0] == 3
    assert table.notes[0].startswith("x: 1 rare categories in 1 row")
    few = load_table(pd.DataFrame({"x": cells, "n": np.arange(36) ** 2}), max_categories=2)
    assert few.schema.columns[0].categories == ("a", "b")
    assert load_table(pd.DataFrame({"x": cells}), min_count=1).schema.columns[0].size == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="age"), "column 'age' must be there, as in training"),
        (lambda f: f.rename(columns={"age": "Age"}), "'Age' is the same under another name"),
        (lambda f: f.assign(age="old"), "column 'age' must hold numbers. Received: 'old' in row 1"),
        (lambda f: f.assign(age=True), "column 'age' must hold numbers. Received: True in row 1"),
        (lambda f: f.assign(age=np.inf), "column 'age' must hold finite numbers. Received: inf"),
        (
            lambda f: f.assign(city=1.5),
            "column 'city' must hold categories, as in training: 'Bern', 'Oslo', 'Rome'. "
            "Received: 1.5",
        ),
        (lambda f: f.assign(seen=7), "column 'seen' must hold dates. Received: 7 in row 1"),
        (lambda f: f.assign(seen="soon"), "column 'seen' must hold numbers or dates"),
        (
            lambda f: f.assign(**{"class": "perhaps"}),
            "column 'class' must hold the classes 'no', 'yes'. Received: 'perhaps' in row 1",
        ),
        (lambda f: pd.concat([f, f[["age"]]], axis=1), r"Received twice: \['age'\]"),
    ],
)
def test_a_table_that_differs_from_training_is_refused(frame, change, message):
    schema = load_table(frame).schema
    with pytest.raises(ValueError, match=message):
        load_table(change(frame), schema=schema)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "clas"}, "`label` must be .*; did you mean 'class'"),
        ({"kinds": {"agee": "number"}}, "`kinds` must name columns of the table"),
        ({"kinds": {"age": "numeric"}}, "`kinds` must be"),
        ({"kinds": {"city": "number"}}, "column 'city' must hold numbers. Received: "),
        ({"kinds": {"class": "ignore"}}, "pass label=False"),
        ({"label": "planet"}, "the label must have two values or more"),
        ({"numbers": "log"}, "`numbers` must be 'standard' or 'quantile'"),
    ],
)
def test_options_that_do_not_fit_are_refused(frame, options, message):
    with pytest.raises(ValueError, match=message):
        load_table(frame, **options)


def test_what_is_no_table_is_refused(tmp_path, frame):
    with pytest.raises(TypeError, match="`table` must be a pandas DataFrame, or the path"):
        load_table(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="not found"):
        load_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="a table must have a column to learn from"):
        load_table(frame[["planet", "empty"]])
    with pytest.raises(TypeError, match="`table` must be a pandas DataFrame"):
        load_table(frame).schema.encode(np.zeros((3, 6)))
    path = tmp_path / "latin.csv"
    path.write_bytes("a,b\n1,é\n2,e\n".encode("latin-1"))
    with pytest.raises(ValueError, match="UTF-8"):
        load_table(path)
    with pytest.raises(ValueError, match="`label` and `kinds` must be left out with `schema`"):
        load_table(frame, schema=load_table(frame).schema, kinds={"age": "number"})


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_files_are_read_as_frames(tmp_path, frame, ending):
    path = tmp_path / f"table.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    else:
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    from_file, from_frame = load_table(path), load_table(frame)
    np.testing.assert_allclose(from_file.values, from_frame.values, atol=1e-6)
    np.testing.assert_array_equal(from_file.labels, from_frame.labels)
    with pytest.raises(ValueError, match=f"table.{ending}, column 'more' must be there"):
        load_table(path, schema=TableSchema([TableColumn("more", "number")]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "text"}, "`kind` must be"),
        ({"std": 0.0}, "`std` must be positive"),
        ({"quantiles": (1.0, 1.0), "scores": (0.0, 1.0)}, "`quantiles` must be two numbers"),
        ({"quantiles": (0.0, 1.0)}, "`scores` must be as many"),
        ({"kind": "category"}, "`categories` must be given"),
        ({"kind": "category", "categories": (1, "1"), "shares": (0.5, 0.5)}, "different texts"),
        ({"kind": "category", "categories": (1,), "shares": (-1.0,)}, "`shares` must be at least"),
    ],
)
def test_columns_that_contradict_themselves_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TableColumn(**{"name": "x", "kind": "number", **arguments})


def test_schemas_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        TableSchema([])
    with pytest.raises(ValueError, match=r"Received twice: \['x'\]"):
        TableSchema(2 * [TableColumn("x", "number")])
    with pytest.raises(ValueError, match=r"must have the keys .* Received: \['sort'\]"):
        TableSchema([{"name": "x", "sort": "number"}])


@pytest.mark.skipif(not TABLES.is_dir(), reason="MAE_KERAS_TEST_DATA has no folder tabular")
def test_adult_census_and_wine_are_read():
    table = load_table(TABLES / "adult" / "adult.data", label="classification")
    assert len(table.values) == 32561 and sum(size > 0 for size in table.schema.sizes) == 8
    assert table.labels.sum() == 7841 and table.class_names == ("<=50K", ">50K")
    test = load_table(TABLES / "adult" / "adult.test", schema=table.schema)
    assert len(test.values) == 16281 and test.labels.sum() == 3846
    assert np.isnan(table.values).sum() == table.frame.isna().sum().sum() == 4262
    wine = load_table(TABLES / "winequality" / "winequality-red.csv", label="quality")
    assert wine.values.shape == (1599, 11) and wine.labels.dtype == np.float32
