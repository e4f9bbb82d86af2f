"""Reading regular files only; replacing files and folders in one step."""

import os
import shutil
import socket
import stat
import subprocess
import sys

import pytest

from mae_keras import files
from mae_keras.files import (
    check_regular,
    make_folder,
    open_regular,
    read_json,
    remove_leftovers,
    replacing,
)


def named_pipe(path):
    os.mkfifo(path)


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # the whole path may be too long for a socket


OTHER_KINDS = {
    "a named pipe": named_pipe,
    "a socket": bound_socket,
    "a folder": os.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a loop of links": lambda path: path.symlink_to(path.name),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has none of these")
@pytest.mark.parametrize("read", [check_regular, open_regular])
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_what_is_no_regular_file_is_named_and_not_read(kind, read, tmp_path):
    path = tmp_path / "model.keras"
    OTHER_KINDS[kind](path)
    with pytest.raises(ValueError, match=f"model.keras' must be a regular file.* {kind}$"):
        read(path)


def test_links_to_regular_files_are_followed_unless_told_otherwise(tmp_path):
    (tmp_path / "file").write_bytes(b"held")
    (tmp_path / "link").symlink_to("file")
    check_regular(tmp_path / "link")
    with open_regular(str(tmp_path / "link")) as file:
        assert file.read() == b"held"
    with open_regular(tmp_path / "file", follow_links=False) as file:
        assert file.read() == b"held"
    for read in (check_regular, open_regular):
        with pytest.raises(ValueError, match="link' must be a regular file.* a symbolic link"):
            read(tmp_path / "link", follow_links=False)


def test_a_file_exchanged_for_a_pipe_before_it_is_opened_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"held")

    def exchange(*_):
        path.unlink()
        os.mkfifo(path)

    monkeypatch.setattr(files, "check_regular", exchange)
    with pytest.raises(ValueError, match="a named pipe"):
        open_regular(path)


def test_a_file_that_is_missing_stays_an_error_of_the_system(tmp_path):
    (tmp_path / "dangling").symlink_to("nowhere")
    for read in (check_regular, open_regular):
        for name in ("nowhere", "dangling"):
            with pytest.raises(FileNotFoundError, match=name):
                read(tmp_path / name)


def test_a_new_file_is_written_and_its_parents_are_made(tmp_path):
    target = tmp_path / "a" / "b" / "note.txt"
    with replacing(target) as aside:
        aside.write_text("new")
    assert target.read_text() == "new"


def test_names_of_new_folders_are_flushed_where_they_are_written(tmp_path, monkeypatch):
    """Else a power cut loses the whole folder, and the file in it that was flushed."""
    flushed = []
    monkeypatch.setattr(files, "_flush", flushed.append)
    make_folder(tmp_path / "a" / "b")
    assert flushed == [tmp_path, tmp_path / "a"]
    make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2
    with replacing(tmp_path / "a" / "c" / "note.txt") as aside:
        aside.write_text("new")
    assert flushed[2] == tmp_path / "a"


def test_a_file_is_replaced(tmp_path):
    target = tmp_path / "note.txt"
    target.write_text("old")
    with replacing(str(target)) as aside:
        aside.write_text("new")
    assert target.read_text() == "new"


def test_the_old_file_is_there_until_the_block_ends(tmp_path):
    target = tmp_path / "note.txt"
    target.write_text("old")
    with replacing(target) as aside:
        aside.write_text("new")
        assert target.read_text() == "old"


def test_the_name_to_write_to_keeps_the_suffix_and_the_folder_of_the_target(tmp_path):
    with replacing(tmp_path / "model.keras") as aside:
        aside.write_text("new")
        assert aside.suffix == ".keras"
        assert tmp_path in aside.parents


def test_a_folder_is_replaced_with_all_it_held(tmp_path):
    target = tmp_path / "saved"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with replacing(target) as aside:
        aside.mkdir()
        (aside / "new.txt").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_exception_keeps_the_old_file_and_reaches_the_caller(tmp_path, error):
    target = tmp_path / "note.txt"
    target.write_text("old")
    with pytest.raises(error, match="full"), replacing(target) as aside:
        aside.write_text("half")
        raise error("disk full")
    assert target.read_text() == "old"


def test_an_exception_keeps_the_old_folder(tmp_path):
    target = tmp_path / "saved"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as aside:
        aside.mkdir()
        (aside / "half.txt").write_text("half")
        raise RuntimeError("killed")
    assert (target / "old.txt").read_text() == "old"


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("folder", [False, True])
def test_nothing_is_left_over(tmp_path, fails, folder):
    target = tmp_path / "target"
    target.mkdir() if folder else target.write_text("old")
    try:
        with replacing(target) as aside:
            aside.mkdir() if folder else aside.write_text("new")
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_writing_nothing_is_an_error_that_keeps_the_old_file(tmp_path):
    target = tmp_path / "note.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(target):
        pass
    assert target.read_text() == "old"


