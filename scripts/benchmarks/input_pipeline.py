"""What reading images costs training: `fit` from disk against one batch in memory, and memory.

    [TFDS_DATA_DIR=...] python scripts/benchmarks/input_pipeline.py [--configs mnist28 ...] \
        [--rounds 5] [--seconds 10] [--files 2048] [--memory-images 10000 1000000] [--json FILE]

Rate: a folder of smooth PNG images of the configuration's size is written to a temporary place and
loaded by `mae_keras.data.load`; with `TFDS_DATA_DIR`, MNIST and CIFAR-10 as well. The same compiled
model trains from `training_batches` with random resized crops and flips, and on one batch held in
memory, in turn, A B A B. The first steps of every turn are not counted. The aim is 0.95 of the rate
in memory. "CPU" is what the pipeline alone, without a model, takes of one core per image: where
training keeps all cores busy, time that reading takes is time that training lacks.

Memory: a process of its own trains a tiny model for some hundred steps over a folder with so many
files (hard links to a few) and over a stream with so many images, and tells its resident memory
when its data set is ready, after 20 steps and at the end. Flat means: the same for a hundred times
as many images, and no growth from step to step. `--memory-images` without numbers leaves it out,
`--configs` without names leaves out the rates.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from contenders.configurations import CONFIGURATIONS, CPU, sizes_of
from contenders.keras_side import draw_images, make_model
from contenders.picture_sources import linked_folder, picture_folder, picture_stream

from mae_keras import data
from mae_keras.training import MaskedAdamW, shard_batches_across_cores

AIM = 0.95
AUGMENTATION = data.Augmentation(flip=True)
IN_TFDS = {"mnist28": ("mnist", 28), "cifar32": ("cifar10", 32), "cifar48": ("cifar10", 48)}
LEFT_OUT, LEAST_STEPS = 4, 8
# Resident memory that changes by less than this says nothing: allocators keep what they freed.
FLAT_MEGABYTES = 64


class Clock(keras.callbacks.Callback):
    """Notes when every step ended."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.times = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.times.append(time.perf_counter())


def step_seconds(model: keras.Model, batches: Any, steps: int) -> float:
    """Mean time of a step, without the first few."""
    clock = Clock()
    model.fit(batches, steps_per_epoch=LEFT_OUT + steps, epochs=1, verbose=0, callbacks=[clock])
    return (clock.times[-1] - clock.times[LEFT_OUT - 1]) / steps


def pipeline_cost(batches: Any, batch: int, seconds: float) -> tuple[float, float]:
    """Images per second and core-seconds per image of a pipeline that feeds nobody."""
    iterator = iter(batches)
    next(iterator)
    started, before, images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < seconds:
        next(iterator)
        images += batch
    taken = time.perf_counter() - started
    return images / taken, (time.process_time() - before) / images


def measure(name: str, source: str, images: data.ImageData, options: Any) -> dict[str, Any]:
    """The rate from disk against the rate in memory, for one data set."""
    import tensorflow as tf

    sizes = sizes_of(name, options.batch)
    batch = sizes["batch"]
    read = data.training_batches(images.train, batch, seed=0, augmentation=AUGMENTATION)
    held = tf.data.Dataset.from_tensors(draw_images(sizes)).repeat().prefetch(2)
    keras.utils.set_random_seed(0)
    model = make_model(sizes, "float32")
    model.compile(MaskedAdamW(1e-4))
    pace = step_seconds(model, held, 1)
    steps = max(LEAST_STEPS, round(options.seconds / pace))
    rates = [
        (batch / step_seconds(model, read, steps), batch / step_seconds(model, held, steps))
        for _ in range(options.rounds)
    ]
    shares = [from_disk / in_memory for from_disk, in_memory in rates]
    alone, cores = pipeline_cost(read, batch, options.seconds / 2)
    return {
        "configuration": name,
        "source": source,
        "from_disk": statistics.median(rate for rate, _ in rates),
        "in_memory": statistics.median(rate for _, rate in rates),
        "share": statistics.median(shares),
        "range": [min(shares), max(shares)],
        "pipeline_alone": alone,
        "core_seconds_per_image": cores,
    }


