"""Tiny models, tiny images and subprocesses for the tests of the models."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from mae_keras.layers import RandomMasking
from mae_keras.models import MAEDecoder, MaskedAutoencoder, ViTEncoder

REPOSITORY = pathlib.Path(__file__).parents[2]


def build_tiny(image_shape=(8, 8, 1), patch_size=2, masking=None, num_layers=1, **overrides):
    """A masked autoencoder of width 16; `overrides` go to the encoder or to the model."""
    of_model = {"normalize_targets", "loss_on", "uniformity_weight", "decode_ratio", "name"}
    decoder_class = overrides.pop("decoder_class", MAEDecoder)
    model = {key: overrides.pop(key) for key in of_model & set(overrides)}
    weights_seed = overrides.pop("weights_seed", 0)
    keras.utils.set_random_seed(weights_seed)
    encoder = ViTEncoder(image_shape, patch_size, 16, num_layers, 2, 32, **overrides)
    decoder = decoder_class(16, num_layers, 2, 32, dtype=encoder.dtype_policy)
    masking = RandomMasking(0.75, seed=3) if masking is None else masking
    return MaskedAutoencoder(encoder, decoder, masking, **model)


@pytest.fixture(scope="session")
def make_tiny():
    return build_tiny


@pytest.fixture(scope="session")
def images():
    """16 images of smooth noise, uint8 as stored."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 4, 4, 1)).astype("float32")
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2) + rng.normal(0, 8, (16, 8, 8, 1))
    return np.clip(fine, 0, 255).astype("uint8")


@pytest.fixture(scope="module")
def tiny(images):
    """A trained and compiled model that tests may read but not change."""
    model = build_tiny()
    model.compile("adam", run_eagerly=True)  # four steps are sooner done than traced
    model.fit(images, epochs=2, batch_size=8, verbose=0)
    model.run_eagerly = False
    return model


@pytest.fixture(scope="session")
def random_masks():
    """Masks `(16, 16)` with another number of hidden patches in every image, none to all but 1."""
    rng = np.random.default_rng(1)
    return np.stack([rng.permutation(np.arange(16) < count) for count in range(16)])


@pytest.fixture(scope="session")
def run_python():
    """Run a script in a process of its own and return what it printed."""

    def run(*arguments, backend="tensorflow", without_package=False, timeout=300):
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["PYTHONPATH"] = "" if without_package else str(REPOSITORY)
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run
