"""When checkpoints are written, and what happens when they cannot be."""

import errno
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from mae_keras.runs import (
    Interrupted,
    LockedError,
    Progress,
    RunCheckpoint,
    RunFolder,
    StopRequest,
    fit_from,
)
from mae_keras.runs import (
    resuming as run_checkpoint,
)
from mae_keras.training import NonFiniteError

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def fit(model, callback, epochs=2, initial_epoch=0):
    fit_with(model, [callback], epochs, initial_epoch)


def fit_with(model, callbacks, epochs=1, initial_epoch=0):
    rows = np.arange(16.0, dtype="float32").reshape(8, 2)
    model.fit(
        rows,
        rows[:, :1],
        batch_size=2,
        shuffle=False,
        epochs=epochs,
        initial_epoch=initial_epoch,
        callbacks=callbacks,
        verbose=0,
    )


def steps(run):
    return [int(path.name[5:]) for path in sorted(run.checkpoints.iterdir())]


@pytest.mark.slow
def test_short_epochs_save_the_last_one_alone(run, model):
    fit(model, RunCheckpoint(run, 2, 4, min_seconds=3600))
    assert steps(run) == [8]
    assert run.read_history()["epoch"] == [1.0, 2.0]


@pytest.mark.slow
def test_every_so_many_steps_within_an_epoch(run, model):
    fit(model, RunCheckpoint(run, 2, 4, min_seconds=3600, every=2, keep=9))
    assert steps(run) == [2, 6, 8]


@pytest.mark.slow
def test_long_epochs_save_by_the_clock(run, model):
    fit(model, RunCheckpoint(run, 1, 4, min_seconds=0, max_seconds=0, keep=9), epochs=1)
    assert steps(run) == [1, 2, 3, 4]


def test_a_checkpoint_says_where_it_was_made(run, model):
    fit(model, RunCheckpoint(run, 1, 4, every=3, keep=9), epochs=1)
    first, last = (run.checkpoints / f"step-{step:09d}" / "progress.json" for step in (3, 4))
    first, last = run.read_json(first), run.read_json(last)
    assert (first["epoch"], first["step"], first["rows"]) == (0, 3, {})
    assert (last["epoch"], last["step"], last["rows"]["epoch"]) == (1, 0, [1.0])
    assert len(first["metrics"]) == len(model.metrics_variables)


def test_metrics_of_a_begun_epoch_go_on(run, model):
    whole, part = Progress(), Progress(step=2, metrics=[[10.0], [4.0]])
    seen = []
    for start in (whole, part):
        callback = RunCheckpoint(run, 1, 4, start=start)
        callback.set_model(model)
        fit(model, keras.callbacks.Callback(), epochs=1)  # builds the metrics
        model.reset_metrics()
        part.metrics = [float(value) for value in (10.0, 4.0)][: len(model.metrics_variables)]
        callback.on_epoch_begin(0)
        seen.append([float(variable) for variable in model.metrics_variables])
    assert seen[0] == [0.0] * len(seen[0])
    assert seen[1] == part.metrics


@pytest.mark.slow
@pytest.mark.every_backend
def test_compiled_metrics_of_a_begun_epoch_go_on_in_a_new_model(run, model):
    rows = np.arange(16.0, dtype="float32").reshape(4, 2, 2)

    def train(model, start, keep):
        fit_from(
            model,
            lambda epoch, step: ((batch, batch[:, :1]) for batch in rows[step:]),
            epochs=1,
            steps_per_epoch=4,
            first_step=start.step,
            callbacks=[RunCheckpoint(run, 1, 4, start=start, every=1, keep=keep)],
            shuffle=False,
            verbose=0,
        )
        return run.read_history()

    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    whole = train(model, Progress(), keep=9)
    for step in (3, 4):
        shutil.rmtree(run.checkpoints / f"step-{step:09d}")
    checkpoint = run.newest_checkpoint()
    again = keras.models.load_model(checkpoint.model)
    again.run_eagerly = True
    assert train(again, Progress.of(checkpoint), keep=9) == whole
    assert whole["mae"] != whole["loss"]


def test_other_metrics_than_the_run_had_are_refused(run, model):
    callback = RunCheckpoint(run, 1, 4, start=Progress(step=2, metrics=[1.0] * 7))
    callback.set_model(model)
    with pytest.raises(ValueError, match="trained by `fit_from`.* a checkpoint with 7"):
        callback.on_epoch_begin(0)


def test_callbacks_with_a_state_get_it_back(run, model):
    class Counting(keras.callbacks.Callback):
        count = 0

        def get_state(self):
            return {"count": self.count}

        def set_state(self, state):
            self.count = state["count"]

        def on_epoch_end(self, epoch, logs=None):
            self.count += 1

    counting = Counting()
    fit(model, RunCheckpoint(run, 1, 4, others=[counting]), epochs=1)
    counting.count = 5
    fit(model, RunCheckpoint(run, 1, 4, others=[counting]), epochs=1)
    start = Progress.of(run.newest_checkpoint())
    again = Counting()
    RunCheckpoint(run, 2, 4, start=start, others=[again])
    assert again.count == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [FULL, PermissionError("read-only"), RuntimeError("h5py"), MemoryError()]
)
def test_training_goes_on_when_a_checkpoint_cannot_be_written(run, model, caplog, error):
    callback = RunCheckpoint(run, 2, 4, every=2, keep=9)
    save, failing = callback.store.save, {2}

    def sometimes(step, *rest):
        if step in failing:
            raise error
        return save(step, *rest)

    callback.store.save = sometimes
    fit(model, callback)
    assert steps(run) == [6, 8]
    assert "The checkpoint of step 2 could not be written" in caplog.text
    assert "there is none yet. Training goes on" in caplog.text


