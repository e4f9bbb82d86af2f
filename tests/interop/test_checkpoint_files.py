"""From a path to tensors, and clear words for every other thing a path may lead to."""

import io
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
from interop.test_pickled_tensors import SIZES, Stored, by_torch
from interop.torch_files import meta_tensors, write, write_archive, write_pth

from mae_keras.interop import torch_reading as checkpoint_files
from mae_keras.interop.torch_reading import read_checkpoint


@pytest.fixture
def tensors():
    return {"a": np.arange(3, dtype="float32"), "b": np.ones((2, 2), "float32")}


def test_what_lies_around_the_tensors_is_taken_off_and_named(tmp_path, tensors):
    write_pth(tmp_path / "a.pth", {"model": tensors, "epoch": 3, "optimizer": {"state": {}}})
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    assert checkpoint.tensors.keys() == tensors.keys()
    assert "epoch, optimizer" in checkpoint.notes[0]


def test_a_folder_of_hugging_face_brings_its_configuration(tmp_path, tensors):
    config, preprocessor = {"model_type": "vit_mae"}, {"image_mean": [0.5]}
    path = tmp_path / "pytorch_model.bin"
    write(path, tensors, config=config, preprocessor_config=preprocessor)
    checkpoint = read_checkpoint(tmp_path)
    assert (checkpoint.config, checkpoint.preprocessor) == (config, preprocessor)


def test_a_configuration_of_something_else_is_not_used(tmp_path, tensors):
    path = write(tmp_path / "a.pth", tensors, config={"image_size": 9, "epochs": 3})
    checkpoint = read_checkpoint(path)
    assert checkpoint.config == {}
    assert any("names no model" in note for note in checkpoint.notes)


def test_a_configuration_that_is_damaged_is_refused(tmp_path, tensors):
    path = write(tmp_path / "a.pth", tensors)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json"):
        read_checkpoint(path)


def test_training_arguments_are_kept(tmp_path):
    checkpoint = read_checkpoint(by_torch("training", tmp_path / "a.pth"))
    assert checkpoint.settings["norm_pix_loss"] is True


def test_half_precision_is_converted_and_said_so(tmp_path):
    checkpoint = read_checkpoint(by_torch("half", tmp_path / "a.pth"))
    assert any("bfloat16, converted to float32" in note for note in checkpoint.notes)
    assert all(tensor.numpy().dtype == "float32" for tensor in checkpoint.tensors.values())


@pytest.mark.parametrize(
    "content, words",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>not found</html>", "no checkpoint"),
        (b"", "no checkpoint"),
        (b"PK\x03\x04" + b"x" * 60, "no whole checkpoint"),
    ],
    ids=["LFS pointer", "web page", "empty", "broken zip"],
)
def test_other_files_are_refused_in_words(content, words, tmp_path):
    path = tmp_path / "mae.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.3, 0.99])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_truncated_files_are_refused(share, ending, tmp_path):
    pytest.importorskip("safetensors")
    path = write(tmp_path / f"a{ending}", meta_tensors())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="truncated"):
        read_checkpoint(path)


def test_a_flipped_byte_is_noticed(tmp_path):
    path = write(tmp_path / "a.pth", meta_tensors())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum|no whole checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("seed", range(40))
def test_a_pickle_of_nonsense_is_refused_in_words_or_read(seed, tmp_path):
    """Bytes changed at random, checksums right: whatever Python makes of them is explained."""
    path = tmp_path / "a.pth"
    write_pth(path, {"model": meta_tensors(depth=1, decoder=None), "epoch": 3})
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    rng, text = np.random.default_rng(seed), bytearray(held["archive/data.pkl"])
    for place in rng.integers(0, len(text), 3):
        text[place] = rng.integers(0, 256)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**held, "archive/data.pkl": text}.items():
            archive.writestr(name, bytes(content))
    try:
        tensors = read_checkpoint(path).tensors.values()
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert all(tensor.numpy().shape == tensor.shape for tensor in tensors)


def test_a_compressed_archive_with_a_flipped_byte_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00." + bytes(range(256)))
    content = bytearray(path.read_bytes())
    content[80:90] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum|no whole checkpoint"):
        read_checkpoint(path)


def test_a_pointer_in_place_of_the_weights_of_a_folder_is_named(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="model.safetensors' is a Git LFS pointer"):
        read_checkpoint(tmp_path)


def test_another_archive_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="another kind"):
        read_checkpoint(tmp_path / "a.npz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model.safetensors or pytorch_model.bin"):
        read_checkpoint(tmp_path)


def test_a_file_without_tensors_is_refused(tmp_path):
    write_pth(tmp_path / "a.pth", {"epoch": 3})
    with pytest.raises(ValueError, match="holds no tensors"):
        read_checkpoint(tmp_path / "a.pth")


