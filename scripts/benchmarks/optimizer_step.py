"""The optimizer's part of a step: `MaskedAdamW` beside Keras's `AdamW`; `docs/experiments.md`.

    python scripts/benchmarks/optimizer_step.py [--presets tiny base] [--rounds 9]

Both update weights of the preset's shapes with the same gradients, on TensorFlow without XLA (under
which wide models train on CPUs), in turn, A B A B; medians of the ratios round by round.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from mae_keras.models import MaskedAutoencoder
from mae_keras.training import MaskedAdamW

SIZES = {"micro": (28, 4), "tiny": (32, 4), "small": (32, 4), "base": (224, 16)}
STEPS = 3


def updater(optimizer: keras.optimizers.Optimizer, shapes: list) -> Callable[[], None]:
    """A compiled function that updates weights of these shapes `STEPS` times and waits."""
    weights = [keras.Variable(np.ones(shape, "float32")) for shape in shapes]
    gradients = [tf.random.normal(shape) for shape in shapes]
    optimizer.build(weights)
    apply = tf.function(lambda: optimizer.apply(gradients, weights))

    def run() -> None:
        for _ in range(STEPS):
            apply()
        weights[-1].numpy()

    run()
    return run


def seconds(run: Callable[[], None]) -> float:
    """Time of one update."""
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) / STEPS


def measure(preset: str, rounds: int) -> str:
    """One preset as a row of Markdown."""
    side, patch = SIZES[preset]
    model = MaskedAutoencoder.from_preset(preset, (side, side, 3), patch)
    shapes = [tuple(weight.shape) for weight in model.trainable_variables]
    settings = {"learning_rate": 1e-4, "weight_decay": 0.05, "beta_2": 0.95}
    ours = updater(MaskedAdamW(**settings), shapes)
    theirs = updater(keras.optimizers.AdamW(**settings), shapes)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    ratios = [keras_s / ours_s for ours_s, keras_s in pairs]
    numbers = sum(int(np.prod(shape)) for shape in shapes)
    cells = [1e3 * statistics.median(side) for side in zip(*pairs, strict=True)]
    return (
        f"| {preset} | {numbers:,} | {cells[0]:.1f} | {cells[1]:.1f} | "
        f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    print("| preset | weights | MaskedAdamW, ms | AdamW, ms | times as fast | range |")
    print(6 * "|---" + "|")
    for preset in options.presets:
        print(measure(preset, options.rounds), flush=True)


if __name__ == "__main__":
    main()
