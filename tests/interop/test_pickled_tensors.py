"""The restricted reader of PyTorch's zip files: what it reads, and that it runs nothing."""

import argparse
import collections
import io
import os
import pathlib
import pickle
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from interop.torch_files import TorchPickler, _Call, _Global, meta_tensors, write_archive, write_pth

from mae_keras.interop import torch_reading as pickled_tensors
from mae_keras.interop.torch_reading import read_pickled_tensors

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "interop.npz"
SIZES = {"width": 8, "depth": 1, "mlp": 8, "grid": (2, 2), "decoder": (8, 1, 8), "channels": 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pth"


def by_torch(name, path):
    """A file that `torch.save` wrote."""
    with np.load(GOLDEN) as file:
        path.write_bytes(file[f"file/{name}"].tobytes())
    return str(path)


def assert_same(read, expected, atol=0.0):
    assert read.keys() == expected.keys()
    for name, tensor in read.items():
        np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=0, atol=atol)


def test_a_training_checkpoint_that_pytorch_wrote(path):
    content = read_pickled_tensors(by_torch("training", path))
    assert_same(content["model"], meta_tensors(7, **SIZES), 1e-7)
    assert content["epoch"] == 3
    # plain values only: a device and a tuple are dropped
    assert content["args"].values == {"norm_pix_loss": True, "mask_ratio": 0.6}


@pytest.mark.parametrize("name", ["parameters", "views"])
def test_parameters_and_views_that_pytorch_wrote(name, path):
    assert_same(read_pickled_tensors(by_torch(name, path)), meta_tensors(7, **SIZES), 1e-7)


def test_half_precision_that_pytorch_wrote(path):
    read = read_pickled_tensors(by_torch("half", path))
    assert {tensor.dtype for tensor in read.values()} == {"bfloat16", "float16"}
    # bfloat16 keeps 8 bits: 2**-9 of the largest numbers, which are below 4
    assert_same(read, meta_tensors(7, **SIZES), 2**-7)


def test_files_written_here_are_read_alike(path):
    tensors = meta_tensors()
    write_pth(path, {"model": tensors, "epoch": 3})
    assert_same(read_pickled_tensors(str(path))["model"], tensors)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(path, tmp_path):
    marker = tmp_path / "ran"
    write_archive(path, pickle.dumps({"model": Malicious(marker)}))
    with pytest.raises(ValueError, match="asks to run (posix|nt).system"):
        read_pickled_tensors(str(path))
    assert not marker.exists()


@pytest.mark.parametrize(
    "module, name",
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("numpy", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "namedtuple"),
        ("mae_keras.interop.torch_reading", "pickle"),
    ],
)
def test_every_other_name_is_refused_naming_it(module, name, path):
    write_pth(path, {"x": _Call(_Global(module, name))})
    with pytest.raises(ValueError, match=f"{module}.{name}"):
        read_pickled_tensors(str(path))


def test_a_namespace_that_names_code_is_refused(path):
    write_archive(path, pickle.dumps({"args": argparse.Namespace(model=os.system)}, protocol=2))
    with pytest.raises(ValueError, match="system"):
        read_pickled_tensors(str(path))


def test_an_ordered_dict_is_a_dict(path):
    write_archive(path, pickle.dumps(collections.OrderedDict(a=1), protocol=2))
    assert read_pickled_tensors(str(path)) == {"a": 1}


class Stored(TorchPickler):
    """Writes one tensor whose description does not fit its storage."""

    def __init__(self, file, description, count=4):
        super().__init__(file)
        self.description, self.count = description, count

    def _save_tensor(self, array):
        self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
        self.write(pickle.MARK)
        self.save(("storage", _Global("torch", "FloatStorage"), "0", "cpu", self.count))
        self.write(pickle.BINPERSID)
        for argument in (*self.description, False, {}):
            self.save(argument)
        self.write(pickle.TUPLE + pickle.REDUCE)
        self.records.append(array)


@pytest.mark.parametrize(
    "description",
    [(0, (5,), (1,)), (1, (4,), (1,)), (0, (2, 2), (4, 1)), (0, (10**9,), (0,)), (-1, (2,), (1,))],
    ids=["too long", "past the end", "wide strides", "repeated", "before the start"],
)
def test_a_tensor_outside_its_storage_is_refused(description, path):
    text = io.BytesIO()
    pickler = Stored(text, description)
    pickler.dump({"x": np.zeros(4, "float32")})
    write_archive(path, text.getvalue(), pickler.records)
    with pytest.raises(ValueError, match="does not fit its storage|not described"):
        read_pickled_tensors(str(path))


@pytest.mark.parametrize("held", [3, 4000])
def test_a_storage_of_another_size_than_it_says_is_refused(path, held):
    text = io.BytesIO()
    pickler = TorchPickler(text)
    pickler.dump({"x": np.zeros(4, "float32")})
    write_archive(path, text.getvalue(), [np.zeros(held, "float32")])
    with pytest.raises(ValueError, match="damaged"):
        read_pickled_tensors(str(path))


def text_of(word):
    return pickle.BINUNICODE + len(word).to_bytes(4, "little") + word


NESTED = pickle.EMPTY_TUPLE + 100 * (pickle.DUP + pickle.TUPLE2)  # 2**100 tuples, once written out
KIND = pickle.GLOBAL + b"torch\nFloatStorage\n"