def test_more_than_the_memory_allowed_is_refused(tmp_path, tensors):
    write_pth(tmp_path / "a.pth", tensors)
    assert read_checkpoint(tmp_path / "a.pth", max_bytes=28)
    with pytest.raises(MemoryError, match="`max_bytes` allows"):
        read_checkpoint(tmp_path / "a.pth", max_bytes=27)


def test_a_view_counts_as_all_that_is_read_for_it(tmp_path):
    text = io.BytesIO()
    pickler = Stored(text, (0, (2,), (1,)), count=100)
    pickler.dump({"x": np.zeros(100, "float32")})
    write_archive(tmp_path / "a.pth", text.getvalue(), pickler.records)
    assert read_checkpoint(tmp_path / "a.pth", max_bytes=400).tensors["x"].shape == (2,)
    with pytest.raises(MemoryError, match="`max_bytes` allows"):
        read_checkpoint(tmp_path / "a.pth", max_bytes=399)


def test_more_than_the_machine_has_free_is_refused(tmp_path, tensors, monkeypatch):
    write_pth(tmp_path / "a.pth", tensors)
    monkeypatch.setattr("mae_keras.interop.torch_reading._free_memory", lambda: 10)
    with pytest.raises(MemoryError, match="the machine has free"):
        read_checkpoint(tmp_path / "a.pth")


def test_the_old_format_without_pytorch_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="before 1.6"):
        read_checkpoint(by_torch("legacy", tmp_path / "a.pth"))


def test_the_old_format_is_read_by_pytorch_with_tensors_only(tmp_path, monkeypatch):
    asked = {}

    class Tensor:
        shape, dtype = (2,), "torch.float32"

        def detach(self):
            return self

        float = detach

        def numpy(self):
            return np.array([1, 2], "float32")

    def load(path, **options):
        asked.update(options)
        return {"model": {"a": Tensor()}}

    import contextlib

    serialization = types.SimpleNamespace(safe_globals=lambda _: contextlib.nullcontext())
    fake = types.SimpleNamespace(load=load, serialization=serialization)
    monkeypatch.setitem(sys.modules, "torch", fake)
    checkpoint = read_checkpoint(by_torch("legacy", tmp_path / "a.pth"))
    np.testing.assert_array_equal(checkpoint.tensors["a"].numpy(), [1, 2])
    assert asked["weights_only"] is True


def test_numbers_that_are_not_read_are_named(tmp_path):
    pytest.importorskip("safetensors")
    write(tmp_path / "a.safetensors", {"wave": np.zeros(2, "complex64")})
    with pytest.raises(ValueError, match="'wave'"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_sizes_of_the_golden_files_are_as_drawn():
    assert meta_tensors(7, **SIZES)["pos_embed"].shape == (1, 5, 8)


LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)


def test_the_old_format_is_looked_through_before_pytorch_reads_it(tmp_path, monkeypatch):
    """A dict whose key is a tuple of tuples: PyTorch itself would hash it for hours."""
    text = b")"
    for number in range(28):
        text += b"q" + bytes([number]) + b"h" + bytes([number]) + b"\x86"
    path = tmp_path / "a.pth"
    path.write_bytes(LEGACY + b"\x80\x02}" + text + b"Ns." + pickle.dumps([], 2))
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace())  # reading would fail
    with pytest.raises(ValueError, match="neither texts nor numbers"):
        read_checkpoint(path)


def test_dicts_shared_in_the_old_format_are_gone_through_once(tmp_path, monkeypatch):
    """Each holds the next one twice, 60 deep: nobody can go through all of them."""

    class Tensor:
        shape, dtype = (2,), "torch.float32"
        detach = float = lambda self: self

        def numpy(self):
            return np.array([1, 2], "float32")

    content = {}
    for _ in range(60):
        content = {"a": content, "b": content}
    read = checkpoint_files._from_torch({"weight": Tensor(), "rest": content})
    np.testing.assert_array_equal(read["weight"].numpy(), [1, 2])


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000, " " * (2**24 + 1)], ids=["lists", "dicts", "long"]
)
def test_a_json_file_without_end_is_named(name, text, tmp_path):
    write_pth(tmp_path / "pytorch_model.bin", meta_tensors())
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}', beside the weights, cannot be read"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "config.json"])
def test_a_named_pipe_in_place_of_a_file_is_named(name, tmp_path):
    write_pth(tmp_path / "pytorch_model.bin", meta_tensors())
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    path = tmp_path / name if name.endswith("bin") else tmp_path
    with pytest.raises(ValueError, match=f"{name}' must be a regular file|{name}', beside"):
        read_checkpoint(path)
