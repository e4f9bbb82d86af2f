"""Training steps of segmentation heads with XLA and without, side by side.

    scripts/benchmarks/segmentation_heads.py

Steps alternate; prints the median of the times without XLA, and how many times as long XLA takes.
"""

import argparse
import time

import keras
import numpy as np

from mae_keras.models import Segmenter, ViTEncoder


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    shape = (arguments.side, arguments.side, 1)
    images = np.random.default_rng(0).integers(0, 256, (arguments.batch, *shape), "uint8")
    masks = (images[..., 0] > 127).astype("int32")
    for head in ("linear", "pyramid", "unetr"):
        models, seconds = {}, {False: [], True: []}
        for jit_compile in seconds:
            keras.utils.set_random_seed(0)
            model = Segmenter(ViTEncoder(shape, arguments.patch, 64, 4, 4), 2, head)
            model.compile("adamw", metrics=[], jit_compile=jit_compile)
            model.train_on_batch(images, masks)
            models[jit_compile] = model
        for _ in range(arguments.steps):
            for jit_compile, model in models.items():
                started = time.perf_counter()
                model.train_on_batch(images, masks)
                seconds[jit_compile].append(time.perf_counter() - started)
        plain, compiled = (np.median(seconds[jit_compile]) for jit_compile in (False, True))
        print(f"{head:8} {1000 * plain:.0f} ms, XLA {compiled / plain:.2f} times", flush=True)


if __name__ == "__main__":
    main()
