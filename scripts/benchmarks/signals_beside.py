"""What other methods reach on the sets of `signals.py`: MiniRocket, and 1-NN under DTW.

    pip install aeon
    scripts/benchmarks/signals_beside.py FOLDER --sets GunPoint ArrowHead --seeds 0 1 2

Needs the package aeon and no part of mae_keras: run it in an environment of its own. Same files and
test signals as `signals.py`; nothing is chosen. DTW has no band.
"""

import argparse
import pathlib
import time

from aeon.classification.convolution_based import MiniRocketClassifier
from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier
from aeon.datasets import load_from_ts_file

SETS = ("GunPoint", "ItalyPowerDemand", "ArrowHead", "OSULeaf", "ACSF1", "BasicMotions")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    arguments = parser.parse_args()
    print("set: 1-NN DTW | MiniRocket, a column for each seed | seconds")
    for name in arguments.sets:
        started = time.perf_counter()
        parts = [
            load_from_ts_file(arguments.folder / name / f"{name}_{part}.ts")
            for part in ("TRAIN", "TEST")
        ]
        methods = [KNeighborsTimeSeriesClassifier(distance="dtw")]
        methods += [MiniRocketClassifier(random_state=seed) for seed in arguments.seeds]
        scores = [method.fit(*parts[0]).score(*parts[1]) for method in methods]
        shown = " | ".join(f"{100 * score:.1f}" for score in scores)
        print(f"{name}: {shown} | {time.perf_counter() - started:.0f}", flush=True)


if __name__ == "__main__":
    main()
