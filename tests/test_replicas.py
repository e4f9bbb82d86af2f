"""Two devices give what one device gives: TensorFlow's replicas, and the questions they ask."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from mae_keras.runtime import replicas

TESTS = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def made():
    """What `mirrored_checks.py` printed."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = str(TESTS.parent)
    done = subprocess.run(
        [sys.executable, str(TESTS / "mirrored_checks.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_two_replicas_give_the_weights_of_one_device(made):
    """With accumulation, averaging, drop path, uniformity and unequal sample weights."""
    assert made["everything"] < 1e-5
    assert made["usual decoder"] < 1e-5
    assert made["xla"] == "nothing"
    assert made["steps"] == [4, 4]


@pytest.mark.long
def test_replicas_on_a_dataset_of_batches_give_the_weights_of_one_device(made):
    assert made["dataset"] < 1e-5


@pytest.mark.long
def test_the_copies_of_every_variable_stay_equal(made):
    assert made["copies"] == 0.0


@pytest.mark.long
def test_reported_losses_and_metrics_are_those_of_one_device(made):
    one, two = made["histories"]
    assert one.keys() == two.keys() >= {"loss", "mae"}
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5)


@pytest.mark.long
def test_evaluation_draws_the_masks_of_one_device_for_uneven_slices_too(made):
    one, two = made["evaluations"]
    np.testing.assert_allclose(two, one, rtol=1e-5)


@pytest.mark.long
def test_features_are_computed_on_replicas_and_saved_weights_load_without(made):
    assert made["features"] < 1e-5
    assert made["loaded"] == 0.0


@pytest.mark.long
def test_the_remainder_is_dropped(made):
    assert made["steps of 19 images by 8"] == 2


@pytest.mark.long
def test_a_step_that_is_not_finite_is_skipped_by_all_replicas_and_counted_once(made):
    assert made["skipped"] == [[1.0, 0.0], [1.0, 0.0]]
    assert made["skipping"] < 1e-5
    assert made["copies after skipping"] == 0.0


@pytest.mark.long
def test_another_model_resumes_on_replicas_in_the_middle_of_an_epoch(made):
    """In one process: TensorFlow knows the shapes of what the earlier models summed."""
    resumed = made["resumed"]
    assert resumed["step"] == 3
    assert resumed["weights"] < 1e-6
    one, two = resumed["histories"]
    assert one.keys() == two.keys() >= {"loss", "val_loss"}
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-6)


@pytest.mark.long
def test_auto_is_without_xla(made):
    assert made["jit"] is False


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("jit", "`jit_compile` must be 'auto' or False on several TensorFlow replicas"),
        ("clipping", "`global_clipnorm` must be None under a `tf.distribute` strategy"),
        ("float16", "`mixed_float16` cannot be trained under a `tf.distribute` strategy"),
        ("outside", "Received: 2 replica(s) when built, 1 now"),
        ("uneven", "`batch_size` must be a multiple of the number of replicas, 2"),
        ("ragged", "drop_remainder=True)`. Received: batches of unknown size"),
        ("generator", "trains on arrays or a `tf.data.Dataset`"),
        ("workers", "keras-team/keras#20585"),
    ],
)
def test_what_would_come_out_wrong_is_refused(made, what, message):
    assert message in made["refusals"][what]


@pytest.mark.every_backend
def test_without_a_distribution_there_is_one_replica():
    assert replicas.num_replicas() == replicas.num_processes() == 1
    assert not replicas.in_replica()
    assert replicas.first_sample(8) == 0
    assert replicas.first_sample(8, seen=24) == 24
    rows = ops.ones((2, 3))
    assert replicas.joined(rows) is rows
    condition = ops.convert_to_tensor(False)
    assert replicas.agreed(condition) is condition
    replicas.check_strategy()


def test_on_jax_the_mesh_says_how_many_slices_a_batch_has(monkeypatch):
    class Mesh:
        shape, axis_names = (4, 2), ("batch", "model")

    class Distribution:
        device_mesh, batch_dim_name = Mesh(), "batch"

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(keras.distribution, "distribution", Distribution)
    assert replicas.num_replicas() == 4


def test_what_one_process_does_alone_sees_no_distribution(monkeypatch):
    placed = ["all"]
    monkeypatch.setattr(replicas, "num_processes", lambda: 2)
    monkeypatch.setattr(keras.distribution, "distribution", lambda: placed[-1])
    monkeypatch.setattr(keras.distribution, "set_distribution", placed.append)
    with pytest.raises(OSError), replicas.alone():
        assert placed[-1] is None
        raise OSError
    assert placed[-1] == "all"
