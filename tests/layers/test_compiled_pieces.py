"""Pieces that XLA compiles, against SciPy, finite differences and Keras's own operations."""

import keras
import numpy as np
import pytest
from scipy.special import erf, erfc

from mae_keras.layers import TransformerBlock
from mae_keras.layers.compiled_pieces import compiled_pieces, gelu, normed, projected

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="pieces are TensorFlow's"
)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def value_and_gradients(function, upstream, *inputs):
    """What a function gives, and the gradient of its product with `upstream` for every input."""
    import tensorflow as tf

    tensors = [tf.constant(given) for given in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        made = function(*tensors)
        total = tf.reduce_sum(tf.cast(made, "float32") * upstream)
    return made.numpy(), [gradient.numpy() for gradient in tape.gradient(total, tensors)]


@needs_tensorflow
def test_gelu_and_its_slope_are_those_of_the_normal_distribution():
    x = np.concatenate([np.linspace(-9, 9, 401), [-40.0, 0.0, 40.0]]).astype("float32")
    upstream = draw(len(x))
    with compiled_pieces(True):
        value, (gradient,) = value_and_gradients(gelu, upstream, x)
    exact = x.astype("float64")
    np.testing.assert_allclose(value, exact * 0.5 * erfc(-exact / np.sqrt(2)), atol=2e-6)
    slope = 0.5 + 0.5 * erf(exact / np.sqrt(2))
    slope += exact * np.exp(-(exact**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(gradient, upstream * slope, atol=2e-6)


@needs_tensorflow
def test_the_norm_and_its_gradients_are_those_of_keras():
    norm = keras.layers.LayerNormalization(epsilon=1e-3)
    norm.build((None, None, 6))
    upstream, tokens = draw(3, 5, 6, seed=1), 4 + 3 * draw(3, 5, 6)
    gamma, beta = draw(6, seed=2), draw(6, seed=3)

    def apply(tokens, gamma, beta):
        mapping = [(norm.gamma, gamma), (norm.beta, beta)]
        with keras.StatelessScope(state_mapping=mapping):
            return normed(norm, tokens)

    expected, wanted = value_and_gradients(apply, upstream, tokens, gamma, beta)
    with compiled_pieces(True):
        value, gradients = value_and_gradients(apply, upstream, tokens, gamma, beta)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    for got, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5)


@needs_tensorflow
def test_the_projection_and_its_gradients_are_those_of_two_matrices():
    dense = keras.layers.Dense(4)
    dense.build((None, None, 6))
    upstream, tokens = draw(3, 5, 4, seed=1), draw(3, 5, 6)
    kernel, bias = draw(6, 4, seed=2), draw(4, seed=3)

    def apply(tokens, kernel, bias):
        mapping = [(dense._kernel, kernel), (dense.bias, bias)]
        with keras.StatelessScope(state_mapping=mapping), compiled_pieces(True):
            return projected(dense, tokens)

    value, gradients = value_and_gradients(apply, upstream, tokens, kernel, bias)
    np.testing.assert_allclose(value, tokens @ kernel + bias, atol=1e-5)
    rows, given = tokens.reshape(-1, 6), upstream.reshape(-1, 4)
    expected = (upstream @ kernel.T, rows.T @ given, given.sum(0))
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


@needs_tensorflow
def test_a_projection_without_bias_is_left_to_keras():
    dense = keras.layers.Dense(4, use_bias=False)
    tokens = draw(3, 5, 6)
    dense.build(tokens.shape)
    with compiled_pieces(True):
        made = projected(dense, keras.ops.array(tokens))
    np.testing.assert_allclose(made, tokens @ keras.ops.convert_to_numpy(dense.kernel), atol=1e-5)


@needs_tensorflow
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_stays_half_precision(dtype):
    block = TransformerBlock(num_heads=2, mlp_dim=16, dtype=dtype)
    tokens = draw(2, 5, 8)
    plain = keras.ops.convert_to_numpy(keras.ops.cast(block(tokens), "float32"))
    with compiled_pieces(True):
        made = block(tokens)
    assert keras.backend.standardize_dtype(made.dtype) == dtype.removeprefix("mixed_")
    made = keras.ops.convert_to_numpy(keras.ops.cast(made, "float32"))
    np.testing.assert_allclose(made, plain, atol=0.06)


@needs_tensorflow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_in_half_precision_are_those_of_single_precision(dtype):
    import tensorflow as tf

    half, single = (keras.layers.LayerNormalization(dtype=d) for d in (f"mixed_{dtype}", "float32"))
    for norm in (half, single):
        norm.build((None, None, 8))
    upstream, tokens = draw(3, 5, 8, seed=1), draw(3, 5, 8)
    pairs = {"gelu": (gelu, keras.activations.gelu), "norm": (lambda x: normed(half, x), single)}
    for piece, exact in pairs.values():

        def in_half(x, piece=piece):
            made = piece(tf.cast(x, dtype))
            assert keras.backend.standardize_dtype(made.dtype) == dtype
            return made

        with compiled_pieces(True):
            _, (gradient,) = value_and_gradients(in_half, upstream, tokens)
        _, (expected,) = value_and_gradients(exact, upstream, tokens)
        np.testing.assert_allclose(gradient, expected, atol=0.03)


@needs_tensorflow
@pytest.mark.parametrize(("dtype", "scale"), [("bfloat16", 1.0), ("float16", 3e4)])
def test_gradients_of_scale_and_offset_survive_half_precision(dtype, scale):
    """As large as loss scaling makes them, which sums in float16 would not hold."""
    import tensorflow as tf

    norm = keras.layers.LayerNormalization(dtype=f"mixed_{dtype}")
    norm.build((None, None, 8))
    tokens, upstream = draw(4, 5, 8), scale * (1 + 0.1 * draw(4, 5, 8, seed=1))

    def apply(gamma, beta):
        with keras.StatelessScope(state_mapping=[(norm.gamma, gamma), (norm.beta, beta)]):
            return normed(norm, tf.cast(tokens, dtype))

    with compiled_pieces(True):
        _, gradients = value_and_gradients(apply, upstream, np.ones(8, "f4"), np.zeros(8, "f4"))
    deviation = tokens.std(-1, keepdims=True)
    standardised = (tokens - tokens.mean(-1, keepdims=True)) / deviation
    expected = (upstream * standardised).sum((0, 1)), upstream.sum((0, 1))
    assert expected[1].max() > 65504 or scale == 1.0
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=0.02 * scale * 20)


@needs_tensorflow
def test_the_scope_ends_with_its_block():
    import tensorflow as tf

    def operations():
        traced = tf.function(lambda x: gelu(x)).get_concrete_function(tf.TensorSpec((3,)))
        return {operation.type for operation in traced.graph.get_operations()}

    with pytest.raises(RuntimeError, match="inside"), compiled_pieces(True):
        with compiled_pieces(False):
            assert "Erfc" in operations()
        assert "Erfc" not in operations()
        raise RuntimeError("inside")
    assert "Erfc" in operations()
