"""The command that an error tells users to type."""

import importlib.metadata
import json
import pathlib

import pytest

from mae_keras import extras


class Installed:
    """What the installer left about the package."""

    requires = (
        "numpy>=1.26",
        'tensorflow-datasets>=4.9; extra == "datasets"',
        'importlib_resources; extra == "datasets"',
        'jax; extra == "jax"',
    )

    def __init__(self, url):
        self.url = url

    def read_text(self, name):
        return json.dumps({"url": self.url}) if self.url else None


@pytest.fixture
def clone(tmp_path):
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "pyproject.toml").write_text('[project]\nname = "mae_keras"\n')
    return tmp_path / "clone"


def install_from(monkeypatch, tmp_path, url):
    """Let the package lie in a folder of its own, as an installer puts it there."""
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site-packages/mae_keras/extras.py"))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(url))


def test_a_clone_is_named_by_its_path_and_inside_it_by_a_dot(monkeypatch, tmp_path, clone):
    install_from(monkeypatch, tmp_path, clone.as_uri())
    assert extras.install_command("onnx") == f"pip install '{clone}[onnx]'"
    monkeypatch.chdir(clone)
    assert extras.install_command("onnx") == "pip install '.[onnx]'"


def test_without_a_clone_the_libraries_are_named(monkeypatch, tmp_path):
    install_from(monkeypatch, tmp_path, (tmp_path / "gone").as_uri())
    command = extras.install_command("datasets")
    assert command == "pip install 'tensorflow-datasets>=4.9' 'importlib_resources'"


def test_this_repository_is_found(monkeypatch):
    monkeypatch.chdir(pathlib.Path(extras.__file__).parents[1])
    assert extras.install_command("jax") == "pip install '.[jax]'"
