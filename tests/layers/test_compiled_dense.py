"""Dense layers taken apart, against NumPy, SciPy and Keras."""

import keras
import numpy as np
import pytest
from scipy.special import erf, erfc

from mae_keras.runtime.cpu_kernels import activated, added, compiled_pieces, projected
from tests.layers.piece_checks import draw, needs_tensorflow, value_and_gradients, with_weights

pytestmark = needs_tensorflow


def dense_layer(inputs, units, **options):
    dense = keras.layers.Dense(units, **options)
    dense.build((None, None, inputs))
    return dense


def in_pieces(function, dense):
    """`function(dense, tokens)` in pieces, as one of tokens, kernel and bias."""

    def apply(tokens, kernel, bias):
        with compiled_pieces(True):
            return with_weights(dense, lambda dense: function(dense, tokens), kernel, bias)

    return apply


def test_the_projection_and_its_gradients_are_those_of_two_matrices():
    upstream, tokens = draw(3, 5, 4, seed=1), draw(3, 5, 6)
    kernel, bias = draw(6, 4, seed=2), draw(4, seed=3)
    apply = in_pieces(projected, dense_layer(6, 4))
    value, gradients = value_and_gradients(apply, upstream, tokens, kernel, bias)
    np.testing.assert_allclose(value, tokens @ kernel + bias, atol=1e-5)
    rows, given = tokens.reshape(-1, 6), upstream.reshape(-1, 4)
    expected = (upstream @ kernel.T, rows.T @ given, given.sum(0))
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_gelu_and_its_slope_are_those_of_the_normal_distribution():
    x = np.concatenate([np.linspace(-9, 9, 401), [-40.0, 0.0, 40.0]]).astype("float32")
    x, upstream, half = x[None, :, None], draw(1, 404, 1), np.full(1, 0.5, "float32")
    apply = in_pieces(activated, dense_layer(1, 1))
    value, gradients = value_and_gradients(apply, upstream, x, np.ones((1, 1), "float32"), half)
    exact = x.astype("float64") + 0.5
    np.testing.assert_allclose(value, exact * 0.5 * erfc(-exact / np.sqrt(2)), atol=2e-6)
    slope = 0.5 + 0.5 * erf(exact / np.sqrt(2))
    slope += exact * np.exp(-(exact**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(gradients[0], upstream * slope, atol=2e-6)
    np.testing.assert_allclose(gradients[1], [[(upstream * slope * x).sum()]], rtol=1e-4)
    np.testing.assert_allclose(gradients[2], [(upstream * slope).sum()], rtol=1e-4)


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-5), ("mixed_bfloat16", 0.1)])
def test_what_goes_past_is_added_and_gets_the_gradient_that_came(dtype, atol):
    import tensorflow as tf

    upstream, tokens, past = draw(3, 5, 4, seed=1), draw(3, 5, 6), draw(3, 5, 4, seed=4)
    kernel, bias = draw(6, 4, seed=2), draw(4, seed=3)
    dense = dense_layer(6, 4, dtype=dtype)

    def apply(past, *given):
        past = tf.cast(past, dense.compute_dtype)
        return in_pieces(lambda dense, tokens: added(past, dense, tokens), dense)(*given)

    value, gradients = value_and_gradients(apply, upstream, past, tokens, kernel, bias)
    np.testing.assert_allclose(value.astype("float32"), past + tokens @ kernel + bias, atol=atol)
    np.testing.assert_allclose(gradients[0], upstream, rtol=0.01 if atol > 0.01 else 0)
    np.testing.assert_allclose(gradients[1], upstream @ kernel.T, atol=atol)
    np.testing.assert_allclose(gradients[3], upstream.sum((0, 1)), atol=atol)


@pytest.mark.parametrize("options", [{"use_bias": False}, {"activation": "relu"}], ids=str)
def test_another_layer_is_left_to_keras(options):
    tokens, dense = draw(3, 5, 6), dense_layer(6, 4, **options)
    plain = np.asarray(dense(tokens))
    with compiled_pieces(True):
        made = [f(dense, keras.ops.array(tokens)) for f in (projected, activated)]
        summed = added(keras.ops.array(plain), dense, keras.ops.array(tokens))
    np.testing.assert_allclose(made[0], plain, atol=1e-6)
    np.testing.assert_allclose(made[1], plain * 0.5 * erfc(-plain / np.sqrt(2)), atol=1e-5)
    np.testing.assert_allclose(summed, 2 * plain, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_that_of_single_precision_rounded(dtype):
    import tensorflow as tf

    tokens, upstream = draw(3, 5, 6), draw(3, 5, 4, seed=1)
    kernel, bias = draw(6, 4, seed=2), draw(4, seed=3)
    single = keras.layers.Dense(4)
    single.build(tokens.shape)
    past = draw(3, 5, 4, seed=4)
    for function, plain in (
        (projected, lambda x: x),
        (activated, lambda x: keras.ops.gelu(x, approximate=False)),
        (lambda dense, x: added(tf.cast(past, dtype), dense, x), lambda x: past + x),
    ):
        apply = in_pieces(function, dense_layer(6, 4, dtype=f"mixed_{dtype}"))

        def checked(*given, apply=apply):
            made = apply(*given)
            assert keras.backend.standardize_dtype(made.dtype) == dtype
            return made

        def wanted(tokens, kernel, bias, plain=plain):
            return plain(with_weights(single, lambda dense: dense(tokens), kernel, bias))

        value, gradients = value_and_gradients(checked, upstream, tokens, kernel, bias)
        expected, exact = value_and_gradients(wanted, upstream, tokens, kernel, bias)
        np.testing.assert_allclose(value.astype("float32"), expected, atol=0.1)
        for got, want in zip(gradients, exact, strict=True):
            np.testing.assert_allclose(got, want, atol=0.15)
