"""Tiny models for the tests of what goes in and out; none is trained, all have uneven weights."""

import keras
import numpy as np
import pytest

from mae_keras.layers import RandomMasking
from mae_keras.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder


def build_tiny(image_shape=(8, 8, 1), patch_size=2, normalize_targets=False, **encoder):
    """A masked autoencoder of width 16 and one block; further arguments go to the encoder."""
    keras.utils.set_random_seed(0)
    encoder = ViTEncoder(image_shape, patch_size, 16, 1, 2, 32, **encoder)
    decoder = MAEDecoder(16, 1, 2, 32, dtype=encoder.dtype_policy)
    masking = RandomMasking(0.75, seed=3)
    return stirred(MaskedAutoencoder(encoder, decoder, masking, normalize_targets))


def build_classifier(**options):
    """A classifier of three classes on a tiny encoder."""
    return stirred(ImageClassifier.from_pretrained(build_tiny(), 3, **options))


def stirred(model):
    """Give biases and norms values of their own: 0 and 1 would hide a mix-up."""
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(0.1 * rng.normal(size=weight.shape))
    return model


@pytest.fixture(scope="session")
def make_tiny():
    return build_tiny


@pytest.fixture(scope="session")
def make_classifier():
    return build_classifier


@pytest.fixture(scope="session")
def tiny():
    """A model that tests may read but not change."""
    return build_tiny()


@pytest.fixture(scope="session")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype("uint8")


@pytest.fixture(scope="session")
def patch_masks():
    return np.random.default_rng(1).random((5, 16)) < 0.6


@pytest.fixture(scope="session")
def holes():
    """Missing pixels `(5, 8, 8)`: a scratch that touches 4 of the 16 patches."""
    missing = np.zeros((5, 8, 8), bool)
    missing[:, 2:5, 1:4] = True
    return missing
