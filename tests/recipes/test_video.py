"""Runs on folders of clips and arrays of video."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from mae_keras import data
from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.runs import FineTuneOptions, Recipe, evaluate_run, find_recipe, pretrain
from mae_keras.runs.building import (
    build_model,
    fingerprint,
    load_images,
    training_augmentation,
)
from mae_keras.runs.exporting import reconstruct_files
from mae_keras.runs.fine_tuning import augmentation_of
from mae_keras.runs.options import DataOptions, load_labeled
from mae_keras.runs.report import worded

av = pytest.importorskip("av")


def write(folder, count, first=0, size=(16, 24), frames=9):
    """A bright square that goes right (class a) or left (class b)."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        with av.open(str(folder / f"{'ab'[number % 2]}_{number:02}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            for place in range(frames):
                frame = np.full((*size, 3), 2 * number, "uint8")
                left = 2 * place if number % 2 else size[1] - 6 - 2 * place
                frame[6:12, left : left + 6] = 250
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write(tmp_path_factory.mktemp("video") / "clips", 32)


@pytest.fixture
def recipe(clips):
    return dataclasses.replace(
        find_recipe(dataset=str(clips)),
        dataset=str(clips),
        labels_from="^(.)",
        image_size=16,
        frames=8,
        epochs=2,
        warmup_epochs=0,
        batch_size=8,
        jit_compile="false",
    )


def test_a_folder_of_clips_gets_the_recipe_for_video(clips, tmp_path):
    assert find_recipe(dataset=str(clips)) is find_recipe("video")
    assert find_recipe(dataset=str(clips), kind="images") is find_recipe("images")
    assert find_recipe(dataset=str(tmp_path), kind="video") is find_recipe("video")


def test_the_model_keeps_which_frames_it_takes(recipe, clips):
    images = load_images(recipe)
    model = build_model(recipe, images)
    assert model.encoder.preprocessing == images.preprocessing == {
        "video": {"frames": 8, "frame_step": 1, "frame_rate": 10.0}
    }  # fmt: skip
    assert model.grid == (4, 2, 2) and fingerprint(images)["preprocessing"] == images.preprocessing
    clip = data.read_video(images.test.paths[0], model.image_shape, images.preprocessing["video"])
    np.testing.assert_array_equal(clip, images.test.arrays(1)[0][0])


def test_other_clips_are_read_as_the_model_takes_them(recipe, tmp_path):
    images = load_images(recipe)
    kept = {"image_shape": images.image_shape, "preprocessing": images.preprocessing}
    other = write(tmp_path / "other", 8, size=(32, 32), frames=20)
    options = DataOptions(dataset=str(other), labels_from="^(.)")
    labeled = load_labeled(options, recipe, **kept, value_range=(0, 255))
    assert labeled.image_shape == images.image_shape and labeled.num_classes == 2
    assert labeled.preprocessing == images.preprocessing
    np.save(
        tmp_path / "video.npy",
        np.zeros((8, 8, 16, 16), "uint8") + np.arange(8)[:, None, None, None],
    )
    options = DataOptions(dataset=str(tmp_path / "video.npy"))
    assert load_labeled(options, recipe, **kept).is_video
    options = DataOptions(dataset=str(other), labels_from="^(.)")
    with pytest.raises(ValueError, match="`dataset` must hold images"):
        load_labeled(options, recipe, (8, 8, 1))


def test_nothing_made_for_pictures_is_done_to_clips(recipe):
    images = load_images(recipe)
    none = data.ClassificationAugmentation.preset("none")
    assert augmentation_of(FineTuneOptions(), images) == none


def test_clips_are_cropped_and_mirrored_only_if_that_is_wanted(recipe, tmp_path):
    images = load_images(recipe)
    assert training_augmentation(recipe, images) == data.VideoAugmentation((0.5, 1.0))
    for changes, expected in (
        ({"augment": False}, None),
        ({"min_crop_scale": 0.2}, data.VideoAugmentation((0.2, 1.0))),
        ({"min_crop_scale": 1}, None),
        ({"min_crop_scale": 1, "flip_axes": "width"}, data.VideoAugmentation(None, flip=True)),
    ):
        assert training_augmentation(dataclasses.replace(recipe, **changes), images) == expected
    with pytest.raises(ValueError, match="`flip_axes` must be width or none for video"):
        training_augmentation(dataclasses.replace(recipe, flip_axes="depth"), images)
    np.save(tmp_path / "video.npy", np.arange(8 * 4 * 64).reshape(8, 4, 8, 8) / 2048)
    arrays = data.load(tmp_path / "video.npy", kind="video")
    assert training_augmentation(recipe, arrays) is None


