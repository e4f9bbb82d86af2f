"""What the protocols ask of features, against scikit-learn; and what they may not look at."""

import dataclasses
import types

import numpy as np
import pytest

from mae_keras import data
from mae_keras.data import ArraySplit
from mae_keras.models import MaskedAutoencoder
from mae_keras.runs import PROTOCOLS, Comparison, EvaluationOptions
from mae_keras.runs.comparison import Features

OPTIONS = EvaluationOptions(num_seeds=2)
OF_FEATURES = ("knn", "linear-probe", "paper-probe", "layers", "label-fractions")


@pytest.fixture(scope="module")
def images(array_file):
    return data.load(str(array_file))


@pytest.fixture(scope="module")
def models():
    return [MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def comparison(models, images):
    return Comparison(*models, images)


@pytest.fixture(scope="module")
def entries(comparison):
    return {name: PROTOCOLS[name](comparison, OPTIONS) for name in OF_FEATURES}


@pytest.mark.long
@pytest.mark.parametrize("name", OF_FEATURES)
def test_an_entry_tells_the_accuracy_beside_baselines_and_how_sure_it_is(entries, name):
    entry = entries[name]
    assert entry["test_accuracy"] == entry["accuracies"]["trained"]
    assert set(entry["accuracies"]) == {"trained", "untrained", "pca", "pixels"}
    assert all(0 <= value <= 1 for value in entry["accuracies"].values())
    low, high = entry["interval"]
    assert 0 <= low <= entry["test_accuracy"] <= high <= 1
    assert entry["num_test"] > 0 < entry["num_train"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_FEATURES)
def test_nothing_is_chosen_on_test(models, images, entries, name):
    """With other test images and labels the same things are chosen, and validation is unmoved."""
    pixels, labels = images.test.arrays()
    other = np.random.default_rng(0).permutation(labels)
    moved = dataclasses.replace(images, test=ArraySplit(pixels[::-1].copy(), other))
    entry = PROTOCOLS[name](Comparison(*models, moved), OPTIONS)
    chosen = {"k", "validation_accuracy", "validation_accuracies", "regularization", "block"}
    chosen |= {"learning_rate", "epochs", "num_train"}
    kept = chosen & set(entry)
    assert kept
    assert {key: entry[key] for key in kept} == {key: entries[name][key] for key in kept}
    assert entry["test_accuracy"] != entries[name]["test_accuracy"]


@pytest.mark.slow
def test_neighbors_of_pixels_are_scikit_learns(entries, comparison):
    from sklearn.neighbors import KNeighborsClassifier

    train, validation, test = comparison.features["pixels"]
    scores = {}
    for k in (1, 5, 10, 20, 50):
        votes = KNeighborsClassifier(
            k, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)
        ).fit(*train)
        scores[k] = votes.score(*validation), votes.score(*test)
    best = max(scores, key=lambda k: (scores[k][0], -k))
    assert entries["knn"]["accuracies"]["pixels"] == pytest.approx(scores[best][1])


@pytest.mark.slow
def test_the_report_on_classes_adds_up_to_the_accuracy(entries, comparison):
    entry = entries["linear-probe"]
    confusion = np.array(entry["classes"]["confusion"])
    assert confusion.sum() == entry["num_test"]
    assert np.trace(confusion) / confusion.sum() == pytest.approx(entry["test_accuracy"])
    assert (
        confusion.sum(axis=1).tolist()
        == np.bincount(comparison.pixels.test[1], minlength=10).tolist()
    )


@pytest.mark.parametrize(("side", "message"), [(1, "No validation"), (2, "No test")])
def test_the_papers_probe_says_on_which_side_no_image_is_of_a_class_it_knows(side, message):
    sides = [(np.zeros((8, 3)), np.arange(8) % 2) for _ in range(3)]
    sides[side] = (np.zeros((8, 3)), np.full(8, 2))
    stranger = types.SimpleNamespace(features={"trained": Features(*sides)})
    with pytest.raises(ValueError, match=f"{message} image is of a class in train"):
        PROTOCOLS["paper-probe"](stranger, OPTIONS)


@pytest.mark.slow
def test_the_block_is_that_with_the_best_validation_accuracy(entries):
    entry = entries["layers"]
    own = entry["blocks"]["trained"]
    assert len(own["validation"]) == len(own["test"]) == 5
    assert entry["block"] == int(np.argmax(own["validation"]))
    assert entry["test_accuracy"] == own["test"][entry["block"]]


@pytest.mark.slow
def test_fractions_that_leave_classes_empty_are_told(entries):
    assert any("without an image" in note for note in entries["label-fractions"]["notes"])
