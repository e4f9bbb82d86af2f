"""Evaluating a run: what is written, and that a failure loses nothing."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from mae_keras import data
from mae_keras.data import ArraySplit
from mae_keras.recipes import Comparison, EvaluationOptions, evaluate_run, protocols
from mae_keras.recipes.evaluating import check_labels, label_notes

FAST = EvaluationOptions(num_seeds=2)


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


@pytest.fixture(scope="module")
def images(array_file):
    return data.load(str(array_file))


def read(folder):
    return json.loads((folder / "evaluation.json").read_text())


def fails(comparison, options):
    raise RuntimeError("`features` must be finite. Received: NaN")


def test_every_protocol_is_written_with_its_pictures_and_the_card(folder):
    heard = []
    made = evaluate_run(folder, ["linear-probe", "layers"], options=FAST, announce=heard.append)
    assert heard == list(made) == ["linear-probe", "layers"]
    assert read(folder) == made
    pictures = {path.name for path in (folder / "evaluation").iterdir()}
    assert {"confusion.png", "calibration.png", "layers.png"} <= pictures
    assert {"features.png", "attention.png"} <= pictures
    card = (folder / "model_card.md").read_text()
    assert "linear-probe" in card
    assert "![Confusion matrix](evaluation/confusion.png)" in card
    made = evaluate_run(folder, ["knn"], options=FAST)
    assert set(read(folder)) == {"linear-probe", "layers", "knn"}


def test_a_failed_protocol_loses_nothing_of_the_others(folder, monkeypatch):
    evaluate_run(folder, ["knn"], options=FAST)
    before = read(folder)["knn"]
    monkeypatch.setitem(protocols.PROTOCOLS, "knn", fails)
    monkeypatch.setitem(protocols.PROTOCOLS, "layers", fails)
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

    monkeypatch.setattr("mae_keras.recipes.evaluating.draw", cannot_draw)
    monkeypatch.setattr("mae_keras.recipes.evaluating.draw_overview", cannot_draw)
    made = evaluate_run(folder, ["knn"], options=FAST)
    assert "A picture could not be drawn: disk full" in made["knn"]["notes"]
    assert "test_accuracy" in read(folder)["knn"]
    assert (folder / "model_card.md").exists()


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
    made = evaluate_run(folder, ["knn", "restoration"], options=FAST, images=bare)
    assert "needs labels" in made["knn"]["error"]
    assert {"mean", "model"} <= set(made["restoration"]["methods"])


def test_an_unknown_protocol_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ValueError, match="`protocol` must be one of knn, .* Received: .*'guess'"):
        evaluate_run(tmp_path, ["guess"])


def test_data_of_another_shape_are_refused(folder, images):
    wide = ArraySplit(np.zeros((20, 9, 9, 1), "uint8"), np.arange(20) % 10)
    other = dataclasses.replace(
        images, image_shape=(9, 9, 1), train=wide, validation=wide, test=wide
    )
    with pytest.raises(ValueError, match=r"the model was made for, \(8, 8, 1\). Received"):
        evaluate_run(folder, ["knn"], images=other)
    assert not (folder / "evaluation.json").exists()


def labelled(images, labels):
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
        check_labels(Comparison(model, model, labelled(images, labels)))


def test_classes_missing_from_a_side_are_told(images):
    labels = np.where(images.train.labels == 3, 4, images.train.labels)
    model = _Shaped((8, 8, 1))
    notes = label_notes(Comparison(model, model, labelled(images, labels)))
    assert any(note.startswith("Class 3 is absent from train") for note in notes)


class _Shaped:
    def __init__(self, image_shape):
        self.image_shape = image_shape

    def check_pooling(self, pooling):
        pass
