"""The contract that every layer of the package keeps.

`check_layer` is called first in the tests of each layer; `tests/layers/test_coverage.py` asserts
that no exported layer is left out.
"""

import inspect
import json
import pathlib
import tempfile

import keras
import numpy as np


def leaves(outputs):
    """Outputs of a call, one or several, as a list of NumPy arrays (bfloat16 as float32)."""
    outputs = keras.tree.flatten(outputs)
    half = [dtype == "bfloat16" for dtype in dtypes(outputs)]
    wide = [keras.ops.cast(x, "float32") if h else x for x, h in zip(outputs, half, strict=True)]
    return [keras.ops.convert_to_numpy(output) for output in wide]


def dtypes(outputs):
    return [keras.backend.standardize_dtype(x.dtype) for x in keras.tree.flatten(outputs)]


def assert_equal_outputs(actual, expected):
    for one, other in zip(leaves(actual), leaves(expected), strict=True):
        # Graphs may fuse what eager calls do not: a few float32 roundings.
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def check_layer(
    layer_class,
    init_kwargs,
    inputs,
    *,
    num_weights,
    num_trainable=None,
    mixed_dtype="bfloat16",
):
    """Assert everything that holds for any layer; `inputs` is an array, or a tuple of them.

    `num_weights` counts weight arrays, `num_trainable` those that training moves (by default all);
    `mixed_dtype` is the dtype of float outputs under `mixed_bfloat16`.
    """
    num_trainable = num_weights if num_trainable is None else num_trainable
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    check_weights(layer_class, init_kwargs, inputs, num_weights, num_trainable)
    check_config(layer_class, init_kwargs)
    check_symbolic_output(layer_class, init_kwargs, inputs)
    check_seed(layer_class, init_kwargs, inputs)
    check_mixed_precision(layer_class, init_kwargs, inputs, mixed_dtype)
    check_fit_and_reload(layer_class, init_kwargs, inputs)


def check_weights(layer_class, init_kwargs, inputs, num_weights, num_trainable):
    layer = layer_class(**init_kwargs)
    shapes = [array.shape for array in inputs]
    layer.build(*shapes)
    assert layer.built
    for _ in range(2):
        assert len(layer.weights) == num_weights
        assert len(layer.trainable_weights) == num_trainable
        layer(*inputs)
        layer.build(*shapes)  # building again adds nothing


def check_config(layer_class, init_kwargs):
    layer = layer_class(**init_kwargs, name="given")
    config = layer.get_config()
    assert set(init_kwargs) <= set(config)
    assert config["name"] == "given"
    text = json.dumps(config, sort_keys=True)
    again = layer_class.from_config(json.loads(text))
    assert json.dumps(again.get_config(), sort_keys=True) == text
    registered = keras.saving.get_registered_name(layer_class)
    assert registered == f"mae_keras>{layer_class.__name__}"


def check_symbolic_output(layer_class, init_kwargs, inputs):
    layer = layer_class(**init_kwargs)
    symbolic = layer(*map(_spec, inputs))
    eager = layer(*inputs)
    assert dtypes(symbolic) == dtypes(eager)
    for spec, array in zip(keras.tree.flatten(symbolic), leaves(eager), strict=True):
        assert spec.shape == (None, *array.shape[1:])
    if type(layer).compute_output_shape is not keras.layers.Layer.compute_output_shape:
        expected = layer.compute_output_shape(*(array.shape for array in inputs))
        assert tuple(expected) == tuple(eager.shape)


def _spec(array):
    dtype = keras.backend.standardize_dtype(array.dtype)
    return keras.KerasTensor((None, *array.shape[1:]), dtype=dtype)


def check_seed(layer_class, init_kwargs, inputs):
    outputs = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        layer = layer_class(**init_kwargs)
        outputs.append((layer(*inputs), layer(*inputs, **_in_training(layer))))
    assert_equal_outputs(*outputs)


def _in_training(layer):
    return {"training": True} if "training" in inspect.signature(layer.call).parameters else {}


def check_mixed_precision(layer_class, init_kwargs, inputs, mixed_dtype):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = layer_class(**init_kwargs)
        outputs = layer(*inputs)
    finally:
        keras.config.set_dtype_policy(policy)
    assert {dtype for dtype in dtypes(outputs) if "float" in dtype} == {mixed_dtype}
    assert all(np.all(np.isfinite(array)) for array in leaves(outputs))
    assert not [w.path for w in layer.weights if w.dtype == "bfloat16"]


def check_fit_and_reload(layer_class, init_kwargs, inputs):
    """One training step in a functional model, which moves what is trainable; then a reload."""
    keras.utils.set_random_seed(0)
    layer = layer_class(**init_kwargs)
    symbolic = [keras.Input(spec.shape[1:], dtype=spec.dtype) for spec in map(_spec, inputs)]
    outputs = layer(*symbolic)
    of_layer = keras.Model(symbolic, outputs)
    first = keras.layers.Flatten()(keras.tree.flatten(outputs)[0])
    model = keras.Model(symbolic, keras.layers.Dense(1)(first))
    model.compile("sgd", "mse", jit_compile=False)
    before = [keras.ops.convert_to_numpy(w) for w in layer.trainable_weights]
    count = len(inputs[0])
    history = model.fit(list(inputs), np.ones((count, 1)), batch_size=count, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    for weight, old in zip(layer.trainable_weights, before, strict=True):
        assert not np.array_equal(keras.ops.convert_to_numpy(weight), old), weight.path

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        of_layer.save(path)
        again = keras.saving.load_model(path)
    for weight, other in zip(of_layer.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, other)
    assert_equal_outputs(again(list(inputs)), of_layer(list(inputs)))
    assert_equal_outputs(again(list(inputs)), layer(*inputs))
