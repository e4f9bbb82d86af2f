"""A run's folder: refusals, atomic files, what to resume from."""

import json
import os
import shutil
import sys

import pytest

from mae_keras.runs import CheckpointStore, DamagedError, LockedError, RunFolder

CONFIG = {"dataset": "digits", "epochs": 2, "seed": 0}


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.check(CONFIG)
    run.start(CONFIG)
    return run


def test_another_run_is_refused_and_nothing_touched(run):
    before = run.config.read_text()
    with pytest.raises(ValueError, match="holds another run.*--resume.*--overwrite"):
        run.check({**CONFIG, "epochs": 3})
    assert run.config.read_text() == before


def test_overwriting_removes_the_earlier_run(run):
    run.metrics.write_text("{}")
    run.saved_model.mkdir()
    run.check({**CONFIG, "epochs": 3}, overwrite=True)
    run.start({**CONFIG, "epochs": 3})
    assert run.contents() == ["config.json"]
    assert run.read_json(run.config)["epochs"] == 3


def test_a_folder_of_something_else_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="which holds .'thesis.tex'."):
        RunFolder(tmp_path).check(CONFIG, overwrite=True)


def test_a_stranger_among_the_files_of_a_run_is_kept(run):
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="notes.txt"):
        run.check(CONFIG, overwrite=True)


def test_resuming_lists_the_fields_that_differ(run):
    with pytest.raises(ValueError) as error:
        run.check({**CONFIG, "epochs": 3, "seed": 1}, resume=True)
    assert "epochs: 2 in the run, 3 now; seed: 0 in the run, 1 now" in str(error.value)


def test_resuming_the_same_config_is_allowed(run):
    run.check(dict(CONFIG), resume=True)


def test_a_setting_that_the_run_does_not_know_yet_had_its_default(run):
    defaults = {"strict": False, "epochs": 10}
    run.check({**CONFIG, "strict": False}, resume=True, defaults=defaults)
    with pytest.raises(ValueError, match="differ: strict: False in the run, True now$"):
        run.check({**CONFIG, "strict": True}, resume=True, defaults=defaults)


def test_resuming_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`--resume` needs a run in .* Received: no run"):
        RunFolder(tmp_path / "nowhere").check(CONFIG, resume=True)


def test_resume_and_overwrite_exclude_each_other(run):
    with pytest.raises(ValueError, match="exclude each other"):
        run.check(CONFIG, resume=True, overwrite=True)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ValueError, match="`out` must be a folder"):
        RunFolder(tmp_path / "run").check(CONFIG)


def test_history_reads_back_exactly(run):
    history = {"epoch": [1.0, 2.0], "loss": [0.1 + 0.2, 1e-17], "val_loss": [None, 3.0]}
    run.write_history(history)
    assert run.read_history() == history


def test_a_damaged_config_is_named(run):
    run.config.write_text("{")
    with pytest.raises(ValueError, match="config.json' cannot be read"):
        run.check(CONFIG, resume=True)


def saved(run, step, rows):
    progress = {"epoch": step, "rows": rows}
    progress["run_id"] = run.run_id()
    return CheckpointStore(run.checkpoints).save(step, progress, no_model)


def no_model(folder):
    (folder / "model.keras").touch()


def test_the_history_is_cut_to_what_the_checkpoint_knows(run):
    run.write_history({"epoch": [1.0, 2.0, 3.0], "loss": [3.0, 2.0, 1.0]})
    saved(run, 1, {"epoch": [1.0], "loss": [3.0]})
    assert run.newest_checkpoint().step == 1
    assert run.read_history() == {"epoch": [1.0], "loss": [3.0]}


def test_a_run_killed_before_its_first_checkpoint_starts_again(run, capsys):
    assert run.newest_checkpoint() is None
    assert "starts from the beginning" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["history.csv", "model.keras", "metrics.json"])
