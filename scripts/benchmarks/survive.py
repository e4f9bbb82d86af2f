"""Kill real training runs with `kill -9`, resume them, and compare with one that was left alone.

    python scripts/benchmarks/survive.py [--kills 200] [--seed 0] [--steps 8] [--epochs 3] [--jit]

Each trial starts a short run of the digits in a process of its own, which saves after every step,
and kills it, and up to two processes that go on with it, each at a random moment. Of four kills

- two are aimed inside a save: the parent watches for the half-written folder;
- one falls before the process has taken a step: while it claims the folder, looks for the newest
  checkpoint, loads or builds the model, traces;
- one falls elsewhere between its first batch and its end.

What a kill hit is looked at just before, and counted if it is not what was aimed at. Then the run
is resumed to its end, and must agree with an undisturbed one in

- the final weights, optimizer and step counters, to the bit,
- `history.csv` and both pictures, byte for byte,
- every batch that was read and the running loss after every step that was taken, by its number.

That consecutive steps of the undisturbed run differ is checked too, or equality would mean
nothing. What is left out of the runs, for time: scoring and the SavedModel, both after training,
and compilation by XLA, which `--jit` brings back. Exit status 1 if anything differs. About 12
seconds a kill on two cores; needs a POSIX system.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from mae_keras import data
from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.runs import CheckpointStore, Recipe, Saving, pretrain, pretraining
from mae_keras.runs import pretraining as fitting

PATIENCE = 300.0
COMPARED = ("history.csv", "loss.png", "reconstructions.png")
SAVING, STARTING, ELSEWHERE = "inside a save", "before the first step", "elsewhere"
ESCAPED = "ended before it could be killed"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The short run that is killed again and again."""

    steps: int
    epochs: int
    jit: bool = False

    @property
    def recipe(self) -> Recipe:
        """Its recipe: averages and accumulation make for more that can be lost."""
        return Recipe(
            preset="nano",
            patch_size=2,
            batch_size=16,
            epochs=self.epochs,
            warmup_epochs=0,
            ema_momentum=0.9,
            gradient_accumulation_steps=2,
            jit_compile="true" if self.jit else "false",
        )

    def images(self) -> data.ImageData:
        """As many digits as fill the steps, and few others."""
        whole = data.load("digits")
        limits = {"train": 16 * self.steps + 3, "validation": 32, "test": 32}
        splits = {
            name: data.ArraySplit(*getattr(whole, name).arrays(limit=limit))
            for name, limit in limits.items()
        }
        return dataclasses.replace(whole, **splits)