def storage_of(kind, name, count=pickle.BININT1 + b"\x04"):
    return pickle.MARK + text_of(b"storage") + kind + name + text_of(b"cpu") + count + pickle.TUPLE


@pytest.mark.parametrize(
    "reference, words",
    [
        (NESTED, "no storage: a tuple"),
        (storage_of(KIND, NESTED), "unknown kind: storage, FloatStorage, tuple, cpu, int"),
        (storage_of(NESTED, text_of(b"0")), "unknown kind: storage, tuple, 0, cpu, int"),
        (storage_of(KIND, text_of(b"0"), NESTED), "unknown kind: .* cpu, tuple"),
    ],
    ids=["reference", "name", "kind", "count"],
)
def test_a_refusal_does_not_write_out_what_has_no_end(path, reference, words):
    write_archive(path, pickle.PROTO + b"\x02" + reference + pickle.BINPERSID + pickle.STOP)
    with pytest.raises(ValueError, match=words) as refused:
        read_pickled_tensors(str(path))
    assert len(str(refused.value)) < 500


def test_a_pickle_cannot_change_a_storage_after_it_was_checked(path):
    # BUILD would set `count`, and numbers beyond the storage would be read
    storage = storage_of(KIND, text_of(b"0")) + pickle.BINPERSID
    state = pickle.EMPTY_DICT + text_of(b"count") + pickle.BININT2 + b"\xe8\x03" + pickle.SETITEM
    text = pickle.PROTO + b"\x02" + storage + state + pickle.BUILD + pickle.STOP
    write_archive(path, text, [np.zeros(4, "float32")])
    with pytest.raises(ValueError, match="may not be changed"):
        read_pickled_tensors(str(path))


def test_an_archive_without_a_pickle_is_no_checkpoint(path):
    np.savez(path.with_suffix(".npz"), a=np.zeros(3))
    with pytest.raises(KeyError, match="data.pkl"):
        read_pickled_tensors(str(path.with_suffix(".npz")))


def test_an_object_of_an_enormous_number_takes_no_memory(path):
    # the C unpickler would make room for 2**32 objects
    text = pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.LONG_BINPUT + b"\xff" * 4
    write_archive(path, text + pickle.STOP)
    with pytest.raises(pickle.UnpicklingError, match="object number 4294967295"):
        read_pickled_tensors(str(path))


@pytest.mark.parametrize("order", [b"big", b"little" + bytes(20)])
def test_another_order_of_bytes_is_refused(path, order):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/byteorder", order)
    with pytest.raises(ValueError, match="not little-endian"):
        read_pickled_tensors(str(path))


def test_a_bomb_is_refused_before_anything_of_it_is_read(path, monkeypatch):
    monkeypatch.setattr("mae_keras.files._ALWAYS_ALLOWED", 2**16)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/byteorder", bytes(2**20))
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(ValueError, match="unfolds to 1.0 MB"):
        read_pickled_tensors(str(path))


def test_a_description_without_end_is_refused(path, monkeypatch):
    monkeypatch.setattr("mae_keras.interop.torch_reading._LARGEST_PICKLE", 10)
    write_pth(path, meta_tensors())
    with pytest.raises(ValueError, match="describes its tensors in .* refused"):
        read_pickled_tensors(str(path))


def test_arguments_that_were_never_set_are_none(path):
    name = pickle.GLOBAL + b"argparse\nNamespace\n" + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    write_archive(path, pickle.PROTO + b"\x02" + name + pickle.STOP)
    assert read_pickled_tensors(str(path)).values == {}


def doubled(times):
    """A tuple of itself, memorized and taken again: 2**times long in words, short in a pickle."""
    text = b")"
    for number in range(times):
        text += b"q" + bytes([number]) + b"h" + bytes([number]) + b"\x86"
    return text


BOMBS = {
    "a shared tuple as a key": (b"\x80\x02}" + doubled(28) + b"Ns.", "neither texts nor numbers"),
    "a nested tuple as a key": (
        b"\x80\x02}" + b")" + b"\x85" * 90_000 + b"Ns.",
        "neither texts nor numbers",
    ),
    "keys that come several at once": (
        b"\x80\x02}(" + doubled(28) + b"Nu.",
        "neither texts nor numbers",
    ),
    "millions of sets": (b"\x80\x04" + b"\x8f0" * 2_000_000 + b"N.", "EMPTY_SET"),
    "millions of lists": (b"\x80\x02(" + b"]" * 4_000_000 + b"t.", "in over 100000 steps"),
    "an ordered dict of tuples": (
        b"\x80\x02ccollections\nOrderedDict\n](" + doubled(28) + b"N\x86e\x85R.",
        "neither texts nor numbers|no whole",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_pickle_that_takes_hours_or_gigabytes_is_refused(bomb, path, monkeypatch):
    monkeypatch.setattr(pickled_tensors, "_MOST_STEPS", 100_000)  # for the time of this test
    text, reason = BOMBS[bomb]
    write_archive(path, text)
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(ValueError, match=reason):
        read_pickled_tensors(str(path))
    assert time.process_time() - begin < 10
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


def test_a_list_that_holds_itself_is_read_as_one(path):
    own = []
    own.append(own)
    write_archive(path, pickle.dumps({"a": own}, protocol=2))
    read = read_pickled_tensors(str(path))["a"]
    assert read[0] is read


def test_an_ordered_dict_of_python_2_is_a_dict(path):
    text = b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x01ee\x85R."
    write_archive(path, text)
    assert read_pickled_tensors(str(path)) == {"a": 1}
