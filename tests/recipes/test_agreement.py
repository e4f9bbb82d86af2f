"""What the processes of a run agree on before they train; gathered answers stand for the others."""

import numpy as np
import pytest

from mae_keras.runs import CheckpointStore, DamagedError, RunFolder
from mae_keras.runs import resuming as agreement
from mae_keras.runs.resuming import agreed_checkpoint, check_agreement

CONFIG = {"epochs": 1, "seed": 0, "data": {"train": 10}}


def said(config):
    """What `gather` is given for a config."""
    given = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(agreement, "gather", lambda own: given.append(own) or np.asarray([own]))
        check_agreement(config)
    return given[0]


def check_with(monkeypatch, *configs):
    rows = np.asarray([said(config) for config in configs], "int32")
    monkeypatch.setattr(agreement, "gather", lambda own: rows)
    check_agreement(configs[0])


def test_equal_settings_are_equal_in_any_order(monkeypatch):
    check_with(monkeypatch, CONFIG, dict(reversed(CONFIG.items())))


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({**CONFIG, "epochs": 2}, "settings"),
        ({**CONFIG, "resume": True}, "settings"),
        ({**CONFIG, "data": {"train": 11}}, "images"),
    ],
)
def test_every_process_refuses_where_one_is_different(monkeypatch, other, what):
    message = f"must have the same {what}.*Received: others in process.es. .2. than in process 0"
    with pytest.raises(ValueError, match=message):  # what is gathered is the same everywhere
        check_with(monkeypatch, CONFIG, CONFIG, other)


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path)
    store = CheckpointStore(folder.checkpoints)
    for step in (4, 8):
        progress = {"step": step, "rows": {}}
        store.save(step, progress, lambda aside: (aside / "model.keras").write_bytes(b"made"))
    return folder


def as_another_process(monkeypatch, step):
    monkeypatch.setattr(agreement, "is_writer", lambda: False)
    monkeypatch.setattr(agreement, "gather", lambda own: np.asarray([step, own]))


def test_the_others_take_the_checkpoint_that_the_writer_found(run, monkeypatch):
    as_another_process(monkeypatch, step=4)  # the writer found that of step 8 damaged
    assert agreed_checkpoint(run, None).progress["step"] == 4


def test_the_others_begin_where_the_writer_begins(run, monkeypatch):
    as_another_process(monkeypatch, step=-1)
    assert agreed_checkpoint(run, None) is None


def test_what_another_process_finds_damaged_it_does_not_train_from(run, monkeypatch):
    (run.checkpoints / "step-000000004" / "model.keras").write_bytes(b"lost")
    as_another_process(monkeypatch, step=4)
    with pytest.raises(DamagedError, match="step-000000004"):
        agreed_checkpoint(run, None)


def test_the_writer_keeps_what_it_found(run):
    found = run.newest_checkpoint()
    assert agreed_checkpoint(run, found) is found
    assert agreed_checkpoint(run, None) is None
