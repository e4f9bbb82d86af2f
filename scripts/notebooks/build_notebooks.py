"""Execute notebooks and write them with their outputs, or check that they run and are in step.

python scripts/notebooks/build_notebooks.py [--check] [NAME ...]
"""

import argparse
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from notebook_pairs import (
    Pair,
    differences,
    faults_of_form,
    faults_of_outputs,
    find_pairs,
    for_colab,
    repository,
    tidy,
)
from notebook_runs import QUIET, run_in_kernel, run_in_process

from mae_keras.files import replacing

# What every notebook's cell of parameters must set, and what a check sets instead.
SMALL = {"SMALL": True}
COLOR = re.compile(r"\x1b\[[0-9;]*m")


def build(pair: Pair) -> list[str]:
    """Execute one notebook in full and write the `.ipynb` file, or say why it was not written.

    The file that is there stays as it is unless every cell ran and the outputs are fit to keep.
    """
    notebook = pair.read()
    faults = faults_of_form(notebook)
    if faults:
        return faults
    notebook = for_colab(notebook, pair.name, repository())
    try:
        run_in_kernel(notebook, pair.source.parent)
    except (CellExecutionError, CellTimeoutError) as error:
        return [COLOR.sub("", str(error))]
    except (DeadKernelError, AssertionError) as error:  # nbclient asserts while it cleans up
        return [f"the kernel died, perhaps for want of memory: {error}"]
    built = tidy(notebook)
    faults = faults_of_outputs(built)
    if faults:
        return [*faults, f"{pair.executed.name} was not written"]
    with replacing(pair.executed) as aside:
        nbformat.write(built, aside)
    return []


def check_files(pair: Pair) -> list[str]:
    """Say what is wrong with the two files of a notebook, without running it."""
    notebook = pair.read()
    faults = faults_of_form(notebook)
    if not pair.executed.exists():
        return [*faults, f"{pair.executed.name} is missing: scripts/build_notebooks {pair.name}"]
    executed = nbformat.read(pair.executed, as_version=4)
    changed = differences(for_colab(notebook, pair.name, repository()), executed)
    if changed:
        changed.append(f"to bring them in step: scripts/build_notebooks {pair.name}")
    return [*faults, *changed, *faults_of_outputs(executed)]


def check_run(pair: Pair) -> list[str]:
    """Run one notebook here with small settings and say where it fails."""
    try:
        run_in_process(pair.read(), pair.name, pair.source.parent, SMALL)
    except Exception:
        return [traceback.format_exc()]
    return []


def run_all(pairs: Sequence[Pair], steps: Sequence[Callable[[Pair], list[str]]]) -> int:
    """Do the steps for each notebook, print what happens, and count those with faults."""
    failed = 0
    for pair in pairs:
        started = time.perf_counter()
        faults = [fault for step in steps for fault in step(pair)]
        failed += bool(faults)
        seconds = time.perf_counter() - started
        print(f"{pair.name}: {'FAILED' if faults else 'ok'}, {seconds:.0f} s", flush=True)
        for fault in faults:
            print(f"    {fault}", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="scripts/build_notebooks")
    parser.add_argument("names", nargs="*", help="beginnings of names, as 03; all by default")
    parser.add_argument(
        "--check", action="store_true", help="run with small settings and write nothing"
    )
    given = parser.parse_args(arguments)
    try:
        pairs = find_pairs(given.names)
    except ValueError as error:
        parser.error(str(error))
    os.environ.update(QUIET)
    return int(run_all(pairs, [check_files, check_run] if given.check else [build]) > 0)


if __name__ == "__main__":
    sys.exit(main())
