"""The numbers of a run, against NumPy and scikit-learn."""

import dataclasses

import numpy as np
import pytest

from mae_keras import data
from mae_keras.data import ArraySplit
from mae_keras.models import MaskedAutoencoder
from mae_keras.runs import comparison as scoring

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=0)


@pytest.fixture(scope="module")
def images(array_file):
    return data.load(str(array_file))


def test_the_hidden_loss_is_that_of_evaluate(model, images):
    model.compile("sgd", jit_compile=False)
    held_out, _ = images.test.arrays()
    expected = model.evaluate(held_out, batch_size=len(held_out), verbose=0)
    assert scoring.reconstruction_scores(model, images)["hidden_loss"] == pytest.approx(
        expected, rel=1e-5
    )


def test_the_mean_image_predictor_is_the_training_mean(model, images):
    train, held_out = (split.arrays()[0] / 255 for split in (images.train, images.test))
    errors = (held_out - train.mean(axis=0)) ** 2  # (n, 8, 8, 1)
    hidden = model.reconstruct(images.test.arrays()[0]).patch_mask.reshape(-1, 4, 4)
    hidden = hidden.repeat(2, axis=1).repeat(2, axis=2)[..., None]
    expected = np.mean([error[mask].mean() for error, mask in zip(errors, hidden, strict=True)])
    scores = scoring.reconstruction_scores(model, images)["baseline_loss"]
    assert scores["mean_image"] == pytest.approx(expected, rel=1e-4)
    assert set(scores) == {"mean_image", "visible_mean", "nearest_visible"}


def test_missing_pixels_do_not_count_in_any_predictor(model, images):
    """An image with a hole scores as the same image without the patches of the hole."""
    train, held_out = (split.arrays()[0].astype("float32") for split in (images.train, images.test))
    train[:, :2, :2] = held_out[:, :2, :2] = np.nan
    holed = dataclasses.replace(images, train=ArraySplit(train), test=ArraySplit(held_out))
    scores = scoring.reconstruction_scores(model, holed)
    assert all(np.isfinite(value) for value in scores["baseline_loss"].values())
    hidden = model.reconstruct(held_out).patch_mask
    whole = [_patches(array / 255)[:, 1:] for array in (train, held_out)]
    errors = np.mean((whole[1] - whole[0].mean(axis=0)) ** 2, axis=2)
    expected = np.mean([row[mask[1:]].mean() for row, mask in zip(errors, hidden, strict=True)])
    assert scores["baseline_loss"]["mean_image"] == pytest.approx(expected, rel=1e-4)


def _patches(images):
    return images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(len(images), 16, 4)


def test_features_are_scored_beside_baselines(model, images):
    scores = scoring.score(model, model, images)
    for key in ("knn_accuracy", "linear_probe_accuracy"):
        assert set(scores[key]) == {"trained", "untrained", "pca", "pixels"}
        assert scores[key]["trained"] == scores[key]["untrained"]
        assert all(0 <= value <= 1 for value in scores[key].values())


def test_nearest_neighbors_of_pixels_are_scikit_learns(model, images):
    from sklearn.neighbors import KNeighborsClassifier

    (x, y), (test, labels) = images.train.arrays(), images.test.arrays()
    flat = [a.reshape(len(a), -1).astype("float64") for a in (x, test)]
    flat = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in flat]
    ours = scoring.score(model, model, images)["knn_accuracy"]["pixels"]
    nearest = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    assert ours == pytest.approx(nearest.fit(flat[0], y).score(flat[1], labels), abs=1e-4)


def test_features_that_cannot_be_scored_lose_nothing_else(model, images):
    """A trained model must not be lost because, say, all training labels are one class."""
    pixels, labels = images.train.arrays()
    one = dataclasses.replace(images, train=ArraySplit(pixels, np.zeros_like(labels)))
    scores = scoring.score(model, model, one)
    assert scores["knn_accuracy"] is scores["linear_probe_accuracy"] is None
    assert np.isfinite(scores["hidden_loss"])
    assert "at least two classes" in scores["notes"][0]


def test_without_labels_there_are_no_accuracies(model, images):
    bare = dataclasses.replace(images, num_classes=None)
    scores = scoring.score(model, model, bare)
    assert scores["knn_accuracy"] is scores["linear_probe_accuracy"] is None
