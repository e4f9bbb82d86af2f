"""One contender in a process that waits to be asked over a pipe: JSON lines in, JSON lines out.

Runs in the environment of its framework, so it imports neither Keras nor PyTorch nor this package
before it knows what to build.
"""

import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

SIDES = {
    "mae_keras": "keras_side",
    "mae_keras_cross": "keras_side",
    "mae_keras_unsharded": "keras_side",
    "plain_keras": "keras_side",
    "hf_eager": "torch_side",
    "hf_compile": "torch_side",
}
WARM_STEPS = 2


class Session:
    """What one worker holds between requests.

    Args:
        sides: contender to the module of `contenders` that builds it.
    """

    def __init__(self, sides: dict[str, str] = SIDES):
        self.sides = sides

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks: `{"do": "build" | "measure" | "matrix", ...}`."""
        arguments = dict(request)
        return getattr(self, arguments.pop("do"))(**arguments)

    def build(self, contender: str, sizes: dict[str, Any], dtype: str) -> dict[str, Any]:
        """Make the model, take its first step, and a few more until its pace is steady."""
        self.side = importlib.import_module(f"contenders.{self.sides[contender]}")
        self.contender = self.side.build(contender, sizes, dtype)
        first = self._seconds(1)
        self.pace = self._seconds(WARM_STEPS) / WARM_STEPS
        return {"first_step_seconds": first, **self.contender.facts}

    def measure(self, seconds: float) -> dict[str, Any]:
        """As many training steps as fill about that many seconds."""
        steps = max(1, round(seconds / self.pace))
        before = _used()
        taken = self._seconds(steps)
        self.pace = taken / steps
        used = {name: value - before[name] for name, value in _used().items()}
        return {"steps": steps, "seconds": taken, **used}

    def matrix(self, size: int, dtype: str, seconds: float) -> dict[str, Any]:
        """Rate of one large matrix product, in FLOP/s: the best of those that fit in the time."""
        multiply = self.side.matrix_product(size, dtype)
        multiply()
        started, taken = time.perf_counter(), []
        while not taken or time.perf_counter() - started < seconds:
            before = time.perf_counter()
            multiply()
            taken.append(time.perf_counter() - before)
        return {"flops_per_second": 2 * size**3 / min(taken)}

    def _seconds(self, steps: int) -> float:
        started = time.perf_counter()
        self.contender.run(steps)
        return time.perf_counter() - started


def _used() -> dict[str, float]:
    """What this process has used so far: seconds of cores, and pages that it was given."""
    times = os.times()
    used = {"user_seconds": times.user, "system_seconds": times.system}
    try:
        import resource
    except ImportError:  # Windows does not tell
        return used
    return {**used, "page_faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt}


def main(sides: dict[str, str] = SIDES) -> None:
    """Answer until the pipe is closed."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not get among the replies
    session = Session(sides)
    for line in sys.stdin:
        try:
            reply = session.answer(json.loads(line))
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
