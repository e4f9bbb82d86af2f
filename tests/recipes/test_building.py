"""The model and the images of a recipe."""

import dataclasses

import keras
import numpy as np
import pytest

from mae_keras import data
from mae_keras.runs import Recipe
from mae_keras.runs.building import (
    build_model,
    channel_statistics,
    epoch_steps,
    fingerprint,
    load_images,
    training_augmentation,
    training_split,
    untrained_model,
)


def image_data(shape):
    split = data.ArraySplit(np.zeros((2, *shape), "uint8"))
    return data.ImageData("arrays", shape, None, None, train=split, validation=split, test=split)


def test_the_normalization_is_that_of_the_training_images(short_recipe):
    images = data.load(short_recipe.dataset)
    train, _ = images.train.arrays()
    mean, std = channel_statistics(images)
    assert mean == pytest.approx([train.mean() / 255], abs=1e-5)
    assert std == pytest.approx([train.std() / 255], abs=1e-5)
    model = build_model(short_recipe, images)
    assert model.normalization.mean == pytest.approx(mean)


def test_sizes_may_differ_from_the_presets(short_recipe):
    images = data.load(short_recipe.dataset)
    model = untrained_model(short_recipe, images, decoder_num_layers=1, hidden_dim=32)
    assert model.encoder.hidden_dim == 32
    assert len(model.decoder.blocks) == 1


def test_a_recipe_may_decode_a_share(short_recipe):
    images = data.load(short_recipe.dataset)
    changes = {"decoder_attention": "cross", "decode_ratio": 0.25}
    model = build_model(dataclasses.replace(short_recipe, **changes), images)
    assert (model.num_hidden, model.num_decoded) == (12, 3)


def test_an_epoch_is_whole_calls_of_the_training_function(short_recipe):
    split = data.load(short_recipe.dataset).train
    steps = len(split) // short_recipe.batch_size
    assert steps % 2 == 0 or steps > 1
    assert epoch_steps(short_recipe, split) == steps
    several = dataclasses.replace(short_recipe, batch_size=8, steps_per_execution=4)
    assert epoch_steps(several, split) == len(split) // 8 // 4 * 4


def test_balance_repeats_rare_classes_in_training_alone(short_recipe, array_file):
    images = data.load(str(array_file))
    counts = np.bincount(images.train.labels)
    assert counts.min() < counts.max()
    assert training_split(short_recipe, images) is images.train
    balanced = training_split(dataclasses.replace(short_recipe, balance=1.0), images)
    assert set(np.bincount(balanced.labels)) == {counts.max()}


@pytest.mark.parametrize(
    ("dataset", "changes", "crops", "flip"),
    [
        ("cifar10", {}, (0.2, 1.0), True),
        ("cifar10", {"min_crop_scale": 0.5}, (0.5, 1.0), True),
        ("cifar10", {"min_crop_scale": 1.0}, None, True),
        ("fashion_mnist", {"min_crop_scale": 0.8}, (0.8, 1.0), True),
        ("mnist", {"min_crop_scale": 0.8}, (0.8, 1.0), False),
    ],
)
def test_crops_are_the_data_sets_or_as_asked(dataset, changes, crops, flip):
    made = training_augmentation(Recipe(dataset=dataset, **changes), image_data((32, 32, 3)))
    assert (made.crop_scale, made.flip) == (crops, flip)


@pytest.mark.parametrize(
    ("dataset", "changes"),
    [("mnist", {}), ("digits", {"min_crop_scale": 1.0}), ("cifar10", {"augment": False})],
)
@pytest.mark.parametrize("shape", [(32, 32, 3), (64, 1)])
def test_nothing_is_changed_where_nothing_suits_or_nothing_is_asked(dataset, changes, shape):
    recipe = Recipe(dataset=dataset, **changes)
    assert training_augmentation(recipe, image_data(shape)) is None


@pytest.fixture
def signal_file(tmp_path):
    """24 signals of 5 to 28 steps and two channels."""
    lines = [":".join(",".join(["1.5"] * (n + 5)) for _ in range(2)) for n in range(24)]
    values = "\n".join(f"{n},{line}" for n, line in enumerate(lines))
    (tmp_path / "data.ts").write_text(f"@univariate false\n@data\n{values}\n")
    return tmp_path / "data.ts"


def test_signals_are_padded_to_whole_patches_and_read_so_for_the_model(signal_file):
    recipe = Recipe(dataset=str(signal_file), patch_size=8, kind="signals")
    images = load_images(recipe)
    assert images.image_shape == (32, 2)  # the longest has 29 steps
    assert "are padded to 32" in images.notes[-1]
    again = load_images(recipe, model=build_model(recipe, images))
    assert fingerprint(again) == fingerprint(images)
    assert load_images(dataclasses.replace(recipe, length=16)).image_shape == (16, 2)
    with pytest.raises(ValueError, match="`length` must be a multiple of `patch_size`"):
        load_images(dataclasses.replace(recipe, length=20))


def test_padding_is_neither_seen_nor_predicted(signal_file):
    recipe = Recipe(dataset=str(signal_file), patch_size=4, mask_ratio=0.5, kind="signals")
    images = load_images(recipe)
    model = build_model(recipe, images)
    model.compile("sgd")
    signals, _ = images.train.arrays()
    x, _, weights = model._masked_batch((keras.ops.convert_to_tensor(signals),), 1)
    hidden, missing = (keras.ops.convert_to_numpy(x[key]) for key in ("patch_mask", "missing"))
    whole = (~np.isnan(signals).any(axis=-1)).reshape(len(signals), -1, 4).all(axis=-1)
    np.testing.assert_array_equal(missing, ~whole)
    # Half of what is there is hidden and counts, however long the padding is.
    present, enough = whole.sum(axis=1), whole.sum(axis=1) > 1
    counted = (keras.ops.convert_to_numpy(weights) > 0).sum(axis=1)
    np.testing.assert_array_equal(counted[enough], (hidden & whole).sum(axis=1)[enough])
    assert (np.abs(counted - present / 2)[enough] <= 0.5).all()


def test_crops_of_signals_are_refused():
    recipe = Recipe(min_crop_scale=0.5)
    with pytest.raises(ValueError, match=r"`min_crop_scale` is for images.*shape \(64, 1\)"):
        training_augmentation(recipe, image_data((64, 1)))
