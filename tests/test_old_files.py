"""Files that an earlier version wrote: they load, give the same numbers, and their runs go on."""

import hashlib
import json
import pathlib
import shutil
import tarfile

import keras
import numpy as np
import pytest

from mae_keras import models
from mae_keras.models import presets
from mae_keras.runs import evaluate_run, pretrain
from mae_keras.runs.exporting import load_run

ARCHIVE = pathlib.Path(__file__).parent / "golden" / "artifacts.tar.xz"
SHAPES = {"signal": (16, 2), "volume": (4, 4, 4, 1)}
MODELS = (
    "plain",
    "averaged",
    "cross",
    "half",
    "signal",
    "volume",
    "dense",
    "classifier",
    "adjusted",
    "functional",
    "patches",
)
# One machine's matrix products are not another's: the last digits may differ, of the largest value
# that is added up. bfloat16 keeps 3 digits.
CLOSE, HALF = 1e-5, 0.03


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder that the earlier version wrote."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def old_runs(old, tmp_path, monkeypatch):
    """A copy of the runs, and the preset they were made with."""
    about = json.loads((old / "runs.json").read_text())
    monkeypatch.setitem(presets.PRESETS, "golden", presets.Preset(**about["preset"]))
    for name in ("killed", "finished"):
        shutil.copytree(old / name, tmp_path / name)
    return tmp_path, about


def digest(arrays):
    total = hashlib.sha256()
    for array in arrays:
        array = np.asarray(array)
        head = f"{array.dtype} {array.shape}".encode()
        total.update(head + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def pixels(shape):
    return np.random.default_rng(7).integers(0, 256, (4, *shape)).astype("uint8")


def check_close(found, expected, share=CLOSE):
    """Equal but for a share of the largest value."""
    most = share * np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(found, "float32"), expected, rtol=0, atol=most)


def check_holds(model, described):
    # Keras puts the model's own name, which counts up, before some paths and not before others.
    names = [["/".join(w.path.split("/")[-2:]), list(w.shape)] for w in model.weights]
    before = [["/".join(path.split("/")[-2:]), shape] for path, shape in described["weights"]]
    assert names == before
    assert digest(model.get_weights()) == described["weights_digest"]
    optimizer = getattr(model, "optimizer", None)
    variables = [] if optimizer is None else optimizer.variables
    assert len(variables) == described["num_optimizer_variables"]
    held = [keras.ops.convert_to_numpy(variable) for variable in variables]
    assert digest(held) == described["optimizer_digest"]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_an_earlier_version_computes_what_it_did(old, name):
    model = models.load_model(old / f"{name}.keras")
    check_holds(model, json.loads((old / "models.json").read_text())[name])
    images = pixels(SHAPES.get(name, (8, 8, 1)))
    with np.load(old / f"{name}.npz") as file:
        expected = dict(file)

    share = HALF if name == "half" else CLOSE
    check_close(model(images), expected["call"], share)
    if "encode" in expected:
        check_close(model.encode(images), expected["encode"], share)
    if "prediction" in expected:
        made = model.reconstruct(images)
        np.testing.assert_array_equal(made.patch_mask, expected["patch_mask"])
        check_close(made.prediction, expected["prediction"], share)
        masks = [model.masking.draw(model.grid, step, np.arange(3)) for step in (1, 1000)]
        np.testing.assert_array_equal(np.stack(masks), expected["training_masks"])


@pytest.mark.slow
def test_a_compiled_model_of_an_earlier_version_trains_on(old):
    model = models.load_model(old / "averaged.keras")
    assert model.optimizer.gradient_accumulation_steps == 2 and model.optimizer.use_ema
    steps = int(model.optimizer._iterations), int(model.micro_step)
    history = model.fit(pixels((8, 8, 1)), batch_size=4, verbose=0).history
    assert np.isfinite(history["loss"]).all() and "skipped_steps" in history
    assert (int(model.optimizer._iterations), int(model.micro_step)) == (steps[0] + 1, steps[1] + 1)


@pytest.mark.slow
def test_a_run_killed_under_an_earlier_version_ends_as_it_would_have(old, old_runs):
    """The checkpoint is read to the bit; ten steps later the weights are those of the whole run."""
    folder, about = old_runs
    newest = folder / "killed" / "checkpoints" / about["checkpoint"]
    check_holds(models.load_model(newest / "model.keras"), about["held"])
    recipe, _ = load_run(folder / "finished")
    metrics = pretrain(recipe, folder / "killed", resume=True, verbose=0)
    expected = np.load(old / "runs.npz")
    weights = models.load_model(folder / "killed" / "model.keras").get_weights()
    for number, weight in enumerate(weights):
        np.testing.assert_allclose(weight, expected[f"weight_{number}"], rtol=1e-3, atol=1e-4)
    before = json.loads((folder / "finished" / "metrics.json").read_text())
    assert metrics.keys() >= before.keys()
    assert metrics["hidden_loss"] == pytest.approx(before["hidden_loss"], rel=1e-3)


@pytest.mark.slow
def test_a_finished_run_of_an_earlier_version_is_read_and_evaluated(old, old_runs):
    folder, about = old_runs
    _, model = load_run(folder / "finished")
    check_holds(model, about["finished"])
    expected = np.load(old / "runs.npz")["encode"]
    check_close(model.encode(pixels((8, 8, 1))), expected)
    before = json.loads((folder / "finished" / "evaluation.json").read_text())
    now = evaluate_run(folder / "finished", ["knn"])["knn"]
    assert now["accuracies"].keys() == before["knn"]["accuracies"].keys()
    # A tie among neighbors may fall otherwise on another machine: three of 269 test images.
    assert now["test_accuracy"] == pytest.approx(before["knn"]["test_accuracy"], abs=0.012)


@pytest.mark.slow
def test_a_saved_model_of_an_earlier_version_serves_what_the_model_gives(old):
    import tensorflow as tf

    served = tf.saved_model.load(str(old / "finished" / "saved_model"))
    images = pixels((8, 8, 1))
    features = served.signatures["serving_default"](tf.constant(images))["features"]
    model = models.load_model(old / "finished" / "model.keras")
    check_close(features, model.encode(images))
