"""What holds on TensorFlow holds on JAX: a part of the tests again, and equal numbers."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from mae_keras.models import MaskedAutoencoder

TESTS = pathlib.Path(__file__).parent
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed: pip install .[jax]"
)


def run(*arguments, backend="jax"):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = str(TESTS.parent)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=TESTS.parent,
    )


# The fast tests that take longest there, and the slow ones, run with `scripts/test --all` only.
LONGEST = (
    "interop/test_torch_weights.py",
    "layers/test_segmentation_heads.py",
    "models/test_entry_points.py",
    "models/test_inpainting.py",
    "models/test_segmenter.py",
    "models/test_signatures.py",
    "models/test_unusable_samples.py",
    "ops/test_image_quality.py",
)
TRAINING = "models/test_masked_model.py"
# Collecting all the others takes as long as a third of these.
FILES = [path for path in TESTS.rglob("test_*.py") if "mark.every_backend" in path.read_text()]
FAST = [path for path in FILES if str(path.relative_to(TESTS)) not in LONGEST]


@needs_jax
@pytest.mark.parametrize(
    ("chosen", "paths"),
    [
        pytest.param("not slow", FAST, marks=pytest.mark.slow),
        pytest.param("slow", [TESTS / TRAINING], marks=pytest.mark.long),
        pytest.param("not slow", [TESTS / path for path in LONGEST], marks=pytest.mark.long),
        pytest.param("slow", {*FILES} - {TESTS / TRAINING}, marks=pytest.mark.long),
    ],
    ids=["fast", "training", "longest of the fast", "other slow"],
)
def test_the_tests_for_every_backend_pass_on_jax(chosen, paths):
    done = run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("-m", f"every_backend and not long and {chosen}"),
        *paths,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@needs_jax
@pytest.mark.slow
def test_jax_gives_what_tensorflow_gives_from_the_same_weights(tmp_path):
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=3)
    model.save(tmp_path / "model.keras")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 8, 8, 1)).astype("uint8")
    patch_mask = rng.random((5, 16)) < 0.6
    np.savez(tmp_path / "inputs.npz", images=images, patch_mask=patch_mask)
    paths = [tmp_path / name for name in ("model.keras", "inputs.npz", "outputs.npz")]
    done = run(TESTS / "models" / "other_backend.py", *paths)
    assert done.stdout.strip() == "jax", done.stderr[-3000:]
    theirs = np.load(paths[-1])
    np.testing.assert_array_equal(theirs["patch_mask"], model.reconstruct(images).patch_mask)
    np.testing.assert_allclose(theirs["features"], model.encode(images), atol=1e-5)
    ours = model.reconstruct(images, patch_mask).prediction
    # In pixels of 0 to 255, so float32 rounding is 255 times that of the features.
    np.testing.assert_allclose(theirs["prediction"], ours, atol=3e-3)
    np.testing.assert_allclose(theirs["called"], np.asarray(model(images)), atol=3e-3)


def test_a_backend_that_is_not_installed_is_named():
    if importlib.util.find_spec("torch") is not None:
        pytest.skip("PyTorch is installed: no backend is missing")
    done = run("-m", "mae_keras", "pretrain", "--out", "never", backend="torch")
    assert done.returncode == 2
    assert "torch" in done.stderr.splitlines()[-1]
    assert "KERAS_BACKEND" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None  # importing it raises ModuleNotFoundError
import keras
from mae_keras import data, models

images, labels = data.load("digits").train.arrays()
sizes = dict(hidden_dim=8, num_layers=1, num_heads=2, mlp_dim=8)
model = models.MaskedAutoencoder(
    models.ViTEncoder((8, 8, 1), 4, **sizes), models.MAEDecoder(**sizes)
)
model.compile("adamw")
model.fit(images[:32], validation_data=images[:16], verbose=0)
model.save(sys.argv[1])
print(keras.saving.load_model(sys.argv[1]).encode(images[:3]).shape)
from mae_keras import cli
cli.main(["pretrain", "--epochs", "1", "--dataset", "digits", "--out", sys.argv[1] + ".run"])
"""


@needs_jax
@pytest.mark.slow
def test_on_jax_models_train_on_arrays_without_tensorflow(tmp_path):
    done = run("-c", WITHOUT_TENSORFLOW, tmp_path / "model.keras")
    assert done.stdout.splitlines()[:1] == ["(3, 8)"], done.stderr[-3000:]
    assert done.returncode == 2
    assert "pip install tensorflow" in done.stderr.splitlines()[-1]
