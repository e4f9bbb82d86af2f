"""Evaluating a run: what is written, and that a failure loses nothing."""

import dataclasses
import json
import shutil

import numpy as np
import PIL.Image
import pytest
from interop.torch_files import meta_tensors, write_pth

from mae_keras import data
from mae_keras.data import ArraySplit
from mae_keras.runs import (
    PROTOCOLS,
    Comparison,
    EvaluationOptions,
    evaluate_run,
    pretrain,
)
from mae_keras.runs import (
    exporting as importing,
)
from mae_keras.runs.evaluating import check_labels, label_notes
from mae_keras.runs.exporting import export_run, import_checkpoint, load_run, reconstruct_files
from mae_keras.runs.options import DataOptions

FAST = EvaluationOptions(num_seeds=2)


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


@pytest.fixture(scope="module")
def images(array_file):
    return data.load(str(array_file))


@pytest.fixture(scope="module")
def imported(array_file, tmp_path_factory):
    """The folder of an import whose sizes are no preset's and whose patches are no squares."""
    folder = tmp_path_factory.mktemp("imported")
    write_pth(folder / "a.pth", meta_tensors(channels=1, patch=(2, 4), grid=(4, 2)))
    options = {"num_heads": 2, "decoder_num_heads": 2, "mean": [0.25], "std": [0.5]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "export_saved_model", lambda _, path: path.mkdir())
        import_checkpoint(folder / "a.pth", folder / "run", dataset=str(array_file), **options)
    return folder / "run"


def read(folder):
    return json.loads((folder / "evaluation.json").read_text())


def run_instead(monkeypatch, name, run):
    monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(PROTOCOLS[name], run=run))


def fails(comparison, options):
    raise RuntimeError("`features` must be finite. Received: NaN")


def test_every_protocol_is_written_with_its_pictures_and_the_card(folder):
    heard = []
    made = evaluate_run(folder, ["linear-probe", "layers"], options=FAST, announce=heard.append)
    assert list(made) == ["linear-probe", "layers"]
    assert heard == ["linear-probe ...", "layers ..."]
    assert read(folder) == made
    pictures = {path.name for path in (folder / "evaluation").iterdir()}
    assert {"confusion.png", "calibration.png", "layers.png"} <= pictures
    assert {"features.png", "attention.png"} <= pictures
    card = (folder / "model_card.md").read_text()
    assert "linear-probe" in card
    assert "![Confusion matrix](evaluation/confusion.png)" in card
    made = evaluate_run(folder, ["knn"], options=FAST)
    assert set(read(folder)) == {"linear-probe", "layers", "knn"}


@pytest.mark.long
def test_a_failed_protocol_loses_nothing_of_the_others(folder, monkeypatch):
    evaluate_run(folder, ["knn"], options=FAST)
    before = read(folder)["knn"]
    run_instead(monkeypatch, "knn", fails)
    run_instead(monkeypatch, "layers", fails)
    made = evaluate_run(folder, ["layers", "knn", "linear-probe"], options=FAST)
    assert "Received: NaN" in made["layers"]["error"]
    assert "Received: NaN" in made["knn"]["error"]
    written = read(folder)
    error = written["knn"].pop("last_error")
    assert error == made["knn"]["error"]
    assert written["knn"] == before  # what an earlier evaluation found stays
    assert "error" in written["layers"]
    assert 0 <= written["linear-probe"]["test_accuracy"] <= 1


