"""Lines about a training: how many, and what they say."""

import io
import re

import keras
import numpy as np
import pytest
from stopping import StopAtStep

from mae_keras.runs.progress import EpochLines


class Terminal(io.StringIO):
    def isatty(self):
        return True


def told(stream, epochs, first=0, steps=3):
    callback = EpochLines(epochs, steps, stream)
    callback.set_params({"steps": steps})
    callback.on_train_begin()
    for epoch in range(first, epochs):
        callback.on_epoch_begin(epoch)
        for step in range(steps):
            callback.on_train_batch_end(step, {"loss": 0.5})
        callback.on_epoch_end(epoch, {"loss": 0.25, "val_loss": 0.125})
    return stream.getvalue()


@pytest.mark.parametrize("epochs", [1, 7, 200, 1000])
def test_a_log_has_few_lines_the_first_and_the_last_among_them(epochs):
    lines = told(io.StringIO(), epochs).splitlines()
    assert len(lines) <= 27
    assert len(lines) >= min(epochs, 20)
    assert lines[0].startswith(f"epoch 1 of {epochs}: loss 0.25, val_loss 0.125, ")
    assert lines[-1].startswith(f"epoch {epochs} of {epochs}: ")
    assert "left" not in lines[0]  # the first epoch compiles
    assert "left" not in lines[-1]
    assert all("left" in line for line in lines[1:-1])


def test_a_log_holds_no_control_characters():
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", told(io.StringIO(), 50))


def test_a_terminal_gets_a_line_for_every_epoch(monkeypatch):
    monkeypatch.setattr("mae_keras.runs.progress._REFRESH_SECONDS", 0)
    text = told(Terminal(), 40)
    assert text.count("\n") == 40
    assert "\repoch 1 of 40: compiling the first step ..." in text
    assert f"\repoch 1 of 40: [{13 * '#'}{7 * '-'}] step 2 of 3, loss 0.5" in text


@pytest.mark.parametrize(("columns", "bar"), [(50, "[#######----] "), (40, "")])
def test_a_bar_is_no_wider_than_the_terminal(monkeypatch, columns, bar):
    monkeypatch.setattr("mae_keras.runs.progress._REFRESH_SECONDS", 0)
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    told(stream, 2)
    drawn = [part.rstrip() for part in re.split("[\r\n]", stream.getvalue()) if "3, loss" in part]
    assert len(drawn) == 6 and all(len(part) < columns for part in drawn)
    assert drawn[1] == f"epoch 1 of 2: {bar}step 2 of 3, loss 0.5"


def test_a_line_that_is_too_long_without_its_bar_says_it_in_fewer_words(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    callback = EpochLines(12, 400, stream)
    callback.set_params({"steps": 400})
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    for step in range(4):
        now[0] += 1
        callback.on_train_batch_end(step, {"loss": 0.67314})
    assert stream.getvalue().rstrip().endswith("1/12: 4/400, loss 0.6731, 80 min left")


def test_an_error_leaves_no_half_line():
    stream = Terminal()
    callback = EpochLines(4, 1, stream)
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback.close()
    callback.close()
    assert stream.getvalue().endswith("step ...\n")


def test_the_validation_loss_is_beside_what_it_is_compared_with():
    stream = io.StringIO()
    callback = EpochLines(1, 1, stream, baseline=0.709)
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"loss": 0.4, "val_loss": 0.377, "skipped_steps": 0})
    assert ": loss 0.4, val_loss 0.377 (naive baseline 0.709), skipped_steps 0, " in (
        stream.getvalue()
    )


def test_a_resumed_training_counts_on():
    lines = told(io.StringIO(), 100, first=42).splitlines()
    assert lines[0].startswith("epoch 43 of 100")


def test_the_time_left_goes_by_the_epochs_after_the_first(monkeypatch):
    """The first one compiles the model."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    stream = io.StringIO()
    callback = EpochLines(4, 1, stream)
    callback.on_train_begin()
    for epoch, seconds in enumerate([60.0, 2.0, 2.0]):
        callback.on_epoch_begin(epoch)
        now[0] += seconds
        callback.on_epoch_end(epoch, {"loss": 1})
    assert stream.getvalue().splitlines()[2].endswith("2.0 s, 2.0 s left")


def test_the_time_left_in_the_first_epoch_goes_by_the_steps_after_the_first(monkeypatch):
    """Of 3 epochs of 10 steps, 5 are done: 25 steps of 2 s are left."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    stream = Terminal()
    callback = EpochLines(3, 10, stream)
    callback.set_params({"steps": 10})
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    lefts = []
    for step, seconds in enumerate([60.0, 2.0, 2.0, 2.0, 2.0]):
        now[0] += seconds
        callback.on_train_batch_end(step, {"loss": 1})
        lefts.append(stream.getvalue().rpartition("\r")[2])
    assert ["left" in text for text in lefts] == [False, False, False, True, True]
    assert lefts[-1].rstrip().endswith("step 5 of 10, loss 1, 50 s left")


def test_within_a_later_epoch_the_rest_of_it_counts(monkeypatch):
    """Epochs after the first take 20 s, validation among them; half of epoch 3 of 4 is left."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    stream = Terminal()
    callback = EpochLines(4, 2, stream)
    callback.set_params({"steps": 2})
    callback.on_train_begin()
    for epoch, seconds in enumerate([(60.0, 2.0, 9.0), (2.0, 2.0, 16.0), (2.0,)]):
        callback.on_epoch_begin(epoch)
        for step, duration in enumerate(seconds[:2]):
            now[0] += duration
            callback.on_train_batch_end(step, {"loss": 1})
        if len(seconds) == 3:
            now[0] += seconds[2]
            callback.on_epoch_end(epoch, {"loss": 1})
    assert stream.getvalue().rstrip().endswith("step 1 of 2, loss 1, 30 s left")


@pytest.mark.parametrize(
    ("last", "line"),
    [(5, "epoch 3 of 90, 1 of 2 steps: loss "), (4, "epoch 2 of 90: loss ")],
)
def test_an_epoch_that_was_not_finished_says_how_far_it_got(last, line):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    stream, rows = io.StringIO(), np.ones((2, 1))
    callbacks = [StopAtStep(last), EpochLines(90, 2, stream)]
    model.fit(rows, rows, batch_size=1, epochs=90, callbacks=callbacks, verbose=0)
    final = stream.getvalue().splitlines()[-1]
    assert final.startswith(line) and "left" not in final


def test_steps_of_a_resumed_epoch_that_is_not_finished_count_from_its_beginning():
    stream = io.StringIO()
    callback = EpochLines(30, 54, stream)
    callback.set_params({"steps": 40})  # 14 were done before
    callback.on_train_begin()
    callback.on_epoch_begin(2)
    for step in range(6):
        callback.on_train_batch_end(step)
    callback.on_epoch_end(2, {"loss": 0.5})
    assert stream.getvalue().startswith("epoch 3 of 30, 20 of 54 steps: loss 0.5, ")
