"""Attention in pieces, against Keras's operation and the layers without pieces."""

import keras
import numpy as np
import pytest
from keras import ops

from mae_keras.layers import CrossAttentionBlock, MultiHeadCrossAttention, TransformerBlock
from mae_keras.runtime.cpu_kernels import attended, by_heads, compiled_pieces
from tests.layers.piece_checks import draw, needs_tensorflow, value_and_gradients, with_weights

pytestmark = needs_tensorflow


@pytest.mark.parametrize(
    ("dtype", "atol"), [("float32", 1e-5), ("float16", 0.02), ("bfloat16", 0.1)]
)
def test_attention_and_its_gradients_are_those_of_keras(dtype, atol):
    import tensorflow as tf

    query, key, value = draw(2, 3, 4, 8), draw(2, 3, 5, 8, seed=1), draw(2, 3, 5, 8, seed=2)
    upstream = draw(2, 3, 4, 8, seed=3)

    def turned(*parts):
        return [ops.transpose(part, (0, 2, 1, 3)) for part in parts]

    def keras_own(*parts):
        (made,) = turned(ops.dot_product_attention(*turned(*parts), scale=1.0))
        return made

    def in_dtype(*parts):
        return tf.cast(attended(*(tf.cast(part, dtype) for part in parts)), "float32")

    expected, wanted = value_and_gradients(keras_own, upstream, query, key, value)
    made, gradients = value_and_gradients(in_dtype, upstream, query, key, value)
    np.testing.assert_allclose(made, expected, atol=atol)
    for got, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("scaled", [True, False])
def test_heads_and_their_gradients_are_those_of_slices(scaled):
    dense = keras.layers.Dense(24)
    tokens, kernel, bias = draw(2, 5, 6), draw(6, 24, seed=1), draw(24, seed=2)
    dense.build(tokens.shape)
    upstream = draw(3, 2, 2, 5, 4, seed=3)
    factors = [0.5 if scaled else 1.0, 1.0, 1.0]

    def in_pieces(tokens, *weights):
        def apply(dense):
            return ops.stack(by_heads(dense, tokens, 3, num_heads=2, scaled=scaled))

        return with_weights(dense, apply, *weights)

    def by_hand(tokens, kernel, bias):
        made = ops.matmul(tokens, kernel) + bias
        heads = [
            [made[..., 8 * part + 4 * head :][..., :4] * factors[part] for head in range(2)]
            for part in range(3)
        ]
        return ops.stack([ops.stack(part, axis=1) for part in heads])

    expected, wanted = value_and_gradients(by_hand, upstream, tokens, kernel, bias)
    made, gradients = value_and_gradients(in_pieces, upstream, tokens, kernel, bias)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    for got, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_single_key_gets_no_gradient():
    query, key, value = (ops.cast(draw(2, 3, n, 8, seed=n), "bfloat16") for n in (4, 1, 1))
    key = 2 * key  # or both would be one tensor, and its gradient a sum
    upstream = draw(2, 3, 4, 8, seed=3)
    made, gradients = value_and_gradients(attended, upstream, query, key, value)
    np.testing.assert_array_equal(made, np.repeat(value, 4, axis=2))
    for gradient in gradients[:2]:
        np.testing.assert_array_equal(gradient, 0)


def blocks(**options):
    """Blocks, and how they are called with tokens."""
    own = TransformerBlock(num_heads=2, mlp_dim=16, **options)
    cross = CrossAttentionBlock(num_heads=2, mlp_dim=16, **options)
    context = ops.convert_to_tensor(draw(2, 3, 8, seed=5))
    return {
        "own": (own, own),
        "last": (own, lambda tokens: own(tokens, num_queries=2)),
        "masked": (own, lambda tokens: own(tokens, attention_mask=ops.arange(10) < [[4]] * 2)),
        "cross": (cross, lambda tokens: cross(tokens, context)),
    }


def outcome(block, call, tokens):
    """What a block makes, and the gradients of its squares."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tokens)
        made = tf.cast(call(tokens), "float32")
        loss = tf.reduce_sum(made * made)
    return made, tape.gradient(loss, [tokens, *(w.value for w in block.trainable_weights)])


HALF = [
    pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("mixed_bfloat16", "mixed_float16")
]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["own", "last", "masked", "cross"])
@pytest.mark.parametrize("dtype", ["float32", *HALF])
def test_a_block_and_all_its_gradients_are_those_in_single_precision_without_pieces(way, dtype):
    import tensorflow as tf

    tokens = tf.constant(draw(2, 10, 8))
    (plain, call_plain), (block, call) = blocks()[way], blocks(dtype=dtype)[way]
    for each in (call, call_plain):
        each(tokens)
    for number, weights in enumerate(zip(plain.weights, block.weights, strict=True)):
        for weight in weights:
            weight.assign(0.3 * draw(*weight.shape, seed=number))
    expected, wanted = outcome(plain, call_plain, tokens)
    with compiled_pieces(True):
        made, gradients = outcome(block, call, tokens)
        raw = call(tokens)
    assert keras.backend.standardize_dtype(raw.dtype) == dtype.removeprefix("mixed_")
    tolerance = {"float32": 1e-5, "mixed_float16": 0.004, "mixed_bfloat16": 0.04}[dtype]
    for got, want in zip([made, *gradients], [expected, *wanted], strict=True):
        scale = max(1.0, np.abs(want).max())
        np.testing.assert_allclose(got, want, atol=tolerance * scale)


@pytest.mark.slow
@pytest.mark.parametrize("floatx", ["bfloat16", "float16"])
def test_pieces_do_not_depend_on_what_keras_computes_in_by_default(floatx):
    tokens = ops.convert_to_tensor(draw(2, 5, 8))
    _, call = blocks(dtype="mixed_bfloat16")["own"]
    with compiled_pieces(True):
        expected = call(tokens)
    usual = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        with compiled_pieces(True):
            made = call(ops.cast(tokens, "float32"))
    finally:
        keras.config.set_floatx(usual)
    np.testing.assert_array_equal(ops.cast(made, "float32"), ops.cast(expected, "float32"))


@pytest.mark.slow
def test_a_cross_attention_with_one_quantised_projection_is_left_to_keras():
    layer = MultiHeadCrossAttention(num_heads=2)
    tokens, context = draw(2, 5, 8), draw(2, 3, 8, seed=1)
    layer(tokens, context)
    layer.key_value.quantize("int8")
    plain = layer(tokens, context)
    with compiled_pieces(True):
        np.testing.assert_allclose(layer(tokens, context), plain, atol=1e-5)
