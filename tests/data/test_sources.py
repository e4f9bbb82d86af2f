"""Names of data sets, and what is said about wrong ones."""

import subprocess
import sys

import pytest

from mae_keras import data
from mae_keras.data.sources import kind


def test_listing_data_sets_loads_nothing_heavy():
    program = (
        "import sys, mae_keras.data as data; data.DATASETS, data.load; "
        "heavy = {'tensorflow', 'numpy', 'PIL', 'sklearn'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_every_data_set_has_a_line_of_description():
    assert all(line and "\n" not in line for line in data.DATASETS.values())


def test_every_exported_name_exists():
    assert all(hasattr(data, name) for name in data.__all__)


def test_an_unknown_export_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = data.nonsense


def test_a_misspelt_data_set_gets_the_list_and_a_suggestion():
    with pytest.raises(
        ValueError, match=r"one of mnist-sample, digits, mnist, .*'fashion_mnst'. Did you mean 'f"
    ):
        data.load("fashion_mnst")


@pytest.mark.parametrize("name", ["no/such/folder", "missing.npz", "~/missing", "missing.npy"])
def test_a_path_that_does_not_exist_is_named(name):
    with pytest.raises(ValueError, match=f"existing path. Received: '{name}', not found"):
        data.load(name)


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "images.xls"
    path.write_text("1,2")
    with pytest.raises(ValueError, match="a .npz or a .npy file, .* Received: the file"):
        data.load(path)


@pytest.mark.parametrize("name", ["", "tfds:"])
def test_an_empty_name_is_refused(name):
    with pytest.raises(ValueError, match=f"name must .* Received: '{name}'"):
        data.load(name)


def test_a_name_that_is_no_string_is_refused():
    with pytest.raises(TypeError, match="name must be a string or a path. Received: name=3"):
        data.load(3)


@pytest.mark.parametrize("size", [0, -4, (8,), (8, 8, 8), 7.5, (8, 0), "ab", True, float("inf")])
def test_an_image_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="image_size must be a positive integer or a pair"):
        data.load("digits", image_size=size)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="`seed` must be an int of at least 0. Received: seed=-1"):
        data.load("digits", seed=-1)


def test_a_folder_called_like_a_data_set_needs_a_slash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert kind("digits") == "digits" and kind("digits/") == "folder"
