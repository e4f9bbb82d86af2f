"""Data that changed is told from data that moved."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from mae_keras import data
from mae_keras.runs import RunFolder, adapt, evaluate_run, model_card, pretrain
from mae_keras.runs.building import (
    differences,
    fingerprint,
    located,
    may_be_trained_on,
    path_of,
    same_data,
)
from mae_keras.runs.resuming import check_agreement


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), "uint8")


def stored(path, images):
    np.savez(path, images=images, labels=np.arange(len(images)) % 2)
    return path


@pytest.fixture
def photos(tmp_path):
    for number, image in enumerate(pixels(40)):
        folder = tmp_path / "photos" / ("cats" if number % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_moved_data_are_the_same(tmp_path, photos):
    file = stored(tmp_path / "a.npz", pixels(40))
    for path, kind in ((file, "b.npz"), (photos, "elsewhere/deeper")):
        before = fingerprint(data.load(path))
        (tmp_path / kind).parent.mkdir(exist_ok=True)
        shutil.move(path, tmp_path / kind)
        now = fingerprint(data.load(tmp_path / kind))
        assert now == before
        assert same_data({"dataset": str(path), "data": before}, str(tmp_path / kind), now)


def test_an_image_that_changed_anywhere_is_noticed(tmp_path):
    """The first sixteen were compared once."""
    images = pixels(200)
    before = fingerprint(data.load(stored(tmp_path / "a.npz", images)))
    for number in range(0, 200, 20):
        changed = images.copy()
        changed[number, 3, 3] ^= 1
        now = fingerprint(data.load(stored(tmp_path / "a.npz", changed)))
        assert differences(before, now)


def test_a_file_that_was_exchanged_renamed_or_added_is_noticed(photos):
    before = fingerprint(data.load(photos))
    file = photos / "cats" / "1.png"
    file.rename(photos / "cats" / "renamed.png")
    assert differences(before, fingerprint(data.load(photos)))
    (photos / "cats" / "renamed.png").rename(file)
    assert not differences(before, fingerprint(data.load(photos)))
    Image.fromarray(pixels(1, seed=1)[0, ..., 0]).save(photos / "cats" / "41.png")
    assert differences(before, fingerprint(data.load(photos)))


def test_a_mapped_file_and_chosen_rows_have_a_content_too(tmp_path):
    np.save(tmp_path / "x.npy", pixels(100))
    mapped = data.load(tmp_path / "x.npy", in_memory_limit=0)
    again = data.load(tmp_path / "x.npy", in_memory_limit=0)
    assert fingerprint(mapped) == fingerprint(again)
    assert None not in fingerprint(mapped)["content"].values()
    held = data.load(tmp_path / "x.npy").train
    rows = [data.SelectedSplit(held, [0, 1]), data.SelectedSplit(held, [1, 0])]
    contents = [
        fingerprint(data.ImageData("x", (8, 8, 1), None, None, split, held, held))["content"]
        for split in rows
    ]
    assert contents[0]["train"] != contents[1]["train"]
    assert contents[0]["test"] == contents[1]["test"]


def test_what_an_earlier_version_did_not_know_is_not_compared():
    old = {"train": 28, "first_images": "ab"}
    new = {"train": 28, "first_images": "ab", "content": {"train": "cd"}, "path": "/x"}
    assert differences(old, new) == differences(new, old) == []
    assert differences(None, new) == []
    assert not same_data({"dataset": "a.npy", "data": old}, "b.npy", new)
    assert same_data({"dataset": "a.npy", "data": old}, "./a.npy", new)


def test_data_of_another_kind_are_others_whatever_they_hold():
    """Augmentation goes by the kind."""
    content = {"content": {"train": "ab"}, "path": "/x"}
    for one, other in (("digits", "d.npz"), ("photos", "d.npz"), ("d.npz", "mnist")):
        assert not same_data({"dataset": one, "data": content}, other, content)


def test_test_images_are_doubted_only_if_training_images_are_others(tmp_path):
    images = data.load(stored(tmp_path / "a.npz", pixels(60)))
    before = fingerprint(images)
    assert may_be_trained_on(before, images) == ""
    other_test = {**before, "test": 1, "content": {**before["content"], "test": "ab"}}
    assert may_be_trained_on(other_test, images) == ""
    fewer = {**before, "train": 1}
    assert "train: 1 in the run, " in may_be_trained_on(fewer, images)


def test_a_relative_path_leads_to_where_it_did_when_the_run_began(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    before = {"path": path_of("photos/")}
    monkeypatch.chdir("/")
    assert located("photos/", before) == str(tmp_path / "photos")
    (tmp_path / "photos").rmdir()
    assert located("photos/", before) == "photos/"
    assert located("digits", {}) == "digits"
    assert path_of("tfds:mnist") is None


def test_processes_may_have_the_same_images_in_different_places(monkeypatch):
    from mae_keras.runs import resuming as agreement

    seen = []
    monkeypatch.setattr(agreement, "gather", lambda value: seen.append(value) or np.array([value]))
    for path in ("/a", "/b"):
        check_agreement({"epochs": 1, "data": {"train": 2, "path": path}})
    np.testing.assert_array_equal(*seen)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on data whose path was relative, and the folder of both."""
    folder = tmp_path_factory.mktemp("moving")
    stored(folder / "x.npz", pixels(120))
    before = os.getcwd()
    os.chdir(folder)
    try:
        pretrain(recipe("x.npz"), folder / "run", verbose=0)
    finally:
        os.chdir(before)
    return folder


