"""Reading regular files only; replacing files and folders in one step."""

import os
import socket
import stat

import pytest

from mae_keras import files
from mae_keras.files import check_regular, make_folder, open_regular, replacing


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