class Journal(keras.callbacks.Callback):
    """Appends what a process did to a file, a line at a time, so that a kill loses none."""

    def __init__(self, path: pathlib.Path, plan: Plan):
        super().__init__()
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.plan = plan
        self.first = 0

    def write(self, *words: Any) -> None:
        """One line; a single write of so few bytes is not torn."""
        os.write(self.descriptor, (" ".join(map(str, words)) + "\n").encode())

    def watching(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """`training_batches`, each batch noted with its number when it is read."""
        import tensorflow as tf

        def batches(*args: Any, start_epoch: int, start_step: int, **options: Any) -> Any:
            self.first = start_step
            made = make(*args, start_epoch=start_epoch, start_step=start_step, **options)
            numbered = made.enumerate(start_epoch * self.plan.steps + start_step)

            def note(number: Any, images: Any) -> np.ndarray:
                self.write("read", int(number), zlib.crc32(np.ascontiguousarray(images).tobytes()))
                return images

            def noted(number: Any, images: Any) -> Any:
                same = tf.numpy_function(note, [number, images], images.dtype)
                return tf.ensure_shape(same, images.shape)

            return numbered.map(noted)

        return batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        number = self.epoch * self.plan.steps + self.first + batch
        self.write("trained", number, repr(float(logs["loss"])))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.first = 0


def train(plan: Plan, out: pathlib.Path, journal: pathlib.Path, keep: int = 2) -> None:
    """What a child does: begin the run, or go on with it."""
    log = Journal(journal, plan)
    stopwatch = fitting.Stopwatch

    class Watched(stopwatch):  # type: ignore[misc, valid-type]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            log.on_epoch_begin(epoch)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_train_batch_end(batch, logs)
            log.on_train_batch_end(batch, logs)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            log.on_epoch_end(epoch)

    fitting.Stopwatch = Watched
    fitting.data.training_batches = log.watching(data.training_batches)
    pretraining.score = lambda *_: {"baseline_loss": {}}
    MaskedAutoencoder.export = lambda *_, **__: None
    pretrain(
        plan.recipe,
        out,
        resume=(out / "config.json").exists(),
        images=plan.images(),
        verbose=0,
        saving=Saving(every=1, min_seconds=0, keep=keep),
    )
    log.write("done")


@contextlib.contextmanager
def process(*args: Any) -> Iterator[int]:
    """A child that trains; forked before TensorFlow has begun anything, to save its import."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            train(*args)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    try:
        yield child
    except BaseException:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
        raise


def wait(child: int, until: Callable[[], bool]) -> bool:
    """Wait for something to happen before the child ends; whether it did."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        if until():
            return True
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    raise TimeoutError(f"no progress in {PATIENCE:.0f} s")


def aims(rng: random.Random) -> Iterator[str]:
    """Where to kill, in shuffled rounds of four, so that few kills have all of them too."""
    while True:
        yield from rng.sample([SAVING, SAVING, STARTING, ELSEWHERE], 4)


def kill(plan: Plan, out: pathlib.Path, aim: str, starting: float, rng: random.Random) -> str:
    """Start or resume the run and kill it; says where. `starting`: seconds to the first step."""
    journal, done = _journal(out), _done(out)
    # What earlier kills left does not count.
    old, lines, steps = _asides(out), _lines(journal), _steps(journal)
    after = steps + rng.randrange(0, max(plan.steps * plan.epochs - done, 1))
    with process(plan, out, journal) as child:
        caught = True
        if aim == STARTING:
            time.sleep(rng.uniform(0, starting))
        else:
            caught = wait(child, lambda: _lines(journal) > lines and _steps(journal) >= after)
            if aim == SAVING:
                caught = caught and wait(child, lambda: bool(_asides(out) - old))
            time.sleep(rng.uniform(0, 0.05 if aim == SAVING else 0.3))
        if not caught:
            return ESCAPED
        hit = SAVING if _asides(out) - old else ELSEWHERE
        if _steps(journal) == steps:
            hit = STARTING
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return ESCAPED
    aimed = f"{aim} of recovery" if aim == STARTING and done else aim
    return aimed if hit == aim else f"{aimed}, by chance {hit}"


def finish(plan: Plan, out: pathlib.Path, journal: pathlib.Path, keep: int = 2) -> None:
    """Go on to the end."""
    with process(plan, out, journal, keep) as child:
        _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"the run in {out} could not be finished: status {status}")


def _asides(out: pathlib.Path) -> set[str]:
    """What is being written aside, by names that are never used twice."""
    return {path.name for path in out.glob("checkpoints/.*.aside")}


def _done(out: pathlib.Path) -> int:
    paths = CheckpointStore(out / "checkpoints").paths()
    return int(paths[-1].name[5:]) if paths else 0


def _lines(journal: pathlib.Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def _steps(journal: pathlib.Path) -> int:
    return journal.read_bytes().count(b"trained ") if journal.exists() else 0


def facts(journal: pathlib.Path) -> dict[tuple[str, str], set[str]]:
    """What was noted of each batch and step, over all processes of a run."""
    found: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    for line in journal.read_text().splitlines():
        kind, *rest = line.split()
        if rest:
            found[kind, rest[0]].add(rest[1])
    return found


def values(path: pathlib.Path) -> list[np.ndarray]:
    """Everything that a model's file holds."""
    model = load_model(path)
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in variables]


