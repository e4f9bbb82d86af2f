"""Corrupted images and holes: what an entry holds."""

import types

import numpy as np
import pytest

from mae_keras import data
from mae_keras.evaluation import (
    accuracy_interval,
    fit_linear_probe,
    random_boxes,
    restoration_scores,
)
from mae_keras.models import MaskedAutoencoder, PatchPrediction
from mae_keras.runs import PROTOCOLS, Comparison, EvaluationOptions
from mae_keras.runs.protocols.robustness import reconstruction_error

pytestmark = pytest.mark.slow
OPTIONS = EvaluationOptions()


@pytest.fixture(scope="module")
def comparison(array_file):
    models = [MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=seed) for seed in (0, 1)]
    return Comparison(*models, data.load(str(array_file)))


@pytest.fixture(scope="module")
def corrupted(comparison):
    return PROTOCOLS["robustness"](comparison, OPTIONS)


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
    clean = comparison.model.predict_patches(images)
    seen = comparison.model.predict_patches(data.corrupt(images, "noise", 5), clean.patch_mask)
    for strength, predicted in (("0", clean), ("5", seen)):
        errors = np.mean((predicted.predictions - clean.targets) ** 2, axis=-1)
        expected = errors[clean.patch_mask].mean()
        assert corrupted["hidden_loss"]["noise"][strength] == pytest.approx(expected, rel=1e-4)


def test_missing_patches_are_not_in_the_loss_of_hidden_ones():
    hidden = np.array([[True, True, False], [True, False, False]])
    missing = np.array([[True, False, False], [False, False, True]])
    predictions = np.array([[9.0, 1.0, 9.0], [2.0, 9.0, 9.0]])[..., None]

    def predict_patches(images, patch_mask=None, batch_size=32):
        return PatchPrediction(np.zeros((2, 3, 1)), predictions, hidden, missing)

    error = reconstruction_error(types.SimpleNamespace(predict_patches=predict_patches))
    assert error(None, None) == np.mean([1.0**2, 2.0**2])


def test_a_hole_is_scored_beside_fillers_that_learned_nothing(comparison):
    pytest.importorskip("skimage")
    entry = PROTOCOLS["restoration"](comparison, OPTIONS)
    assert set(entry["methods"]) == {"mean", "biharmonic", "model"}
    for scores in entry["methods"].values():
        low, high = scores["intervals"]["psnr"][1:]
        assert low <= scores["psnr"] <= high
        assert scores["psnr_missing"] < scores["psnr"]
    assert entry["notes"] == []


def of_test_images(images, grid=(4, 4)):
    """A comparison of one model, which fills with its grid's number, on these images."""
    model = types.SimpleNamespace(
        grid=grid,
        value_range=(0, 1),
        reconstruction_statistics=False,
        inpaint=lambda images, missing, batch_size: np.where(missing, 0.5, images),
    )
    split = types.SimpleNamespace(arrays=lambda limit: (images[:limit], None))
    images_of = types.SimpleNamespace(test=split, is_video=False)
    return types.SimpleNamespace(model=model, images=images_of)


def test_images_with_nan_are_left_out_and_counted(monkeypatch):
    monkeypatch.setattr(
        "mae_keras.evaluation.restoration_scores",
        lambda model, images, missing, _: restoration_scores(model, images, missing, fillers=()),
    )
    images = np.random.default_rng(0).random((9, 16, 16, 1)).astype("float32")
    clean = PROTOCOLS["restoration"](of_test_images(images[4:]), OPTIONS)
    assert clean["notes"] == [] and clean["num_test"] == 5
    images[:3, ::4, ::4] = np.nan  # in every patch
    images[3, 0, 0] = np.nan
    entry = PROTOCOLS["restoration"](of_test_images(images), OPTIONS)
    assert entry["num_test"] == 5
    assert entry["notes"] == [
        "4 of 9 images were left out: they hold NaN, so that there is nothing to compare with."
    ]
    holes = random_boxes(9, (16, 16, 1), 0.2, OPTIONS.seed)[4:]
    expected = np.mean(
        [-10 * np.log10(np.mean((0.5 - image[hole]) ** 2))
         for image, hole in zip(images[4:], holes, strict=True)]
    )  # fmt: skip
    assert entry["methods"]["model"]["psnr_missing"] == pytest.approx(expected, rel=1e-5)


def test_a_hole_in_every_patch_is_left_out_and_none_is_refused_by_name():
    images = np.zeros((20, 16, 16, 1), "float32")
    touched = random_boxes(20, (16, 16, 1), 0.2, OPTIONS.seed)
    everywhere = touched.reshape(20, 2, 8, 2, 8).any(axis=(2, 4)).all(axis=(1, 2)).sum()
    assert 0 < everywhere < 20
    entry = PROTOCOLS["restoration"](of_test_images(images, (2, 2)), OPTIONS)
    assert entry["num_test"] == 20 - everywhere
    assert entry["notes"][0].startswith(f"{everywhere} of 20 images were left out: they have no")
    with pytest.raises(ValueError, match="no test image can be used. 20 of 20 images .* NaN"):
        PROTOCOLS["restoration"](of_test_images(images * np.nan), OPTIONS)


def comparison_of(path, shape, patch_size, **options):
    """A comparison of clips or volumes of two classes, bright and dark."""
    values = np.random.default_rng(0).normal(size=(40, *shape)).astype("float32")
    labels = np.arange(40) % 2
    np.savez(path, **{options["kind"]: values + labels.reshape(-1, 1, 1, 1, 1)}, labels=labels)
    models = [
        MaskedAutoencoder.from_preset(
            "nano", shape, patch_size, seed=seed, num_layers=1, value_range=None
        )
        for seed in (0, 1)
    ]
    return Comparison(*models, data.load(str(path), **options))


def test_frames_of_clips_are_not_blurred_into_each_other(tmp_path):
    comparison = comparison_of(tmp_path / "a.npz", (4, 8, 8, 1), (2, 4, 4), kind="video")
    entry = PROTOCOLS["robustness"](comparison, OPTIONS)
    assert set(entry["corrupted"]["trained"]) == set(data.CORRUPTIONS) - {"blur"}
    assert set(entry["hidden_loss"]) == set(data.CORRUPTIONS) - {"blur"}
    assert entry["notes"] == ["Clips were not blurred: frames would blend."]


def test_the_interval_of_crops_is_that_of_their_volumes(tmp_path, monkeypatch):
    comparison = comparison_of(tmp_path / "a.npz", (4, 8, 8, 1), (2, 4, 4), kind="volumes")
    test = comparison.images.test
    whole = PROTOCOLS["robustness"](comparison, OPTIONS)
    assert set(whole["corrupted"]["trained"]) == set(data.CORRUPTIONS)
    low, high = accuracy_interval(whole["test_accuracy"], len(test))
    assert whole["interval"] == pytest.approx([low, high])
    # As if all test crops were cut out of two volumes.
    monkeypatch.setattr(type(test), "num_independent", property(lambda split: 2))
    crops = PROTOCOLS["robustness"](comparison, OPTIONS)
    assert crops["interval"] == pytest.approx(list(accuracy_interval(whole["test_accuracy"], 2)))
