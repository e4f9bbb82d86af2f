"""Settings of the whole test suite: quiet TensorFlow, no windows, repeatable draws."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib

matplotlib.use("Agg")

import keras
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "mae_keras",
    derandomize=True,
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("mae_keras")


@pytest.fixture(autouse=True)
def _clean_keras():
    """Start every test from one seed; leave no dtype policy behind."""
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="session")
def tfds_dir():
    """The folder of prepared tensorflow_datasets, where the machine has one."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder:
        pytest.skip("set TFDS_DATA_DIR to a folder with prepared data sets")
    return folder
