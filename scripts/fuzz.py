"""Call the public API with plausible mistakes, and check models against what must always hold.

    scripts/fuzz.py                                  # 10,000 mistakes and 6 random models
    scripts/fuzz.py --cases 300 --models 0 --seed 3
    scripts/fuzz.py --only 'ops.patchify|patch_size' # these cases again, with tracebacks

A case replaces one argument of a valid call (`fuzz_calls.py`) by a mistake: a wrong shape, rank,
length, dtype, range, sign, zero, None, NaN, infinity, something empty or huge. What comes of it:

    ok        accepted, or accepted for good reason
    clear     a ValueError or TypeError of our own that names the argument
    unclear   any other error
    silent    a mistake that was accepted although it cannot be meant, or NaN out of finite numbers
    hang      more than 10 seconds of processor time
    crash     the process died, or took too much memory

Cases run in a process of their own, which is killed and started again if one hangs. The exit status
is 1 after a hang, a crash, a broken model, a silent case, or more than 2 % of unclear ones.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import resource
import select
import subprocess
import sys
import time
import traceback
import warnings
import zlib

PACKAGE = str(pathlib.Path(__file__).resolve().parents[1] / "mae_keras") + os.sep
OUTCOMES = ("ok", "clear", "unclear", "silent", "hang", "crash")
CPU_SECONDS, MODEL_CPU_SECONDS, WALL_SECONDS = 10.0, 120.0, 600.0
MEMORY = 16 * 2**30
LARGEST_UNCLEAR = 0.02


# --- the worker: one case at a time, from a key -------------------------------------------------


def run_case(call, argument: str, mistake: str, variant: int, seed: int) -> tuple[str, str]:
    """Make one call with one mistake; the outcome, and what was said."""
    from fuzz_calls import mistakes, not_finite

    key = f"{call.name}|{argument}|{mistake}|{variant}"
    rng = random.Random(zlib.crc32(f"{seed}|{key}".encode()))
    arguments = call.arguments()
    value, wrong = mistakes(arguments[argument], rng)[mistake]
    arguments[argument] = value
    wrong = wrong and not call.allows(argument, mistake)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = call.use(call.function(**arguments))
    except (KeyboardInterrupt, SystemExit):
        raise
    except MemoryError as error:
        return "crash", describe(error)
    except BaseException as error:  # noqa: BLE001
        return ("clear" if is_clear(error, call, argument) else "unclear"), describe(error)
    if wrong:
        return "silent", f"accepted {argument}={short(value)}"
    if not mistake.startswith(("nan", "inf", "minus_inf", "huge")) and not_finite(result):
        return "silent", f"NaN or infinity for {argument}={short(value)}"
    return "ok", ""


def is_clear(error: BaseException, call, argument: str) -> bool:
    """Whether it is an error of ours that names the argument."""
    if not isinstance(error, (ValueError, TypeError)):
        return False
    message = str(error).split("Arguments received by")[0]  # which Keras appends
    frames = traceback.extract_tb(error.__traceback__)
    ours = frames[-1].filename.startswith(PACKAGE) or "argument" in message and len(frames) == 2
    return ours and any(re.search(rf"\b{re.escape(n)}\b", message) for n in call.names(argument))


def describe(error: BaseException) -> str:
    """Type, place and beginning of an error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    last = frames[-1]
    place = f"{pathlib.Path(last.filename).name}:{last.lineno}"
    if ours and ours[-1] is not last:
        place = f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno} > {place}"
    return f"{type(error).__name__} at {place}: {short(str(error), 160)}"


def short(value, length: int = 80) -> str:
    """The beginning of a value's text, on one line."""
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= length else text[:length] + "..."


def all_keys(seed: int, count: int, num_models: int) -> list[str]:
    """Cases in the order of running: every mistake once, then again with other random values."""
    from fuzz_calls import calls, mistakes

    once = []
    for call in calls().values():
        for argument, value in call.arguments().items():
            if argument not in call.fixed:
                once += [f"{call.name}|{argument}|{m}" for m in mistakes(value, random.Random(0))]
    rng = random.Random(seed)
    rng.shuffle(once)
    keys = [f"{once[i % len(once)]}|{i // len(once)}" for i in range(count)]
    return keys + [f"model|{kind}|{seed}|{number}" for number, kind in _models(num_models)]


def _models(count: int):
    return ((number, "exported" if number % 3 == 0 else "saved") for number in range(count))


