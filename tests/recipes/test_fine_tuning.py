"""From a pretrained run to a served classifier, and what may go wrong on the way."""

import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mae_keras import data
from mae_keras.models import ImageClassifier, ViTEncoder, load_model
from mae_keras.runs import Interrupted, evaluate_run, fine_tune_run, fine_tuning, predict_files
from mae_keras.runs.options import DataOptions, FineTuneOptions, check_images
from mae_keras.runs.predicting import class_numbers, list_image_files, score_classifier

QUICK = {"jit_compile": "false", "augmentation": "none"}
NAMES = ("eight", "five", "two")  # in the order of the folder, not of the digits
DIGITS = {"eight": 8, "five": 5, "two": 2}


def write_folder(folder, per_class, start=0):
    """Real digits of three classes as PNG files, and their pixels by path."""
    digits = load_digits()
    for name, digit in DIGITS.items():
        (folder / name).mkdir(parents=True)
        for row in np.flatnonzero(digits.target == digit)[start : start + per_class]:
            pixels = (digits.images[row] * (255 / 16)).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{row}.png")
    return folder


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("labeled") / "labeled", 20)


@pytest.fixture(scope="module")
def classifier(finished, labeled, tmp_path_factory):
    """The folder of a classifier's run, for reading only, and the metrics it returned."""
    out = tmp_path_factory.mktemp("runs") / "classifier"
    options = FineTuneOptions(steps=60, learning_rate=0.02, **QUICK)
    images = DataOptions(dataset=str(labeled), splits=(0.6, 0.2, 0.2))
    return out, fine_tune_run(finished[0], out, options, labeled=images, announce=[].append)


@pytest.fixture
def plain():
    """A classifier that was not trained, and knows its classes."""
    encoder = ViTEncoder((8, 8, 1), 2, 16, 1, 2, 32)
    return ImageClassifier(encoder, 3, class_names=("two", "five", "eight"))


def test_the_folder_holds_a_whole_run(classifier):
    assert {
        *("model.keras", "config.json", "history.csv", "metrics.json", "evaluation.json"),
        *("loss.png", "evaluation", "model_card.md", "saved_model"),
    } == {item.name for item in classifier[0].iterdir() if not item.name.startswith(".")}


def test_scores_are_those_of_the_saved_model_on_its_test_images(classifier, labeled):
    folder, metrics = classifier
    images = data.load(str(labeled), splits=(0.6, 0.2, 0.2), image_size=8)
    pixels, labels = images.test.arrays()
    model = load_model(folder / "model.keras")
    right = model.probabilities(pixels).argmax(1) == labels
    assert metrics["accuracy"] == pytest.approx(right.mean())
    assert metrics["scored_on"] == "test" and metrics["num_scored"] == len(pixels) > 6
    low, high = metrics["accuracy_interval"]
    assert low <= right.mean() <= high
    for number, one in enumerate(metrics["classes"]):
        own = labels == number
        assert (one["name"], one["support"]) == (NAMES[number], own.sum())
        assert one["recall"] == pytest.approx(right[own].mean())


def test_a_saved_model_gives_probabilities_by_class_name(classifier, labeled):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(classifier[0] / "saved_model"))
    pixels, _ = data.load(str(labeled), image_size=8).train.arrays(limit=4)
    made = loaded.signatures["serving_default"](images=tf.constant(pixels))
    assert [name.decode() for name in made["class_names"].numpy()[0]] == list(NAMES)
    model = load_model(classifier[0] / "model.keras")
    np.testing.assert_allclose(made["probabilities"], model.probabilities(pixels), atol=1e-5)


def test_the_card_tells_scores_classes_and_settings(classifier):
    folder, metrics = classifier
    card = (folder / "model_card.md").read_text()
    assert card.startswith("# Image classifier, 3 classes, fine-tuned on ")
    assert f"| accuracy | {100 * metrics['accuracy']:.1f} % (95 % interval" in card
    assert "![Confusion matrix](evaluation/confusion.png)" in card
    assert "| sample shape | 8 x 8 x 1 |" in card
    assert re.search(r"\| two \| [\d.]+ \| [\d.]+ \| [\d.]+ \| \d+ \|", card)


