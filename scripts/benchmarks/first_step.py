"""How long the first step takes, in this tree and in another checkout of it.

    git worktree add ../earlier 32425f0
    python scripts/benchmarks/first_step.py ../earlier [--configs cifar48 ...] [--rounds 5] \
        [--shards]

Each measurement is a process of its own that imports `mae_keras` from one of the two trees, makes
and compiles the model with that tree's defaults, and trains one step and then one more; in turn,
A B A B. "First" is the first `fit`, with everything it waits for: building, tracing and compiling.
The aim is at most 1.3 times what it was.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

from contenders.configurations import CONFIGURATIONS, CPU, sizes_of

AIM = 1.3
HERE = pathlib.Path(__file__).resolve().parents[2]
CHILD = """
import json, sys, time
sizes, shards = json.loads(sys.argv[1])
from mae_keras import training
if shards and hasattr(training, "shard_batches_across_cores"):
    training.shard_batches_across_cores()
import numpy as np, keras, mae_keras
from mae_keras.models import MaskedAutoencoder
from mae_keras.training import MaskedAdamW
images = np.random.default_rng(0).integers(0, 256, (sizes["batch"], *sizes["image_shape"]))
model = MaskedAutoencoder.from_preset(
    sizes["preset"], image_shape=tuple(sizes["image_shape"]), patch_size=sizes["patch"], seed=0
)
model.compile(MaskedAdamW(1e-4))
taken = []
for _ in range(2):
    started = time.perf_counter()
    model.fit(images.astype("uint8"), batch_size=sizes["batch"], verbose=0)
    taken.append(time.perf_counter() - started)
print(json.dumps({"from": mae_keras.__file__, "xla": bool(model.jit_compile), "seconds": taken}))
"""


def first_step(tree: pathlib.Path, sizes: dict[str, Any], shards: bool) -> dict[str, Any]:
    """Seconds of the first and of the second `fit` of a fresh process."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([sizes, shards])],
        cwd=tree,  # which Python looks in first
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    if not pathlib.Path(said["from"]).is_relative_to(tree):
        raise RuntimeError(f"Expected mae_keras of {tree}. Received: {said['from']}")
    return said


def measure(name: str, other: pathlib.Path, rounds: int, shards: bool) -> str:
    """One configuration as a row of Markdown."""
    sizes = sizes_of(name)
    pairs = [
        tuple(first_step(tree, sizes, shards) for tree in (HERE, other)) for _ in range(rounds)
    ]
    ratios = [now["seconds"][0] / then["seconds"][0] for now, then in pairs]
    now, then = (
        statistics.median(said["seconds"][0] for said in side) for side in zip(*pairs, strict=True)
    )
    ratio = statistics.median(ratios)
    xla = ["yes" if said["xla"] else "no" for said in pairs[0]]
    return (
        f"| {name} | {now:.1f} (XLA: {xla[0]}) | {then:.1f} (XLA: {xla[1]}) | {ratio:.2f} | "
        f"{min(ratios):.2f} to {max(ratios):.2f} | {'met' if ratio <= AIM else 'MISSED'} |"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=pathlib.Path, help="another checkout of this repository")
    parser.add_argument("--configs", nargs="+", choices=CONFIGURATIONS, default=list(CPU))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", action="store_true", help="one for each core, where it can")
    options = parser.parse_args(arguments)
    print(
        "| configuration | now, s | then, s | now / then | range | aim 1.3 |\n" + 6 * "|---" + "|"
    )
    for name in options.configs:
        print(measure(name, options.other.resolve(), options.rounds, options.shards), flush=True)


if __name__ == "__main__":
    main()