def work(seed: int) -> None:
    """Read keys, write outcomes, one line each."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    import fuzz_calls

    for line in sys.stdin:
        request = json.loads(line)
        if "list" in request:
            answer = {"keys": all_keys(seed, *request["list"])}
        else:
            name, argument, mistake, variant = request["key"].split("|")
            if name == "model":
                outcome, message = fuzz_calls.check_model(int(mistake), int(variant), argument)
            else:
                call = fuzz_calls.calls()[name]
                outcome, message = run_case(call, argument, mistake, int(variant), seed)
            answer = {"outcome": outcome, "message": message}
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


# --- the parent: starts workers, watches them, reports ------------------------------------------


class Worker:
    """A process that runs cases; started again when it had to be killed."""

    def __init__(self, seed: int, log: str):
        self.seed, self.log, self.process = seed, log, None

    def _start(self) -> None:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--worker", "--seed", str(self.seed)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        self.ask({"list": [0, 0]}, 600.0)  # imports are not part of a case

    def ask(self, request: dict, seconds: float):
        """The answer, or what became of the process instead."""
        if self.process is None:
            self._start()
        process = self.process
        began, used = time.monotonic(), self._cpu_seconds()
        try:
            process.stdin.write((json.dumps(request) + "\n").encode())
            process.stdin.flush()
        except BrokenPipeError:
            return self._died()
        while True:
            ready, _, _ = select.select([process.stdout], [], [], 0.5)
            if ready:
                line = process.stdout.readline()
                return json.loads(line) if line else self._died()
            spent = self._cpu_seconds() - used
            if spent > seconds or time.monotonic() - began > WALL_SECONDS:
                self.stop()
                return {"outcome": "hang", "message": f"{spent:.0f} s of processor time"}

    def _cpu_seconds(self) -> float:
        try:
            stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return 0.0
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _died(self) -> dict:
        code = self.process.wait()
        self.process = None
        return {"outcome": "crash", "message": f"the process ended with {code}"}

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def report(results: list[tuple[str, str, str]], seconds: float, seed: int) -> int:
    """Print the tables; the exit status."""
    faults = collections.defaultdict(list)
    totals: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for key, outcome, message in results:
        name, argument = key.split("|")[:2]
        totals["models" if name == "model" else name.split(".")[0]][outcome] += 1
        if outcome not in ("ok", "clear"):
            faults[outcome, f"{name}|{argument}"].append((key, message))
    for (outcome, where), cases in sorted(faults.items()):
        print(f"\n{outcome}: {where}, {len(cases)} cases")
        seen = set()
        for key, message in cases:
            if message not in seen:
                seen.add(message)
                print(f"  {key}\n    {message}")
    print(f"\n{'package':12}{'cases':>8}" + "".join(f"{name:>9}" for name in OUTCOMES))
    whole: collections.Counter = collections.Counter()
    for name, counts in sorted(totals.items()):
        whole.update(counts)
        print(f"{name:12}{counts.total():8}" + "".join(f"{counts[o]:9}" for o in OUTCOMES))
    print(f"{'all':12}{whole.total():8}" + "".join(f"{whole[o]:9}" for o in OUTCOMES))
    share = whole["unclear"] / max(whole.total(), 1)
    broken = sum(o != "ok" for key, o, _ in results if key.startswith("model|"))
    print(
        f"seed {seed}, {whole.total()} cases in {seconds:.0f} s: {share:.2%} unclear, "
        f"{whole['hang']} hangs, {whole['crash']} crashes, {whole['silent']} silent, "
        f"{broken} broken models"
    )
    if faults:
        print(f"Again, one of them: scripts/fuzz.py --seed {seed} --only 'KEY'")
    bad = whole["hang"] or whole["crash"] or whole["silent"] or broken
    return int(bool(bad) or share > LARGEST_UNCLEAR)


def main() -> int:
    """Run all cases, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000, help="mistakes (default 10,000)")
    parser.add_argument("--models", type=int, default=6, help="random models to check (default 6)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only",
        default="",
        help="run the cases whose key begins with one of these, with commas between",
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long, and report")
    parser.add_argument("--log", default=os.devnull, help="file for what libraries print")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default 1)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.seed)
        return 0
    worker = Worker(options.seed, options.log)
    began = time.monotonic()
    keys = worker.ask({"list": [options.cases, options.models]}, 600.0)["keys"]
    keys = [key for key in keys if key.startswith(tuple(options.only.split(",")))]
    results: list[tuple[str, str, str]] = []

    def run(worker: Worker, own: list[str]) -> None:
        for key in own:
            if time.monotonic() - began > options.seconds:
                break
            limit = MODEL_CPU_SECONDS if key.startswith("model|") else CPU_SECONDS
            answer = worker.ask({"key": key}, limit)
            results.append((key, answer["outcome"], answer["message"]))
            if len(results) % 500 == 0:
                print(f"{len(results)} of {len(keys)}", file=sys.stderr, flush=True)
        worker.stop()

    workers = [worker, *(Worker(options.seed, options.log) for _ in range(options.jobs - 1))]
    parts = [keys[number :: options.jobs] for number in range(options.jobs)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, workers, parts))
    return report(results, time.monotonic() - began, options.seed)


if __name__ == "__main__":
    sys.exit(main())
