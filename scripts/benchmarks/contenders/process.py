"""Starts a worker for one contender and talks to it."""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from contenders.worker import SIDES

BENCHMARKS = pathlib.Path(__file__).parents[1]


class WorkerFailed(RuntimeError):
    """A contender could not be built or measured."""


class Process:
    """A contender's own process.

    Args:
        contender: a key of `sides`.
        options: what the command line gave: `torch_python`, `gpu`, `threads`.
        worker: module that answers.
        sides: contender to the module that builds it; `torch_...` runs in `torch_python`.
        variables: environment variables besides.
    """

    def __init__(
        self,
        contender: str,
        options: argparse.Namespace,
        worker: str = "contenders.worker",
        sides: dict[str, str] = SIDES,
        variables: Mapping[str, str] = MappingProxyType({}),
    ):
        on_torch = sides[contender].startswith("torch_")
        python = options.torch_python if on_torch else sys.executable
        self._errors = tempfile.TemporaryFile(mode="w+")
        self._process = subprocess.Popen(
            [python, "-m", worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**environment(contender, options), **variables},
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Raises:
            WorkerFailed: if the worker reports an error or ends.
        """
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            reply = json.loads(self._process.stdout.readline() or "null")
        except BrokenPipeError:
            reply = None
        if reply is None:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()[-1:]
            raise WorkerFailed(f"the worker ended. {' '.join(said)}")
        if "error" in reply:
            raise WorkerFailed(reply["error"])
        return reply

    def cpu_seconds(self) -> float:
        """Time its threads have spent on cores so far; 0 where the system does not tell."""
        try:
            with open(f"/proc/{self._process.pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the worker."""
        with contextlib.suppress(BrokenPipeError):  # it may be dead, with a request half sent
            self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def environment(contender: str, options: argparse.Namespace) -> dict[str, str]:
    """What a worker's process is told, besides what this one was told."""
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (BENCHMARKS, BENCHMARKS.parents[1]))),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # several workers share one card
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",  # or a second run compiles in no time
    }
    if contender == "plain_keras":
        variables["KERAS_BACKEND"] = "tensorflow"
    if not options.gpu:
        variables |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    if options.threads:
        names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
        variables |= dict.fromkeys(names, str(options.threads))
    return variables


def has_torch(python: str) -> bool:
    """Whether an interpreter can import what the PyTorch contenders need."""
    script = (
        "import importlib.util, sys\n"
        "found = [importlib.util.find_spec(name) for name in ('torch', 'transformers')]\n"
        "sys.exit(0 if all(found) else 1)"
    )
    return subprocess.run([python, "-c", script]).returncode == 0
