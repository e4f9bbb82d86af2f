"""Settings of the whole test suite: quiet TensorFlow, no windows, repeatable draws."""

import gc
import os
from unittest import mock

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


def pytest_collection_modifyitems(items):
    """What looks at a finished run waits for one to finish; the longest file starts first."""
    for item in items:
        long = item.get_closest_marker("long")  # `-m "not slow"` leaves those out, too
        if long or "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    # It runs other tests again, on JAX, in one process: at the end the second core would wait.
    items.sort(key=lambda item: item.path.name != "test_backends.py")


def pytest_collection_finish():
    """Spare the garbage collector the libraries' objects: a tenth of the fast tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


@pytest.fixture(autouse=True)
def _clean_keras():
    """Start every test from one seed and the first names of layers; leave no policy behind."""
    policy = keras.config.dtype_policy()
    # Else TensorFlow would make its kernels anew for every test: a tenth of the fast ones' time.
    with mock.patch("tensorflow.python.eager.context.pywrap_tfe.TFE_ContextClearCaches"):
        keras.utils.clear_session(free_memory=False)
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


@pytest.fixture(scope="session")
def array_file(tmp_path_factory):
    """120 real digits with labels in an `.npz` file."""
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:120, ..., None] * (255 / 16)).astype("uint8")
    path = tmp_path_factory.mktemp("arrays") / "digits.npz"
    np.savez(path, images=images, labels=digits.target[:120])
    return path


@pytest.fixture(scope="session")
def short_recipe(array_file):
    """A recipe that is done in seconds."""
    from mae_keras.runs import Recipe

    return Recipe(
        dataset=str(array_file),
        preset="nano",
        patch_size=2,
        epochs=2,
        batch_size=32,
        jit_compile="false",
    )


@pytest.fixture(scope="session")
def finished(short_recipe, tmp_path_factory):
    """The folder of a finished run, for reading only, and the metrics it returned."""
    from mae_keras.runs import pretrain

    folder = tmp_path_factory.mktemp("runs") / "short"
    return folder, pretrain(short_recipe, folder, verbose=0)
