"""Running a function of a model over many images in batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mae_keras.layers import PixelNormalization
from mae_keras.models.compilation import Endpoints


@pytest.fixture(scope="module")
def owner():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.built = True
    return model


def values(count):
    return np.random.default_rng(0).normal(size=(count, 3)).astype("float32")


@pytest.mark.parametrize(("count", "batch_size"), [(7, 3), (6, 3), (2, 5), (1, 1), (5, 4)])
def test_padding_does_not_change_the_results(owner, count, batch_size):
    result = Endpoints().run(owner, "call", owner, values(count), batch_size)
    expected = keras.ops.convert_to_numpy(owner(values(count)))
    assert result.shape == (count, 2)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_batch_larger_than_the_data_is_not_padded():
    sizes = []

    def remember(batch):
        sizes.append(batch.shape[0])
        return batch

    Endpoints().run(keras.Sequential(), "key", lambda batch: remember(batch), values(5), 10_000)
    assert all(size in (None, 5) for size in sizes)


def test_dictionaries_in_and_out_keep_their_keys(owner):
    inputs = {"a": values(5), "b": np.arange(5)}
    result = Endpoints().run(
        owner, "swap", lambda batch: {"x": batch["b"], "y": batch["a"]}, inputs, 2
    )
    np.testing.assert_array_equal(result["x"], np.arange(5))
    np.testing.assert_array_equal(result["y"], values(5))


def test_a_dataset_comes_in_its_own_batches(owner):
    batches = tf.data.Dataset.from_tensor_slices(values(7)).batch(3)
    result = Endpoints().run(owner, "call", owner, batches, 1)
    np.testing.assert_allclose(result, keras.ops.convert_to_numpy(owner(values(7))), atol=1e-6)


def test_the_same_key_is_traced_once(owner):
    traced = []

    def function(batch):
        traced.append(batch.shape)
        return batch * 2

    endpoints = Endpoints()
    endpoints.run(owner, "key", function, values(4), 2)
    first = len(traced)
    endpoints.run(owner, "key", function, values(9), 2)
    assert len(traced) == first


def test_new_weights_are_seen_by_a_compiled_function(owner):
    endpoints = Endpoints()
    before = endpoints.run(owner, "call", owner, values(4), 2)
    owner.layers[0].bias.assign_add([1.0, 1.0])
    after = endpoints.run(owner, "call", owner, values(4), 2)
    np.testing.assert_allclose(after, before + 1, atol=1e-6)


def test_an_owner_does_not_come_to_own_its_endpoints(owner):
    weights, layers = len(owner.weights), len(owner.layers)
    owner.kept_endpoints = Endpoints()
    owner.kept_endpoints.run(owner, "call", owner, values(2), 2)
    assert (len(owner.weights), len(owner.layers)) == (weights, layers)


@pytest.mark.parametrize("dtype", ["int32", "uint16", "float32"])
def test_integer_codes_stay_whole_in_compiled_endpoints(make_tiny, dtype):
    model = make_tiny((16, 1), 2, value_range=None)
    codes = np.arange(65536).reshape(-1, 16, 1)

    def read(batch):
        """Patches cut to integers, as a model of words or classes reads them."""
        patches = model.to_patches(batch)[0]
        return keras.ops.cast(keras.ops.cast(patches, "int32"), "float32")

    made = Endpoints().run(model, "codes", read, codes.astype(dtype), 1024)
    np.testing.assert_array_equal(made.reshape(codes.shape), codes)


def test_normalization_without_a_range_changes_no_number_under_a_compiler():
    layer = PixelNormalization(None)
    codes = np.arange(65536, dtype="int32")[None]
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(layer)
    else:
        import tensorflow as tf

        compiled = tf.function(layer, jit_compile=True)
    made = keras.ops.convert_to_numpy(compiled(keras.ops.convert_to_tensor(codes)))
    np.testing.assert_array_equal(made, codes)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.denormalize(made)), codes)
