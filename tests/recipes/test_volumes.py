"""Runs on folders of volumes."""

import dataclasses

import numpy as np
import pytest

from mae_keras import data
from mae_keras.data import VolumeAugmentation
from mae_keras.models import load_model
from mae_keras.runs import Recipe, Saving, find_recipe, pretrain, pretraining
from mae_keras.runs.building import build_model, load_images, training_augmentation
from mae_keras.runs.exporting import read_middle
from mae_keras.runs.options import DataOptions, load_labeled
from mae_keras.training import StopAtNonFinite

nibabel = pytest.importorskip("nibabel")


def write(folder, count, spacing=(2, 1, 1), first=0):
    """Blobs low (class a) and high (class b)."""
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        z, y, x = np.meshgrid(*map(np.arange, (12, 16, 16 + number % 2)), indexing="ij")
        volume = np.exp(-((z - 3 - 6 * (number % 2)) ** 2 + (y - 8) ** 2 / 4 + (x - 8) ** 2 / 4))
        volume = (500 * volume + rng.normal(0, 20, volume.shape)).astype("int16")
        path = folder / "ab"[number % 2] / f"{number}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.diag([*spacing[::-1], 1]))
        nibabel.save(image, path)
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return write(tmp_path_factory.mktemp("scans"), 14)


@pytest.fixture
def recipe(scans):
    return dataclasses.replace(
        find_recipe(dataset=str(scans)),
        dataset=str(scans),
        patch_size="2x4x4",
        crop_size="8x8x8",
        window=(-50, 400),
        crops_per_volume=2,
        epochs=2,
        warmup_epochs=0,
        batch_size=4,
        jit_compile="false",
    )


def test_a_folder_of_volumes_gets_the_recipe_for_volumes(scans):
    assert find_recipe(dataset=str(scans)) is find_recipe("volumes")
    assert find_recipe(dataset="v.npy", kind="volumes") is find_recipe("volumes")
    for settings in ({"crop_size": "8x8"}, {"spacing": "2x1"}, {"flip_axes": "left"}):
        with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must be"):
            Recipe(**settings)


def test_the_model_keeps_how_voxels_became_samples(recipe, scans, tmp_path):
    images = load_images(recipe)
    assert len(images.train) == 2 * len(images.train.paths)
    assert training_augmentation(recipe, images) == VolumeAugmentation()
    height = dataclasses.replace(recipe, flip_axes="height")
    assert training_augmentation(height, images).flip_axes == ("height",)
    for none in ({"flip_axes": "none"}, {"augment": False}):
        assert training_augmentation(dataclasses.replace(recipe, **none), images) is None
    with pytest.raises(ValueError, match="`flip_axes` is for volumes"):
        training_augmentation(recipe, data.load("digits"))
    model = build_model(recipe, images)
    settings = model.encoder.preprocessing["volume"]
    assert settings["window"] == [-50, 400] and settings["spacing"] == [2, 1, 1]
    same = load_images(recipe, model=model)
    assert same.preprocessing == images.preprocessing and len(same.train) == len(images.train)
    finer = write(tmp_path / "finer", 6, spacing=(1, 1, 1))
    kept = {"image_shape": images.image_shape, "preprocessing": images.preprocessing}
    labeled = load_labeled(DataOptions(dataset=str(finer)), recipe, **kept)
    assert labeled.image_shape == images.image_shape and labeled.num_classes == 2
    assert labeled.train.volumes[0].shape[0] == 6  # at 2 mm
    sample = read_middle(finer / "a/0.nii.gz", model)
    whole = data.read_volume(finer / "a/0.nii.gz", settings)
    np.testing.assert_array_equal(sample[:6], whole[:, 4:12, 4:12])
    assert np.isnan(sample[6:]).all() and whole.max() <= 400


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_bit(recipe, tmp_path, monkeypatch):
    """In the middle of an epoch, with random crops and flips."""
    whole = pretrain(recipe, tmp_path / "whole", verbose=0)

    class Killed(BaseException):
        pass

    class Kill(StopAtNonFinite):
        def on_train_batch_end(self, batch, logs=None):
            if self._epoch == 1 and batch == 1:
                raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "StopAtNonFinite", Kill)
        with pytest.raises(Killed):
            pretrain(recipe, tmp_path / "broken", verbose=0, saving=Saving(every=1))
    resumed = pretrain(recipe, tmp_path / "broken", resume=True, verbose=0)
    assert resumed["hidden_loss"] == whole["hidden_loss"]
    models = [load_model(tmp_path / name / "model.keras") for name in ("whole", "broken")]
    for one, two in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (tmp_path / "whole" / "reconstructions.png").exists()
