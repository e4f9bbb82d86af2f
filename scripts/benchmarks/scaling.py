"""What sharing a batch costs here, and what it would cost on clusters; `docs/distribute.md`.

    python scripts/benchmarks/scaling.py [--rounds 5] [--steps 20] [--preset micro --batch 128]
    python scripts/benchmarks/scaling.py --predict [--rate 200] [--images 64]

The first form trains one model on the same global batch as one program and as two, each in a
process (or two) of its own, in turn; all of them have the same cores, so 1.0 is the best there is
and the rest is overhead. The second form measures nothing: it is arithmetic from the presets.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# name: (backend, kind of `distribute`, virtual devices, processes)
WAYS = {
    "TensorFlow, one device": ("tensorflow", "none", 1, 1),
    "TensorFlow, MirroredStrategy, 2 devices": ("tensorflow", "devices", 2, 1),
    "JAX, one device": ("jax", "none", 1, 1),
    "JAX, DataParallel, 2 devices": ("jax", "devices", 2, 1),
    "JAX, DataParallel, 2 processes": ("jax", "processes", 1, 2),
}
# GB/s each way: a network card of 10, 100 and 400 Gbit/s per replica, and links inside a machine.
BANDWIDTHS = (1.25, 12.5, 50, 400)
REPLICAS = 64


def worker(settings: dict) -> None:
    """Time steps in this process and print the median in milliseconds, if it is the writer."""
    if settings["backend"] == "tensorflow":
        import tensorflow as tf

        devices = [tf.config.LogicalDeviceConfiguration()] * settings["devices"]
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, devices)
    import keras
    import numpy as np

    class EpochTimer(keras.callbacks.Callback):
        """Seconds of every epoch; the first one compiles."""

        seconds: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            self.seconds.append(time.perf_counter() - self.started)

    from mae_keras.data import ArraySplit, training_batches
    from mae_keras.models import MaskedAutoencoder
    from mae_keras.training import MaskedAdamW, distribute, is_writer, shard

    side, batch = settings["side"], settings["batch"]
    images = np.random.default_rng(0).integers(0, 256, (4 * batch, side, side, 1)).astype("uint8")
    with distribute(settings["kind"], **settings["place"]):
        model = MaskedAutoencoder.from_preset(
            settings["preset"], (side, side, 1), settings["patch"], seed=0
        )
        # Without XLA on TensorFlow: its replicas cannot use it, and overhead is the question.
        model.compile(
            MaskedAdamW(1e-3), jit_compile=False if settings["backend"] == "tensorflow" else "auto"
        )
        data = training_batches(ArraySplit(images), batch, seed=0, shard=shard())
        timer = EpochTimer()
        options = {"steps_per_epoch": settings["steps"], "verbose": 0, "callbacks": [timer]}
        model.fit(data, epochs=1 + settings["epochs"], **options)
    if is_writer():
        print("milliseconds", 1000 * statistics.median(timer.seconds[1:]) / settings["steps"])


def measure(way: str, options: argparse.Namespace) -> float:
    """Milliseconds per step of one way."""
    backend, kind, devices, processes = WAYS[way]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": flags}
    environment["PYTHONPATH"] = str(pathlib.Path(__file__).parents[2])
    started = []
    for index in range(processes):
        place = {"job_addresses": address, "num_processes": processes, "process_id": index}
        settings = {
            **vars(options),
            "backend": backend,
            "kind": kind,
            "devices": devices,
            "place": place if processes > 1 else {},
            "epochs": 3,
        }
        command = [sys.executable, __file__, "--worker", json.dumps(settings)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=environment, text=True, **pipes))
    results = [process.communicate() for process in started]
    for process, (_, error) in zip(started, results, strict=True):
        if process.returncode:
            raise RuntimeError(f"{way}:\n{error[-3000:]}")
    line = results[0][0].splitlines()[-1]
    return float(line.removeprefix("milliseconds "))


def predict(options: argparse.Namespace) -> None:
    """Print step time, all-reduce time and efficiency for clusters, by the presets' sizes."""
    from mae_keras.models import PRESETS, MaskedAutoencoder, training_flops

    print(
        f"{REPLICAS} replicas, each {options.images} images of 224 in patches of 16 at "
        f"{options.rate:g} TFLOP/s sustained; ring all-reduce of float32 gradients.\n"
    )
    header = ["preset", "gradients, MB", "compute, ms"]
    header += [f"{bandwidth:g} GB/s: ms, efficiency" for bandwidth in BANDWIDTHS]
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for name in ("tiny", "small", "base", "large", "huge"):
        model = MaskedAutoencoder.from_preset(name, (224, 224, 3), 16)
        compute = training_flops(model, options.images).total / (1e9 * options.rate)
        size = 4 * PRESETS[name].num_parameters
        cells = []
        for bandwidth in BANDWIDTHS:
            reduce = 2 * (REPLICAS - 1) / REPLICAS * size / (1e6 * bandwidth)
            worst, best = compute / (compute + reduce), compute / max(compute, reduce)
            cells.append(f"{reduce:.1f}, {worst:.2f} to {best:.2f}")
        print(f"| {name} | {size / 1e6:.0f} | {compute:.1f} | {' | '.join(cells)} |")


def main() -> None:
    """Measure, or predict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--preset", default="micro")
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--patch", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=200, help="TFLOP/s that a replica sustains")
    parser.add_argument("--images", type=int, default=64, help="images per replica and step")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    if options.predict:
        predict(options)
        return
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            taken[way].append(measure(way, options))
    print("| way | ms/step | one device / this | range |\n|---|---|---|---|")
    for way, times in taken.items():
        one = taken["TensorFlow, one device" if way.startswith("TensorFlow") else "JAX, one device"]
        ratios = [a / b for a, b in zip(one, times, strict=True)]
        middle, spread = statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"| {way} | {statistics.median(times):.1f} | {middle:.2f} | {spread} |")


if __name__ == "__main__":
    main()