def test_the_last_checkpoint_must_succeed_and_the_earlier_is_named(run, model):
    callback = RunCheckpoint(run, 1, 4, every=2)
    save = callback.store.save

    def failing(step, *rest):
        if step == 4:
            raise FULL
        return save(step, *rest)

    callback.store.save = failing
    with pytest.raises(OSError, match="step 4 .*No space left.*step-000000002.*--resume"):
        fit(model, callback, epochs=1)
    assert run.newest_checkpoint().step == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_folder_is_reported(run, model):
    run.path.mkdir()
    run.path.chmod(0o500)
    with pytest.raises(OSError, match="could not be written"):
        fit(model, RunCheckpoint(run, 1, 4), epochs=1)


LIMITED = """
import resource, signal, sys
import numpy as np
from mae_keras.training import CheckpointStore
store = CheckpointStore(sys.argv[1])
store.save(1, {}, lambda folder: (folder / "model.keras").write_bytes(b"small"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.save(2, {}, lambda folder: (folder / "model.keras").write_bytes(bytes(10_000)))
except OSError as error:
    print("refused", error.errno)
print(store.newest_whole().step, sorted(item.name for item in store.folder.iterdir()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files in a POSIX way")
def test_a_write_that_the_system_cuts_short_leaves_the_earlier_checkpoint(tmp_path):
    made = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert made.stdout.split("\n")[:2] == [f"refused {errno.EFBIG}", "1 ['step-000000001']"]


def test_nothing_is_written_into_a_folder_that_took_the_place_of_the_run(run, model):
    class Replace(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                run.path.rename(run.path.with_name("removed"))
                RunFolder(run.path).start({})

    with run.locked(), pytest.raises(LockedError, match="moved, removed or replaced"):
        fit_with(model, [Replace(), RunCheckpoint(run, 1, 4, every=1)])
    assert run.contents() == ["config.json"]


def test_a_checkpoint_says_of_which_run_it_is(run, model):
    run.start({})
    fit(model, RunCheckpoint(run, 1, 4), epochs=1)
    assert run.newest_checkpoint().progress["run_id"] == run.run_id()


def test_a_checkpoint_says_how_long_the_run_took_over_all_processes(run, model):
    fit(model, RunCheckpoint(run, 1, 4, start=Progress(seconds=100.0)), epochs=1)
    assert 100.0 <= Progress.of(run.newest_checkpoint()).seconds < 160.0


def test_what_is_not_finite_is_never_saved(run, model):
    class Poison(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.layers[-1].bias.assign([np.nan])

    saving = RunCheckpoint(run, 1, 4, every=1, keep=1)
    with pytest.raises(NonFiniteError, match="bias is nan .*step-000000002.*--init-from"):
        fit_with(model, [Poison(), saving])
    assert steps(run) == [2]


def test_a_signal_that_comes_while_saving_waits_for_the_next_step(run, model):
    stop = StopRequest()
    saving = RunCheckpoint(run, 1, 4, every=2, stop=stop)
    save = saving.store.save

    def signaled(step, *rest):
        stop.requested = "SIGTERM"
        return save(step, *rest)

    saving.store.save = signaled
    with pytest.raises(Interrupted, match="saved after step 3 of 4 in epoch 1 of 1$"):
        fit_with(model, [saving])
    assert steps(run) == [2, 3]


def test_on_replicas_nothing_is_saved_while_gradients_wait(run, model):
    model.built_for = 2
    model.optimizer.gradient_accumulation_steps = 2
    saving = RunCheckpoint(run, 2, 3, every=1, min_seconds=0, keep=9)
    saving.set_model(model)
    possible = []
    for taken in range(4):  # by the optimizer: a skipped step counts as none
        model.optimizer._iterations.assign(taken)
        possible.append(saving._can_go_on())
    assert possible == [True, False, True, False]


def test_a_skipped_step_moves_what_can_be_saved_on_replicas(run, model):
    class Skip(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0:
                self.model.optimizer._iterations.assign(0)

    model.built_for = 2
    model.optimizer.gradient_accumulation_steps = 2
    fit_with(model, [Skip(), RunCheckpoint(run, 1, 4, every=1, keep=9)])
    assert steps(run) == [1, 3, 4]


def test_processes_that_do_not_write_compute_nothing_on_the_side(run, model, monkeypatch):
    monkeypatch.setattr(run_checkpoint, "is_writer", lambda: False)
    monkeypatch.setattr(run_checkpoint, "check_finite", lambda *arguments: 1 / 0)
    stop = StopRequest()
    stop.requested = "SIGTERM"
    fit(model, RunCheckpoint(run, 2, 4, every=1, min_seconds=0, stop=stop))
    assert not run.path.exists()
