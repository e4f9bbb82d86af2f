"""One process at a time, and no lock outlives its owner."""

import os
import subprocess
import sys

import pytest

from mae_keras.runs import LockedError, locked
from mae_keras.runs import folder as locking

# A process of its own that imports nothing of the package, so that it starts at once.
HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.write("process 17 on elsewhere")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


posix = pytest.mark.skipif(sys.platform == "win32", reason="uses flock to play the other process")


@posix
def test_a_second_process_is_refused_and_told_who_holds_it(holder, tmp_path):
    with pytest.raises(LockedError, match=r"another process is at work \(process 17 on elsewhere"):
        with locked(tmp_path):
            pytest.fail("two at once")


@posix
def test_the_lock_ends_with_the_process_that_was_killed(holder, tmp_path):
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "run"):
            assert (tmp_path / "run" / ".lock").exists()


def test_it_is_free_after_an_error_too(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_a_folder_that_was_replaced_is_noticed_by_who_held_it(tmp_path):
    """`rm -rf runs/a` while a forgotten process trains in it, then a new run of that name."""
    with locked(tmp_path / "run") as check:
        check()
        (tmp_path / "run").rename(tmp_path / "removed")
        with pytest.raises(LockedError, match="run', which was moved, removed or replaced"):
            check()
        with locked(tmp_path / "run") as check_new:
            check_new()
            with pytest.raises(LockedError, match="Nothing more is written"):
                check()


def test_a_lock_taken_of_a_file_that_was_just_replaced_is_none(tmp_path, monkeypatch):
    def replaced(file):
        (tmp_path / ".lock").rename(tmp_path / "old")
        return True

    monkeypatch.setattr(locking, "_lock", replaced)
    with pytest.raises(LockedError, match="replaced"), locked(tmp_path):
        pytest.fail("held what is not there")


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    with locked(tmp_path), pytest.raises(LockedError), locked(tmp_path):
        pytest.fail("two at once")


@posix
@pytest.mark.parametrize("name", ["a link", "a second name"])
def test_a_lock_is_no_way_to_another_file(tmp_path, name):
    """`.lock` as a link to a file of the user's, which was wiped once."""
    precious = tmp_path / "thesis.tex"
    precious.write_text("years of work")
    (tmp_path / "run").mkdir()
    lock = tmp_path / "run" / ".lock"
    lock.symlink_to(precious) if name == "a link" else lock.hardlink_to(precious)
    with pytest.raises(ValueError, match="lock' must be"), locked(tmp_path / "run"):
        pytest.fail("locked something else")
    assert precious.read_text() == "years of work"


@posix
def test_a_dangling_link_makes_no_file(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "made")
    with pytest.raises(ValueError, match="lock' must be a regular file"), locked(tmp_path):
        pytest.fail("locked something else")
    assert not (tmp_path / "made").exists()


@posix
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_lock(tmp_path, make):
    make(tmp_path / ".lock")
    with pytest.raises(ValueError, match="lock' must be a regular file"), locked(tmp_path):
        pytest.fail("locked something else")


@pytest.mark.parametrize("text", ["process 17 on elsewhere\nab12\n", "", "\0" * 40])
def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path, text):
    (tmp_path / ".lock").write_text(text)
    with locked(tmp_path) as check:
        check()
    assert (tmp_path / ".lock").read_text() == ""


@posix
def test_a_lock_that_becomes_a_pipe_is_noticed_at_once(tmp_path):
    with locked(tmp_path) as check:
        (tmp_path / ".lock").unlink()
        os.mkfifo(tmp_path / ".lock")
        with pytest.raises(LockedError, match="moved, removed or replaced"):
            check()
