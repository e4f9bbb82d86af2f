"""Each piece that XLA compiles beside TensorFlow's own operations; `docs/experiments.md`.

    python scripts/benchmarks/pieces.py [--dtypes bfloat16] [--sizes 128,17,128,4] [--rounds 9]

A piece is all that lies between two matrix products, with the product before it where the bias is
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

from mae_keras.layers import MultiHeadSelfAttention
from mae_keras.runtime.cpu_kernels import (
    activated,
    added,
    compiled,
    compiled_pieces,
    narrow,
    parted,
    projected,
)

STEPS = 10


def pieces(width: int, heads: int, dtype: str) -> dict[str, Callable]:
    """A function of tokens for each piece."""
    options = {"dtype": f"mixed_{dtype}" if dtype != "float32" else dtype}
    out, wider = (keras.layers.Dense(units, **options) for units in (width, 4 * width))
    norm = keras.layers.LayerNormalization(**options)
    attention = MultiHeadSelfAttention(heads, **options)
    for layer in (out, wider, norm, attention):
        layer.build((None, None, width))

    def residual(tokens: Any) -> Any:
        past, made = parted(norm, tokens)
        return past + made

    return {
        "product and bias": lambda tokens: projected(wider, tokens),
        "product, bias and GELU": lambda tokens: activated(wider, tokens),
        "product, bias and residual sum": lambda tokens: added(tokens, out, tokens),
        "norm beside a residual path": residual,
        "self-attention": attention,
    }


def timed(function: Callable, in_use: bool, weights: list, tokens: Any) -> Callable[[], float]:
    """Seconds of a forward and backward pass, whenever it is called."""

    @tf.function
    def step(tokens: Any, upstream: Any) -> list[Any]:
        with tf.GradientTape() as tape, compiled_pieces(in_use):
            tape.watch(tokens)
            made = function(tokens)
        given = tape.gradient(made, [tokens, *weights], output_gradients=upstream)
        return [made, *(each for each in given if each is not None)]

    made = function(tokens)
    upstream = tf.cast(tf.random.normal(made.shape), made.dtype)
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
    for name, function in pieces(width, heads, dtype).items():
        with tf.GradientTape() as tape:
            function(tokens)
        weights = list(tape.watched_variables())
        ways = tuple(timed(function, in_use, weights, tokens) for in_use in (False, True))
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
    print("| batch, tokens, features, heads | dtype | piece | TensorFlow, ms | XLA, ms | faster |")
    print(6 * "|---" + "|")
    for dtype in options.dtypes:
        for sizes in options.sizes:
            measure([int(number) for number in sizes.split(",")], dtype, options.rounds)


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    main()