def same(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    """Equality to the bit."""
    pairs = zip(one, two, strict=True)
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


def differences(plan: Plan, one: pathlib.Path, two: pathlib.Path) -> list[str]:
    """In what a run differs from the undisturbed one."""
    found = [name for name in COMPARED if (one / name).read_bytes() != (two / name).read_bytes()]
    if not same(values(one / "model.keras"), values(two / "model.keras")):
        found.append("model.keras")
    last = f"checkpoints/step-{plan.steps * plan.epochs:09d}/model.keras"
    if not same(values(one / last), values(two / last)):
        found.append(last)
    noted, expected = facts(_journal(two)), facts(_journal(one))
    steps = {
        key: value for key, value in expected.items() if int(key[1]) < plan.steps * plan.epochs
    }
    found += [" ".join(key) for key, value in steps.items() if noted.get(key) != value]
    return found


def _journal(out: pathlib.Path) -> pathlib.Path:
    return out.with_suffix(".txt")


def main() -> None:
    """Kill, resume, compare, and print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=8, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--jit", action="store_true", help="compile with XLA; slower")
    options = parser.parse_args()
    plan = Plan(options.steps, options.epochs, options.jit)
    rng, aim = random.Random(options.seed), aims(random.Random(options.seed))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="survive-"))
    whole, begun = folder / "whole", time.time()
    finish(plan, whole, _journal(whole), keep=10_000)
    starting = (whole / f"checkpoints/step-{1:09d}").stat().st_mtime - begun
    tally: collections.Counter[str] = collections.Counter()
    failures, started = [], time.monotonic()
    trial = 0
    while (missing := options.kills - _kills(tally)) > 0:
        out = folder / f"run-{trial}"
        trial += 1
        number = min(rng.randint(1, 3), missing)
        places = [kill(plan, out, next(aim), starting, rng) for _ in range(number)]
        tally.update(places)
        finish(plan, out, _journal(out))
        # Loading models begins TensorFlow, so it is left to a child too.
        found = _in_child(lambda out=out: differences(plan, whole, out))
        if found:
            failures.append((out, found))
        else:
            shutil.rmtree(out)
        print(f"{_kills(tally)} {'; '.join(places)}: {found or 'same'}", flush=True)
    unchanged = _in_child(lambda: _unchanged_steps(whole))
    _conclude(tally, trial, failures, unchanged, time.monotonic() - started)


def _kills(tally: collections.Counter[str]) -> int:
    return sum(tally.values()) - tally[ESCAPED]


def _unchanged_steps(whole: pathlib.Path) -> list[str]:
    """Steps of the undisturbed run that changed nothing but counters."""
    paths = CheckpointStore(whole / "checkpoints").paths()
    made = [[v for v in values(path / "model.keras") if v.dtype.kind == "f"] for path in paths]
    pairs = zip(paths[1:], made, made[1:], strict=False)
    return [path.name for path, earlier, later in pairs if same(earlier, later)]


def _in_child(work: Callable[[], list[str]]) -> list[str]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            found = work()
        except BaseException as error:
            found = [f"{type(error).__name__}: {error}"]
        os.write(writing, "\0".join(found).encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text.split("\0") if text else []


def _conclude(
    tally: collections.Counter[str],
    trials: int,
    failures: list[Any],
    unchanged: list[str],
    seconds: float,
) -> None:
    for where, count in tally.most_common():
        print(f"{count:>5}  {where}")
    for out, found in failures:
        print(f"DIFFERS: {out}: {', '.join(found)}")
    if unchanged:
        print(f"Steps that changed nothing: {', '.join(unchanged)}")
    verdict = "FAILED" if failures or unchanged else "survived"
    print(
        f"{verdict}: {_kills(tally)} kills in {trials} runs on {keras.backend.backend()}, "
        f"{len(failures)} runs differ from the undisturbed one; {seconds:.0f} s"
    )
    sys.exit(bool(failures or unchanged))


if __name__ == "__main__":
    main()