def test_a_failing_swap_of_folders_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "saved"
    target.mkdir()
    (target / "old.txt").write_text("old")
    replace = os.replace

    def replace_but_not_into_place(source, destination):
        if os.fspath(destination) == os.fspath(target) and "previous" not in os.fspath(source):
            raise OSError("disk full")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", replace_but_not_into_place)
    with pytest.raises(OSError, match="disk full"), replacing(target) as aside:
        aside.mkdir()
    assert (target / "old.txt").read_text() == "old"


def test_other_users_may_read_the_file_as_if_it_had_been_written_in_place(tmp_path):
    plain = tmp_path / "plain.txt"
    plain.write_text("plain")
    with replacing(tmp_path / "aside.txt") as aside:
        aside.write_text("aside")
    with replacing(tmp_path / "folder") as aside:
        aside.mkdir()
    (tmp_path / "usual").mkdir()

    def mode(name):
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    assert mode("aside.txt") == mode("plain.txt")
    assert mode("folder") == mode("usual")


def test_a_relative_path_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing("note.txt") as aside:
        aside.write_text("new")
    assert (tmp_path / "note.txt").read_text() == "new"


def cut_off(target, monkeypatch, error=None):
    """Replace a folder and die between the two renames."""

    class Killed(BaseException):
        pass

    replace = os.replace

    def dying(source, to):
        if os.fspath(to) == os.fspath(target):
            raise error or Killed
        replace(source, to)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dying)
        if error is None:  # a kill runs nothing that would clean up
            patched.setattr(files, "_restore", lambda *_: None)
            patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(BaseException) as raised, replacing(target) as aside:
            aside.mkdir()
            (aside / "new").touch()
        assert raised.type in (Killed, type(error))


@pytest.fixture
def exported(tmp_path):
    target = tmp_path / "saved_model"
    target.mkdir()
    (target / "old").touch()
    return target


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_folder_that_could_not_be_replaced_is_put_back(exported, monkeypatch, error):
    cut_off(exported, monkeypatch, error)
    assert [item.name for item in exported.parent.rglob("*")] == ["saved_model", "old"]


@pytest.mark.skipif(os.name == "nt", reason="needs locks of folders")
def test_a_folder_that_a_kill_left_without_its_place_is_put_back(exported, monkeypatch):
    cut_off(exported, monkeypatch)
    assert not exported.exists()
    with replacing(exported) as aside:
        assert [item.name for item in exported.iterdir()] == ["old"]
        aside.mkdir()
    assert [item.name for item in exported.parent.rglob("*")] == ["saved_model"]


def test_leftovers_are_put_back_before_they_are_removed(exported, monkeypatch):
    cut_off(exported, monkeypatch)
    remove_leftovers(exported.parent)
    assert [item.name for item in exported.parent.rglob("*")] == ["saved_model", "old"]


def test_the_only_copy_is_never_removed(exported, monkeypatch):
    cut_off(exported, monkeypatch)

    def refuse(*_):
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        remove_leftovers(exported.parent)
        with replacing(exported.parent / "another") as aside:
            aside.touch()
    assert [item.name for item in exported.parent.rglob("old")] == ["old"]


DIE_WHILE_WRITING = """
import os, sys
from mae_keras.files import replacing
with replacing(sys.argv[1]) as aside:
    aside.mkdir()
    print("writing", flush=True)
    if sys.argv[2] == "die":
        os._exit(9)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name == "nt", reason="needs locks of folders")
def test_what_a_killed_export_left_is_removed_by_the_next_one_to_the_same_place(exported):
    for _ in range(2):
        command = [sys.executable, "-c", DIE_WHILE_WRITING, str(exported), "die"]
        assert subprocess.run(command).returncode == 9
        assert len(list(exported.parent.glob(".saved_model.*.aside"))) == 1
    (exported.parent / ".saved_model.of.others.aside").mkdir()
    with replacing(exported.parent / "another") as aside:
        aside.touch()
    with replacing(exported) as aside:
        aside.mkdir()
    names = {item.name for item in exported.parent.iterdir()}
    assert names == {"saved_model", "another", ".saved_model.of.others.aside"}


@pytest.mark.skipif(os.name == "nt", reason="needs locks of folders")
def test_what_another_process_is_writing_is_left_alone(exported):
    command = [sys.executable, "-c", DIE_WHILE_WRITING, str(exported), "wait"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as writing:
        assert writing.stdout.readline() == "writing\n"
        with replacing(exported) as aside:
            aside.mkdir()
            (aside / "mine").touch()
        assert len(list(exported.parent.glob(".saved_model.*.aside"))) == 1
        writing.communicate()
    assert writing.returncode == 0
    assert [item.name for item in exported.parent.rglob("*")] == ["saved_model"]


def test_a_file_gives_way_to_a_folder(tmp_path):
    (tmp_path / "step").write_text("no checkpoint")
    with replacing(tmp_path / "step") as aside:
        aside.mkdir()
    assert (tmp_path / "step").is_dir()


def test_json_is_read_to_an_object_or_refused(tmp_path):
    path = tmp_path / "config.json"
    for text, why in (("[" * 200_000, "too deeply"), ("[]", "object. Received: list")):
        path.write_text(text)
        with pytest.raises(ValueError, match=why):
            read_json(path)
    path.write_text('{"a": [1]}')
    assert read_json(path) == {"a": [1]}
