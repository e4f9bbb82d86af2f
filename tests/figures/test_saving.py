"""Figures in files, and what drawing them imports."""

import subprocess
import sys

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mae_keras.figures import save_figure


def test_parents_are_made_and_the_size_is_inches_times_dpi(tmp_path):
    path = tmp_path / "a" / "b" / "picture.png"
    save_figure(Figure(figsize=(2, 1)), path, dpi=50)
    with Image.open(path) as picture:
        assert picture.size == (100, 50)


@pytest.mark.parametrize(
    ("name", "start"),
    [("x.png", b"\x89PNG"), ("x", b"\x89PNG"), ("x.PNG", b"\x89PNG"), ("x.pdf", b"%PDF")],
)
def test_the_suffix_decides_the_format(tmp_path, name, start):
    save_figure(Figure(figsize=(1, 1)), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_a_failed_write_keeps_the_previous_picture(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    save_figure(Figure(figsize=(1, 1)), path)
    before = path.read_bytes()

    def full_disk(self, target, **options):
        target.write_bytes(b"half a pic")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_figure(Figure(figsize=(1, 1)), path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["picture.png"]


def test_a_folder_is_never_replaced(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.keras").touch()
    with pytest.raises(ValueError, match="`path` must be a file"):
        save_figure(Figure(), tmp_path / "run")
    assert (tmp_path / "run" / "model.keras").exists()


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in one of .*png.*Received: .*x\.gifs"):
        save_figure(Figure(), tmp_path / "x.gifs")


def test_drawing_needs_neither_pyplot_nor_keras(tmp_path):
    code = """
import sys
import mae_keras.figures
print("matplotlib" in sys.modules)
from mae_keras.figures import loss_figure, mask_gallery, reconstruction_figure, save_figure
save_figure(loss_figure({"loss": [1.0]}), sys.argv[1])
print(sorted({"matplotlib.pyplot", "keras", "tensorflow"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["False", "[]"]
