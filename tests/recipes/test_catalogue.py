"""Which recipe suits which data, and how one is changed."""

import dataclasses
import importlib.util

import numpy as np
import pytest

from mae_keras.data import load
from mae_keras.models.presets import PRESETS
from mae_keras.runs import RECIPES, adapt, find_recipe
from mae_keras.runs.recipe import kind_as_begun


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (None, "mnist-sample"),
        ("mnist-sample", "mnist-sample"),
        ("digits", "digits"),
        ("mnist", "mnist"),
        ("tfds:cifar10", "cifar10"),
        ("tfds:fashion_mnist/plain", "fashion_mnist"),
        ("tfds:cifar100", "images"),
        ("my/photos", "images"),
        ("signals/set.npz", "images"),
        ("sound/pictures", "images"),
        ("x.npz", "images"),
        ("my/Waves_TRAIN.ts", "signals"),
        ("waves.parquet", "signals"),
    ],
)
def test_data_find_their_recipe(dataset, expected):
    assert find_recipe(None, dataset) == RECIPES[expected]


def test_arrays_of_signals_find_theirs_by_their_kind():
    assert find_recipe(None, "x.npz", "signals") == RECIPES["signals"]
    assert find_recipe(None, "x.npz", "images") == RECIPES["images"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("signals", "signals"),
        ("Train_Signals", "signals"),
        ("volumes", "volumes"),
        ("video_train", "video"),
        ("images", "images"),
        ("x_train", "images"),
    ],
)
def test_array_files_find_theirs_by_the_names_of_their_arrays(tmp_path, name, expected):
    """As `load` takes them; runs begun when images were the default go on with that."""
    path = str(tmp_path / "a.npz")
    shape = {"signals": (16, 3), "images": (16, 16, 1)}.get(expected, (16, 16, 16, 1))
    values = np.random.default_rng(0).random((8, *shape), "float32")
    np.savez(path, labels=np.arange(8) % 2, **{name: values})
    assert find_recipe(dataset=path) is RECIPES[expected]
    held = load(path)
    assert held.image_shape == shape and held.is_video == (expected == "video")
    begun = kind_as_begun(None, path, {"kind": None, "length": None, "crop_size": None})
    assert find_recipe(dataset=path, kind=begun) is RECIPES["images"]
    config = dataclasses.asdict(RECIPES[expected])
    assert find_recipe(None, path, kind_as_begun(None, path, config)) is RECIPES[expected]


def test_kinds_of_runs_older_than_their_recipes_are_not_asked_for():
    assert kind_as_begun("signals", "x.npy", {"kind": "signals"}) is None
    assert kind_as_begun("volumes", "x.npz", {"kind": "volumes", "length": None}) == "images"
    assert kind_as_begun("signals", "x.npz", {"kind": "signals", "length": None}) == "signals"
    assert kind_as_begun(None, "x.ts", {"kind": None}) is None


def test_without_mlxtend_the_first_run_is_on_digits(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", {"mlxtend": None}.__getitem__)
    assert find_recipe() == RECIPES["digits"]


def test_a_named_recipe_is_found_whatever_the_data():
    assert find_recipe("cifar10", "digits") == RECIPES["cifar10"]


def test_an_unknown_recipe_is_refused_with_a_guess():
    with pytest.raises(ValueError, match=r"did you mean 'cifar10'\? Received: recipe='cifar'"):
        find_recipe("cifar")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_name_presets_and_data_that_exist(name):
    recipe = RECIPES[name]
    assert recipe.preset in PRESETS
    files = {
        "images": "photos/",
        "signals": "signals.ts",
        "sound": "recordings/",
        "video": "clips/",
        "volumes": "volumes/",
    }
    assert recipe.dataset == files.get(name, name)


def test_none_leaves_a_field_alone():
    assert adapt(RECIPES["digits"], seed=None, mask_ratio=0.6).seed == RECIPES["digits"].seed


def test_the_warmup_shrinks_with_the_epochs():
    assert adapt(RECIPES["images"], epochs=10).warmup_epochs == 1
    assert adapt(RECIPES["images"], epochs=500).warmup_epochs == 5


def test_a_warmup_that_was_asked_for_is_kept_or_refused():
    assert adapt(RECIPES["images"], epochs=10, warmup_epochs=4).warmup_epochs == 4
    with pytest.raises(ValueError, match="`warmup_epochs` must be"):
        adapt(RECIPES["images"], epochs=3, warmup_epochs=4)
