"""Other ways to write a transformer block, against the one in use; `docs/experiments.md`.

    python scripts/benchmarks/block_forms.py [--rounds 9] [--sizes 256,17,128,4,256,6]
        [--dtype float32] [--no-xla] [--forms in_use unstacked ...]

Forward and backward pass through a stack of blocks on TensorFlow, all forms in turn, A B C A B C.
Each gives the same output and gradients, but those that leave something out to show what it costs.
Sizes: images, tokens, width, heads, hidden units of the MLP, blocks. Printed: median milliseconds
and the median of the ratios round by round.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mae_keras.layers import TransformerBlock
from mae_keras.layers.transformer import dot_product_attention
from mae_keras.runtime import cpu_kernels

Block = TransformerBlock


def _to_heads(tokens: Any, heads: int) -> Any:
    """`(images, tokens, width)` to `(images, heads, tokens, width / heads)`."""
    count, width = tokens.shape[1:]
    return ops.transpose(ops.reshape(tokens, (-1, count, heads, width // heads)), (0, 2, 1, 3))


def _attended(query: Any, key: Any, value: Any) -> Any:
    """Attention of three tensors by heads, back in the layout of tokens."""
    scores = tf.matmul(query * query.shape[-1] ** -0.5, key, transpose_b=True)
    mixed = ops.transpose(tf.matmul(ops.softmax(scores), value), (0, 2, 1, 3))
    return ops.reshape(mixed, (-1, mixed.shape[1], mixed.shape[2] * mixed.shape[3]))


def unstacked(block: Block, tokens: Any) -> Any:
    """Queries, keys and values taken from five axes, as most implementations do."""
    count, width = tokens.shape[1:]
    shape = (-1, count, 3, block.num_heads, width // block.num_heads)
    query, key, value = ops.unstack(ops.reshape(block.attention.qkv(tokens), shape), 3, axis=2)
    mixed = dot_product_attention(query, key, value)
    return block.attention.projection(ops.reshape(mixed, (-1, count, width)))


def three_products(block: Block, tokens: Any) -> Any:
    """Three projections from slices of the joined kernel."""
    kernels = ops.split(block.attention.qkv.kernel, 3, axis=-1)
    biases = ops.split(block.attention.qkv.bias, 3)
    parts = [ops.matmul(tokens, k) + b for k, b in zip(kernels, biases, strict=True)]
    return block.attention.projection(_attended(*(_to_heads(p, block.num_heads) for p in parts)))


@tf.custom_gradient
def _attended_by_hand(qkv: Any) -> tuple[Any, Callable]:
    """Attention of `(images, tokens, 3, heads, features)` with its gradient written out."""
    query, key, value = (tf.transpose(qkv[:, :, i], (0, 2, 1, 3)) for i in range(3))
    scale = qkv.shape[-1] ** -0.5
    weights = tf.nn.softmax(tf.matmul(query * scale, key, transpose_b=True))
    mixed = tf.matmul(weights, value)

    def gradient(upstream: Any) -> Any:
        upstream = tf.transpose(upstream, (0, 2, 1, 3))
        to_weights = tf.matmul(upstream, value, transpose_b=True)
        # The sum over keys of weight times gradient, from the narrower tensors.
        to_scores = weights * (to_weights - tf.reduce_sum(upstream * mixed, -1, True)) * scale
        gradients = (
            tf.matmul(to_scores, key),
            tf.matmul(to_scores, query, transpose_a=True),
            tf.matmul(weights, upstream, transpose_a=True),
        )
        return tf.stack([tf.transpose(g, (0, 2, 1, 3)) for g in gradients], 2)

    return tf.transpose(mixed, (0, 2, 1, 3)), gradient


def strided(block: Block, tokens: Any) -> Any:
    """As in use, but cut by slices, which TensorFlow without XLA copies one by one."""
    width = tokens.shape[2]
    joined = block.attention.qkv(tokens)
    parts = [joined[:, :, i * width : (i + 1) * width] for i in range(3)]
    return block.attention.projection(_attended(*(_to_heads(p, block.num_heads) for p in parts)))


def one_transposition(block: Block, tokens: Any) -> Any:
    """Queries, keys and values transposed together."""
    count, width = tokens.shape[1:]
    shape = (-1, count, 3, block.num_heads, width // block.num_heads)
    joined = ops.transpose(ops.reshape(block.attention.qkv(tokens), shape), (2, 0, 3, 1, 4))
    return block.attention.projection(_attended(joined[0], joined[1], joined[2]))


def own_gradient(block: Block, tokens: Any) -> Any:
    """Attention with a gradient of its own, as flash attention sums it."""
    count, width = tokens.shape[1:]
    shape = (-1, count, 3, block.num_heads, width // block.num_heads)
    mixed = _attended_by_hand(ops.reshape(block.attention.qkv(tokens), shape))
    return block.attention.projection(ops.reshape(mixed, (-1, count, width)))


@tf.custom_gradient
def _scores(query: Any, key: Any) -> tuple[Any, Callable]:
    def gradient(upstream: Any) -> tuple[Any, Any]:
        to_query = tf.matmul(upstream, tf.transpose(key, (0, 2, 1, 3)))
        to_key = tf.matmul(tf.transpose(query, (0, 2, 3, 1)), upstream)
        return tf.transpose(to_query, (0, 2, 1, 3)), tf.transpose(to_key, (0, 3, 1, 2))

    products = tf.matmul(tf.transpose(query, (0, 2, 1, 3)), tf.transpose(key, (0, 2, 3, 1)))
    return products, gradient


@tf.custom_gradient
def _mixed(weights: Any, value: Any) -> tuple[Any, Callable]:
    def gradient(upstream: Any) -> tuple[Any, Any]:
        to_weights = tf.matmul(
            tf.transpose(upstream, (0, 2, 1, 3)), tf.transpose(value, (0, 2, 3, 1))
        )
        to_value = tf.matmul(tf.transpose(upstream, (0, 2, 3, 1)), weights)
        return to_weights, tf.transpose(to_value, (0, 3, 1, 2))

    mixed = tf.matmul(weights, tf.transpose(value, (0, 2, 1, 3)))
    return tf.transpose(mixed, (0, 2, 1, 3)), gradient


def turned(block: Block, tokens: Any) -> Any:
    """Gradients of attention from operands that are turned, not products that turn them."""
    count, width = tokens.shape[1:]
    shape = (-1, count, block.num_heads, width // block.num_heads)
    query, key, value = (
        ops.reshape(part, shape) for part in ops.split(block.attention.qkv(tokens), 3, axis=-1)
    )
    weights = ops.softmax(_scores(query * shape[-1] ** -0.5, key), axis=-1)
    return block.attention.projection(ops.reshape(_mixed(weights, value), (-1, count, width)))


def without_attention(block: Block, tokens: Any) -> Any:
    """The projections alone, to see what lies between them."""
    query, key, value = ops.split(block.attention.qkv(tokens), 3, axis=-1)
    return block.attention.projection(query + key * value)


@tf.custom_gradient
def _gelu_by_hand(x: Any) -> tuple[Any, Callable]:
    """Exact gelu with its gradient written out."""
    below = 0.5 * (1.0 + tf.math.erf(x * 0.5**0.5))

    def gradient(upstream: Any) -> Any:
        return upstream * (below + x * tf.exp(-0.5 * x * x) * (2 * np.pi) ** -0.5)

    return x * below, gradient


def _norm_by_products(layer: keras.layers.Layer, tokens: Any) -> Any:
    """Layer norm whose sums over features are products with a column of ones."""
    width = tokens.shape[-1]
    column = tf.fill((width, 1), tf.cast(1 / width, tokens.dtype))
    flat = tf.reshape(tokens, (-1, width))
    centered = flat - tf.matmul(flat, column)
    scale = tf.math.rsqrt(tf.matmul(centered * centered, column) + layer.epsilon)
    return tf.reshape(centered * scale * layer.gamma + layer.beta, tf.shape(tokens))


def _joined(norm: keras.layers.Layer, dense: keras.layers.Dense, tokens: Any) -> Any:
    """Layer norm and the dense layer behind it, whose kernel takes in the norm's scale and offset.

    Their gradients then are sums over features of the kernel's, not over tokens.
    """
    mean, variance = ops.moments(tokens, axes=-1, keepdims=True)
    normed = (tokens - mean) * ops.rsqrt(variance + norm.epsilon)
    kernel, gamma, beta = map(ops.convert_to_tensor, (dense.kernel, norm.gamma, norm.beta))
    bias = ops.matmul(beta[None], kernel)[0] + ops.convert_to_tensor(dense.bias)
    kernel = ops.cast(kernel * gamma[:, None], tokens.dtype)
    return ops.matmul(normed, kernel) + ops.cast(bias, tokens.dtype)


def folded_norm(block: Block, tokens: Any) -> Any:
    """A whole block whose norms have given scale and offset to the next kernel."""
    joined = _joined(block.attention_norm, block.attention.qkv, tokens)
    tokens = tokens + block.attention._attend(*ops.split(joined, 3, axis=-1), None)
    hidden = _joined(block.mlp_norm, block.mlp_in, tokens)
    return tokens + block.mlp_out(ops.gelu(hidden, approximate=False))


@tf.function(jit_compile=True)
def _compiled_softmax(scores: Any) -> Any:
    return ops.softmax(scores, axis=-1)


@tf.function(jit_compile=True)
def _compiled_cut(joined: Any, bias: Any, heads: int) -> list[Any]:
    query, key, value = (_to_heads(part, heads) for part in ops.split(joined + bias, 3, axis=-1))
    return [query * query.shape[-1] ** -0.5, ops.swapaxes(key, 2, 3), value]


@tf.function(jit_compile=True)
def _compiled_join(mixed: Any) -> Any:
    mixed = ops.transpose(mixed, (0, 2, 1, 3))
    return ops.reshape(mixed, (-1, mixed.shape[1], mixed.shape[2] * mixed.shape[3]))


def _piecewise_attention(block: Block, tokens: Any) -> Any:
    """Attention whose products are TensorFlow's, what lies between them compiled by XLA."""
    qkv = block.attention.qkv
    dtype = tokens.dtype
    joined = ops.matmul(tokens, ops.cast(qkv.kernel, dtype))
    query, key, value = _compiled_cut(joined, ops.cast(qkv.bias, dtype), block.num_heads)
    weights = _compiled_softmax(tf.matmul(query, key))
    return block.attention.projection(_compiled_join(tf.matmul(weights, value)))


