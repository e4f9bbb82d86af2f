"""Fused CPU kernels: blocks give what their own lines give; GELU and rounding are exact."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import erf, erfc

from mae_keras.layers import CrossAttentionBlock, MultiHeadSelfAttention, TransformerBlock
from mae_keras.runtime import cpu_kernels
from mae_keras.runtime.cpu_kernels import (
    compiled,
    dense_gelu,
    dot_product_attention,
    narrow,
    norm_residual,
    sum_of_rows,
)

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernels are TensorFlow's"
)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def value_and_gradients(function, upstream, *inputs):
    """What a function returns, and the gradient of its product with `upstream` for every input."""
    import tensorflow as tf

    tensors = [tf.constant(array) for array in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = function(*tensors)
        total = tf.reduce_sum(tf.cast(outputs, "float32") * upstream)
    return outputs.numpy(), [gradient.numpy() for gradient in tape.gradient(total, tensors)]


def with_weights(layer, function, *weights):
    """`function(layer)` with these weights instead of the layer's own."""
    own = [layer._kernel, layer.bias] if hasattr(layer, "_kernel") else [layer.gamma, layer.beta]
    with keras.StatelessScope(state_mapping=list(zip(own, weights, strict=True))):
        return function(layer)


def blocks(**options):
    """Blocks, and how they are called with tokens."""
    own = TransformerBlock(num_heads=2, mlp_dim=16, **options)
    cross = CrossAttentionBlock(num_heads=2, mlp_dim=16, **options)
    context = ops.convert_to_tensor(draw(2, 3, 8, seed=5))
    some, few = (ops.arange(10) < 4)[None], (ops.arange(3) < 2)[None]
    return {
        "own": (own, own),
        "last": (own, lambda tokens: own(tokens, num_queries=2)),
        "masked": (own, lambda tokens: own(tokens, attention_mask=some)),
        "cross": (cross, lambda tokens: cross(tokens, context)),
        "masked cross": (cross, lambda tokens: cross(tokens, context, attention_mask=few)),
    }


