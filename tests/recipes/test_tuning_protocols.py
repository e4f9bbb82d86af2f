"""Protocols that train a network: what they train, and for how long."""

import types

import numpy as np
import pytest

from mae_keras import data
from mae_keras.models import MaskedAutoencoder
from mae_keras.runs import PROTOCOLS, Comparison, EvaluationOptions
from mae_keras.runs.protocols import fine_tune as tuning

OPTIONS = EvaluationOptions(fine_tune_epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def comparison(array_file):
    models = [MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=seed) for seed in (0, 1)]
    return Comparison(*models, data.load(str(array_file)))


@pytest.mark.long
def test_tuning_leaves_the_pretrained_model_alone_and_tells_what_it_trained(
    comparison, monkeypatch
):
    heard = []
    monkeypatch.setattr(comparison, "announce", heard.append)
    before = [np.array(weight) for weight in comparison.model.weights]
    counts = {}
    for name in ("fine-tune", "partial-fine-tune", "from-scratch"):
        entry = PROTOCOLS[name](comparison, OPTIONS)
        counts[name] = entry["num_trained_weights"]
        assert entry["epochs"] == len(entry["history"]["loss"]) == 2
        assert np.array(entry["classes"]["confusion"]).sum() == entry["num_test"]
    after = [np.array(weight) for weight in comparison.model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    places = [line.split(":")[0] for line in heard]
    assert places == 3 * ["  epoch 1 of 2", "  epoch 2 of 2"] and "loss" in heard[0]
    assert counts["partial-fine-tune"] < counts["fine-tune"] == counts["from-scratch"]


def test_small_sets_train_longer_in_epochs():
    assert [tuning._epochs(steps) for steps in (0, 10, 78, 400, 10_000)] == [*(50, 50, 26, 5, 5)]


@pytest.mark.parametrize(
    ("name", "flip", "crop", "rotation"),
    [
        ("digits", False, None, 10),
        ("fashion_mnist", True, None, 10),
        ("cifar10", True, (0.5, 1), 0),
    ],
)
def test_augmentation_follows_that_of_pretraining(name, flip, crop, rotation):
    chosen = tuning.augmentation_for(described(name, (28, 28, 1)))
    assert (chosen.flip, chosen.crop_scale, chosen.max_rotation) == (flip, crop, rotation)


@pytest.mark.parametrize(
    ("shape", "sound"), [((64, 3), False), ((8, 8, 8, 1), False), ((96, 64, 1), True)]
)
def test_what_is_no_picture_is_not_augmented(shape, sound):
    chosen = tuning.augmentation_for(described("waves", shape, sound))
    assert chosen == data.ClassificationAugmentation.preset("none")


def described(name, shape, sound=False):
    return types.SimpleNamespace(name=name, image_shape=shape, is_sound=sound)