def test_a_run_whose_checkpoints_were_lost_never_starts_over_by_itself(run, name):
    (run.path / name).write_text("epoch\n1.0\n")
    with pytest.raises(DamagedError, match=f"has {name} but no checkpoint .*--overwrite"):
        run.newest_checkpoint()
    assert (run.path / name).exists()


def test_a_damaged_checkpoint_is_passed_over_said_and_removed(run, capsys):
    saved(run, 1, {})
    damaged = saved(run, 2, {})
    (damaged / "progress.json").write_text("{}")
    assert run.newest_checkpoint().step == 1
    assert "Checkpoint step-000000002 is damaged" in capsys.readouterr().out
    assert not damaged.exists()


def test_a_checkpoint_of_another_run_is_passed_over_said_and_removed(run, capsys):
    """A process that was forgotten wrote it after `--overwrite` or `rm -rf`."""
    store = CheckpointStore(run.checkpoints)
    for step, name in [(1, run.run_id()), (2, "another")]:
        store.save(step, {"run_id": name, "rows": {}}, no_model)
    assert run.newest_checkpoint().step == 1
    assert "step-000000002 was written by another run" in capsys.readouterr().out
    assert [path.name for path in store.paths()] == ["step-000000001"]


def test_no_two_runs_are_called_alike(run, tmp_path):
    other = RunFolder(tmp_path / "other")
    other.start(CONFIG)
    assert run.run_id() != other.run_id()
    assert RunFolder(tmp_path / "nowhere").run_id() is None


def test_recovery_that_is_interrupted_can_be_repeated(run, monkeypatch):
    """Killed after it chose a checkpoint and before it had cut the history."""
    run.write_history({"epoch": [1.0, 2.0], "loss": [3.0, 2.0]})
    saved(run, 1, {"epoch": [1.0], "loss": [3.0]})
    (saved(run, 2, {}) / "progress.json").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write_history", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.newest_checkpoint()
    assert run.newest_checkpoint().step == 1
    assert run.read_history()["epoch"] == [1.0]


def test_what_a_kill_left_half_written_is_removed(run):
    for folder in (run.path, run.checkpoints):
        (folder / ".model.keras.abc12345.aside").mkdir(parents=True)
    (run.path / ".mine").mkdir()
    with run.locked():
        pass
    left = {item.name for item in [*run.path.iterdir(), *run.checkpoints.iterdir()]}
    assert left == {"config.json", "checkpoints", ".lock", ".mine"}


def test_a_run_in_use_is_refused(run):
    with run.locked(), pytest.raises(LockedError, match="another process"), run.locked():
        pytest.fail("two at once")


def file(path, target):
    path.write_bytes(b"")


def folder(path, target):
    path.mkdir()


def link(path, target):
    path.symlink_to(target, target_is_directory=True)


def dangling_link(path, target):
    path.symlink_to(target / "nowhere")


def named_pipe(path, target):
    os.mkfifo(path)


WRONG_KINDS = [
    *[("checkpoints", make) for make in (file, link, dangling_link, named_pipe)],
    *[("evaluation", make) for make in (file, link, named_pipe)],
    *[("saved_model", make) for make in (file, link)],
    *[("config.json", make) for make in (folder, link, dangling_link, named_pipe)],
    *[("model.keras", make) for make in (link, named_pipe)],
    *[("history.csv", make) for make in (link, named_pipe)],
    *[("metrics.json", make) for make in (link, named_pipe)],
    *[("evaluation.json", make) for make in (link, named_pipe)],
]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes")
@pytest.mark.parametrize(("name", "make"), WRONG_KINDS)
def test_what_is_no_file_or_folder_of_the_runs_own_is_named_and_refused(run, tmp_path, name, make):
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / ".model.keras.abc12345.aside").mkdir()
    (target / "step-000000001").mkdir()
    part = run.path / name
    part.unlink(missing_ok=True)
    make(part, target)
    named = f"{name}' must be a (folder|regular file) of the run's own"

    def lock():
        with run.locked():
            pytest.fail("went on")

    for act in (
        run.check_kinds,
        run.newest_checkpoint,
        lambda: run.check(CONFIG, resume=True),
        lambda: run.check(CONFIG, overwrite=True),
        lock,
    ):
        with pytest.raises(ValueError, match=named):
            act()
    assert len(list(target.iterdir())) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes")
