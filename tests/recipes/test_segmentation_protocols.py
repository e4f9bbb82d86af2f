"""`evaluate --protocol segment --masks DIR`."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mae_keras import data
from mae_keras.runs import EvaluationOptions, evaluate_run, evaluation_table
from mae_keras.runs.exporting import load_run
from mae_keras.runs.masks import augmentation_of, load_masks
from mae_keras.runs.protocols.segmentation import _some
from mae_keras.runs.recipe import adapt, find_recipe


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


@pytest.fixture
def masks(tmp_path):
    """Color images with bright squares, larger than the run's, and masks of values 0 and 255."""
    rng = np.random.default_rng(0)
    for number in range(12):
        mask = np.zeros((14, 12), "uint8")
        mask[2:9, 3:8] = 255
        pixels = rng.integers(0, 60, (14, 12, 3)) + (mask[..., None] // 2)
        for name, array in (("images", pixels.astype("uint8")), ("masks", mask)):
            place = tmp_path / "cells" / name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(place / f"{number}.png")
    return tmp_path / "cells"


def options(masks, **changes):
    return EvaluationOptions(**{"masks": str(masks), "segment_steps": 2, **changes})


@pytest.mark.long
def test_segmenters_are_trained_scored_and_drawn(folder, masks):
    said = []
    chosen = options(masks, segment_head="linear")
    protocols = ["segment-linear", "segment", "segment-from-scratch"]
    entries = evaluate_run(folder, protocols, options=chosen, announce=said.append)
    stored = json.loads((folder / "evaluation.json").read_text())
    assert list(stored) == protocols == list(entries)
    linear = stored["segment-linear"]
    assert list(linear["scores"]) == ["trained", "untrained"]
    assert list(stored["segment-from-scratch"]["scores"]) == ["untrained"]
    one = linear["scores"]["trained"]["all"]
    assert one["mean_iou"] == linear["segmentation"]["mean_iou"]
    assert one["num_images"] + linear["num_test"] < 12 and linear["scored_on"] == "test"
    assert any("12 of 12 images are color: converted to gray" in line for line in said)
    for name in ("segment_linear", "segment", "segment_from_scratch"):
        for picture in (name, f"{name}_classes"):
            with Image.open(folder / "evaluation" / f"{picture}.png") as image:
                assert min(image.size) > 100
    table = evaluation_table(entries)
    assert f"untrained, all {one['num_images']} labeled: mean IoU" in table and "ROC-AUC" in table
    card = (folder / "model_card.md").read_text()
    assert "segment_linear.png" in card and "mean Dice" in card


def test_some_images_are_spread_over_all(tmp_path):
    images = np.arange(18, dtype="uint8").reshape(18, 1, 1, 1) * np.ones((1, 4, 4, 1), "uint8")
    split = data.SegmentationSplit(images, np.zeros((18, 4, 4), "int32"))
    for count in (1, 3, 18):
        for seed in range(5):
            chosen = [int(image.max()) for image in _some(split, count, seed).images]
            assert len(set(chosen)) == count and set(np.diff(chosen)) <= {18 // count}
    assert len({int(_some(split, 1, seed).images[0].max()) for seed in range(9)}) > 3
    assert _some(split, None, 0) is split


@pytest.mark.slow
def test_masks_lie_beside_the_images_of_the_data_set(folder, masks):
    from mae_keras.runs.options import DataOptions

    entries = evaluate_run(
        folder,
        ["segment-linear"],
        options=options(masks / "masks"),
        labeled=DataOptions(dataset=str(masks / "images")),
    )
    assert "error" not in entries[f"segment-linear on {masks / 'images'}"]


def test_what_is_missing_is_said_before_training(folder, masks, tmp_path):
    with pytest.raises(ValueError, match="`protocol` segment must have masks.*--masks"):
        evaluate_run(folder, ["segment"])
    with pytest.raises(ValueError, match="`masks` is for protocols that segment, segment-linear"):
        evaluate_run(folder, ["knn"], options=options(masks))
    with pytest.raises(ValueError, match="`gap` is for protocols that segment, with `masks`"):
        EvaluationOptions(gap=1)
    with pytest.raises(ValueError, match="`masks` must be a folder or file. Received: .*not found"):
        evaluate_run(folder, ["segment"], options=options(tmp_path / "nowhere"))
    pixels = np.random.default_rng(0).random((9, 8, 8, 2))
    wide = {"images": pixels, "masks": np.stack([np.eye(8)] * 9)}
    np.savez(tmp_path / "wide.npz", **wide)
    with pytest.raises(ValueError, match="1 channels, as the model takes. Received: images"):
        evaluate_run(folder, ["segment"], options=options(tmp_path / "wide.npz"))


def test_changes_suit_what_was_pretrained():
    def changes(**settings):
        return augmentation_of(adapt(find_recipe(dataset="photos/"), **settings), (16, 16, 3))

    assert changes(resize="none", image_size=16).quarter_turns
    assert changes(dataset="cifar10").flip_axes == ("width",)
    assert changes(dataset="digits") is None
    assert changes(dataset="cifar10", augment=False) is None


@pytest.fixture
def patients(tmp_path):
    """Images of six patients with masks."""
    rng = np.random.default_rng(0)
    for number in range(36):
        for name, array in (
            ("images", rng.integers(0, 256, (8, 8)).astype("uint8")),
            ("masks", np.eye(8, dtype="uint8")),
        ):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / name / f"p{number % 6}_{number}.png")
    return tmp_path


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_images_of_pretraining_are_divided_alike(finished, patients, seed):
    _, model = load_run(finished[0])
    settings = {"groups": r"(p\d)_", "seed": seed}
    recipe = adapt(find_recipe(dataset="photos/"), dataset=str(patients / "images"), **settings)
    pretrained = data.load(patients / "images", **settings)
    masked = load_masks(patients / "masks", patients / "images", model, recipe)
    for part in ("train", "validation", "test"):
        assert set(getattr(masked, part).names) == set(getattr(pretrained, part).paths)
    said = []
    load_masks(patients / "masks", patients / "images", model, recipe, said.append, gap=1)
    assert any("Divided otherwise than in pretraining" in line for line in said)


def test_what_cannot_be_scored_is_refused_before_training(finished, tmp_path):
    _, model = load_run(finished[0])
    recipe = find_recipe(dataset="photos/")
    rng = np.random.default_rng(0)
    masks = np.stack([np.eye(8, dtype="int32")] * 9)
    np.savez(tmp_path / "floats.npz", images=rng.random((9, 8, 8, 1)), masks=masks)
    with pytest.raises(ValueError, match=r"range that the model was trained on, \(0.0, 255.0\)"):
        load_masks(tmp_path / "floats.npz", None, model, recipe)
    pixels = rng.integers(0, 256, (12, 8, 8, 1), "uint8")
    arrays = {"train_images": pixels[:6], "train_masks": masks[:6]}
    arrays |= {"test_images": pixels[6:], "test_masks": np.full((6, 8, 8), 7)}
    np.savez(tmp_path / "bare.npz", **arrays)
    with pytest.raises(ValueError, match="`masks` must have labeled pixels in test images"):
        load_masks(tmp_path / "bare.npz", None, model, recipe, unlabeled=7)
