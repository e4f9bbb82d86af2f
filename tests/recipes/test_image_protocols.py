"""Corrupted images and holes: what an entry holds."""

import types

import numpy as np
import pytest

from mae_keras import data
from mae_keras.evaluation import fit_linear_probe
from mae_keras.models import MaskedAutoencoder, PatchPrediction
from mae_keras.recipes import Comparison, EvaluationOptions, image_protocols

pytestmark = pytest.mark.slow
OPTIONS = EvaluationOptions()


@pytest.fixture(scope="module")
def comparison(array_file):
    models = [MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=seed) for seed in (0, 1)]
    return Comparison(*models, data.load(str(array_file)))


@pytest.fixture(scope="module")
def corrupted(comparison):
    return image_protocols.robustness(comparison, OPTIONS)


def test_every_encoder_is_asked_about_every_corruption(corrupted):
    assert set(corrupted["corrupted"]) == {"trained", "untrained", "pca", "pixels"}
    for kinds in corrupted["corrupted"].values():
        assert set(kinds) == set(data.CORRUPTIONS)
        assert all(set(curve) == {"0", "1", "3", "5"} for curve in kinds.values())
    values = [v for c in corrupted["corrupted"]["pca"].values() for k, v in c.items() if k != "0"]
    assert corrupted["accuracies"]["pca"] == pytest.approx(np.mean(values))


def test_the_probe_was_fitted_on_clean_images(comparison, corrupted):
    train, validation, _ = comparison.features["pixels"]
    probe = fit_linear_probe(*train, *validation)
    images, labels = comparison.pixels.test
    noisy = data.corrupt(images, "noise", 3)
    expected = np.mean(probe.predict(noisy.reshape(len(noisy), -1)) == labels)
    assert corrupted["corrupted"]["pixels"]["noise"]["3"] == pytest.approx(expected)


def test_reconstruction_of_clean_images_is_the_hidden_loss(comparison, corrupted):
    images, _ = comparison.pixels.test
    made = comparison.model.predict_patches(images)
    errors = np.mean((made.predictions - made.targets) ** 2, axis=-1)
    expected = errors[made.patch_mask].mean()
    assert corrupted["hidden_loss"]["noise"]["0"] == pytest.approx(expected, rel=1e-4)
    assert corrupted["hidden_loss"]["noise"]["5"] > 1.01 * expected


def test_missing_patches_are_not_in_the_loss_of_hidden_ones():
    hidden = np.array([[True, True, False], [True, False, False]])
    missing = np.array([[True, False, False], [False, False, True]])
    predictions = np.array([[9.0, 1.0, 9.0], [2.0, 9.0, 9.0]])[..., None]

    def predict_patches(images, patch_mask=None, batch_size=32):
        return PatchPrediction(np.zeros((2, 3, 1)), predictions, hidden, missing)

    error = image_protocols._reconstruction_error(
        types.SimpleNamespace(predict_patches=predict_patches)
    )
    assert error(None, None) == np.mean([1.0**2, 2.0**2])


def test_a_hole_is_scored_beside_fillers_that_learned_nothing(comparison):
    pytest.importorskip("skimage")
    entry = image_protocols.restoration(comparison, OPTIONS)
    assert set(entry["methods"]) == {"mean", "biharmonic", "model"}
    for scores in entry["methods"].values():
        low, high = scores["intervals"]["psnr"][1:]
        assert low <= scores["psnr"] <= high
        assert scores["psnr_missing"] < scores["psnr"]
    assert entry["notes"] == []
