"""Recipes refuse numbers that make no sense, at once."""

import contextlib
import dataclasses
import json

import pytest

from mae_keras.runs import Recipe
from mae_keras.runs.recipe import as_begun, check_patch_size


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", 0, "(an int of at least 1|an int from 1)"),
        ("batch_size", 0, "(an int of at least 1|an int from 1)"),
        ("patch_size", -1, "(an int of at least 1|an int from 1)"),
        ("patch_size", "4x", "a positive int, or one to three of them as in 4x8"),
        ("patch_size", "0x8", "a positive int, or one to three of them as in 4x8"),
        ("patch_size", (2, 2, 2, 2), "a positive int, or one to three of them as in 4x8"),
        ("pooling", "max", "'mean', 'token', 'flatten'"),
        ("gradient_accumulation_steps", 0, "(an int of at least 1|an int from 1)"),
        ("steps_per_execution", 0, "(an int of at least 1|an int from 1)"),
        ("mask_ratio", 1.0, r"in \(0, 1\)"),
        ("mask_ratio", float("nan"), r"in \(0, 1\)"),
        ("mask_ratio_start", 0.0, r"in \(0, 1\)"),
        ("learning_rate", 0.0, "above 0"),
        ("weight_decay", -0.1, "at least 0"),
        ("min_crop_scale", 0.0, r"in \(0, 1\]"),
        ("min_crop_scale", float("nan"), r"in \(0, 1\]"),
        ("seed", -1, "in"),
        ("warmup_epochs", 10, "less than epochs=10"),
        ("ema_momentum", 1.0, r"in \(0, 1\)"),
        (
            "masking",
            "diagonal",
            "'random', 'block', 'grid', 'time', 'frequency', 'tube', 'channel' or",
        ),
        ("loss_on", "visible", "'hidden' or 'all'"),
        ("decoder_attention", "joint", "'self' or 'cross'"),
        ("decode_ratio", 0.0, r"in \(0, 1\]"),
        ("decode_ratio", 0.5, "1 unless `decoder_attention` is cross"),
        ("mask_schedule", "steps", "'linear' or 'cosine'"),
        ("dtype_policy", "float8", "'float32', 'mixed_bfloat16' or 'mixed_float16'"),
        ("jit_compile", "yes", "'auto', 'true' or 'false'"),
    ],
)
def test_a_value_out_of_range_is_refused(name, value, expected):
    with pytest.raises(ValueError, match=f"`{name}` must be .*{expected}.* Received: {name}="):
        Recipe(**{name: value})


def test_the_size_of_crops_that_are_not_made_is_refused():
    with pytest.raises(ValueError, match="`min_crop_scale` must be left out with augment=False"):
        Recipe(min_crop_scale=0.5, augment=False)


@pytest.mark.parametrize(
    ("patch_size", "sides", "message"),
    [
        ("4x8", (16, 16), None),
        ([4, 8], (16, 16), None),
        ("4", (16, 12, 8), None),
        ([4], (16, 12, 8), None),
        ("4x8", (16, 12), "axes of the samples, 16 x 12, one by one. Received: patch_size=4x8"),
        ("4x8", (16,), "one for each of the 1 axis of the samples. Received: patch_size=4x8"),
        (4, (16, 12, 8), None),
    ],
)
def test_patches_may_be_rectangles(patch_size, sides, message):
    recipe = Recipe(patch_size=patch_size)
    with contextlib.nullcontext() if message is None else pytest.raises(ValueError, match=message):
        check_patch_size(recipe.patch_size, sides)
    assert Recipe(**json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().epochs = 3


def test_a_run_of_an_earlier_version_keeps_its_division():
    begun = as_begun(Recipe(), {"dataset": "photos/"})
    assert (begun.split_by, begun.resize, begun.kind) == ("order", "stretch", "images")
    assert as_begun(Recipe(), {"split_by": "key"}).split_by == "key"


@pytest.mark.parametrize("splits", [(0.5, 0.5), (1, 0, 0), (0.5, 0.4, 0.2)])
def test_pretraining_needs_images_in_every_split(splits):
    with pytest.raises(ValueError, match="`splits` must be three fractions above 0"):
        Recipe(splits=splits)