def test_a_picture_that_fails_loses_no_number(folder, monkeypatch):
    def cannot_draw(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("mae_keras.runs.evaluating.draw", cannot_draw)
    monkeypatch.setattr("mae_keras.runs.evaluating.draw_overview", cannot_draw)
    made = evaluate_run(folder, ["knn"], options=FAST)
    assert "A picture could not be drawn: disk full" in made["knn"]["notes"]
    assert "test_accuracy" in read(folder)["knn"]
    assert (folder / "model_card.md").exists()


def test_a_card_that_fails_loses_no_number(folder, monkeypatch):
    def cannot_write(run):
        raise KeyError("preset")

    monkeypatch.setattr("mae_keras.runs.evaluating.draw_overview", lambda *arguments: None)
    monkeypatch.setattr("mae_keras.runs.evaluating.write_model_card", cannot_write)
    run_instead(monkeypatch, "restoration", lambda *arguments: {"found": 1})
    made = evaluate_run(folder, ["restoration"], options=FAST)
    assert "The model card could not be written: 'preset'" in made["restoration"]["notes"]
    assert read(folder)["restoration"]["found"] == 1


@pytest.mark.slow
def test_imported_weights_of_no_preset_are_evaluated(imported, tmp_path):
    folder = shutil.copytree(imported, tmp_path / "run")
    made = evaluate_run(folder, ["label-fractions", "restoration"], options=FAST)
    assert not [entry for entry in made.values() if "error" in entry]
    assert len(made["label-fractions"]["fractions"]["trained"]) == 3
    assert set(made["label-fractions"]["accuracies"]) == {"trained", "untrained", "pca", "pixels"}
    card = (folder / "model_card.md").read_text()
    assert card.startswith("# Masked autoencoder, of its own size, weights imported from ")
    assert "label-fractions" in card


@pytest.mark.slow
def test_the_fresh_of_imported_weights_differs_in_its_weights_alone(
    imported, tmp_path, monkeypatch
):
    folder = shutil.copytree(imported, tmp_path / "run")
    seen = []

    def look(comparison, options):
        seen.append(comparison)
        return {}

    run_instead(monkeypatch, "restoration", look)
    monkeypatch.setattr("mae_keras.runs.evaluating.draw_overview", lambda *arguments: None)
    for _ in range(2):
        evaluate_run(folder, ["restoration"], options=FAST)
    model, fresh, again = seen[0].model, seen[0].untrained, seen[1].untrained
    assert fresh.get_config() == model.get_config()
    assert model.normalization.mean == pytest.approx([0.25])
    assert np.abs(fresh.head.kernel - model.head.kernel).max() > 0.01
    np.testing.assert_array_equal(fresh.head.kernel, again.head.kernel)


@pytest.mark.slow
def test_an_import_without_a_data_set_is_not_evaluated_on_another(
    imported, images, tmp_path, monkeypatch
):
    folder = shutil.copytree(imported, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    del config["dataset"], config["run_id"]  # whose second half is the checksum
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="`evaluate` needs images: name them with --dataset"):
        evaluate_run(folder, ["restoration"], options=FAST)
    assert not (folder / "evaluation.json").exists()
    monkeypatch.setattr("mae_keras.runs.evaluating.draw_overview", lambda *arguments: None)
    run_instead(monkeypatch, "restoration", lambda *arguments: {"found": 1})
    evaluate_run(folder, ["restoration"], options=FAST, images=images)
    assert read(folder)["restoration"]["found"] == 1


def test_data_without_labels_are_restored_but_not_probed(folder, images):
    bare = dataclasses.replace(
        images,
        num_classes=None,
        class_names=None,
        **{
            name: ArraySplit(getattr(images, name).arrays()[0])
            for name in ("train", "validation", "test")
        },
    )
    lines = []
    made = evaluate_run(
        folder, ["knn", "restoration"], options=FAST, images=bare, announce=lines.append
    )
    assert set(made) == {"restoration"} == set(read(folder))
    skipped = [line for line in lines if "skipped" in line]
    assert len(skipped) == 1 and skipped[0].startswith("knn is skipped: it needs labels")
    assert {"mean", "model"} <= set(made["restoration"]["methods"])
    with pytest.raises(ValueError, match="knn needs labels: evaluate on labeled images"):
        evaluate_run(folder, ["knn"], options=FAST, images=bare)


@pytest.mark.slow
@pytest.mark.long
def test_a_run_without_pictures_is_evaluated_without_restoration(short_recipe, tmp_path, capsys):
    recipe = dataclasses.replace(short_recipe, target="hog", epochs=1, warmup_epochs=0)
    pretrain(recipe, tmp_path / "run", verbose=0)
    assert "No reconstructions.png was drawn" in capsys.readouterr().out
    lines = []
    made = evaluate_run(
        tmp_path / "run", ["knn", "restoration"], options=FAST, announce=lines.append
    )
    assert list(made) == list(read(tmp_path / "run")) == ["knn"] and "error" not in made["knn"]
    reasons = [line for line in lines if "restoration" in line]
    assert reasons == ["restoration is skipped: target='hog' cannot be turned back into pixels"]
    pictures = {path.name for path in (tmp_path / "run").rglob("*.png")}
    assert pictures == {"loss.png", "features.png", "attention.png"}
    card = (tmp_path / "run" / "model_card.md").read_text()
    assert "loss.png" in card and "reconstructions.png" not in card
    PIL.Image.new("L", (8, 8)).save(tmp_path / "a.png")
    for call in (
        lambda: evaluate_run(tmp_path / "run", ["restoration"], options=FAST),
        lambda: reconstruct_files(tmp_path / "run", [tmp_path / "a.png"], tmp_path / "b.png"),
        lambda: load_run(tmp_path / "run")[1].anomaly_map(np.zeros((1, 8, 8, 1), "uint8")),
    ):
        with pytest.raises(ValueError, match="target='hog' cannot reconstruct: there is no way"):
            call()
    with pytest.raises(ValueError, match="may be serving_default, encode. What it predicts, 'hog'"):
        export_run(tmp_path / "run", tmp_path / "served", signatures=["reconstruct"])


def test_another_data_set_is_told_in_names_notes_and_pictures(folder, array_file, tmp_path):
    with np.load(array_file) as file:
        np.savez(tmp_path / "others.npz", images=file["images"][::-1], labels=file["labels"][::-1])
    before = read(folder) if (folder / "evaluation.json").exists() else {}
    other = tmp_path / "others.npz"
    made = evaluate_run(
        folder, ["linear-probe"], options=FAST, labeled=DataOptions(dataset=str(other))
    )
    name = f"linear-probe on {other}"
    assert set(made) == {name}
    assert set(read(folder)) == {*before, name}
    assert made[name]["notes"][0] == f"On {other}, not the images of pretraining."
    pictures = [path for path in (folder / "evaluation").rglob("confusion.png")]
    assert "others.npz" in str(pictures[0].parent.name)


def test_the_runs_own_data_by_another_path_are_its_own(folder, array_file):
    named = DataOptions(dataset=str(array_file.parent / "." / array_file.name))
    assert set(evaluate_run(folder, ["knn"], options=FAST, labeled=named)) == {"knn"}


def test_an_unknown_protocol_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ValueError, match="`protocol` must be 'knn', .* Received: .*'guess'"):
        evaluate_run(tmp_path, ["guess"])