def _in_use(block: Block, tokens: Any) -> Any:
    return block.attention(tokens)


def _block(
    attention: Callable = _in_use,
    norm: Callable = lambda layer, tokens: layer(tokens),
    gelu: Callable = lambda x: ops.gelu(x, approximate=False),
) -> Callable:
    def call(block: Block, tokens: Any) -> Any:
        tokens = tokens + attention(block, norm(block.attention_norm, tokens))
        hidden = gelu(block.mlp_in(norm(block.mlp_norm, tokens)))
        return tokens + block.mlp_out(hidden)

    return call


def fused(block: Block, tokens: Any) -> Any:
    """As in use where XLA does not compile the whole step."""
    with cpu_kernels.enabled(True):
        return block(tokens)


FORMS: dict[str, Callable] = {
    "in_use": lambda block, tokens: block(tokens),
    "unstacked": _block(unstacked),
    "strided": _block(strided),
    "one_transposition": _block(one_transposition),
    "three_products": _block(three_products),
    "own_gradient": _block(own_gradient),
    "turned": _block(turned),
    "gelu_own_gradient": _block(gelu=_gelu_by_hand),
    "gelu_from_erf": _block(gelu=lambda x: x * (0.5 + 0.5 * ops.erf(x * 0.5**0.5))),
    "norm_by_products": _block(norm=_norm_by_products),
    "folded_norm": folded_norm,
    "fused": fused,
    "compiled_attention": _block(_piecewise_attention),
    "tanh_gelu": _block(gelu=lambda x: ops.gelu(x, approximate=True)),
    "no_gelu": _block(gelu=ops.relu),
    "no_norm": _block(norm=lambda layer, tokens: tokens),
    "no_attention": _block(without_attention),
}


