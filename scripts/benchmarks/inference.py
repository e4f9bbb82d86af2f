"""Latency and size of a model alive and exported, beside Hugging Face's ViTMAE.

    python scripts/benchmarks/inference.py --torch-python /path/to/torch/env/bin/python \
        [--presets tiny base] [--batches 1 32] [--contenders keras ...] [--rounds 7] [--seconds 3] \
        [--threads N] [--json inference.json]

Needs the extras `onnx` and `litert`; PyTorch is in an environment of its own, as for
`throughput.py`. One model of each preset, with random weights, is saved and exported in float32;
every file is verified against the live model before it is measured. Each contender lives in a
process of its own and only one works at a time: A B C D, A B C D, ... over `--rounds` rounds.

All give the mean of the encoder's patch tokens, nothing hidden, as a NumPy array. All but
Hugging Face take uint8 pixels and normalize them; Hugging Face gets normalized floats, and random
weights of the same sizes. `keras` is `model.encode`, whose cost per call is that of
`keras.Model.predict`.

Printed: milliseconds per batch (median over rounds), images/s, how many times as fast as Hugging
Face eager (median and range of the ratios round by round), and megabytes on disk. Keras and
SavedModel files hold the decoder too; the others hold what features need.
"""

import argparse
import functools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

from contenders.configurations import sizes_of
from contenders.process import Process, WorkerFailed, has_torch
from contenders.serving_worker import SIDES

CONFIGURATIONS = {"nano": "nano8", "tiny": "cifar32", "base": "vitb224"}
PATCHES = {"tiny": 4}  # of the preset's reference; pretraining is measured with finer ones
RIVAL = "hf_eager"
PAUSE = 0.3  # seconds for the threads of the last worker to go to sleep
HEADER = (
    "| contender | ms/batch | images/s | times hf_eager | range | MB |\n|---|---|---|---|---|---|"
)


def export_all(sizes: dict[str, Any], folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Write one model in every format: `{contender: {"path", "bytes", "export_seconds"}}`."""
    from mae_keras import interop
    from mae_keras.models import MaskedAutoencoder

    model = MaskedAutoencoder.from_preset(
        sizes["preset"], sizes["image_shape"], sizes["patch"], seed=0
    )
    only = {"signatures": ["encode"]}
    writers = {
        "keras": ("model.keras", lambda path: model.save(path)),
        "saved_model": (
            "saved_model",
            functools.partial(interop.export_saved_model, model, **only),
        ),
        "onnx_runtime": ("model.onnx", functools.partial(interop.export_onnx, model)),
        "litert": ("model.tflite", functools.partial(interop.export_litert, model, **only)),
    }
    made = {}
    for contender, (name, write) in writers.items():
        started = time.perf_counter()
        write(folder / name)
        seconds = time.perf_counter() - started
        made[contender] = {
            "path": str(folder / name),
            "bytes": bytes_of(folder / name),
            "export_seconds": seconds,
        }
    return made


def bytes_of(path: pathlib.Path) -> int:
    """Size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def start_all(
    sizes: dict[str, Any], files: dict[str, dict], options: argparse.Namespace
) -> dict[str, Any]:
    """Load every contender that can be loaded: `{name: (worker, what it said)}`."""
    ready = {}
    for name in options.contenders:
        worker = Process(name, options, "contenders.serving_worker", SIDES)
        file = files.get(name, {})
        asked = {**sizes, "path": file.get("path"), "threads": options.threads}
        try:
            said = worker.ask(do="build", contender=name, sizes=asked, dtype="float32")
            ready[name] = worker, {**said, **file}
        except WorkerFailed as error:
            print(f"{name} left out: {error}", flush=True)
            worker.close()
    return ready


def measure(
    sizes: dict[str, Any], files: dict[str, dict], options: argparse.Namespace
) -> dict[str, Any]:
    """All contenders on one model and one batch size."""
    ready = start_all(sizes, files, options)
    try:
        rounds = []
        for _ in range(options.rounds):
            taken = {}
            for name, (worker, _) in ready.items():
                time.sleep(PAUSE)
                done = worker.ask(do="measure", seconds=options.seconds)
                taken[name] = done["seconds"] / done["steps"]
            rounds.append(taken)
    finally:
        for worker, _ in ready.values():
            worker.close()
    facts = {name: said for name, (_, said) in ready.items()}
    return {
        "preset": sizes["preset"],
        "image_shape": sizes["image_shape"],
        "patch": sizes["patch"],
        "batch": sizes["batch"],
        "contenders": summary(sizes["batch"], facts, rounds),
    }


def summary(batch: int, facts: dict[str, Any], rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Medians and ratios from the seconds per batch of every round."""
    measured = {}
    for name, said in facts.items():
        seconds = [taken[name] for taken in rounds]
        measured[name] = {
            **said,
            "milliseconds": 1e3 * statistics.median(seconds),
            "milliseconds_by_round": [1e3 * value for value in seconds],
            "images_per_second": batch / statistics.median(seconds),
        }
        if RIVAL in facts:
            ratios = [taken[RIVAL] / taken[name] for taken in rounds]
            measured[name] |= {
                "ratio": statistics.median(ratios),
                "range": [min(ratios), max(ratios)],
            }
    return measured


def table(result: dict[str, Any]) -> str:
    """One model and batch size as Markdown."""
    shape = "x".join(map(str, result["image_shape"]))
    lines = [
        f"\n{result['preset']}, {shape}, patches of {result['patch']}, batch {result['batch']}",
        HEADER,
    ]
    for name, one in result["contenders"].items():
        ratio, between = "", ""
        if "ratio" in one:
            ratio = f"{one['ratio']:.2f} x"
            between = "{:.2f} to {:.2f}".format(*one["range"])
        lines.append(
            f"| {name} | {one['milliseconds']:.2f} | {one['images_per_second']:.1f} | {ratio} | "
            f"{between} | {one['bytes'] / 1e6:.1f} |"
        )
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, defaults filled in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", choices=CONFIGURATIONS, default=["tiny", "base"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--contenders", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="per contender and round")
    parser.add_argument("--threads", type=int, help="by default as many as cores")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--json", help="file to write everything to")
    options = parser.parse_args(arguments)
    options.gpu = False
    return options


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Export, measure, print, and write what was measured."""
    options = parse(arguments)
    if RIVAL in options.contenders and not has_torch(options.torch_python):
        print(f"{RIVAL} left out: no torch and transformers in {options.torch_python}.")
        options.contenders.remove(RIVAL)
    results = []
    print(f"{os.cpu_count()} cores, {options.rounds} rounds of {options.seconds} s")
    for preset in options.presets:
        with tempfile.TemporaryDirectory() as folder:
            sizes = sizes_of(CONFIGURATIONS[preset])
            sizes["patch"] = PATCHES.get(preset, sizes["patch"])
            files = export_all(sizes, pathlib.Path(folder))
            for batch in options.batches:
                results.append(measure({**sizes, "batch": batch}, files, options))
                print(table(results[-1]), flush=True)
                if options.json:  # after each, so that a run that is stopped leaves something
                    with open(options.json, "w") as file:
                        json.dump(results, file, indent=1)
    said = {one["framework"] for result in results for one in result["contenders"].values()}
    print("\n" + "; ".join(sorted(said)))
    return results


if __name__ == "__main__":
    main()
