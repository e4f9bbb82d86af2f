"""Checkpoints are whole or not there, and the newest whole one is found."""

import errno
import hashlib
import json
import os
import shutil
import sys

import numpy as np
import pytest

from mae_keras.runs import CheckpointStore, DamagedError, load_checkpoint
from mae_keras.runs import folder as checkpoints

CONTENT = bytes(range(256)) * 5


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def save(store, step, score=None, content=CONTENT):
    def write(folder):
        (folder / "model.keras").write_bytes(content)

    return store.save(step, {"epoch": step, "rows": {"loss": [0.1 + 0.2]}, "score": score}, write)


def names(store):
    return [path.name for path in store.paths()]


def test_what_was_saved_is_read_back(store):
    save(store, 7)
    made = store.newest_whole()
    assert made.step == 7
    assert made.progress == {"epoch": 7, "rows": {"loss": [0.1 + 0.2]}, "score": None}
    assert made.model.read_bytes() == CONTENT


def test_the_manifest_holds_sizes_and_hashes_that_others_compute_alike(store):
    manifest = json.loads((save(store, 1) / "manifest.json").read_text())["files"]
    assert set(manifest) == {"model.keras", "progress.json"}
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert manifest["model.keras"] == {"size": len(CONTENT), "sha256": digest}


def test_nothing_saved_is_no_error(store):
    assert store.newest_whole() is None
    assert store.paths() == []


def test_the_last_ones_and_the_best_are_kept(store):
    for step, score in enumerate([3.0, 1.0, 2.0, 2.0, None, 4.0]):
        save(store, step, score)
    assert names(store) == ["step-000000001", "step-000000004", "step-000000005"]


def test_of_equal_scores_the_later_is_the_best(store):
    for step, score in enumerate([1.0, 1.0, 2.0, 2.0]):
        save(store, step, score)
    assert store.best().name == "step-000000001"


def test_a_score_that_is_no_number_is_never_the_best(store):
    for step, score in enumerate([2.0, float("nan"), None, None]):
        save(store, step, score)
    assert store.best().name == "step-000000000"


@pytest.mark.parametrize("name", ["model.keras", "progress.json", "manifest.json"])
def test_a_file_cut_short_is_noticed_and_the_one_before_is_used(store, name):
    save(store, 1)
    file = save(store, 2) / name
    whole = file.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 20).astype(int):
        file.write_bytes(whole[:length])
        said = []
        assert store.newest_whole(said.append).step == 1
        assert "Checkpoint step-000000002 is damaged" in said[0]
        assert name in said[0]


@pytest.mark.parametrize("name", ["model.keras", "progress.json", "manifest.json"])
def test_a_flipped_bit_is_noticed_and_the_one_before_is_used(store, name):
    save(store, 1)
    file = save(store, 2) / name
    whole = file.read_bytes()
    for number, offset in enumerate(np.linspace(0, len(whole) - 1, 20).astype(int)):
        flipped = bytearray(whole)
        flipped[offset] ^= 1 << number % 8
        file.write_bytes(flipped)
        assert store.newest_whole(lambda sentence: None).step == 1
    file.write_bytes(whole)
    assert store.newest_whole().step == 2


@pytest.mark.slow
def test_no_bit_of_the_manifest_can_flip_unnoticed(store):
    path = save(store, 1, content=b"x")
    whole = (path / "manifest.json").read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (path / "manifest.json").write_bytes(flipped)
        with pytest.raises(DamagedError):
            load_checkpoint(path)


@pytest.mark.parametrize("name", ["model.keras", "progress.json", "manifest.json"])
def test_a_missing_file_is_noticed(store, name):
    path = save(store, 1)
    (path / name).unlink()
    with pytest.raises(DamagedError, match=name):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["manifest.json", "progress.json"])
