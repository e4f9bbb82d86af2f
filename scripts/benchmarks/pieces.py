"""Each fused CPU kernel beside TensorFlow's own operations; `docs/experiments.md`.

    python scripts/benchmarks/pieces.py [--dtypes bfloat16] [--sizes 128,17,128,4] [--rounds 9]

A kernel is all that lies between two matrix products, with the product before it where the bias is
in question. Sizes are batch, tokens, features and heads, by default those of one shard of the
encoder of `cifar48` and of its decoder. Forward and backward pass with one thread for operations,
as in shards; in turn, A B A B; median of the milliseconds and of the ratios round by round.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from keras import ops

from mae_keras.layers import TransformerBlock
from mae_keras.runtime import cpu_kernels
from mae_keras.runtime.cpu_kernels import compiled, dense_gelu, narrow, norm_residual

STEPS = 10


def kernels(width: int, heads: int, dtype: str) -> dict[str, tuple[Callable, Callable]]:
    """For each kernel a function of tokens in TensorFlow's way and in the fused way."""
    options = {"dtype": f"mixed_{dtype}" if dtype != "float32" else dtype}
    dense = keras.layers.Dense(4 * width, **options)
    norm = keras.layers.LayerNormalization(**options)
    block = TransformerBlock(heads, 4 * width, **options)
    for layer in (dense, norm, block):
        layer.build((None, None, width))

    def fused_block(tokens: Any) -> Any:
        with cpu_kernels.enabled(True):
            return block(tokens)

    return {
        "product, bias and GELU": (
            lambda tokens: ops.gelu(dense(tokens), approximate=False),
            lambda tokens: dense_gelu(dense, tokens),
        ),
        "norm beside a residual path": (
            lambda tokens: tokens + norm(tokens),
            lambda tokens: sum(norm_residual(norm, tokens)),
        ),
        "block": (block, fused_block),
    }


def timed(function: Callable, weights: list, tokens: Any) -> Callable[[], float]:
    """Seconds of a forward and backward pass, whenever it is called."""

    @tf.function
    def step(tokens: Any, upstream: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(tokens)
            outputs = function(tokens)
        gradients = tape.gradient(outputs, [tokens, *weights], output_gradients=upstream)
        return [outputs, *(each for each in gradients if each is not None)]

    outputs = function(tokens)
    upstream = tf.cast(tf.random.normal(outputs.shape), outputs.dtype)
    return _clock(lambda: step(tokens, upstream))


def rounding(rows: int, features: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """A GELU in bfloat16, rounded as XLA does and by its bits."""
    x = ops.cast(tf.random.normal((rows, features)), "bfloat16")
    ways = (compiled(_gelu_cast), compiled(_gelu_narrowed))
    return tuple(_clock(lambda way=way: way(x)) for way in ways)


def _gelu_cast(x: Any) -> Any:
    return ops.cast(_wide_gelu(x), x.dtype)


def _gelu_narrowed(x: Any) -> Any:
    return narrow(_wide_gelu(x), x.dtype)


def _wide_gelu(x: Any) -> Any:
    x = ops.cast(x, "float32")
    return x * (0.5 + 0.5 * ops.erf(x * 0.5**0.5))


def _clock(run: Callable[[], Any]) -> Callable[[], float]:
    def seconds() -> float:
        started = time.perf_counter()
        for _ in range(STEPS):
            made = run()
        keras.tree.flatten(made)[0].numpy()
        return (time.perf_counter() - started) / STEPS

    seconds()
    return seconds


def row(name: str, ways: tuple[Callable[[], float], Callable[[], float]], rounds: int) -> str:
    """Both ways in turn, as cells of Markdown."""
    pairs = [tuple(way() for way in ways) for _ in range(rounds)]
    ratios = [own / piece for own, piece in pairs]
    own, piece = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
    faster = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{name} | {own:.2f} | {piece:.2f} | {faster} |"


def measure(sizes: list[int], dtype: str, rounds: int) -> None:
    """Print the rows of one size."""
    batch, count, width, heads = sizes
    label = f"| {', '.join(map(str, sizes))} | {dtype} | "
    tokens = ops.cast(tf.random.normal((batch, count, width)), dtype)
    for name, functions in kernels(width, heads, dtype).items():
        with tf.GradientTape() as tape:
            functions[0](tokens)
        weights = list(tape.watched_variables())
        ways = tuple(timed(function, weights, tokens) for function in functions)
        print(label + row(name, ways, rounds), flush=True)
    if dtype == "bfloat16":
        ways = rounding(batch * count, 4 * width)
        print(label + row("rounding of a GELU, XLA's and by bits", ways, rounds), flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["128,17,128,4", "128,65,64,2"])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    print("| batch, tokens, features, heads | dtype | kernel | TensorFlow, ms | XLA, ms | faster |")
    print(6 * "|---" + "|")
    for dtype in options.dtypes:
        for sizes in options.sizes:
            measure([int(number) for number in sizes.split(",")], dtype, options.rounds)


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    main()
