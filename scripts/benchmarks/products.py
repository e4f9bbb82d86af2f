"""The matrix products of a small model, one by one: TensorFlow, XLA and PyTorch; `experiments.md`.

    python scripts/benchmarks/products.py [--torch-python torch-env/bin/python] [--seconds 0.3]

The shapes are those of `cifar48` in batches of 256: dense layers forward (`y = x w`), the gradients
of their input (`y' w^T`) and of their weights (`x^T y'`), and the three kinds in attention. A
product is repeated inside one compiled function, on operands that change, so that calls cost
nothing. Printed: GFLOP/s, best of three turns, and milliseconds per training step for all products
of a kind. The sides take turns: XLA, TensorFlow without it, PyTorch, one shape after the other. XLA
copies the right matrix each time, since a loop takes it from two, and comes out a few per cent low.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from contenders.process import Process

TURNS, REPEATS = 3, 8
TORCH = "PyTorch"
# tokens, width, hidden units of the MLP, layers; images x heads, tokens, features per head, layers
DENSE = ((256 * 17, 128, 256, 6), (256 * 65, 64, 128, 2))
ATTENTION = ((1024, 17, 32, 6), (1024, 65, 16, 2))


class Product(NamedTuple):
    """One kind of product and how many of it a training step takes."""

    kind: str
    left: tuple[int, ...]
    right: tuple[int, ...]
    transposed: tuple[bool, bool]
    count: int

    @property
    def gigaflops(self) -> float:
        """Of one."""
        inner = self.left[-2 if self.transposed[0] else -1]
        columns = self.right[-2 if self.transposed[1] else -1]
        rows = self.left[-1 if self.transposed[0] else -2]
        return 2e-9 * np.prod(self.left[:-2], dtype=float) * rows * inner * columns


def products() -> Iterator[Product]:
    """All of a training step that are worth naming."""
    for tokens, width, hidden, layers in DENSE:
        for size, units in ((width, 3 * width), (width, width), (width, hidden), (hidden, width)):
            x, w, y = (tokens, size), (size, units), (tokens, units)
            yield Product("dense, forward", x, w, (False, False), layers)
            yield Product("dense, to the input", y, w, (False, True), layers)
            yield Product("dense, to the weights", x, y, (True, False), layers)
    for matrices, tokens, size, layers in ATTENTION:
        scores, values = (matrices, tokens, tokens), (matrices, tokens, size)
        yield Product("attention, q k^T", values, values, (False, True), 2 * layers)
        yield Product("attention, s v", scores, values, (False, False), 2 * layers)
        yield Product("attention, s^T v", scores, values, (True, False), 2 * layers)


def in_tensorflow(product: Product, jit: bool) -> Callable[[], Any]:
    """The product, `REPEATS` times, as one function of TensorFlow."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    left = tf.constant(rng.normal(size=product.left), tf.float32)
    rights = tf.constant(rng.normal(size=(2, *product.right)), tf.float32)
    first, second = product.transposed

    @tf.function(jit_compile=jit)
    def run(left: Any, rights: Any) -> Any:
        made = tf.matmul(left, rights[0], transpose_a=first, transpose_b=second)
        for number in tf.range(1, REPEATS):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            made = tf.matmul(left, rights[number % 2], transpose_a=first, transpose_b=second)
        return made

    return lambda: run(left, rights).numpy()


def in_torch(product: Product) -> Callable[[], Any]:
    """The same in PyTorch, eagerly."""
    import torch

    torch.set_num_threads(os.cpu_count())
    left, *rights = (torch.randn(shape) for shape in (product.left, *(product.right,) * 2))
    first, second = (lambda x, yes=yes: x.mT if yes else x for yes in product.transposed)

    def run() -> Any:
        for number in range(REPEATS):
            made = first(left) @ second(rights[number % 2])
        return made

    return run


def rate(product: Product, run: Callable[[], Any], seconds: float) -> float:
    """GFLOP/s, of the best of a few turns."""
    run()
    best = 0.0
    for _ in range(TURNS):
        calls, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            run()
            calls += 1
        taken = time.perf_counter() - started
        best = max(best, calls * REPEATS * product.gigaflops / taken)
    return best


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="a Python that has PyTorch")
    parser.add_argument("--seconds", type=float, default=0.3)
    options = parser.parse_args()
    options.gpu, options.threads = False, None
    other = options.torch_python and Process(
        TORCH, options, "contenders.torch_products", {TORCH: "torch_products"}
    )
    table(other, options.seconds)


def table(other: Process | None, seconds: float) -> None:
    """A row for every product, then what a step takes by kind."""
    sides = ["XLA", "TensorFlow", *([TORCH] if other else [])]
    print("| product | left | right | in a step | " + " | ".join(sides) + " |")
    print("|---" * (4 + len(sides)) + "|")
    milliseconds: dict[str, dict[str, float]] = {}
    for number, product in enumerate(products()):
        rates = {
            side: rate(product, in_tensorflow(product, side == "XLA"), seconds)
            for side in sides
            if side != TORCH
        }
        if other:
            rates[TORCH] = other.ask(number=number, seconds=seconds)["rate"]
        cells = [product.kind, product.left, product.right, product.count]
        print("|", " | ".join(map(str, [*cells, *(f"{rates[side]:.0f}" for side in sides)])), "|")
        for side, value in rates.items():
            kinds = milliseconds.setdefault(product.kind, dict.fromkeys(sides, 0.0))
            kinds[side] += 1000 * product.count * product.gigaflops / value
    print("\n| ms in a step | " + " | ".join(sides) + " |")
    print("|---" * (1 + len(sides)) + "|")
    for kind, taken in milliseconds.items():
        print(f"| {kind} | " + " | ".join(f"{taken[side]:.1f}" for side in sides) + " |")
    if other:
        other.close()


if __name__ == "__main__":
    main()
