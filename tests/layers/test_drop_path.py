"""Stochastic depth: whole samples, the right share of them, only in training."""

import keras
import numpy as np
import pytest
from layer_checks import check_layer

from mae_keras.layers import DropPath


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def dropped(layer, batch=64):
    """Which of `batch` samples one training call leaves out."""
    return array(layer(np.ones((batch, 1), "float32"), training=True))[:, 0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "num_weights"), [(0.0, 0), (0.5, 2)], ids=["nothing dropped", "half dropped"]
)
def test_contract(rate, num_weights):
    inputs = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
    init_kwargs = {"drop_path_rate": rate, "seed": 3}
    check_layer(DropPath, init_kwargs, inputs, num_weights=num_weights, num_trainable=0)


@pytest.mark.parametrize("shape", [(200, 3), (200, 2, 3), (200, 2, 2, 2)])
def test_whole_samples_are_dropped_and_the_others_scaled(shape):
    inputs = np.random.default_rng(0).uniform(1, 2, shape).astype("float32")
    outputs = array(DropPath(0.2, seed=0)(inputs, training=True)).reshape(200, -1)
    gone = np.all(outputs == 0, axis=1)
    assert 0 < gone.sum() < 200
    # 1 / (1 - 0.2) = 1.25, to a float32 rounding
    np.testing.assert_allclose(outputs[~gone], 1.25 * inputs.reshape(200, -1)[~gone], rtol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_expected_value_is_kept(rate):
    outputs = array(DropPath(rate, seed=1)(np.ones((20000, 1), "float32"), training=True))
    deviation = np.sqrt(rate / (1 - rate) / 20000)
    assert abs(outputs.mean() - 1.0) < 4 * deviation


def test_nothing_is_dropped_at_inference():
    layer, inputs = DropPath(0.9, seed=0), np.ones((50, 3), "float32")
    np.testing.assert_array_equal(array(layer(inputs)), inputs)
    np.testing.assert_array_equal(array(layer(inputs, training=False)), inputs)


def test_a_rate_of_zero_drops_nothing():
    inputs = np.ones((50, 3), "float32")
    np.testing.assert_array_equal(array(DropPath(0.0)(inputs, training=True)), inputs)


def test_other_samples_are_dropped_at_the_next_step():
    layer = DropPath(0.5, seed=0)
    assert not np.array_equal(dropped(layer), dropped(layer))


def test_inference_does_not_count_as_a_step():
    disturbed, other = DropPath(0.5, seed=0), DropPath(0.5, seed=0)
    dropped(disturbed), dropped(other)
    disturbed(np.ones((4, 1), "float32"), training=False)
    np.testing.assert_array_equal(dropped(disturbed), dropped(other))


def test_equal_seeds_drop_the_same_and_others_do_not():
    first, same, other = (dropped(DropPath(0.5, seed=seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_layers_without_a_seed_drop_differently():
    first, second = DropPath(0.5), DropPath(0.5)
    assert first.seed != second.seed
    assert not np.array_equal(dropped(first), dropped(second))


def test_what_is_dropped_does_not_depend_on_the_size_of_the_batch():
    few, many = (dropped(DropPath(0.5, seed=0), batch) for batch in (10, 64))
    np.testing.assert_array_equal(few, many[:10])


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ValueError, match=rf"`drop_path_rate` must be.*drop_path_rate={rate}"):
        DropPath(rate)


def test_what_is_dropped_is_saved_with_the_weights():
    """A layer rebuilt from a config without the seed, as inside a block, goes on alike."""
    layer, other = DropPath(0.5, seed=1), DropPath(0.5, seed=2)
    dropped(layer)
    dropped(other)
    other.set_weights(layer.get_weights())
    np.testing.assert_array_equal(dropped(other), dropped(layer))


def test_a_seed_that_is_no_seed_is_refused():
    with pytest.raises(ValueError, match="`seed` must be"):
        DropPath(0.5, seed=-1)