def sources_of(name: str, options: argparse.Namespace) -> Any:
    """Data sets of a configuration's size: `(what it is, ImageData)`, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        picture_folder(folder, CONFIGURATIONS[name][1], options.files)
        yield "PNG folder", data.load(folder, labels=False)
    if os.environ.get("TFDS_DATA_DIR") and name in IN_TFDS:
        dataset, side = IN_TFDS[name]
        yield dataset, data.load(dataset, image_size=side)


def rates(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print the first table."""
    print(
        "| configuration | images | from disk, images/s | in memory | share | range | pipeline "
        f"alone | CPU, us per image | aim {AIM} |\n|---|---|---|---|---|---|---|---|---|"
    )
    results = []
    for name in options.configs:
        for source, images in sources_of(name, options):
            one = measure(name, source, images, options)
            results.append(one)
            print(
                f"| {name} | {source} | {one['from_disk']:.1f} | {one['in_memory']:.1f} | "
                f"{one['share']:.3f} | {one['range'][0]:.3f} to {one['range'][1]:.3f} | "
                f"{one['pipeline_alone']:.0f} | {1e6 * one['core_seconds_per_image']:.0f} | "
                f"{'met' if one['share'] >= AIM else 'MISSED'} |",
                flush=True,
            )
    return results


def resident_megabytes() -> float:
    """Memory of this process that lies in RAM (Linux)."""
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def memory_run(kind: str, place: str, count: int, steps: int) -> dict[str, float]:
    """Train over many images and tell the memory; runs in a process of its own."""
    split = data.load(place, labels=False).train if kind == "folder" else picture_stream(count)
    batches = data.training_batches(split, 64, seed=0, augmentation=AUGMENTATION)
    told = {"images": count, "ready": resident_megabytes()}
    model = make_model({**sizes_of("nano8"), "image_shape": (16, 16, 3), "patch": 4}, "float32")
    model.compile(MaskedAdamW(1e-4), jit_compile=False)

    class Memory(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == min(20, steps - 1):
                told["early"] = resident_megabytes()

    model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0, callbacks=[Memory()])
    return {**told, "end": resident_megabytes()}


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print the second table."""
    print("\n| images come from | images | ready, MB | after 20 steps | at the end | flat |")
    print("|---|---|---|---|---|---|")
    results = []
    for kind in options.memory_kinds:
        first = None
        for count in options.memory_images:
            with tempfile.TemporaryDirectory() as place:
                if kind == "folder":
                    linked_folder(place, (16, 16, 3), count)
                asked = ["--memory-run", kind, place, str(count)]
                steps = ["--memory-steps", str(options.memory_steps)]
                done = subprocess.run(
                    [sys.executable, __file__, *asked, *steps],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            one = {"kind": kind, **json.loads(done.stdout.splitlines()[-1])}
            first = first or one
            grown = max(one["end"] - one["early"], one["end"] - first["end"])
            one["flat"] = grown < FLAT_MEGABYTES
            results.append(one)
            print(
                f"| {kind} | {count:,} | {one['ready']:.0f} | {one['early']:.0f} | "
                f"{one['end']:.0f} | {'yes' if one['flat'] else f'NO, {grown:.0f} MB more'} |",
                flush=True,
            )
    return results


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="*", choices=CONFIGURATIONS, default=list(CPU))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="per way and round")
    parser.add_argument("--files", type=int, default=2048, help="PNG files to write")
    parser.add_argument("--batch", type=int, help="instead of the configuration's own")
    parser.add_argument("--memory-images", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--memory-kinds", nargs="+", default=["stream", "folder"])
    parser.add_argument("--memory-steps", type=int, default=300)
    parser.add_argument("--memory-run", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--shards", action="store_true", help="one for each core")
    parser.add_argument("--json", help="file to write everything to")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> dict[str, Any] | None:
    """Measure, print two tables, and write what was measured."""
    options = parse(arguments)
    if options.memory_run:
        kind, place, count = options.memory_run
        print(json.dumps(memory_run(kind, place, int(count), options.memory_steps)))
        return None
    if options.shards:
        shard_batches_across_cores()
    results = {
        "rates": rates(options) if options.configs else [],
        "memory": memory(options) if options.memory_images else [],
    }
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
    return results


if __name__ == "__main__":
    main()
