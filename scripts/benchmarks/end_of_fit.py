"""How long `fit` takes to end, with tf.data's tuning thread and without; `docs/experiments.md`.

    python scripts/benchmarks/end_of_fit.py [--fits 12] [--steps 8]

The same model is fitted again and again on the same batches; `fit` of `keras.Model` is called, so
that this package does not switch the thread off. Printed: seconds from the last callback to the
return of every fit; from the end of an epoch to the first batch of the next, for arrays, of which
Keras makes the data set; and what a parallel map loses without tuning, in milliseconds a batch.
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


class BetweenEpochs(keras.callbacks.Callback):
    """Seconds from the end of each epoch to the first batch of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """The iterator is dropped after this."""
        self.ended = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The first of an epoch ends the wait."""
        if batch == 0 and hasattr(self, "ended"):
            self.waits.append(time.perf_counter() - self.ended)


def parallel_map(options: tf.data.Options, parallel: int | None, batches: int = 24) -> float:
    """Milliseconds per batch of a pipeline whose map is the work."""

    def work(seed: tf.Tensor) -> tf.Tensor:
        values = tf.random.stateless_normal((300, 300), seed=(1, seed))
        for _ in range(6):
            values = tf.tanh(tf.sort(values, axis=-1))
        return tf.reduce_sum(values)

    numbers = tf.data.Dataset.range(10**6).map(work, num_parallel_calls=parallel)
    iterator = iter(numbers.batch(4).prefetch(tf.data.AUTOTUNE).with_options(options))
    next(iterator)
    started = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return 1000 * (time.perf_counter() - started) / batches


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
    between = BetweenEpochs()
    images = np.zeros((256 * given.steps, 28, 28, 1), "uint8")
    keras.Model.fit(
        model, images, batch_size=256, epochs=given.fits, verbose=0, callbacks=[between]
    )
    print(f"arrays, between epochs: {' '.join(f'{t:.2f}' for t in between.waits)}")
    for _ in range(3):
        tuned = parallel_map(tf.data.Options(), tf.data.AUTOTUNE)
        not_tuned, serial = (parallel_map(untuned, n) for n in (tf.data.AUTOTUNE, None))
        print(f"map: tuned {tuned:.1f}, not tuned {not_tuned:.1f}, serial {serial:.1f} ms")


if __name__ == "__main__":
    main()
