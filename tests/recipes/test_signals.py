"""Runs on files of signals, from pretraining to predictions."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mae_keras.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder, load_model
from mae_keras.runs import (
    FineTuneOptions,
    adapt,
    evaluate_run,
    find_recipe,
    fine_tune_run,
    predict_files,
    pretrain,
)
from mae_keras.runs.exporting import reconstruct_files


def write_signals(path, count, seed=0):
    """Two classes of 17 to 35 steps: slow and fast waves, two channels."""
    rng, lines = np.random.default_rng(seed), []
    for number in range(count):
        steps = np.arange(rng.integers(17, 36))
        wave = np.sin(steps * (0.3, 1.2)[number % 2] + rng.uniform(0, 6))
        noisy = wave + 0.1 * rng.standard_normal((2, len(steps)))
        values = ":".join(",".join(f"{value:.4f}" for value in channel) for channel in noisy)
        lines.append(f"{values}:{('slow', 'fast')[number % 2]}")
    path.write_text("@classLabel true slow fast\n@data\n" + "\n".join(lines))
    return path


def encoder():
    return ViTEncoder((8, 1), 2, 8, 1, 1, 16, value_range=None)


@pytest.fixture
def table(tmp_path):
    """Three signals in a table, shorter than a model's, the second with a gap."""
    (tmp_path / "new.csv").write_text("a,b,c,d\n1,2,3,4\n5,,7,8\n0,0,0,1\n")
    return tmp_path / "new.csv"


@pytest.mark.slow
def test_files_of_signals_are_drawn(table, tmp_path):
    model = MaskedAutoencoder(encoder(), MAEDecoder(8, 1, 1, 16))
    model.save(tmp_path / "model.keras")
    lines = []
    reconstruct_files(tmp_path / "model.keras", [table, table], tmp_path / "made.png")
    many = tmp_path / "many.npy"
    np.save(many, np.zeros((9, 8), "float32"))
    reconstruct_files(tmp_path / "model.keras", [many], tmp_path / "a.png", announce=lines.append)
    assert lines == [f"Drew the first 8 of 9 in {many}"]
    with Image.open(tmp_path / "made.png") as made:
        assert min(made.size) > 100


def test_signals_in_files_are_classified_by_their_number(table, tmp_path):
    model = ImageClassifier(encoder(), 2, class_names=("slow", "fast"))
    model.save(tmp_path / "model.keras")
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,inf\n")
    infinite = tmp_path / "infinite.npy"
    np.save(infinite, np.full((2, 8), np.inf, "float32"))
    out = tmp_path / "out.csv"
    files = [infinite, table, bad, tmp_path]
    made = predict_files(tmp_path / "model.keras", files, out, announce=lambda line: None)
    assert made.num_predicted == 3
    assert [path for path, _ in made.unreadable] == [str(infinite), str(bad), str(tmp_path)]
    with pytest.raises(ValueError, match="`files` must name at least one file of signals"):
        predict_files(tmp_path / "model.keras", [])
    signals = np.full((3, 8, 1), np.nan, "float32")
    signals[:, :4, 0] = [[1, 2, 3, 4], [5, np.nan, 7, 8], [0, 0, 0, 1]]
    expected = load_model(tmp_path / "model.keras").probabilities(signals)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["path"] for row in rows] == [f"{table}:{number}" for number in (1, 2, 3)]
    found = [[float(row["slow"]), float(row["fast"])] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_column_of_groups_of_a_run_is_no_time_step_of_new_files(tmp_path, monkeypatch):
    model = ImageClassifier(encoder(), 2)
    model.save(tmp_path / "model.keras")
    path, column = tmp_path / "new.csv", tmp_path / "column.csv"
    path.write_text("a,b,c\n1,2,3\n4,5,6\n")
    column.write_text("a,patient,b,c\n1,70,2,3\n4,70,5,6\n")
    recipe = adapt(find_recipe(dataset=str(path)), groups="patient")
    monkeypatch.setattr("mae_keras.runs.predicting.load_trained", lambda source: (recipe, model))
    predict_files("run", [path, column], tmp_path / "out.csv", announce=lambda line: None)
    rows = [line.split(",")[1:] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert rows[:2] == rows[2:]


@pytest.mark.slow
@pytest.mark.long
def test_signals_of_unequal_length_from_the_file_to_the_scores(tmp_path, capsys):
    path = write_signals(tmp_path / "Waves_TRAIN.ts", 40)
    write_signals(tmp_path / "Waves_TEST.ts", 30, seed=1)
    recipe = find_recipe(dataset=str(path))
    recipe = adapt(recipe, dataset=str(path), epochs=2, jit_compile="false")
    metrics = pretrain(recipe, tmp_path / "run", verbose=0)
    text = capsys.readouterr().out
    assert "the test split is Waves_TEST.ts" in text and "padded to 40" in text
    assert "training signals" in text and "images" not in text
    assert np.isfinite(metrics["hidden_loss"])
    # The same data in the same splits, or the run could not go on.
    again = pretrain(recipe, tmp_path / "run", resume=True, verbose=0)
    assert again["hidden_loss"] == metrics["hidden_loss"]
    lines = []
    protocols = ["knn", "imputation"]
    entries = evaluate_run(tmp_path / "run", protocols, announce=lines.append)
    assert list(entries["imputation"]["methods"]) == ["mean", "last_value", "linear", "model"]
    assert entries["imputation"]["num_test"] == 30 and not entries["imputation"]["notes"]
    assert entries["knn"]["num_test"] == 30 and not any("WARNING" in line for line in lines)
    card = (tmp_path / "run" / "model_card.md").read_text()
    assert "held-out signals" in card and "held-out images" not in card
    options = FineTuneOptions(steps=2, augmentation="light")
    fine_tune_run(tmp_path / "run", tmp_path / "classifier", options)
    config = json.loads((tmp_path / "classifier" / "config.json").read_text())
    assert config["fine_tune"]["augmentation"]["max_shift"] == 0
    assert config["fine_tune"]["augmentation"]["samples"]["jitter"] == 0.03
    card = (tmp_path / "classifier" / "model_card.md").read_text()
    assert "scale 0.1, jitter 0.03" in card and "test signals" in card
    assert config["data"]["test"] == 30 and config["class_names"] == ["fast", "slow"]
    scored = evaluate_run(tmp_path / "classifier", announce=lines.append)
    assert scored["classifier"]["num_test"] == 30