@pytest.mark.parametrize("make", [link, named_pipe])
def test_a_file_of_the_run_that_would_never_end_is_not_read(run, tmp_path, make):
    for path, read in (
        (run.evaluation, run.read_evaluation),
        (run.history, run.read_history),
        (run.metrics, lambda: run.read_json(run.metrics)),
    ):
        make(path, run.config)
        with pytest.raises(ValueError, match=f"{path.name}' must be a regular file"):
            read()


def test_a_run_that_its_user_calls_by_a_link_is_one(run, tmp_path):
    linked = RunFolder(tmp_path / "latest")
    linked.path.symlink_to(run.path, target_is_directory=True)
    saved(linked, 1, {"epoch": [1.0], "loss": [3.0]})
    linked.check(CONFIG, resume=True)
    with linked.locked():
        assert linked.newest_checkpoint().step == 1


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "[]", "1"])
def test_json_that_is_too_deep_or_no_object_is_one_error(run, text):
    for path in (run.config, run.evaluation, run.metrics):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"{path.name}' cannot be read: it"):
            run.read_json(path)


def test_no_bit_of_the_config_can_flip_to_another_run_unnoticed(run):
    """Where an earlier reader goes on it reads what was written."""
    whole = run.config.read_bytes()
    before = json.loads(whole)
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        run.config.write_bytes(flipped)
        try:
            config = run.read_config()
        except ValueError as error:
            assert "config.json' " in str(error)
        else:
            assert {name: config.get(name) for name in CONFIG} == {
                name: before[name] for name in CONFIG
            }


def test_a_config_may_be_changed_on_purpose(run):
    config = json.loads(run.config.read_text())
    run.config.write_text(json.dumps({**config, "dataset": "mnist"}))
    for read in (run.read_config, run.run_id, lambda: run.check(CONFIG, resume=True)):
        with pytest.raises(ValueError, match='not as it was written.* its line "run_id"'):
            read()
    del config["run_id"]
    run.config.write_text(json.dumps({**config, "dataset": "mnist"}))
    assert run.read_config()["dataset"] == "mnist"
    assert not run.is_sealed()


def test_a_config_may_be_laid_out_anew(run):
    config = json.loads(run.config.read_text())
    run.config.write_text(json.dumps(dict(sorted(config.items(), reverse=True))))
    assert run.read_config() == config
    assert run.is_sealed()


def test_a_config_of_an_earlier_version_has_no_checksum(run):
    config = {**CONFIG, "run_id": "0011223344556677"}
    run.write_json(run.config, config)
    assert run.read_config() == config
    assert not run.is_sealed()


def test_the_config_of_another_run_is_noticed(run, tmp_path):
    run.write_json(run.metrics, {"run_id": run.run_id()})
    run.check_metrics()
    other = RunFolder(tmp_path / "other")
    other.start({**CONFIG, "seed": 1})
    shutil.copy(other.config, run.config)
    with pytest.raises(ValueError, match="config.json' is that of another run than metrics.json"):
        run.check_metrics()
    run.write_json(run.metrics, {})  # of an earlier version
    run.check_metrics()


def test_images_are_compared_by_what_both_versions_know_of_them(run):
    known = {"train": 84, "test": 18, "first_images": "ab12"}
    run.start({**CONFIG, "data": {**known, "path": "/here"}})
    more = {"content": {"train": "cd34"}, "path": "/there"}
    run.check({**CONFIG, "data": {**known, **more}}, resume=True)
    with pytest.raises(ValueError, match="differ: data: .*'train': 84.* in the run, .*85.* now"):
        run.check({**CONFIG, "data": {**known, **more, "train": 85}}, resume=True)