def test_the_history_has_a_row_for_every_epoch(classifier):
    folder, metrics = classifier
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    assert len(rows) == metrics["epochs"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(rows[0])


def test_evaluating_the_run_again_finds_the_same(classifier, labeled, tmp_path):
    folder = shutil.copytree(classifier[0], tmp_path / "run")
    made = evaluate_run(folder)
    assert made["classifier"]["test_accuracy"] == classifier[1]["accuracy"]
    named = evaluate_run(folder, labeled=DataOptions(dataset=f"{labeled}/"))
    assert named["classifier"]["num_test"] == classifier[1]["num_scored"]
    with pytest.raises(ValueError, match="`splits` must be left out"):
        evaluate_run(folder, labeled=DataOptions(splits=(0.0, 0.0, 1.0)))


def test_another_data_set_is_scored_as_a_whole_and_by_class_name(classifier, tmp_path):
    folder = shutil.copytree(classifier[0], tmp_path / "run")
    other = write_folder(tmp_path / "other", 10, start=40)
    shutil.rmtree(other / "eight")  # labels are 0 and 1 here, 1 and 2 to the model
    made = evaluate_run(folder, labeled=DataOptions(dataset=str(other)))
    (name, entry), *others = made.items()
    assert name == f"classifier on {other}" and not others
    images = data.load(str(other), splits=(0, 0, 1), image_size=8)
    pixels, labels = images.test.arrays()
    assert entry["num_test"] == len(pixels) == 20
    right = load_model(folder / "model.keras").probabilities(pixels).argmax(1) == labels + 1
    assert entry["test_accuracy"] == pytest.approx(right.mean())
    written = json.loads((folder / "evaluation.json").read_text())
    assert set(written) == {"classifier", name}


def test_files_and_folders_are_classified_and_a_bad_one_is_left_out(classifier, tmp_path):
    new = write_folder(tmp_path / "new", 5, start=60)
    (new / "broken.png").write_bytes(b"no picture")
    single = new / "two" / next(iter((new / "two").iterdir())).name
    lines = []
    table = tmp_path / "made" / "predictions.csv"
    made = predict_files(classifier[0], [single, new], table, announce=lines.append, batch_size=4)
    assert made.num_predicted == 15
    assert [path for path, _ in made.unreadable] == [str(new / "broken.png")]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert rows[0]["path"] == str(single)
    assert list(rows[0]) == ["path", "predicted_class", "probability", *NAMES]
    model = load_model(classifier[0] / "model.keras")
    for row in rows:
        with Image.open(row["path"]) as image:
            pixels = np.asarray(image)[None, ..., None]
        expected = model.probabilities(pixels)[0]
        np.testing.assert_allclose([float(row[name]) for name in NAMES], expected, atol=1e-4)
        assert row["predicted_class"] == NAMES[expected.argmax()]
        assert float(row["probability"]) == pytest.approx(expected.max(), abs=1e-4)
    assert len(lines) == 16 and lines[0].split() == ["file", "class", "probability"]
    assert sum(made.counts.values()) == 15


@pytest.mark.long
def test_five_images_per_class_without_a_test_split_are_enough(finished, tmp_path):
    few = write_folder(tmp_path / "few", 5)
    lines = []
    metrics = fine_tune_run(
        finished[0],
        tmp_path / "run",
        FineTuneOptions(steps=2, train_blocks=0, **QUICK),
        labeled=DataOptions(dataset=str(few), splits=(0.8, 0.2, 0.0)),
        announce=lines.append,
    )
    assert metrics["scored_on"] == "validation"
    assert any("scores are of the validation images" in line for line in lines)
    assert "There were no test images" in (tmp_path / "run" / "model_card.md").read_text()


@pytest.mark.long
def test_color_and_16_bits_among_gray_files_are_converted_and_told(finished, tmp_path):
    folder = write_folder(tmp_path / "labeled", 6)
    first, second, *_ = sorted((folder / "two").iterdir())
    gray = np.asarray(Image.open(first))
    Image.fromarray(np.stack([gray] * 3, -1)).save(first)
    Image.fromarray(np.asarray(Image.open(second)).astype("uint16") * 257).save(second)
    lines, images = [], DataOptions(dataset=str(folder))
    options = FineTuneOptions(steps=1, **QUICK)
    fine_tune_run(finished[0], tmp_path / "out", options, labeled=images, announce=lines.append)
    assert "1 of 18 images is color: converted to gray." in lines
    assert "1 of 18 images is 16-bit: scaled from [0, 65535] to [0, 255]." in lines
    assert not any("WARNING" in line for line in lines)
    lines.clear()
    made = evaluate_run(tmp_path / "out", labeled=images, announce=lines.append)
    assert made["classifier"]["num_test"] >= 3
    assert "1 of 18 images is color: converted to gray." in lines


def test_notes_are_told_even_if_the_images_are_refused_then(finished, tmp_path):
    folder = tmp_path / "flat"
    write_folder(folder, 4)
    for file in list(folder.rglob("*.png")):
        file.rename(folder / file.name)
    (folder / "text.jpg").write_bytes(b"hello")
    lines = []
    with pytest.raises(ValueError, match="`dataset` must have labels"):
        fine_tune_run(
            finished[0],
            tmp_path / "out",
            labeled=DataOptions(dataset=str(folder)),
            announce=lines.append,
        )
    assert "skipped 1 unreadable file: text.jpg (not an image that can be read)." in lines


@pytest.mark.long
def test_classes_without_a_test_image_are_warned_of(finished, tmp_path):
    folder = write_folder(tmp_path / "labeled", 6)
    for file in sorted((folder / "two").iterdir())[2:]:
        file.unlink()  # two images: not enough for three splits
    lines, seed = [], 0
    while "two" in _test_classes(data.load(folder, seed=seed)):
        seed += 1
    fine_tune_run(
        finished[0],
        tmp_path / "out",
        FineTuneOptions(steps=1, seed=seed, **QUICK),
        labeled=DataOptions(dataset=str(folder)),
        announce=lines.append,
    )
    warning = (
        "No test image of two: scores say nothing about it. Add images of it, or score validation "
        "images with --splits 0.8 0.2 0."
    )
    assert f"WARNING: {warning}" in lines
    assert f"**{warning}**" in (tmp_path / "out" / "model_card.md").read_text()


def _test_classes(images):
    return {images.class_names[label] for label in images.test.labels}


@pytest.mark.long
def test_without_held_out_images_the_classifier_is_made_and_not_scored(finished, tmp_path):
    few = write_folder(tmp_path / "few", 5)
    metrics = fine_tune_run(
        finished[0],
        tmp_path / "run",
        FineTuneOptions(steps=2, **QUICK),
        labeled=DataOptions(dataset=str(few), splits=(1.0, 0.0, 0.0)),
        announce=[].append,
    )
    assert metrics["scored_on"] is None and "accuracy" not in metrics
    assert metrics["num_train"] == 15
    assert "Not scored" in (tmp_path / "run" / "model_card.md").read_text()
    assert (tmp_path / "run" / "saved_model").exists()


@pytest.mark.long
def test_an_interrupt_after_training_leaves_the_trained_model(
    finished, labeled, tmp_path, monkeypatch
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fine_tuning, "score_classifier", interrupted)
    with pytest.raises(Interrupted, match="interrupted after training; the trained classifier is"):
        fine_tune_run(
            finished[0],
            tmp_path / "run",
            FineTuneOptions(steps=2, **QUICK),
            labeled=DataOptions(dataset=str(labeled)),
            announce=[].append,
        )
    monkeypatch.undo()
    assert load_model(tmp_path / "run" / "model.keras").class_names == NAMES
    assert "classifier" in evaluate_run(tmp_path / "run")


def test_an_interrupt_in_training_keeps_the_run_that_was_to_be_replaced(
    finished, labeled, tmp_path, monkeypatch
):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.keras").write_text("earlier")

    def interrupted(*_, **__):
        raise KeyboardInterrupt("SIGTERM")

    closed = []
    monkeypatch.setattr(fine_tuning.EpochLines, "close", lambda lines: closed.append(lines))
    monkeypatch.setattr(fine_tuning, "fit_classifier", interrupted)
    with pytest.raises(Interrupted, match="SIGTERM before fine-tuning was done"):
        fine_tune_run(
            finished[0],
            tmp_path,
            FineTuneOptions(steps=2, **QUICK),
            labeled=DataOptions(dataset=str(labeled)),
            overwrite=True,
            announce=[].append,
        )
    assert (tmp_path / "model.keras").read_text() == "earlier"
    assert len(closed) == 1  # or what follows would be on the line of the bar


def test_a_folder_that_holds_a_run_is_refused_before_anything_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds another run"):
        fine_tune_run(tmp_path / "nothing", tmp_path)


def test_images_without_labels_are_refused_with_what_to_do(finished, tmp_path):
    (tmp_path / "flat").mkdir()
    folder = write_folder(tmp_path / "deep", 5)
    for file in folder.glob("*/*.png"):
        file.rename(tmp_path / "flat" / file.name)
    with pytest.raises(ValueError, match="must have labels: sub-folders"):
        fine_tune_run(
            finished[0],
            tmp_path / "run",
            labeled=DataOptions(dataset=str(tmp_path / "flat")),
            announce=[].append,
        )
    assert not (tmp_path / "run").exists()


def fake_images(**changes):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype("uint8")
    split = data.ArraySplit(pixels, np.array([0, 1, 2, 0, 1, 2]))
    base = data.ImageData("made", (8, 8, 1), 3, ("eight", "five", "two"), split, split, split)
    return dataclasses.replace(base, **changes)


def test_classes_are_found_by_name(plain):
    assert class_numbers(plain, fake_images()).tolist() == [2, 1, 0]
    subset = fake_images(num_classes=2, class_names=("five", "two"))
    assert class_numbers(plain, subset).tolist() == [1, 0]


def test_a_class_that_the_model_does_not_know_is_refused(plain):
    with pytest.raises(ValueError, match="two, five, eight. Received: 'made' with nine"):
        class_numbers(plain, fake_images(class_names=("eight", "nine", "two")))
    with pytest.raises(ValueError, match="must have labels"):
        class_numbers(plain, fake_images(num_classes=None))


@pytest.mark.slow
def test_a_score_counts_what_is_right(plain):
    images = fake_images()
    entry = score_classifier(plain, images, "validation")
    predicted = plain.probabilities(images.validation.images).argmax(1)
    true = np.array([2, 1, 0, 2, 1, 0])
    assert entry["test_accuracy"] == pytest.approx(np.mean(predicted == true))
    assert entry["split"] == "validation" and entry["num_test"] == 6
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (true, predicted), 1)
    assert entry["classes"]["confusion"] == confusion.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_shape": (8, 8, 3)}, "trained on gray images and these are color"),
        ({"image_shape": (16, 16, 1)}, "Resize them"),
        ({"image_shape": (64, 1)}, "pretrain on images like these"),
        ({"value_range": (0, 1)}, "values in the range"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_what_to_do(changes, message):
    with pytest.raises(ValueError, match=message):
        check_images(fake_images(**changes), (8, 8, 1), (0, 255))


def test_image_files_are_listed_once_and_missing_ones_named(tmp_path):
    folder = write_folder(tmp_path / "new", 2)
    files = list_image_files([folder, folder / "two"])
    assert len(files) == 6 == len(set(files))
    with pytest.raises(ValueError, match="'.*gone.png', not found"):
        list_image_files([folder, tmp_path / "gone.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="which holds none"):
        list_image_files([tmp_path / "empty"])


def test_an_autoencoder_does_not_predict(finished, labeled):
    with pytest.raises(ValueError, match="must be a classifier run. Train one with"):
        predict_files(finished[0], [labeled])
