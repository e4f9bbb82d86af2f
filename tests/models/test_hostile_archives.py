"""Files made to run code when they are loaded: one for each published way around safe mode.

The code would make a folder, or copy a file; nothing worse happens should one of them work.
"""

import base64
import io
import json
import os
import pickle
import re
import zipfile

import h5py
import keras
import pytest
import tensorflow as tf
from command_line import refusal

from mae_keras.models import load_model
from mae_keras.recipes.initial_weights import initialize_from


def function(module, name):
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": "function",
    }


def lambda_layer(name, target, *arguments, **keywords):
    """A Lambda whose node calls `target(*arguments, **keywords)` while the graph is rebuilt."""
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"name": name, "function": target, "arguments": keywords},
        "registered_name": None,
        "build_config": {"input_shape": [None, 1]},
        "name": name,
        "inbound_nodes": [{"args": list(arguments), "kwargs": {}}],
    }


def functional(*layers):
    """Config of a functional model that hands its input on, with layers beside it."""
    shape = {"batch_shape": [None, 1], "dtype": "float32", "name": "images"}
    images = {"module": "keras.layers", "class_name": "InputLayer", "config": shape}
    images |= {"name": "images", "registered_name": None, "inbound_nodes": []}
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "model",
            "trainable": True,
            "layers": [images, *layers],
            "input_layers": [["images", 0, 0]],
            "output_layers": [["images", 0, 0]],
        },
        "registered_name": "Functional",
    }


def marshalled(marker):
    """A Lambda with byte code, as Keras itself writes it."""
    layer = keras.layers.Lambda(
        eval(f"lambda x: (__import__('os').makedirs({str(marker)!r}, exist_ok=True), x)[1]")
    )
    model = keras.Sequential([layer])
    config = keras.saving.serialize_keras_object(model)
    return config, config["config"]["layers"][0]


def module_function_as_layer(marker):  # CVE-2025-1550
    layer = {**function("os", "mkdir"), "name": "run"}
    return functional({**layer, "inbound_nodes": [{"args": [str(marker)], "kwargs": {}}]})


def module_function_in_lambda(marker):  # CVE-2025-1550
    return functional(lambda_layer("run", function("os", "mkdir"), str(marker)))


def function_through_a_keras_module(marker):  # CVE-2025-1550, nested path
    return functional(lambda_layer("run", function("keras.src.utils.file_utils.os", "mkdir"), "x"))


def function_through_one_of_our_modules(marker):
    return functional(
        lambda_layer("run", function("mae_keras.models.loading", "os.mkdir"), str(marker))
    )


def class_out_of_one_of_our_modules(marker):
    config = {"mode": 0o700, "path": str(marker)}
    return {"module": "mae_keras.models.loading", "class_name": "importlib", "config": config}


def download(marker):  # CVE-2025-8747
    origin = marker.with_name("origin.txt")
    origin.write_text("downloaded")
    keywords = {"origin": origin.as_uri(), "cache_dir": str(marker), "cache_subdir": ""}
    return functional(
        lambda_layer("get", function("keras.utils", "get_file"), "taken.txt", **keywords)
    )


def byte_code(marker):  # CVE-2024-3660
    return marshalled(marker)[0]


def unsafe_mode_switched_on_first(marker):  # CVE-2025-9906
    switch = lambda_layer("switch", function("keras.config", "enable_unsafe_deserialization"))
    layer = {**marshalled(marker)[1], "name": "run", "inbound_nodes": []}
    return functional(switch, layer)


def loaded_by_a_layer_without_safe_mode(marker):  # CVE-2025-9906
    inner = marker.with_name("inner.keras")
    write(inner, byte_code(marker))
    load = function("keras.models", "load_model")
    return functional(lambda_layer("load", load, str(inner), safe_mode=False))


class Pickled:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def pickled_torch_module(marker):  # CVE-2025-49655
    module = base64.b64encode(pickle.dumps(Pickled(marker))).decode()
    layer = {"module": "keras.layers", "class_name": "TorchModuleWrapper", "registered_name": None}
    layer |= {"config": {"module": module, "name": "run"}, "name": "run", "inbound_nodes": []}
    return functional(layer)