def recipe(path):
    from mae_keras.runs import find_recipe

    sizes = {"preset": "nano", "patch_size": 2, "epochs": 1, "warmup_epochs": 0, "batch_size": 16}
    return adapt(find_recipe("images"), dataset=str(path), jit_compile="false", **sizes)


def evaluated(run):
    said = []
    entry = evaluate_run(run, ["knn"], announce=said.append)["knn"]
    return entry, " ".join(said), model_card(RunFolder(run))


@pytest.mark.long
def test_a_run_goes_on_with_data_of_another_path(trained, tmp_path, monkeypatch, capsys):
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copy(trained / "x.npz", tmp_path / "moved.npz")
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "run" / "config.json").read_bytes()
    pretrain(recipe("./moved.npz"), "run", resume=True, verbose=0)
    assert "'./moved.npz' holds the same images as 'x.npz'" in capsys.readouterr().out
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    stored(tmp_path / "moved.npz", pixels(120, seed=1))
    with pytest.raises(ValueError, match="settings differ: data: .*; dataset: 'x.npz' in the run"):
        pretrain(recipe("moved.npz"), "run", resume=True, verbose=0)


@pytest.mark.long
def test_evaluation_says_loudly_that_test_images_may_have_been_trained_on(
    trained, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "x.npz", pixels(50, seed=2))  # another one of the same name
    shutil.copytree(trained / "run", tmp_path / "run")
    entry, said, card = evaluated(tmp_path / "run")
    assert "data_changed" not in entry and "WARNING" not in said
    assert "No image used is in two of the three." in card
    moved = shutil.move(trained / "x.npz", tmp_path / "away.npz")
    try:
        entry, said, card = evaluated(tmp_path / "run")
    finally:
        shutil.move(moved, trained / "x.npz")
    for words in (entry["notes"][0], said, card):
        assert "may have been trained on" in words
    assert "WARNING: The images are not those that the run was trained on (train: " in said
    assert "No image used is in two of the three." not in card
    held = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert held["knn"]["data_changed"] is True


@pytest.mark.slow
def test_a_config_that_was_changed_is_neither_evaluated_nor_resumed(trained, tmp_path):
    run = RunFolder(shutil.copytree(trained / "run", tmp_path / "run"))
    config = run.read_json(run.config)
    run.write_json(run.config, {**config, "seed": 1})
    for act in (
        lambda: evaluate_run(run.path, ["knn"]),
        lambda: pretrain(adapt(recipe(trained / "x.npz"), seed=1), run.path, resume=True),
    ):
        with pytest.raises(ValueError, match="config.json' is not as it was written"):
            act()
    del config["run_id"]  # on purpose, as the message says
    run.write_json(run.config, config)
    said = []
    evaluate_run(run.path, ["knn"], announce=said.append)
    assert "config.json has no checksum" in said[0]