def test_data_of_another_shape_are_refused(folder, images):
    wide = ArraySplit(np.zeros((20, 9, 9, 1), "uint8"), np.arange(20) % 10)
    other = dataclasses.replace(
        images, image_shape=(9, 9, 1), train=wide, validation=wide, test=wide
    )
    with pytest.raises(ValueError, match=r"the model was made for, \(8, 8, 1\). Received"):
        evaluate_run(folder, ["knn"], images=other)
    assert not (folder / "evaluation.json").exists()


def labeled(images, labels):
    """The data set with other training labels."""
    split = ArraySplit(images.train.arrays()[0], np.zeros(len(images.train), int))
    split.labels = labels
    return dataclasses.replace(images, train=split)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (None, ValueError, "needs labels. Received: a train split without"),
        (np.linspace(0, 9, 90), TypeError, "must be integers. Received: train labels of float64"),
        (np.arange(90) % 10 + 1, ValueError, r"in \[0, 10\). Received: train labels from 1 to 10"),
        (np.arange(90) % 10 - 1, ValueError, "train labels from -1 to 8"),
    ],
    ids=["none", "fractions", "from 1", "negative"],
)
def test_labels_that_no_protocol_can_use_are_refused(images, labels, error, message):
    model = _Shaped((8, 8, 1))
    with pytest.raises(error, match=message):
        check_labels(Comparison(model, model, labeled(images, labels)))


def test_classes_missing_from_a_side_are_told(images):
    labels = np.where(images.train.labels == 3, 4, images.train.labels)
    model = _Shaped((8, 8, 1))
    notes = label_notes(Comparison(model, model, labeled(images, labels)))
    assert any(note.startswith("Class 3 is absent from train") for note in notes)


class _Shaped:
    def __init__(self, image_shape):
        self.image_shape = image_shape

    def check_pooling(self, pooling):
        pass


def test_what_needs_whole_samples_is_skipped_where_none_is():
    from mae_keras.runs.evaluating import _with_whole_samples

    lines, samples = [], np.zeros((3, 8, 1), "float32")
    samples[:, -1] = np.nan
    both, split = ["knn", "restoration"], data.ArraySplit(samples)
    images = data.ImageData("waves.ts", (8, 1), None, None, split, split, split, None)
    assert _with_whole_samples(both, images, False, lines.append) == ["knn"]
    assert lines == ["restoration is skipped: every test sample has missing values (NaN)"]
    assert _with_whole_samples(both, images, True, lines.append) == both  # by name
    samples[0] = 0
    assert _with_whole_samples(both, images, False, lines.append) == both