def foreign_saved_model(marker):  # CVE-2026-1462
    layer = {"module": "keras.layers", "class_name": "TFSMLayer", "registered_name": None}
    layer |= {"config": {"filepath": str(marker), "call_endpoint": "serve", "name": "run"}}
    return functional({**layer, "name": "run", "inbound_nodes": []})


# Every file with the reason it is refused for: another one would mean that the file is no good.
HOSTILE = {
    module_function_as_layer: "Could not locate function 'mkdir'",
    module_function_in_lambda: "Could not locate function 'mkdir'",
    function_through_a_keras_module: "keras.src.utils.file_utils.os.* cannot be imported",
    function_through_one_of_our_modules: "Could not locate function 'os.mkdir'",
    class_out_of_one_of_our_modules: "Could not locate class 'importlib'",
    download: "Cannot deserialize `keras.utils.get_file`",
    byte_code: "deserialization of a `Lambda` layer",
    unsafe_mode_switched_on_first: "Cannot deserialize `keras.config.enable_unsafe",
    loaded_by_a_layer_without_safe_mode: "Cannot deserialize `keras.models.load_model`",
    pickled_torch_module: "[Tt]orch",
    foreign_saved_model: "deserialization of a `TFSMLayer`",
}


def write(path, config):
    weights = io.BytesIO()
    with h5py.File(weights, "w"):
        pass
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": keras.__version__}))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda made: made.__name__)
def test_a_hostile_archive_is_refused_and_nothing_runs(hostile, tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    path = write(tmp_path / "model.keras", hostile(marker))
    monkeypatch.setattr(tf.saved_model, "load", lambda *_, **__: marker.mkdir())
    with pytest.raises(ValueError, match="cannot be loaded") as refusal:
        load_model(path)
    assert re.search(HOSTILE[hostile], str(refusal.value.__cause__), re.DOTALL)
    assert not marker.exists()


def test_the_same_archive_without_anything_hostile_is_loaded(tmp_path):
    history = {"shape": [None, 1], "dtype": "float32", "keras_history": ["images", 0, 0]}
    images = {"class_name": "__keras_tensor__", "config": history}
    relu = lambda_layer("relu", function("builtins", "relu"), images)
    assert load_model(write(tmp_path / "model.keras", functional(relu))).name == "model"


def test_a_refused_archive_does_not_leave_safe_mode_switched_off(tmp_path):
    for number, hostile in enumerate((unsafe_mode_switched_on_first, byte_code)):
        marker = tmp_path / f"ran{number}"
        with pytest.raises(ValueError, match="cannot be loaded"):
            load_model(write(tmp_path / "model.keras", hostile(marker)))
        assert not marker.exists()


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_file_of_the_old_format_is_refused_whatever_its_name(name, tmp_path):  # CVE-2025-9905
    marker = tmp_path / "ran"
    with h5py.File(tmp_path / name, "w") as file:
        file.attrs["model_config"] = json.dumps(byte_code(marker))
    with pytest.raises(ValueError, match="no whole `.keras` file"):
        load_model(tmp_path / name)
    assert not marker.exists()


def test_the_byte_code_of_these_tests_does_run_where_safe_mode_is_off(tmp_path):
    marker = tmp_path / "ran"
    path = write(tmp_path / "model.keras", byte_code(marker))
    keras.saving.load_model(path, safe_mode=False)(keras.ops.zeros((1, 1)))
    assert marker.is_dir()


@pytest.mark.parametrize(
    "command",
    [
        ["export", "{run}", "--out", "{out}"],
        ["evaluate", "{run}"],
        ["reconstruct", "{run}", "{run}/a.png", "--out", "{out}"],
        ["import", "{run}/model.keras", "--out", "{out}"],
    ],
    ids=lambda command: command[0],
)
def test_the_command_line_refuses_a_run_with_a_hostile_model(capsys, tmp_path, command):
    marker, run = tmp_path / "ran", tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    write(run / "model.keras", byte_code(marker))
    line = refusal(capsys, *(word.format(run=run, out=tmp_path / "out") for word in command))
    assert "model.keras" in line
    assert not marker.exists()


def test_a_run_does_not_begin_from_a_hostile_model(tmp_path):
    marker = tmp_path / "ran"
    write(tmp_path / "model.keras", byte_code(marker))
    with pytest.raises(ValueError, match="cannot be loaded"):
        initialize_from(keras.Sequential(), tmp_path)
    assert not marker.exists()
