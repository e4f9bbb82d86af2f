"""How long `fit` takes to end, with tf.data's tuning thread and without; `docs/performance.md`.

    python scripts/benchmarks/end_of_fit.py [--fits 12] [--steps 8]

The same model is fitted again and again on the same batches; `fit` of `keras.Model` is called, so
that this package does not switch the thread off. Printed: seconds from the last callback to the
return of every fit.
"""

import argparse
import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from mae_keras.models import MaskedAutoencoder
from mae_keras.training import MaskedAdamW


class LastMoment(keras.callbacks.Callback):
    """Notes when training ended."""

    def on_train_end(self, logs: Any = None) -> None:
        """Keras calls this last."""
        self.time = time.perf_counter()


def waits(model: keras.Model, batches: tf.data.Dataset, steps: int, fits: int) -> list[float]:
    """Seconds between the end of training and the return of `fit`."""
    taken = []
    for _ in range(fits):
        last = LastMoment()
        keras.Model.fit(
            model, batches, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[last]
        )
        taken.append(time.perf_counter() - last.time)
    return taken


def main() -> None:
    """Measure both and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=12)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    model = MaskedAutoencoder.from_preset("micro", (28, 28, 1), 4, seed=0)
    model.compile(MaskedAdamW(1e-4))
    batches = tf.data.Dataset.from_tensors(np.zeros((256, 28, 28, 1), "uint8")).repeat().prefetch(2)
    untuned = tf.data.Options()
    untuned.autotune.enabled = False
    waits(model, batches, 2, 1)
    for name, dataset in {"tuned": batches, "not tuned": batches.with_options(untuned)}.items():
        taken = waits(model, dataset, given.steps, given.fits)
        print(f"{name}: {' '.join(f'{t:.2f}' for t in taken)}; mean {np.mean(taken):.2f} s")


if __name__ == "__main__":
    main()
