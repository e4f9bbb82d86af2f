"""Layer norms in few loops, against Keras's and NumPy."""

import keras
import numpy as np
import pytest

from mae_keras.runtime.cpu_kernels import compiled_pieces, normed, parted
from tests.layers.piece_checks import draw, needs_tensorflow, value_and_gradients, with_weights

pytestmark = needs_tensorflow


def norm_layer(width, **options):
    norm = keras.layers.LayerNormalization(**options)
    norm.build((None, None, width))
    return norm


def test_the_norm_and_its_gradients_are_those_of_keras():
    norm = norm_layer(6, epsilon=1e-3)
    upstream, tokens = draw(3, 5, 6, seed=1), 4 + 3 * draw(3, 5, 6)
    weights = draw(6, seed=2), draw(6, seed=3)

    def apply(tokens, gamma, beta):
        return with_weights(norm, lambda norm: normed(norm, tokens), gamma, beta)

    expected, wanted = value_and_gradients(apply, upstream, tokens, *weights)
    with compiled_pieces(True):
        value, gradients = value_and_gradients(apply, upstream, tokens, *weights)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    for got, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5)


def test_a_residual_path_adds_its_gradient_to_that_of_the_norm():
    norm = norm_layer(6)
    upstream, tokens = draw(3, 5, 6, seed=1), draw(3, 5, 6)

    def apply(tokens, joined=parted):
        past, made = joined(norm, tokens)
        return past * past + 3 * made

    expected, (wanted,) = value_and_gradients(
        lambda tokens: apply(tokens, lambda norm, x: (x, norm(x))), upstream, tokens
    )
    with compiled_pieces(True):
        value, (gradient,) = value_and_gradients(apply, upstream, tokens)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    np.testing.assert_allclose(gradient, wanted, atol=2e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_that_of_single_precision_rounded(dtype):
    import tensorflow as tf

    half, single = norm_layer(8, dtype=f"mixed_{dtype}"), norm_layer(8)
    upstream, tokens = draw(3, 5, 8, seed=1), draw(3, 5, 8)

    def in_half(x):
        past, made = parted(half, tf.cast(x, dtype))
        for each in (past, made):
            assert keras.backend.standardize_dtype(each.dtype) == dtype
        return made

    with compiled_pieces(True):
        value, (gradient,) = value_and_gradients(in_half, upstream, tokens)
    expected, (wanted,) = value_and_gradients(single, upstream, tokens)
    np.testing.assert_allclose(value.astype("float32"), expected, atol=0.03)
    np.testing.assert_allclose(gradient, wanted, atol=0.03)


@pytest.mark.parametrize(("dtype", "scale"), [("bfloat16", 1.0), ("float16", 3e4)])
def test_gradients_of_scale_and_offset_survive_half_precision(dtype, scale):
    """As large as loss scaling makes them, which sums in float16 would not hold."""
    import tensorflow as tf

    norm = norm_layer(8, dtype=f"mixed_{dtype}")
    tokens, upstream = draw(4, 5, 8), scale * (1 + 0.1 * draw(4, 5, 8, seed=1))

    def apply(*weights):
        return with_weights(norm, lambda norm: normed(norm, tf.cast(tokens, dtype)), *weights)

    with compiled_pieces(True):
        _, gradients = value_and_gradients(apply, upstream, np.ones(8, "f4"), np.zeros(8, "f4"))
    deviation = tokens.std(-1, keepdims=True)
    standardised = (tokens - tokens.mean(-1, keepdims=True)) / deviation
    expected = (upstream * standardised).sum((0, 1)), upstream.sum((0, 1))
    assert expected[1].max() > 65504 or scale == 1.0
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=0.02 * scale * 20)
