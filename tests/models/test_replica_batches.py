"""What `fit` and `evaluate` take on several replicas."""

import keras
import numpy as np
import pytest

from mae_keras.models import DenseMaskedAutoencoder
from mae_keras.models import batch_checks as replica_batches
from mae_keras.models.batch_checks import (
    WholeBatches,
    check_evaluation_input,
    check_optimizer,
    check_replicas,
    training_input,
)

IMAGES = np.arange(10)[:, None]


@pytest.mark.every_backend
def test_whole_batches_leave_another_remainder_out_in_every_epoch():
    batches = WholeBatches([IMAGES, IMAGES[:, 0] + 100], 4, shuffle=True)
    epochs = []
    for _ in range(20):
        rows = [batches[0], batches[1]]
        assert all((labels == images[:, 0] + 100).all() for images, labels in rows)
        epochs.append(np.concatenate([images[:, 0] for images, _ in rows]).tolist())
        batches.on_epoch_end()
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert set(sum(epochs, [])) == set(range(10))
    assert epochs[0] != epochs[1]


@pytest.mark.every_backend
def test_a_model_trains_on_whole_batches_with_weights(images):
    model = DenseMaskedAutoencoder((8, 8, 1), (4,), seed=0)
    model.compile("sgd", run_eagerly=True)
    arrays = [images[:7], np.zeros(7), np.ones(7, "float32")]
    model.fit(WholeBatches(arrays, 3, shuffle=False), verbose=0)
    assert int(model.micro_step) == 2


@pytest.mark.every_backend
def test_on_one_replica_everything_passes_as_it_came():
    options = {"batch_size": 3, "validation_split": 0.5}
    assert training_input("x", "y", options, replicas=1) == ("x", "y", options)


@pytest.mark.every_backend
def test_arrays_become_whole_batches_and_options_follow():
    weights = np.ones(10)
    given = {"batch_size": 4, "sample_weight": weights, "epochs": 3}
    x, y, options = training_input(IMAGES, IMAGES[:, 0], given, replicas=2)
    assert isinstance(x, WholeBatches) and len(x) == 2 and len(x[0]) == 3
    assert y is None
    assert options == {"batch_size": 4, "epochs": 3, "shuffle": False}
    assert "sample_weight" in given


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (IMAGES, {"batch_size": 5}, ValueError, "multiple of the number of replicas, 2"),
        (IMAGES, {"batch_size": 12}, ValueError, "larger than the number of images"),
        (IMAGES, {"validation_split": 0.1}, ValueError, "give `validation_data`"),
        ([[1.0]], {}, TypeError, "Received: list"),
    ],
)
def test_what_replicas_cannot_share_evenly_is_refused(x, options, error, message):
    with pytest.raises(error, match=message):
        training_input(x, None, options, replicas=2)


def test_processes_train_on_datasets_of_their_own_slices(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(replica_batches, "num_processes", lambda: 2)
    with pytest.raises(TypeError, match=r"training_batches\(shard="):
        training_input(IMAGES, None, {"batch_size": 4}, replicas=4)
    slices = tf.data.Dataset.from_tensor_slices(IMAGES).batch(2, drop_remainder=True)
    assert training_input(slices, None, {}, replicas=4)[0] is slices
    with pytest.raises(ValueError, match="number of replicas, 4"):
        training_input(slices, None, {}, replicas=8)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_evaluation_is_refused_where_jax_cannot_cut_it(monkeypatch, backend):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    check_evaluation_input(IMAGES, 5, replicas=1)
    check_evaluation_input(IMAGES, 4, replicas=2)
    validation = {"validation_data": (IMAGES[:9], None), "batch_size": 4}
    if backend == "tensorflow":
        check_evaluation_input(IMAGES, 5, replicas=2)
        training_input(IMAGES, None, validation, replicas=2)
        return
    with pytest.raises(ValueError, match="the last batch must be a multiple"):
        check_evaluation_input(IMAGES, 4, replicas=4)
    with pytest.raises(ValueError, match="the last batch must be a multiple"):
        training_input(IMAGES, None, validation, replicas=2)


@pytest.mark.every_backend
def test_compiling_under_another_distribution_than_built_under_is_refused(monkeypatch):
    model = DenseMaskedAutoencoder((8, 8, 1), (4,), seed=0)
    check_replicas(model)
    monkeypatch.setattr(replica_batches, "num_replicas", lambda: 2)
    with pytest.raises(ValueError, match=r"Received: 1 replica\(s\) when built, 2 now"):
        check_replicas(model)


def test_clipping_is_refused_on_tensorflow_replicas_alone(monkeypatch):
    clipping = keras.optimizers.SGD(0.1, clipnorm=1.0)
    check_optimizer(clipping)
    monkeypatch.setattr(replica_batches, "num_replicas", lambda: 2)
    check_optimizer(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="`clipnorm` must be None"):
        check_optimizer(clipping)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    check_optimizer(clipping)


def test_float16_is_refused_on_tensorflow_replicas_alone(monkeypatch):
    def compiled():
        model = DenseMaskedAutoencoder((8, 8, 1), (4,), seed=0, dtype="mixed_float16")
        model.built_for = replica_batches.num_replicas()
        model.compile("sgd", run_eagerly=True)
        return model.optimizer

    assert isinstance(compiled(), keras.optimizers.LossScaleOptimizer)
    monkeypatch.setattr(replica_batches, "num_replicas", lambda: 2)
    with pytest.raises(ValueError, match="Use `mixed_bfloat16`.*Received: LossScaleOptimizer"):
        compiled()