def outcome(block, call, tokens):
    """What a block returns, and the gradients of its squares."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tokens)
        outputs = tf.cast(call(tokens), "float32")
        loss = tf.reduce_sum(outputs * outputs)
    return outputs, tape.gradient(loss, [tokens, *(w.value for w in block.trainable_weights)])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["own", "last", "masked", "cross", "masked cross"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_block_and_all_its_gradients_are_those_of_its_own_lines_in_float32(way, dtype):
    import tensorflow as tf

    tokens = tf.constant(draw(2, 10, 8))
    (plain, call_plain), (block, call) = blocks()[way], blocks(dtype=dtype)[way]
    for each in (call, call_plain):
        each(tokens)
    for number, weights in enumerate(zip(plain.weights, block.weights, strict=True)):
        for weight in weights:
            weight.assign(0.3 * draw(*weight.shape, seed=number))
    expected, wanted = outcome(plain, call_plain, tokens)
    with cpu_kernels.enabled(True):
        assert cpu_kernels.apply_to(block)
        outputs, gradients = outcome(block, call, tokens)
        raw = call(tokens)
    assert keras.backend.standardize_dtype(raw.dtype) == dtype.removeprefix("mixed_")
    tolerance = {"float32": 1e-5, "mixed_float16": 0.004, "mixed_bfloat16": 0.04}[dtype]
    for got, want in zip([outputs, *gradients], [expected, *wanted], strict=True):
        scale = max(1.0, np.abs(want).max())
        np.testing.assert_allclose(got, want, atol=tolerance * scale)


@pytest.mark.slow
def test_paths_are_dropped_in_both_ways():
    tokens = ops.convert_to_tensor(draw(16, 3, 8))
    block = TransformerBlock(num_heads=2, mlp_dim=16, drop_path_rate=0.5)
    outputs = []
    for enabled in (False, True):
        block(tokens)
        for drop in (block.attention_drop, block.mlp_drop):
            drop.micro_step.assign(0)
        with cpu_kernels.enabled(enabled):
            outputs.append(block(tokens, training=True))
    np.testing.assert_allclose(*outputs, atol=1e-5)
    assert np.isclose(outputs[0], tokens).all((1, 2)).any()  # some samples skip the block


@pytest.mark.slow
def test_a_block_with_a_quantized_projection_keeps_its_own_lines():
    for way, projection in (("own", "qkv"), ("cross", "key_value")):
        block, call = blocks()[way]
        tokens = ops.convert_to_tensor(draw(2, 10, 8))
        call(tokens)
        getattr(block.attention, projection).quantize("int8")
        plain = call(tokens)
        with cpu_kernels.enabled(True):
            assert not cpu_kernels.apply_to(block)
            np.testing.assert_array_equal(call(tokens), plain)


def test_a_block_with_a_part_of_a_users_own_keeps_its_own_lines():
    class Attention(MultiHeadSelfAttention):
        def call(self, tokens, *arguments, **options):
            return 0 * super().call(tokens, *arguments, **options)

    class Block(TransformerBlock):
        def mlp(self, tokens):
            return 0 * tokens

    plain, changed = (TransformerBlock(num_heads=2, mlp_dim=16) for _ in range(2))
    changed.attention = Attention(2)
    normed = TransformerBlock(num_heads=2, mlp_dim=16)
    normed.mlp_norm = keras.layers.RMSNormalization()
    every = [plain, changed, Block(num_heads=2, mlp_dim=16), normed]
    for block in every:
        block.build((None, 3, 8))
    with cpu_kernels.enabled(True):
        assert [cpu_kernels.apply_to(block) for block in every] == [True, False, False, False]


class Tripled(keras.layers.Dense):
    def call(self, inputs, training=None):
        return 3 * super().call(inputs, training=training)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("mlp_in", lambda: Tripled(16)),
        ("mlp_in", lambda: keras.layers.Dense(16, dtype="float64")),
        ("attention_norm", lambda: keras.layers.LayerNormalization(center=False)),
        ("attention_norm", lambda: keras.layers.LayerNormalization(scale=False)),
        ("mlp_norm", lambda: keras.layers.LayerNormalization(dtype="float64")),
    ],
)
def test_a_layer_that_computes_something_else_keeps_the_lines_of_its_block(name, layer):
    block = TransformerBlock(num_heads=2, mlp_dim=16)
    setattr(block, name, layer())
    block.build((None, 3, 8))
    with cpu_kernels.enabled(True):
        assert not cpu_kernels.apply_to(block)


def test_a_subclass_of_dense_behind_a_kernel_is_called():
    tokens = ops.convert_to_tensor(draw(2, 3, 8))
    block = TransformerBlock(num_heads=2, mlp_dim=16, dtype="mixed_bfloat16")
    block.mlp_out = Tripled(8, dtype="mixed_bfloat16")
    block.build((None, 3, 8))
    plain = ops.cast(block(tokens), "float32")
    with cpu_kernels.enabled(True):
        assert cpu_kernels.apply_to(block)
        np.testing.assert_allclose(ops.cast(block(tokens), "float32"), plain, atol=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("floatx", ["bfloat16", "float16"])
def test_kernels_do_not_depend_on_the_default_dtype_of_keras(floatx):
    tokens = ops.convert_to_tensor(draw(2, 5, 8))
    _, call = blocks(dtype="mixed_bfloat16")["own"]
    with cpu_kernels.enabled(True):
        expected = call(tokens)
    usual = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        with cpu_kernels.enabled(True):
            outputs = call(ops.cast(tokens, "float32"))
    finally:
        keras.config.set_floatx(usual)
    np.testing.assert_array_equal(ops.cast(outputs, "float32"), ops.cast(expected, "float32"))


def test_kernels_are_off_outside_the_scope():
    block = TransformerBlock(num_heads=2, mlp_dim=16)
    block.build((None, 5, 8))
    with pytest.raises(RuntimeError, match="inside"), cpu_kernels.enabled(True):
        with cpu_kernels.enabled(False):
            assert not cpu_kernels.apply_to(block)
        assert cpu_kernels.apply_to(block)
        raise RuntimeError("inside")
    assert not cpu_kernels.apply_to(block)


def test_gelu_and_its_slope_are_those_of_the_normal_distribution():
    dense = keras.layers.Dense(1)
    dense.build((None, None, 1))
    x = np.concatenate([np.linspace(-9, 9, 401), [-40.0, 0.0, 40.0]]).astype("float32")
    x, upstream, half = x[None, :, None], draw(1, 404, 1), np.full(1, 0.5, "float32")

    def apply(tokens, kernel, bias):
        return with_weights(dense, lambda dense: dense_gelu(dense, tokens), kernel, bias)

    value, gradients = value_and_gradients(apply, upstream, x, np.ones((1, 1), "float32"), half)
    exact = x.astype("float64") + 0.5
    np.testing.assert_allclose(value, exact * 0.5 * erfc(-exact / np.sqrt(2)), atol=2e-6)
    slope = 0.5 + 0.5 * erf(exact / np.sqrt(2))
    slope += exact * np.exp(-(exact**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(gradients[0], upstream * slope, atol=2e-6)
    np.testing.assert_allclose(gradients[1], [[(upstream * slope * x).sum()]], rtol=1e-4)
    np.testing.assert_allclose(gradients[2], [(upstream * slope).sum()], rtol=1e-4)


@pytest.mark.parametrize(("dtype", "scale"), [("bfloat16", 1.0), ("float16", 3e4)])
def test_gradients_of_scale_and_offset_survive_half_precision(dtype, scale):
    """As large as loss scaling makes them, which sums in float16 would not hold."""
    import tensorflow as tf

    norm = keras.layers.LayerNormalization(dtype=f"mixed_{dtype}")
    norm.build((None, None, 8))
    tokens, upstream = draw(4, 5, 8), scale * (1 + 0.1 * draw(4, 5, 8, seed=1))

    def apply(*weights):
        half = tf.cast(tokens, dtype)
        return with_weights(norm, lambda norm: norm_residual(norm, half)[1], *weights)

    _, gradients = value_and_gradients(apply, upstream, np.ones(8, "f4"), np.zeros(8, "f4"))
    deviation = tokens.std(-1, keepdims=True)
    standardized = (tokens - tokens.mean(-1, keepdims=True)) / deviation
    expected = (upstream * standardized).sum((0, 1)), upstream.sum((0, 1))
    assert expected[1].max() > 65504 or scale == 1.0
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=0.02 * scale * 20)


def test_a_single_key_gets_no_gradient():
    query, key, value = (ops.cast(draw(2, 3, n, 8, seed=n), "bfloat16") for n in (4, 1, 1))
    key = 2 * key  # or both would be one tensor, and its gradient a sum

    def attend(*parts):
        return dot_product_attention(*parts, None)

    attended, gradients = value_and_gradients(attend, draw(2, 3, 4, 8, seed=3), query, key, value)
    np.testing.assert_array_equal(attended, np.repeat(value, 4, axis=2))
    for gradient in gradients[:2]:
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_narrowing_rounds_as_tensorflow_does(dtype):
    import tensorflow as tf

    even, odd = 1 + 2.0**-7, 1 + 2.0**-6
    between = [even + 2.0**-8, odd + 2.0**-8, -even - 2.0**-8, even + 2.0**-8 + 2.0**-20]
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3.4e38, -3.4e38, 1e-40, 65519.0]
    x = np.concatenate([between, special, draw(1000), 1e30 * draw(1000)]).astype("float32")
    rounded = compiled(narrow)(x, dtype)
    assert keras.backend.standardize_dtype(rounded.dtype) == dtype
    wanted = tf.cast(x, dtype)
    np.testing.assert_array_equal(tf.cast(rounded, "float64"), tf.cast(wanted, "float64"))
    np.testing.assert_array_equal(np.signbit(tf.cast(rounded, "float32")), np.signbit(x))


def test_sums_of_rows_leave_the_range_of_half_precision():
    rows = keras.ops.full((40, 2), 3e4, dtype="float16")
    np.testing.assert_allclose(sum_of_rows(rows, "float32"), [1.2e6, 1.2e6], rtol=1e-3)


def test_long_sums_in_bfloat16_do_not_stall():
    rows = keras.ops.ones((5000, 2), dtype="bfloat16")  # which cannot count further than 256 by 1
    np.testing.assert_allclose(sum_of_rows(rows, "float32"), [5000, 5000], rtol=0.01)


def test_layers_of_a_size_share_what_was_compiled():
    def traces_after(width):
        norm = keras.layers.LayerNormalization()
        norm.build((None, 3, width))
        norm_residual(norm, keras.ops.ones((2, 3, width)))
        return compiled(cpu_kernels._norm).experimental_get_tracing_count()

    first = traces_after(22)
    assert traces_after(22) == first
    assert traces_after(23) == first + 1