def make_step(form: Callable, sizes: list[int], dtype: str, jit: bool) -> Callable:
    """A compiled function from tokens to the gradients of all weights."""
    _, count, width, heads, mlp_dim, depth = sizes
    keras.utils.set_random_seed(0)
    blocks = [TransformerBlock(heads, mlp_dim, dtype=dtype) for _ in range(depth)]
    for block in blocks:
        block.build((None, count, width))
    weights = [v.value for block in blocks for v in block.trainable_variables]

    @tf.function(jit_compile=jit)
    def step(tokens: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            for block in blocks:
                tokens = form(block, tokens)
            total = tf.reduce_sum(tf.square(tf.cast(tokens, "float32")))
        return [g for g in tape.gradient(total, weights) if g is not None]

    return step


def milliseconds(step: Callable, tokens: Any, calls: int = 3) -> float:
    """Mean of a few calls after one that warms up."""
    step(tokens)
    started = time.perf_counter()
    for _ in range(calls):
        outputs = step(tokens)
    outputs[0].numpy()
    return 1000 * (time.perf_counter() - started) / calls


def main() -> None:
    """Measure all forms and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", default="256,17,128,4,256,6")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--no-xla", action="store_true")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    values = np.random.default_rng(0).normal(size=sizes[:3])
    tokens = tf.cast(tf.constant(values), options.dtype)
    names = ["in_use", *(name for name in options.forms if name != "in_use")]
    steps = {n: make_step(FORMS[n], sizes, options.dtype, not options.no_xla) for n in names}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name, step in steps.items():
            taken[name].append(milliseconds(step, tokens))
    print(f"{options.sizes}, {options.dtype}, {'no ' if options.no_xla else ''}XLA")
    for name, times in taken.items():
        ratio = statistics.median(a / b for a, b in zip(taken["in_use"], times, strict=True))
        print(f"| {name} | {statistics.median(times):.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
