"""Stopped anywhere and gone on with: the same to the bit as never stopped."""

import dataclasses
import os
import shutil
import signal

import keras
import numpy as np
import pytest

from mae_keras import data
from mae_keras.models import compilation, load_model
from mae_keras.runs import Interrupted, Progress, Recipe, RunFolder, Saving, StopRequest
from mae_keras.runs import pretraining as fitting
from mae_keras.runs.building import compile_model, untrained_model
from mae_keras.runs.pretraining import _naming_files, fit_recipe
from mae_keras.runs.watching import CallbackError, Watching
from mae_keras.training import OutOfMemoryError
from mae_keras.training.callbacks import Stopwatch

SIZES = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "mlp_dim": 16}
SIZES |= {f"decoder_{name}": value for name, value in SIZES.items()}
STEPS, EPOCHS = 4, 2
EVERY_STEP = Saving(every=1, min_seconds=0, keep=100)

PLAIN = Recipe(
    patch_size=2,
    batch_size=8,
    epochs=EPOCHS,
    warmup_epochs=0,
    learning_rate=0.1,
    jit_compile="false",
)
WAYS = {
    "plain": ({}, {}),
    "average of accumulated steps": (
        {"ema_momentum": 0.9, "gradient_accumulation_steps": 2},
        {},
    ),
    "growing mask ratio and drop path": ({"mask_ratio_start": 0.25}, {"drop_path_rate": 0.3}),
    "averages in half precision with loss scaling": (
        {"dtype_policy": "mixed_float16", "ema_momentum": 0.9},
        {},
    ),
    "skipping, two steps a call": ({"on_nan": "skip", "steps_per_execution": 2}, {}),
    "a quarter decoded": ({"decoder_attention": "cross", "decode_ratio": 0.25}, {}),
    "in batch shards": (
        {"jit_compile": "auto", "gradient_accumulation_steps": 2},
        {"drop_path_rate": 0.3},
    ),
    "padded signals": ({"mask_ratio": 0.5, "standardize": "sample", "kind": "signals"}, {}),
    "compiled by XLA": ({"jit_compile": "true", "gradient_accumulation_steps": 2}, {}),
}


class Case:
    """A tiny run in a folder."""

    def __init__(self, folder, changes, sizes):
        self.run = RunFolder(folder)
        self.recipe = dataclasses.replace(PLAIN, **changes)
        self.sizes = {**SIZES, **sizes}
        rng, count = np.random.default_rng(0), 8 * STEPS + 1
        samples, value_range = rng.integers(0, 256, (count, 8, 8, 1), "uint8"), (0, 255)
        if self.recipe.kind == "signals":  # of 8 to 16 steps, with NaN after them
            known = np.arange(16) < rng.integers(8, 17, (count, 1))
            noise = rng.normal(size=(count, 16, 2))
            samples = np.where(known[..., None], noise, np.nan).astype("float32")
            value_range = None
        split = data.ArraySplit(samples)
        self.images = data.ImageData(
            *("digits", samples.shape[1:], None, None),
            **{"train": split, "validation": split, "test": split, "value_range": value_range},
        )

    def train(self, saving=EVERY_STEP, **watched):
        """From the newest checkpoint on, in a model that remembers nothing else."""
        keras.utils.set_random_seed(17)
        with self.run.locked():
            checkpoint = self.run.newest_checkpoint()
            if checkpoint is None:
                model = untrained_model(self.recipe, self.images, **self.sizes)
                compile_model(model, self.recipe, STEPS)
            else:
                model = load_model(checkpoint.model)
            start = Progress.of(checkpoint)
            watching = Watching(**{"probe_every": 2, **watched})
            fit_recipe(model, self.recipe, self.images, self.run, start, saving, 0, watching)
        return model


def values(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def assert_same(one, two):
    assert len(one) == len(two)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)


# Each takes half a minute: all of them run with `scripts/test --all`.
AVERAGES, COMPILED = "averages in half precision with loss scaling", "compiled by XLA"
SHARDS = "in batch shards"
IN_SHORT = (AVERAGES, COMPILED) if keras.backend.backend() == "jax" else (AVERAGES, SHARDS)
ALL_WAYS = [pytest.param(w, marks=() if w in IN_SHORT else pytest.mark.long) for w in WAYS]


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("way", ALL_WAYS)
def test_going_on_from_any_step_ends_in_the_same_bits(way, tmp_path, monkeypatch):
    if way == SHARDS:
        monkeypatch.setattr(compilation, "available_shards", lambda: 2)
    whole = Case(tmp_path / "whole", *WAYS[way])
    expected = values(whole.train())
    history = whole.run.history.read_text()
    paths = sorted(whole.run.checkpoints.iterdir())
    stops = {"plain": [1, -2], COMPILED: [2]}.get(way, [2, -1])
    for path in [paths[stop] for stop in stops]:
        stopped = Case(tmp_path / path.name, *WAYS[way])
        shutil.copytree(path, stopped.run.checkpoints / path.name)
        assert_same(values(stopped.train()), expected)
        assert stopped.run.history.read_text() == history


