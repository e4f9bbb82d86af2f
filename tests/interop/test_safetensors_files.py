import sys

import ml_dtypes
import numpy as np
import pytest

from mae_keras.interop.torch_reading import read_safetensors, write_safetensors

pytest.importorskip("safetensors")


def test_what_is_written_is_read(tmp_path):
    path = str(tmp_path / "a.safetensors")
    tensors = {"a": np.arange(6, dtype="float32").reshape(2, 3).T, "b": np.ones(2, "float16")}
    write_safetensors(path, tensors)
    read = read_safetensors(path)
    assert {name: tensor.dtype for name, tensor in read.items()} == {"a": "float32", "b": "float16"}
    for name, tensor in read.items():
        np.testing.assert_array_equal(tensor.numpy(), tensors[name])


def test_bfloat16_is_read(tmp_path):
    path = str(tmp_path / "a.safetensors")
    write_safetensors(path, {"a": np.array([1.5, -2.0], ml_dtypes.bfloat16)})
    tensor = read_safetensors(path)["a"]
    assert tensor.dtype == "bfloat16"
    np.testing.assert_array_equal(tensor.numpy(), [1.5, -2.0])


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(str(path), {"a": np.zeros(100, "float32")})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated"):
        read_safetensors(str(path))


def test_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"\[torch-weights\]"):
        read_safetensors(str(tmp_path / "a.safetensors"))
