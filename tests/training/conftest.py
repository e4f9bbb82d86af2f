"""A model small enough to train in a test."""

import numpy as np
import pytest

from mae_keras.models import MaskedAutoencoder


def make_tiny_model(**overrides):
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
    decoder = {f"decoder_{name}": value for name, value in sizes.items()}
    return MaskedAutoencoder.from_preset(
        "nano", (8, 8, 1), 2, seed=0, **sizes, **decoder, **overrides
    )


@pytest.fixture
def tiny_model():
    model = make_tiny_model()
    model.compile("adamw", jit_compile=False)
    return model


@pytest.fixture(scope="session")
def tiny_images():
    return np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1)).astype("uint8")