def test_what_cannot_be_read_just_now_is_not_damaged(store, monkeypatch, name):
    """As on a network file system whose server is away."""
    save(store, 1)
    save(store, 2)
    opened = os.open

    def unreadable(path, *args, **options):
        if str(path).endswith(os.path.join("step-000000002", name)):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return opened(path, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", unreadable)
        with pytest.raises(OSError, match="step-000000002 could not be read .* try again"):
            store.newest_whole(lambda sentence: pytest.fail(sentence))
    assert store.newest_whole().step == 2


def test_nothing_is_removed_while_the_best_cannot_be_told(store, monkeypatch):
    def unreadable(path):
        raise OSError(errno.ESTALE, "Stale file handle")

    save(store, 1, score=1.0)
    monkeypatch.setattr(checkpoints, "_score", unreadable)
    for step in (2, 3, 4):
        save(store, step)
    assert len(names(store)) == 4


def test_when_none_is_whole_nothing_is_made_up(store):
    for step in (1, 2):
        (save(store, step) / "model.keras").write_bytes(b"")
    with pytest.raises(DamagedError, match="None of the 2 checkpoints .* --overwrite"):
        store.newest_whole(lambda sentence: None)


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_others_as_they_were(store, error):
    save(store, 1)

    def write(folder):
        (folder / "model.keras").write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        store.save(2, {}, write)
    assert names(store) == ["step-000000001"]
    assert store.newest_whole().step == 1
    assert sorted(item.name for item in store.folder.iterdir()) == ["step-000000001"]


def test_damaged_ones_of_later_steps_are_removed(store):
    for step in (1, 2):
        save(store, step)
    store.remove_after(1)
    assert names(store) == ["step-000000001"]


def test_strangers_in_the_folder_are_left_alone(store):
    save(store, 1)
    (store.folder / "step-two").mkdir()
    (store.folder / "notes.txt").write_text("mine")
    for step in (2, 3, 4):
        save(store, step)
    assert (store.folder / "step-two").is_dir()
    assert (store.folder / "notes.txt").exists()


def test_a_copy_of_a_checkpoint_is_whole(store, tmp_path):
    other = CheckpointStore(tmp_path / "elsewhere")
    path = save(store, 3)
    shutil.copytree(path, other.folder / path.name)
    assert other.newest_whole().step == 3


def test_none_kept_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`keep` must be at least 1"):
        CheckpointStore(tmp_path, keep=0)


def test_a_copy_of_an_older_step_under_a_later_number_is_passed_over(store):
    older = save(store, 1)
    later = save(store, 2)
    shutil.rmtree(later)
    shutil.copytree(older, later)
    said = []
    assert store.newest_whole(said.append).step == 1
    assert said == [
        "Checkpoint step-000000002 is a copy of that of step 1. Going back to the one before."
    ]


OWN, OTHER = "0011223344556677-8899aabbccddeeff", "7766554433221100-8899aabbccddeeff"


def save_of(store, step, run_id):
    return store.save(
        step, {"run_id": run_id}, lambda folder: (folder / "model.keras").write_bytes(CONTENT)
    )


def test_a_checkpoint_of_another_run_under_a_later_number_is_passed_over(store, tmp_path):
    save_of(store, 1, OWN)
    foreign = save_of(CheckpointStore(tmp_path / "other"), 2, OTHER)
    shutil.copytree(foreign, store.folder / foreign.name)
    said = []
    assert store.newest_whole(said.append, run_id=OWN).step == 1
    assert "step-000000002 was written by another run" in said[0]


def change(path, **changes):
    """Write another manifest, as an attacker or an earlier version would."""
    manifest = json.loads((path / "manifest.json").read_text())
    manifest = {**manifest, **changes}
    kept = {name: value for name, value in manifest.items() if value != "left out"}
    (path / "manifest.json").write_text(json.dumps(kept))


def test_checkpoints_of_earlier_versions_load_in_runs_of_earlier_versions_only(store):
    path = save_of(store, 3, OWN)
    change(path, run_id="left out", step="left out")
    assert load_checkpoint(path).step == 3
    with pytest.raises(DamagedError, match="does not say of which run and step"):
        load_checkpoint(path, OWN)
    old = save_of(store, 4, "0011223344556677")
    change(old, run_id="left out", step="left out")
    assert load_checkpoint(old, "0011223344556677").step == 4
    with pytest.raises(DamagedError, match="another run"):
        load_checkpoint(old, "7766554433221100")


@pytest.mark.parametrize("changes", [{"step": "left out"}, {"run_id": OTHER}, {"more": 1}])
def test_a_manifest_that_says_less_or_something_else_than_the_rest_is_refused(store, changes):
    path = save_of(store, 3, OWN)
    change(path, **changes)
    with pytest.raises(DamagedError, match="does not say of which run and step"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["model.keras", "progress.json"])
def test_a_manifest_that_leaves_a_file_out_is_refused(store, name):
    path = save(store, 1)
    files = json.loads((path / "manifest.json").read_text())["files"]
    del files[name]
    change(path, files=files)
    (path / name).write_bytes(b"something else")
    with pytest.raises(DamagedError, match=f"manifest.json does not list {name}"):
        load_checkpoint(path)


def test_a_manifest_that_reaches_outside_its_folder_is_refused(store):
    path = save(store, 1)
    files = json.loads((path / "manifest.json").read_text())["files"]
    change(path, files={**files, "../../secret": files["model.keras"]})
    with pytest.raises(DamagedError, match="manifest.json lists '../../secret'"):
        load_checkpoint(path)


def plain_file(path, whole):
    path.write_bytes(b"")


def link(path, whole):
    path.symlink_to(whole, target_is_directory=True)


def named_pipe(path, whole):
    os.mkfifo(path)


def with_a_pipe_inside(path, whole):
    shutil.copytree(whole, path)
    (path / "model.keras").unlink()
    os.mkfifo(path / "model.keras")


def with_a_linked_model(path, whole):
    shutil.copytree(whole, path)
    (path / "model.keras").unlink()
    (path / "model.keras").symlink_to(whole / "model.keras")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes")
@pytest.mark.parametrize(
    "make", [plain_file, link, named_pipe, with_a_pipe_inside, with_a_linked_model]
)
def test_what_is_no_checkpoint_is_passed_over_and_removed_without_what_it_leads_to(store, make):
    whole = save(store, 1)
    held = sorted(item.name for item in whole.iterdir())
    make(store.folder / "step-000000002", whole)
    said = []
    assert store.newest_whole(said.append).step == 1
    assert "Checkpoint step-000000002 is damaged" in said[0]
    store.remove_after(1)
    assert names(store) == ["step-000000001"]
    for step in (2, 3, 4):  # the first is pruned meanwhile, by its own name alone
        save(store, step)
    assert sorted(item.name for item in store.paths()[0].iterdir()) == held


def test_pruning_removes_nothing_through_a_link(store, tmp_path):
    elsewhere = save(CheckpointStore(tmp_path / "elsewhere"), 1)
    store.folder.mkdir()
    (store.folder / "step-000000001").symlink_to(elsewhere, target_is_directory=True)
    for step in (2, 3, 4):
        save(store, step)
    assert names(store) == ["step-000000003", "step-000000004"]
    assert load_checkpoint(elsewhere).step == 1


@pytest.mark.parametrize("name", ["manifest.json", "progress.json"])
@pytest.mark.parametrize("text", ["[" * 200_000, "[1]", '{"a":' * 200_000])
def test_json_that_is_no_object_or_too_deep_is_damage(store, name, text):
    save(store, 1)
    (save(store, 2) / name).write_text(text)
    said = []
    assert store.newest_whole(said.append).step == 1
    assert "Checkpoint step-000000002 is damaged" in said[0]
    assert store.best() is None


def test_deep_progress_with_the_right_hash_is_damage_too(store):
    path = save(store, 1)
    (path / "progress.json").write_text("[" * 200_000)
    files = json.loads((path / "manifest.json").read_text())["files"]
    text = (path / "progress.json").read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    change(path, files={**files, "progress.json": {"size": len(text), "sha256": digest}})
    with pytest.raises(DamagedError, match="progress.json cannot be read: .*too deeply"):
        load_checkpoint(path)
