"""Keras models that train in turn, A B C A B C, and what scripts that compare them can be told."""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

from contenders.configurations import CONFIGURATIONS, CPU
from contenders.keras_side import KerasContender


def seconds_per_step(
    contenders: Sequence[KerasContender], options: argparse.Namespace
) -> list[list[float]]:
    """For every round, what a step of each took."""
    paces = [_step_seconds(contender, 0, 1) for contender in contenders]
    taken: list[list[float]] = []
    for _ in range(options.rounds):
        paces = [
            _step_seconds(contender, options.seconds, pace)
            for contender, pace in zip(contenders, paces, strict=True)
        ]
        taken.append(paces)
    return taken


def _step_seconds(contender: KerasContender, seconds: float, pace: float) -> float:
    """Mean over about that many seconds, given what a step took before."""
    steps = max(1, round(seconds / pace))
    started = time.perf_counter()
    contender.run(steps)
    return (time.perf_counter() - started) / steps


def compared(ratios: list[float]) -> dict[str, Any]:
    """How many times as fast: median and range of the ratios round by round."""
    return {"faster": statistics.median(ratios), "range": [min(ratios), max(ratios)]}


def command_line(description: str) -> argparse.ArgumentParser:
    """What can be said to every such script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--configs", nargs="+", choices=CONFIGURATIONS, default=list(CPU))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="per model and round")
    parser.add_argument("--batch", type=int, help="instead of the configuration's own")
    parser.add_argument("--shards", action="store_true", help="one for each core")
    parser.add_argument("--json", help="file to write everything to")
    return parser


def write(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """After each configuration, so that a run that is stopped leaves something."""
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