@pytest.mark.slow
def test_no_clip_is_overwritten_by_its_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (4, 16, 16), "uint8")
    first, *others = map(Image.fromarray, noise)
    clip = tmp_path / "clip.gif"
    first.save(clip, save_all=True, append_images=others, duration=100)
    before = clip.read_bytes()
    sampling = {"frames": 4, "frame_step": 1, "frame_rate": None}
    shape = {"image_shape": (4, 16, 16, 1), "patch_size": (2, 8, 8), "value_range": (0, 255)}
    model = MaskedAutoencoder.from_preset("nano", **shape, preprocessing={"video": sampling})
    model.save(tmp_path / "model.keras")
    reconstruct_files(tmp_path / "model.keras", [clip], tmp_path / "clip.png")
    assert clip.read_bytes() == before and (tmp_path / "clip-animation.gif").exists()
    with pytest.raises(ValueError, match="`out` must be another file than .*clip.gif"):
        reconstruct_files(tmp_path / "model.keras", [clip], clip)
    clip.rename(tmp_path / "other-animation.gif")
    with pytest.raises(ValueError, match="other.png', which overwrites .*other-animation.gif"):
        animated = [tmp_path / "other-animation.gif"]
        reconstruct_files(tmp_path / "model.keras", animated, tmp_path / "other.png")


def test_sentences_say_clips():
    line = "32 training images; PSNR of all pixels in images/x"
    assert worded(line, (8, 8, 8, 1), "video") == line.replace("images;", "clips;")
    assert worded("An image and an animal", (8, 8, 8, 1), "video") == "A clip and an animal"


def test_settings_that_do_not_fit_are_refused(recipe):
    with pytest.raises(ValueError, match="`patch_size` must divide the axes of the samples, 9 x"):
        build_model(recipe, load_images(dataclasses.replace(recipe, frames=9)))
    with pytest.raises(ValueError, match="`frame_rate` is for folders of video files"):
        load_images(Recipe(dataset="digits", frame_rate=8))


@pytest.mark.long
def test_a_run_on_clips_from_training_to_scores(recipe, clips, tmp_path):
    metrics = pretrain(recipe, tmp_path / "run", verbose=0)
    assert 0 <= metrics["linear_probe_accuracy"]["trained"] <= 1
    model = load_model(tmp_path / "run" / "model.keras")
    assert model.encoder.preprocessing["video"]["frames"] == 8
    entries = evaluate_run(tmp_path / "run", ["knn", "restoration"])
    assert "error" not in entries["knn"]
    assert set(entries["restoration"]["methods"]) == {"mean", "linear_in_time", "model"}
    reconstruct_files(tmp_path / "run", [clips], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    with Image.open(tmp_path / "picture-animation.gif") as animation:
        assert animation.n_frames == 8 and animation.info["duration"] == 100


@pytest.mark.slow
def test_clips_with_missing_frames_are_hidden_in_tubes_and_encoded_one_by_one(recipe, tmp_path):
    """Of a folder with a clip that is too short: as `fit` gathers, so inference masks."""
    write(tmp_path / "clips", 8)
    write(tmp_path / "clips", 2, first=20, frames=5)
    images = load_images(dataclasses.replace(recipe, dataset=str(tmp_path / "clips")))
    model = build_model(recipe, images)
    parts = (images.train, images.validation, images.test)
    clips = np.concatenate([split.arrays()[0] for split in parts])
    whole = ~np.isnan(clips).any(axis=(1, 2, 3, 4))
    assert 0 < whole.sum() < len(whole)
    masks = model.evaluation_masks(clips)
    tubes = masks.reshape(len(masks), 4, 4)
    assert (tubes[whole] == tubes[whole][:, :1]).all() and masks[whole].mean() == 0.75
    alone = np.concatenate([model.encode(clip[None]) for clip in clips])
    np.testing.assert_allclose(model.encode(clips), alone, atol=1e-5)
    changed = clips.copy()
    changed[~whole, 4] = 99  # alone in its patch of two frames, of which one is missing
    np.testing.assert_array_equal(model.encode(changed), model.encode(clips))
    clips, masks = clips[whole][:2], masks[whole][:2]
    patches, _ = model.to_patches(clips)
    visible = np.stack([np.flatnonzero(~mask) for mask in masks]).astype("int32")
    gathered = model({"patches": patches, "patch_mask": masks, "visible_indices": visible})
    masked = model.predict_patches(clips, masks).predictions
    np.testing.assert_allclose(np.asarray(gathered), masked, atol=1e-5)
