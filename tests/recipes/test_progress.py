"""Lines about a training: how many, and what they say."""

import io
import re

import pytest

from mae_keras.runs.pretraining import EpochLines


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
    monkeypatch.setattr("mae_keras.runs.pretraining._REFRESH_SECONDS", 0)
    text = told(Terminal(), 40)
    assert text.count("\n") == 40
    assert "\repoch 1 of 40: step 2 of 3, loss 0.5" in text


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
