"""Runs on folders of recordings."""

import dataclasses
import wave

import numpy as np
import pytest

from mae_keras import data
from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.runs import (
    FineTuneOptions,
    Recipe,
    evaluate_run,
    find_recipe,
    pretrain,
)
from mae_keras.runs.building import (
    build_model,
    fingerprint,
    load_images,
    training_augmentation,
)
from mae_keras.runs.evaluating import _upright
from mae_keras.runs.exporting import reconstruct_files
from mae_keras.runs.fine_tuning import augmentation_of
from mae_keras.runs.options import DataOptions, load_labeled
from mae_keras.runs.protocols.fine_tune import augmentation_for
from mae_keras.runs.report import worded

pytest.importorskip("soundfile")


def write(folder, count, rate=8000, seconds=0.25, first=0):
    """Tones low (class a) and high (class b), of 16 bits."""
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        time = np.arange(round(rate * rng.uniform(0.6, 1.0) * seconds)) / rate
        pitch = rng.uniform(300, 500) if number % 2 else rng.uniform(1500, 2500)
        samples = 8000 * np.sin(2 * np.pi * pitch * time) + rng.normal(0, 100, len(time))
        with wave.open(str(folder / f"{'ab'[number % 2]}_{number:02}.wav"), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sound") / "recordings", 40)


@pytest.fixture
def recipe(recordings):
    found = find_recipe(dataset=str(recordings))
    return dataclasses.replace(
        found,
        dataset=str(recordings),
        labels_from="^(.)",
        num_mels=16,
        epochs=2,
        warmup_epochs=0,
        batch_size=8,
        jit_compile="false",
    )


def test_a_folder_of_recordings_gets_the_recipe_for_sound(recordings, image_folder_of_two):
    assert find_recipe(dataset=str(recordings)) is find_recipe("sound")
    assert find_recipe(dataset=str(image_folder_of_two)) is find_recipe("images")
    assert find_recipe(dataset=str(image_folder_of_two), kind="sound") is find_recipe("sound")


@pytest.fixture
def image_folder_of_two(tmp_path):
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        Image.new("L", (8, 8), number).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
def test_the_model_keeps_how_recordings_became_samples(recipe, recordings):
    images = load_images(recipe)
    model = build_model(recipe, images)
    assert model.encoder.preprocessing == images.preprocessing
    assert images.preprocessing["log_mel"]["num_mels"] == 16
    assert model.value_range is None
    assert fingerprint(images)["preprocessing"] == images.preprocessing
    sample = data.read_sound(images.test.paths[0], model.encoder.preprocessing["log_mel"])
    np.testing.assert_array_equal(sample, images.test.arrays(1)[0][0])
    frames = load_images(dataclasses.replace(recipe, patch_size="6x8")).image_shape[0]
    assert frames % 6 == 0


def test_nothing_is_cropped_mirrored_or_mixed(recipe):
    images = load_images(recipe)
    assert training_augmentation(recipe, images) is None
    none = data.ClassificationAugmentation.preset("none")
    assert augmentation_of(FineTuneOptions(), images) == none == augmentation_for(images)
    with pytest.raises(ValueError, match="`min_crop_scale` is for images"):
        training_augmentation(dataclasses.replace(recipe, min_crop_scale=0.5), images)
    light = augmentation_of(FineTuneOptions(augmentation="light"), images)
    assert light.samples == data.SoundAugmentation.preset("light")
    for options in ({"mixup": 0.2}, {"cutmix": 0.2}):
        with pytest.raises(ValueError, match="is for images, not recordings"):
            augmentation_of(FineTuneOptions(**options), images)


def test_other_recordings_are_read_as_the_model_takes_them(recipe, tmp_path, image_folder_of_two):
    images = load_images(recipe)
    kept = {"image_shape": images.image_shape, "preprocessing": images.preprocessing}
    other = write(tmp_path / "other", 8, rate=16000, seconds=0.4)
    options = DataOptions(dataset=str(other), labels_from="^(.)")
    labeled = load_labeled(options, recipe, **kept)
    assert labeled.image_shape == images.image_shape and labeled.num_classes == 2
    assert any(note.startswith("resampled to 8,000 Hz") for note in labeled.notes)
    with pytest.raises(ValueError, match="`dataset` must hold recordings"):
        load_labeled(DataOptions(dataset=str(image_folder_of_two)), recipe, **kept)
    write(image_folder_of_two, 8)  # whose pictures are covers, then
    beside = DataOptions(dataset=str(image_folder_of_two), labels_from="^(.)")
    assert load_labeled(beside, recipe, **kept).image_shape == images.image_shape
    with pytest.raises(ValueError, match="`dataset` must hold images"):
        load_labeled(options, recipe, (8, 8, 1))


def test_time_goes_right_and_frequency_up_in_pictures_of_attention():
    samples = np.zeros((1, 8, 4, 1))
    samples[0, 6, 3] = 1  # late and high
    maps = np.zeros((1, 2, 4, 2))
    maps[0, :, 3, 1] = 1
    samples, maps, grid = _upright(samples, maps.reshape(1, 2, 8), (4, 2))
    assert samples[0, 0, 6] == 1 and grid == (2, 4)
    assert (maps.reshape(1, 2, 2, 4)[0, :, 0, 3] == 1).all()


def test_sentences_say_recordings():
    line = "32 training images; PSNR of all pixels in images/x"
    expected = "32 training recordings; PSNR of all values in images/x"
    assert worded(line, (96, 64, 1), kind="sound") == expected
    assert worded(line, (96, 64, 1)) == line


def test_settings_that_do_not_fit_are_refused(recipe):
    with pytest.raises(ValueError, match="`num_mels` must be a multiple of the bands of a patch"):
        untrained = dataclasses.replace(recipe, num_mels=12)
        build_model(untrained, load_images(untrained))
    with pytest.raises(ValueError, match="`image_size` is for images"):
        load_images(dataclasses.replace(recipe, image_size=32))
    with pytest.raises(ValueError, match="`sample_rate` is for folders of sound files"):
        load_images(Recipe(dataset="digits", sample_rate=8000))


@pytest.mark.long
def test_a_run_on_recordings_from_training_to_scores(recipe, recordings, tmp_path):
    metrics = pretrain(recipe, tmp_path / "run", verbose=0)
    assert 0 <= metrics["linear_probe_accuracy"]["trained"] <= 1
    model = load_model(tmp_path / "run" / "model.keras")
    assert isinstance(model, MaskedAutoencoder)
    assert model.encoder.preprocessing["log_mel"]["sample_rate"] == 8000
    lines = []
    entries = evaluate_run(tmp_path / "run", ["knn", "restoration"], announce=lines.append)
    assert "error" not in entries["knn"] and "restoration" not in entries
    assert "restoration is skipped: it is for pictures, not recordings" in lines
    reconstruct_files(tmp_path / "run", [recordings], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
