"""Training with XLA for all, for pieces and for nothing, by size and precision.

    python scripts/benchmarks/jit.py [--rounds 7] [--seconds 2] [CASE ...]

The three models of a case are compiled first, then trained in turn, A B C A B C, on one batch that
stays in memory. Printed: median milliseconds per step of each, how many times as fast it is as XLA
for all (median and range of the ratios round by round), and seconds of the first step. The table is
in `docs/experiments.md`.
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from mae_keras.models import MaskedAutoencoder, compilation

WAYS = ("all", "pieces", "nothing")

# name: (preset, image side, patch side, batch)
CASES = {
    "nano 8": ("nano", 8, 2, 128),
    "micro 28": ("micro", 28, 4, 128),
    "micro 48": ("micro", 48, 6, 256),
    "tiny 32": ("tiny", 32, 4, 64),
    "tiny 32 fine": ("tiny", 32, 2, 64),
    "micro 56": ("micro", 56, 4, 64),
    "tiny 224": ("tiny", 224, 16, 32),
    "small 32": ("small", 32, 4, 32),
    "base 64": ("base", 64, 8, 8),
}


def build(preset: str, side: int, patch: int, dtype: str, xla: str) -> MaskedAutoencoder:
    """A compiled model; every seed is the same."""
    keras.utils.set_random_seed(0)
    model = MaskedAutoencoder.from_preset(preset, (side, side, 1), patch, dtype=dtype, seed=0)
    largest = compilation.LARGEST_XLA_CPU_IMAGE
    try:
        compilation.LARGEST_XLA_CPU_IMAGE = 0  # "auto" then leaves every model to TensorFlow
        jit_compile = {"all": True, "pieces": "auto", "nothing": False}[xla]
        model.compile(keras.optimizers.AdamW(1e-4), jit_compile=jit_compile)
    finally:
        compilation.LARGEST_XLA_CPU_IMAGE = largest
    if model.xla != xla:
        raise RuntimeError(f"Expected XLA for {xla}. Received: {model.xla}")
    return model


def milliseconds(model: MaskedAutoencoder, images: np.ndarray, seconds: float) -> float:
    """Median time of a step over at least three steps and `seconds`."""
    taken, started = [], time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        model.train_on_batch(images)
        taken.append(1000 * (time.perf_counter() - before))
    return statistics.median(taken)


def measure(name: str, dtype: str, rounds: int, seconds: float) -> dict:
    """All ways of one case, in turn."""
    preset, side, patch, batch = CASES[name]
    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 1)).astype("uint8")
    models = {xla: build(preset, side, patch, dtype, xla) for xla in WAYS}
    first = {}
    for xla, model in models.items():
        started = time.perf_counter()
        model.train_on_batch(images)
        first[xla] = round(time.perf_counter() - started, 1)
    taken: dict[str, list[float]] = {xla: [] for xla in WAYS}
    for _ in range(rounds):
        for xla, model in models.items():
            taken[xla].append(milliseconds(model, images, seconds))
    told = {"case": name, "width": models["all"]._width, "tokens": models["all"].num_tokens}
    for xla in WAYS:
        ratios = [one / other for one, other in zip(taken["all"], taken[xla], strict=True)]
        told[xla] = {
            "ms": round(statistics.median(taken[xla]), 1),
            "times_as_fast_as_all": round(statistics.median(ratios), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
            "first_step_s": first[xla],
        }
    return {**told, "batch": batch, "dtype": dtype}


def main() -> None:
    """Measure every case and print one line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "mixed_bfloat16"])
    given = parser.parse_args()
    for name in given.cases:
        for dtype in given.dtypes:
            print(json.dumps(measure(name, dtype, given.rounds, given.seconds)), flush=True)


if __name__ == "__main__":
    main()
