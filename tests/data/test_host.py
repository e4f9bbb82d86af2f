"""Off the TensorFlow backend, TensorFlow leaves the GPUs alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mae_keras import data
from mae_keras.runtime.tf_data import stay_on_host

SPLIT = data.ArraySplit(np.zeros((6, 8, 8, 1), "uint8"))
ENTRANCES = {
    "load": lambda: data.load("digits"),
    "training": lambda: data.training_batches(SPLIT, 2, seed=0),
    "evaluation": lambda: data.evaluation_batches(SPLIT, 2),
    "arrays": lambda: data.Split.arrays(SPLIT),
}


@pytest.fixture
def hidden(monkeypatch):
    """What was made visible, as TensorFlow would be told under another backend."""
    told = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *told_: told.append(told_))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    return told


@pytest.mark.parametrize("enter", ENTRANCES.values(), ids=ENTRANCES)
def test_whoever_makes_tensorflow_compute_hides_the_gpus_first(hidden, enter):
    enter()
    assert hidden and set(map(repr, hidden)) == {"([], 'GPU')"}


def test_as_the_backend_tensorflow_keeps_them(hidden, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    stay_on_host()
    assert not hidden


def test_where_tensorflow_has_computed_already_nothing_happens(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    stay_on_host()
