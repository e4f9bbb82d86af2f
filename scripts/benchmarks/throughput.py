"""Pretraining steps per second, side by side with Hugging Face's ViTMAE and with plain Keras.

    python scripts/benchmarks/throughput.py --torch-python /path/to/torch/env/bin/python \
        [--configs cifar48 ...] [--contenders hf_eager ...] [--dtype float32 bfloat16] \
        [--rounds 7] [--seconds 5] [--json throughput.json] [--gpu] [--batch N] [--threads N]

PyTorch is no dependency of this package; the contenders on it run in an environment of their own:

    python -m venv torch-env && torch-env/bin/pip install torch transformers numpy

Every contender lives in a process of its own for as long as its configuration is measured, and
only one works at a time: A B C D, A B C D, ... over `--rounds` rounds. In one process PyTorch's
and TensorFlow's thread pools would both hold every core; a process that waits for its pipe leaves
them alone, which the column "idle" proves: the cores that all waiting workers together kept busy.
Threads: as many as there are cores for everyone (`--threads` sets another number). All train with
AdamW on one batch in memory. mae_keras and plain_keras pay for `fit`, hf_* for a bare loop;
mae_keras also normalizes uint8 pixels in every step, hf_* get floats that lie on the device.
mae_keras_cross is another model with the same encoder: its decoder of cross-attention predicts a
quarter of the hidden patches in each step (`CrossAttentionDecoder`, `decode_ratio`). On processors
mae_keras computes each batch in shards, as `mae-keras pretrain` does and `fit` after
`shard_batches_across_cores()`; mae_keras_unsharded is `fit` without.

Printed for each configuration and precision: images/s (median over rounds), how many times as fast
mae_keras is (median and range of the ratios round by round), FLOP/s of the model's matrix products
(`mae_keras.models.training_flops`; the others predict visible patches too and get those counted),
their share of the machine's own rate for one large matrix product, and the first step with tracing
and compilation.
The machine's rate is measured in every worker in every round, in float32 (on a GPU in the precision
of the training); the median of the faster framework counts.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from contenders.configurations import CONFIGURATIONS, CPU, GPU, sizes_of
from contenders.process import Process, WorkerFailed, has_torch
from contenders.worker import SIDES

OURS = "mae_keras"
PAUSE = 0.3  # seconds for the threads of the last worker to go to sleep
HEADER = (
    "| contender | weights | images/s | mae_keras is | range | GFLOP/s | share | idle | XLA or "
    "compiled | first step, s |\n|---|---|---|---|---|---|---|---|---|---|"
)


def start_all(names: list[str], sizes: dict, dtype: str, start: Callable) -> dict[str, Any]:
    """Build every contender that can be built: `{name: (worker, what it said)}`."""
    ready = {}
    for name in names:
        worker = start(name)
        try:
            ready[name] = worker, worker.ask(do="build", contender=name, sizes=sizes, dtype=dtype)
        except WorkerFailed as error:
            print(f"{name} left out: {error}", flush=True)
            worker.close()
    return ready


def one_round(workers: dict[str, Any], options: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """Let each contender work once, the others waiting."""
    results = {}
    for name, worker in workers.items():
        time.sleep(PAUSE)
        others = [other for other in workers.values() if other is not worker]
        before = sum(other.cpu_seconds() for other in others)
        taken = worker.ask(do="measure", seconds=options.seconds)
        waiting = sum(other.cpu_seconds() for other in others) - before
        rate = worker.ask(
            do="matrix",
            size=options.matrix,
            dtype=dtype if options.gpu else "float32",
            seconds=options.seconds / 5,
        )
        results[name] = {**taken, **rate, "idle": waiting / taken["seconds"]}
    return results


def measure(
    name: str, dtype: str, options: argparse.Namespace, start: Callable | None = None
) -> dict[str, Any]:
    """All contenders on one configuration in one precision."""
    sizes = sizes_of(name, options.batch)
    start = start or (lambda contender: Process(contender, options))
    ready = start_all(options.contenders, sizes, dtype, start)
    try:
        if OURS not in ready:
            raise SystemExit("mae_keras could not be built; nothing to compare with.")
        workers = {contender: worker for contender, (worker, _) in ready.items()}
        rounds = [one_round(workers, options, dtype) for _ in range(options.rounds)]
    finally:
        for worker, _ in ready.values():
            worker.close()
    facts = {contender: said for contender, (_, said) in ready.items()}
    return {"configuration": name, "dtype": dtype, **summary(sizes["batch"], facts, rounds)}


def summary(batch: int, facts: dict[str, Any], rounds: list[dict]) -> dict[str, Any]:
    """Medians, ratios, FLOP/s and shares from what the workers said."""
    flops = facts[OURS]["flops_per_step"]
    reference = facts[OURS]["reference_flops_per_step"]
    matrix = {
        name: statistics.median(done[name]["flops_per_second"] for done in rounds) for name in facts
    }
    machine = max(matrix.values())
    rates = {
        name: [batch * done[name]["steps"] / done[name]["seconds"] for done in rounds]
        for name in facts
    }
    contenders = {}
    for name, said in facts.items():
        ratios = [ours / its for ours, its in zip(rates[OURS], rates[name], strict=True)]
        per_second = statistics.median(rates[name])
        own_flops = said.get("flops_per_step", reference)
        contenders[name] = {
            **said,
            "images_per_second": per_second,
            "images_per_second_by_round": rates[name],
            "ratio": statistics.median(ratios),
            "range": [min(ratios), max(ratios)],
            "flops_per_second": own_flops / batch * per_second,
            "share": own_flops / batch * per_second / machine,
            "matrix_flops_per_second": matrix[name],
            "idle": max(done[name]["idle"] for done in rounds),
        }
    return {
        "batch": batch,
        "flops_per_step": flops,
        "machine_flops_per_second": machine,
        "contenders": contenders,
    }


def table(result: dict[str, Any]) -> str:
    """One configuration as Markdown."""
    lines = [
        f"\n{result['configuration']}, {result['dtype']}: batch {result['batch']}, "
        f"{result['flops_per_step'] / 1e9:.1f} GFLOP per step; the machine multiplies matrices at "
        f"{result['machine_flops_per_second'] / 1e9:.0f} GFLOP/s",
        HEADER,
    ]
    for name, one in result["contenders"].items():
        low, high = one["range"]
        lines.append(
            f"| {name} | {one['parameters']:,} | {one['images_per_second']:.1f} | "
            f"{one['ratio']:.2f} x | {low:.2f} to {high:.2f} | "
            f"{one['flops_per_second'] / 1e9:.0f} | {one['share']:.2f} | {one['idle']:.2f} | "
            f"{_compiled(one)} | {one['first_step_seconds']:.1f} |"
        )
    return "\n".join([*lines, "", *verdicts(result)])


def _compiled(one: dict[str, Any]) -> str:
    shards = f", {one['shards']} shards" if one.get("shards", 1) > 1 else ""
    if one["jit_compile"]:
        return "yes"
    return ("pieces" if one.get("xla") == "pieces" else "no") + shards


def verdicts(result: dict[str, Any]) -> list[str]:
    """Which aims are met: sentences."""
    name, dtype, contenders = result["configuration"], result["dtype"], result["contenders"]
    share = contenders[OURS]["share"]
    rivals = {rival: contenders[rival]["ratio"] for rival in contenders if rival.startswith("hf_")}
    lines = []
    if name in GPU or dtype == "bfloat16":
        least, enough = dict.fromkeys(rivals, 1.0), float("inf")
    else:
        least, enough = {"hf_eager": 2.5, "hf_compile": 1.5}, 0.85
    for rival, ratio in rivals.items():
        met = ratio >= least[rival] or share >= enough
        other = "" if enough > 1 else f" or share {enough}"
        lines.append(
            _verdict(f"{least[rival]} x {rival}{other}", met, f"{ratio:.2f} x, {share:.2f}")
        )
    wanted = {"cifar48": 0.6, "mnist28": 0.6, "cifar32": 0.8, "vitb224": 0.8, "vitl224-gpu": 0.5}
    if name in wanted and (name in GPU or dtype == "float32"):
        aim = f"share {wanted[name]} of the matrix rate"
        lines.append(_verdict(aim, share >= wanted[name], f"{share:.2f}"))
    return lines


def _verdict(aim: str, met: bool, found: str) -> str:
    return f"{'met' if met else 'MISSED'}: at least {aim} ({found})"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, defaults filled in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", choices=CONFIGURATIONS)
    parser.add_argument("--contenders", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="per contender and round")
    parser.add_argument("--batch", type=int, help="instead of the configuration's own")
    parser.add_argument("--matrix", type=int, help="rows of the large matrices")
    parser.add_argument("--threads", type=int, help="by default as many as cores")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--gpu", action="store_true", help="on a CUDA device")
    parser.add_argument("--json", help="file to write everything to")
    options = parser.parse_args(arguments)
    options.configs = options.configs or list(GPU if options.gpu else CPU)
    options.dtype = options.dtype or (["bfloat16"] if options.gpu else ["float32", "bfloat16"])
    options.matrix = options.matrix or (8192 if options.gpu else 4096)
    options.contenders = [OURS, *(name for name in options.contenders if name != OURS)]
    return options


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, and write what was measured."""
    options = parse(arguments)
    on_torch = [name for name in options.contenders if SIDES[name] == "torch_side"]
    if on_torch and not has_torch(options.torch_python):
        print(
            f"{', '.join(on_torch)} left out: no torch and transformers in "
            f"{options.torch_python}; see --torch-python."
        )
        options.contenders = [name for name in options.contenders if name not in on_torch]
    results = []
    print(f"{os.cpu_count()} cores, {options.rounds} rounds of {options.seconds} s")
    for name in options.configs:
        for dtype in options.dtype:
            results.append(measure(name, dtype, options))
            print(table(results[-1]), flush=True)
            if options.json:  # after each, so that a run that is stopped leaves something
                with open(options.json, "w") as file:
                    json.dump(results, file, indent=1)
    said = {one["framework"] for result in results for one in result["contenders"].values()}
    print("\n" + "; ".join(sorted(said)))
    return results


if __name__ == "__main__":
    main()
