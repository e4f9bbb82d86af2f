"""What environment variables change: numbers of threads, allocators, compilers.

    python scripts/benchmarks/environments.py TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTRAOP_THREADS=4
    KERAS_BACKEND=jax python scripts/benchmarks/environments.py \
        GLIBC_TUNABLES=glibc.malloc.hugetlb=1 "MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=4294967296"

    git worktree add ../earlier COMMIT; cd docs  # out of the way of this tree
    python ../scripts/benchmarks/environments.py \
        "PYTHONPATH=$PWD/../../earlier/scripts/benchmarks:$PWD/../../earlier"

Each argument is a process of its own that trains the same model with those variables set; a
further one has none of them, and shards batches (`mae_keras.training.shard_batches_across_cores`),
as all do that set no number of threads: TF_NUM_INTRAOP_THREADS=2 is two cores without shards.
They work in turn, and each round begins with another. Printed for each: median milliseconds per
step, how many times as fast as without (median and range of the ratios round by round), what a step
takes of the cores, in the program and in the kernel, and how many pages of memory it is given: a
step that gives its memory back and asks for it again pays for every page.
"""

import argparse
import os
import shlex
import statistics
from typing import Any

from contenders.configurations import CONFIGURATIONS, sizes_of
from contenders.process import Process

OURS = "mae_keras"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="+", type=assignments, help="NAME=VALUE [NAME=VALUE ...]")
    parser.add_argument("--config", default="cifar48", choices=CONFIGURATIONS)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0, help="per setting and round")
    options = parser.parse_args(arguments)
    options.gpu, options.threads, options.torch_python = False, None, None
    return options


def assignments(text: str) -> dict[str, str]:
    """`"A=1 B='2 3'"` as a dict."""
    pairs = [assignment.partition("=") for assignment in shlex.split(text)]
    if not pairs or not all(name and equals for name, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE [NAME=VALUE ...], received {text!r}")
    return {name: value for name, _, value in pairs}


def measure(options: argparse.Namespace) -> list[list[dict[str, Any]]]:
    """For every round, what each setting took: first none, then those that were asked for."""
    request = {"contender": OURS, "sizes": sizes_of(options.config), "dtype": options.dtype}
    workers: list[Process] = []
    try:
        for variables in ({}, *options.settings):
            workers.append(Process(OURS, options, variables=variables))
            workers[-1].ask(do="build", **request)
        rounds = []
        for number in range(options.rounds):
            order = sorted(range(len(workers)), key=lambda i: (i - number) % len(workers))
            taken = {i: workers[i].ask(do="measure", seconds=options.seconds) for i in order}
            rounds.append([taken[i] for i in range(len(workers))])
        return rounds
    finally:
        for worker in workers:
            worker.close()


def row(name: str, number: int, rounds: list[list[dict[str, Any]]]) -> str:
    """One setting as a row of Markdown."""

    def each(one: dict[str, Any], what: str) -> float:
        return one.get(what, float("nan")) / one["steps"]

    def median(what: str) -> float:
        return statistics.median(each(taken[number], what) for taken in rounds)

    ratios = [each(taken[0], "seconds") / each(taken[number], "seconds") for taken in rounds]
    return (
        f"| {name} | {1000 * median('seconds'):.1f} | {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}) | {1000 * median('user_seconds'):.0f} | "
        f"{1000 * median('system_seconds'):.0f} | {median('page_faults'):,.0f} |"
    )


def main(arguments: list[str] | None = None) -> list[str]:
    """Measure and print a table."""
    options = parse(arguments)
    names = ["none"] + [
        " ".join(f"{name}={value}" for name, value in setting.items())
        for setting in options.settings
    ]
    print(f"{options.config}, {options.dtype}, {os.environ.get('KERAS_BACKEND', 'tensorflow')}")
    print(
        "| variables | ms/step | times as fast (range) | cores, ms/step | of the kernel, ms/step | "
        "pages/step |\n|---|---|---|---|---|---|"
    )
    rounds = measure(options)
    rows = [row(name, number, rounds) for number, name in enumerate(names)]
    print("\n".join(rows))
    return rows


if __name__ == "__main__":
    main()