@pytest.mark.long
def test_consecutive_steps_differ(tmp_path):
    """Else equality would mean nothing."""
    case = Case(tmp_path, *WAYS["plain"])
    case.train()
    made = [
        [
            keras.ops.convert_to_numpy(weight)
            for weight in load_model(path / "model.keras").trainable_variables
        ]
        for path in sorted(case.run.checkpoints.iterdir())
    ]
    assert len(made) == STEPS * EPOCHS
    for earlier, later in zip(made, made[1:], strict=False):
        assert any(not np.array_equal(a, b) for a, b in zip(earlier, later, strict=True))


@pytest.mark.slow
@pytest.mark.long
def test_the_same_seed_gives_the_same_bits(tmp_path):
    first, second = (Case(tmp_path / name, *WAYS["plain"]).train() for name in "ab")
    assert_same(values(first), values(second))


def acting_at(batch, act, epoch=0):
    """A stopwatch that does something after a step."""

    class Acting(Stopwatch):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, number, logs=None):
            if (self.epoch, number) == (epoch, batch):
                act()

    return Acting


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "batch", "step"),
    [
        (signal.SIGTERM, 1, 2),
        pytest.param(signal.SIGINT, STEPS - 1, STEPS, marks=pytest.mark.long),
    ],
)
def test_a_signal_finishes_the_step_saves_and_leaves(number, batch, step, tmp_path, monkeypatch):
    expected = values(Case(tmp_path / "whole", *WAYS["plain"]).train())
    stopped = Case(tmp_path / "stopped", *WAYS["plain"])
    with monkeypatch.context() as patched:
        send = acting_at(batch, lambda: os.kill(os.getpid(), number))
        patched.setattr(fitting, "Stopwatch", send)
        place = f"step {step} of {STEPS} in epoch 1" if step < STEPS else "epoch 1"
        with pytest.raises(Interrupted, match=f"stopped by {number.name} and saved after {place}"):
            stopped.train(Saving(minutes=60, min_seconds=3600))
    assert [path.name for path in stopped.run.checkpoints.iterdir()] == [f"step-{step:09d}"]
    assert_same(values(stopped.train()), expected)


def test_a_run_whose_training_is_done_keeps_the_speed_it_had(tmp_path):
    case = Case(tmp_path, *WAYS["plain"])
    model = untrained_model(case.recipe, case.images, **case.sizes)
    compile_model(model, case.recipe, STEPS)
    speed = {"images_per_second": 123.0, "compile_seconds": 4.0}
    start = Progress(epoch=EPOCHS, callbacks={"Stopwatch": speed})
    watch = fit_recipe(model, case.recipe, case.images, case.run, start, EVERY_STEP)
    assert watch.metrics() == speed


def test_a_signal_during_the_last_save_is_not_forgotten(tmp_path, monkeypatch):
    def signaled(model, batches, *, callbacks, **options):
        next(call for call in callbacks if isinstance(call, StopRequest)).requested = "SIGTERM"

    monkeypatch.setattr(fitting, "fit_from", signaled)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after the last step"):
        Case(tmp_path, *WAYS["plain"]).train()


@pytest.mark.slow
def test_running_out_of_memory_says_what_to_change(tmp_path, monkeypatch):
    def exhaust():
        raise MemoryError

    monkeypatch.setattr(fitting, "Stopwatch", acting_at(0, exhaust))
    with pytest.raises(OutOfMemoryError, match="--batch-size 4 --gradient-accumulation-steps 2"):
        Case(tmp_path, *WAYS["plain"]).train()


@pytest.mark.parametrize(
    ("wrong", "message"), [({"keep": 0}, "`keep`"), ({"minutes": -1}, "`minutes`")]
)
def test_saving_out_of_range_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Saving(**wrong)


def test_image_files_that_cannot_be_read_are_named():
    split = data.ArraySplit(np.zeros((2, 4, 4, 1), "uint8"))
    with pytest.raises(KeyError), _naming_files(split):
        raise KeyError("something else")
    split.failure = "'a.png' can no longer be read"
    with pytest.raises(
        OSError, match="'a.png' can no longer be read. Training stopped; .*--resume"
    ):
        with _naming_files(split):
            raise RuntimeError("of TensorFlow")


class BreaksAtTheEnd(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        raise ValueError("no network")


@pytest.mark.slow
def test_a_callback_that_raises_is_told_of_once_the_run_is_saved(tmp_path):
    """See `test_watching.py` for the other methods of a callback."""
    case = Case(tmp_path, {}, {})
    with pytest.raises(CallbackError) as raised:
        case.train(Saving(minutes=60, min_seconds=60), callbacks=[BreaksAtTheEnd()])
    assert str(raised.value) == (
        "stopped by callback BreaksAtTheEnd after the last step, which was saved: on_train_end of "
        "the callback raised ValueError: no network"
    )
    assert case.run.newest_checkpoint().step == EPOCHS * STEPS
    ranks = case.run.read_history()["effective_rank"]
    assert len(ranks) == EPOCHS and min(ranks) > 1
