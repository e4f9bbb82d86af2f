"""What one training step spends its time on, by kind of operation; `docs/experiments.md`.

    python scripts/benchmarks/step_profile.py [--config cifar48] [--steps 6]

TensorFlow with XLA on a CPU: the profiler names every piece of the compiled step, and pieces are
summed by name without number. Pieces that run at the same time are both counted, so the sum may
exceed the step.
"""

import argparse
import collections
import glob
import os
import re
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from contenders.configurations import CPU, sizes_of
from contenders.keras_side import KerasContender, build_ours
from tensorflow.tsl.profiler.protobuf import xplane_pb2

# What the profiler records around the pieces.
AROUND = re.compile(r"ThunkExecutor|multi_step|Eager|TFE_|KernelAnd|Executor|CpuExec|Block|::|^end")


def record(contender: KerasContender, steps: int) -> xplane_pb2.XSpace:
    """Train under the profiler."""
    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder, options=options)
        contender.run(steps)
        tf.profiler.experimental.stop()
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        space = xplane_pb2.XSpace()
        with open(path, "rb") as file:
            space.ParseFromString(file.read())
    return space


def by_kind(space: xplane_pb2.XSpace, steps: int) -> dict[str, tuple[float, int]]:
    """Milliseconds and pieces per step: `{kind: (milliseconds, pieces)}`, the longest first."""
    total: collections.Counter = collections.Counter()
    count: collections.Counter = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            if not AROUND.search(name):
                kind = re.sub(r"[._\d]+$", "", name)
                total[kind] += event.duration_ps / 1e9
                count[kind] += 1
    return {kind: (ms / steps, count[kind] // steps) for kind, ms in total.most_common()}


def main() -> None:
    """Profile one configuration and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="cifar48", choices=CPU)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rows", type=int, default=16)
    options = parser.parse_args()
    contender = build_ours(sizes_of(options.config), "float32")
    contender.run(3)
    started = time.perf_counter()
    contender.run(options.steps)
    step = 1000 * (time.perf_counter() - started) / options.steps
    kinds = by_kind(record(contender, options.steps), options.steps)
    print(
        f"{options.config}: {step:.0f} ms per step, pieces {sum(m for m, _ in kinds.values()):.0f}"
    )
    for kind, (ms, pieces) in list(kinds.items())[: options.rows]:
        print(f"| {kind} | {pieces} | {ms:.1f} |")


if __name__ == "__main__":
    main()
