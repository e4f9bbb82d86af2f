"""Paths that exports accept or refuse."""

import os

import pytest

from mae_keras.interop.export import check_file, check_folder


def test_new_folders_and_empty_ones_are_accepted(tmp_path):
    assert check_folder(tmp_path) == tmp_path
    assert check_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()


def test_an_earlier_saved_model_may_be_replaced(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    assert check_folder(tmp_path) == tmp_path


def test_a_saved_model_beside_other_things_is_not_replaced(tmp_path):
    """An export would remove them with it: a project's folder, or the requests of a server."""
    for name in ("saved_model.pb", "variables", "thesis.tex"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="and nothing else.*which holds .'thesis.tex'."):
        check_folder(tmp_path)


def test_a_folder_of_weights_alone_is_no_saved_model(tmp_path):
    (tmp_path / "variables").mkdir()
    with pytest.raises(ValueError, match="which holds .'variables'."):
        check_folder(tmp_path)


def test_a_folder_with_other_things_is_occupied(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="`path` must be a new or empty folder"):
        check_folder(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "saved_model").touch()
    with pytest.raises(ValueError, match="`path` must be a new or empty folder"):
        check_folder(tmp_path / "saved_model")


def test_files_must_have_the_right_ending(tmp_path):
    assert check_file(tmp_path / "model.onnx", ".onnx") == tmp_path / "model.onnx"
    with pytest.raises(ValueError, match="must end in '.onnx'. Received: .*model.tflite"):
        check_file(tmp_path / "model.tflite", ".onnx")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(ValueError, match="must be a file, not a folder"):
        check_file(tmp_path / "model.onnx", ".onnx")


@pytest.mark.parametrize("path", [".", "..", "a/..", os.sep])
def test_a_folder_must_have_a_name(path):
    with pytest.raises(ValueError, match="must name a folder"):
        check_folder(path)


@pytest.mark.parametrize("check", [check_folder, lambda path: check_file(path, ".onnx")])
def test_nothing_can_be_written_below_a_file(check, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="`path` must lie in a folder"):
        check(tmp_path / "file" / "deeper" / "model.onnx")


@pytest.mark.parametrize("check", [check_folder, lambda path: check_file(path, ".onnx")])
def test_a_folder_without_permission_is_named(check, tmp_path, monkeypatch):
    # Tests may run as root, whom no permission stops.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="can be written to; .* cannot"):
        check(tmp_path / "model.onnx")
