"""Files made to run code, reach other files, or fill memory and time when they are loaded.

Each function of `CONFIGS` gives a config, each of `FILES` writes a whole file; both may use
`folder`, in which nothing but the file itself may be read and nothing written.
"""

import base64
import io
import json
import os
import pickle
import socket
import struct
import zipfile

import h5py
import keras
import numpy as np

from mae_keras import models


def function(module, name, **more):
    config = {"module": module, "class_name": "function", "config": name}
    return {**config, "registered_name": "function", **more}


def described(module, name, config=None, /, **more):
    """Config of an object; of a layer, with what a functional model needs to call it."""
    written = {"module": module, "class_name": name, "config": config or {}}
    return {**written, "registered_name": None, **more}


def layer(module, name, config=None, /, arguments=(), **keywords):
    config = {"name": "run", **(config or {})}
    node = [{"args": list(arguments) or [TENSOR], "kwargs": keywords}]
    return described(module, name, config, name="run", inbound_nodes=node)


TENSOR = {
    "class_name": "__keras_tensor__",
    "config": {"shape": [None, 1], "dtype": "float32", "keras_history": ["images", 0, 0]},
}


def lambda_layer(target, *arguments, **keywords):
    """A Lambda whose node calls `target(*arguments, **keywords)` while the graph is rebuilt."""
    config = {"name": "run", "function": target, "arguments": keywords}
    written = described("keras.layers", "Lambda", config, name="run")
    written["build_config"] = {"input_shape": [None, 1]}
    return {**written, "inbound_nodes": [{"args": list(arguments), "kwargs": {}}]}


def functional(*layers, **more):
    """Config of a functional model that hands its input on, with layers beside it."""
    shape = {"batch_shape": [None, 1], "dtype": "float32", "name": "images"}
    images = described("keras.layers", "InputLayer", shape, name="images", inbound_nodes=[])
    config = {"name": "model", "trainable": True, "layers": [images, *layers]}
    config |= {"input_layers": [["images", 0, 0]], "output_layers": [["images", 0, 0]]}
    return described("keras.src.models.functional", "Functional", config, **more)


def sequential(*layers, shape=(None, 4)):
    inputs = described("keras.layers", "InputLayer", {"batch_shape": list(shape), "name": "in"})
    return described("keras", "Sequential", {"name": "model", "layers": [inputs, *layers]})


def dense(**config):
    return described("keras.layers", "Dense", {"name": "dense", "units": 1, **config})


def compiled(**config):
    return functional(compile_config={"optimizer": "sgd", "loss": "mse", **config})


def marshalled(marker):
    """A Lambda with byte code, as Keras itself writes it."""
    code = f"lambda x: (__import__('os').makedirs({str(marker)!r}, exist_ok=True), x)[1]"
    model = keras.Sequential([keras.layers.Lambda(eval(code))])
    return json.loads(json.dumps(keras.saving.serialize_keras_object(model)))


class Pickled:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def pickled_module(folder):
    module = base64.b64encode(pickle.dumps(Pickled(folder / "ran"))).decode()
    return functional(layer("keras.layers", "TorchModuleWrapper", {"module": module}))


def download(folder):
    (folder / "origin.txt").write_text("downloaded")
    keywords = {"origin": (folder / "origin.txt").as_uri(), "cache_dir": str(folder)}
    return functional(lambda_layer(function("keras.utils", "get_file"), "taken.txt", **keywords))


def loads_another_file(folder):
    write(folder / "inner.keras", marshalled(folder / "ran"))
    path = str(folder / "inner.keras")
    return functional(lambda_layer(function("keras.models", "load_model"), path, safe_mode=False))


def gallery(folder):
    numbers = {"class_name": "__numpy__", "config": {"value": [[[[0.0]]]], "dtype": "float32"}}
    target = function("keras.visualization", "plot_image_gallery")
    return functional(lambda_layer(target, numbers, path=str(folder / "ran.png")))


def vocabulary(name):
    def config(folder):
        (folder / "secret.txt").write_text("secret\n")
        return functional(layer("keras.layers", name, {"vocabulary": str(folder / "secret.txt")}))

    return config


def encoder(**sizes):
    config = {"image_shape": [8, 8, 1], "patch_size": 2, "hidden_dim": 16, "num_layers": 1}
    config |= {"num_heads": 2, "mlp_dim": 32, "name": "encoder", **sizes}
    written = described("mae_keras.models.vit_encoder", "ViTEncoder", config)
    return {**written, "registered_name": "mae_keras>ViTEncoder"}


def nested(depth):
    """Each model calls the one inside of it twice."""
    model = functional()
    for _ in range(depth):
        tensor = {**TENSOR, "config": {**TENSOR["config"]}}
        second = {**TENSOR, "config": {**TENSOR["config"], "keras_history": ["in", 0, 0]}}
        nodes = [{"args": [part], "kwargs": {}} for part in (tensor, second)]
        model["config"]["name"] = "in"
        model = functional({**model, "name": "in", "inbound_nodes": nodes})
    return model


def calls(count):
    """One layer, called again and again."""
    nodes = [{"args": [TENSOR], "kwargs": {}} for _ in range(count)]
    config = {"name": "run"}
    run = described("keras.layers", "Identity", config, name="run", inbound_nodes=nodes)
    return functional(run)


def autoencoder_calls(count):
    """A model around an autoencoder, with the call of it repeated."""
    images = keras.Input((8, 8, 1), name="images")
    sizes = (16, 1, 2, 32)
    autoencoder = models.MaskedAutoencoder(
        models.ViTEncoder((8, 8, 1), 2, *sizes), models.MAEDecoder(*sizes), name="run"
    )
    model = keras.Model(images, autoencoder(images))
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    config["config"]["layers"][1]["inbound_nodes"] *= count
    return config


def backwards(count):
    """Every layer stands before the one whose output it takes."""
    layers = []
    for number in range(count):
        source = "images" if number == 0 else f"d{number - 1}"
        tensor = {**TENSOR, "config": {**TENSOR["config"], "keras_history": [source, 0, 0]}}
        config = {"name": f"d{number}", "rate": 0.1}
        nodes = [{"args": [tensor], "kwargs": {}}]
        layers.append(
            described("keras.layers", "Dropout", config, name=f"d{number}", inbound_nodes=nodes)
        )
    return functional(*reversed(layers))


def numpy(dtype, value=(1,)):
    return {"class_name": "__numpy__", "config": {"value": list(value), "dtype": dtype}}


def wrapped(levels):
    """Models in models, each a list with one."""
    model = sequential(dense())
    for _ in range(levels):
        model = sequential(model)
    return model


# The reason to be refused for; another one would mean that the file is no good.
LIST = "is not among those that a file may name"
CONFIGS = {
    # CVE-2025-1550
    "module function as layer": (
        lambda folder: functional({**function("os", "mkdir"), "name": "run", "inbound_nodes": []}),
        LIST,
    ),
    "module function in Lambda": (
        lambda folder: functional(lambda_layer(function("os", "mkdir"), str(folder / "ran"))),
        LIST,
    ),
    "function through a Keras module": (
        lambda f: functional(lambda_layer(function("keras.src.utils.file_utils.os", "mkdir"), "x")),
        LIST,
    ),
    "function through one of our modules": (
        lambda f: functional(lambda_layer(function("mae_keras.models.loading", "os.mkdir"), "x")),
        LIST,
    ),
    "class out of one of our modules": (
        lambda folder: described("mae_keras.models.loading", "os", {"path": str(folder / "ran")}),
        LIST,
    ),
    "our module without our name": (
        lambda folder: described("mae_keras.models.vit_encoder", "ViTEncoder"),
        LIST,
    ),
    "a name of ours that is not there": (
        lambda f: {**described("os", "X"), "registered_name": "mae_keras>Nothing"},
        "does not have: install the version that wrote the file",
    ),
    "download": (download, LIST),  # CVE-2025-8747
    "byte code": (lambda folder: marshalled(folder / "ran"), LIST),  # CVE-2024-3660
    "byte code as a value": (
        lambda f: sequential(dense(activation={"class_name": "__lambda__", "config": {}})),
        LIST,
    ),
    "safe mode switched off": (  # CVE-2025-9906
        lambda f: functional(
            lambda_layer(function("keras.config", "enable_unsafe_deserialization"))
        ),
        LIST,
    ),
    "another file loaded without safe mode": (loads_another_file, LIST),
    "settings of Keras": (
        lambda f: functional(lambda_layer(function("keras.config", "set_floatx"), "float64")),
        LIST,
    ),
    "a picture written": (gallery, LIST),
    "pickled torch module": (pickled_module, LIST),  # CVE-2025-49655
    "saved model": (  # CVE-2026-1462
        lambda folder: functional(
            layer("keras.layers", "TFSMLayer", {"filepath": str(folder), "call_endpoint": "s"})
        ),
        LIST,
    ),
    "saved model through Lambda": (
        lambda folder: functional(
            lambda_layer(described("keras.layers", "TFSMLayer"), str(folder), "serve")
        ),
        LIST,
    ),
    "Lambda of a harmless function": (
        lambda folder: functional(lambda_layer(function("builtins", "relu"), TENSOR)),
        LIST,
    ),
    "vocabulary of StringLookup": (vocabulary("StringLookup"), LIST),
    "vocabulary of IntegerLookup": (vocabulary("IntegerLookup"), LIST),
    "vocabulary of TextVectorization": (vocabulary("TextVectorization"), LIST),
    "JaxLayer": (lambda f: functional(layer("keras.layers", "JaxLayer")), LIST),
    "FlaxLayer": (lambda f: functional(layer("keras.layers", "FlaxLayer")), LIST),
    "Pipeline": (lambda f: functional(layer("keras.layers", "Pipeline", {"layers": []})), LIST),
    "patterns of Muon": (
        lambda f: compiled(optimizer=described("keras.optimizers", "Muon", {"name": "m"})),
        LIST,
    ),
    "a class of os": (lambda f: sequential(described("os", "_wrap_close")), LIST),
    "a class of subprocess": (
        lambda f: sequential(described("subprocess", "Popen", {"args": "true"})),
        LIST,
    ),
    "a module that nobody imported": (
        lambda f: sequential(described("hostile_module", "Layer")),
        LIST,
    ),
    "a module of Keras's that writes files": (
        lambda f: described("keras.src.saving.file_editor", "KerasFileEditor"),
        LIST,
    ),
    "a module of Keras Hub's": (lambda f: described("keras_hub.models", "Backbone"), LIST),
    "deserialize as a loss": (
        lambda f: compiled(loss=function("builtins", "deserialize")),
        LIST,
    ),
    "get as a metric": (lambda f: compiled(metrics=[function("keras.metrics", "get")]), LIST),
    "load_weights as an initializer": (
        lambda f: sequential(dense(kernel_initializer=function("keras.saving", "load_weights"))),
        LIST,
    ),
    "a dtype of another module": (
        lambda f: sequential(dense(dtype=described("os", "mkdir", {"path": "x"}))),
        LIST,
    ),
    "a class in build_config": (
        lambda f: functional(build_config={"input_shape": described("os", "mkdir")}),
        LIST,
    ),
    "a registered function by its name": (
        lambda f: sequential(dense(activation="hostile>canary")),
        LIST,
    ),
    "a registered function": (
        lambda f: sequential(dense(activation=function("x", "hostile>canary"))),
        LIST,
    ),
    "a registered class": (
        lambda f: sequential({**dense(), "registered_name": "hostile>Canary"}),
        LIST,
    ),
    "a type": (
        lambda f: functional(
            layer(
                *("keras.layers", "Activation"),
                arguments=[
                    TENSOR,
                    {
                        **described("os", "__typespec__", []),
                        "spec_name": "TensorSpec",
                        "config": ["system"],
                    },
                ],
            )
        ),
        LIST,
    ),
    "an array of objects": (lambda f: sequential(dense(extra=numpy("object"))), "is no number"),
    "an array of long strings": (
        lambda f: sequential(dense(extra=numpy("V2000000000"))),
        "is no number",
    ),
    "a layer of an old format": (
        lambda f: functional(
            {k: v for k, v in layer("", "Dense").items() if k not in ("module", "registered_name")}
        ),
        LIST,
    ),
    "a class without a name": (lambda f: described("keras", ["Sequential"]), "otherwise than by"),
    "no model": (lambda f: dense(), "which is no model"),
    "a function as a layer": (
        lambda f: functional(
            {**function("builtins", "mean_squared_error"), "name": "run", "inbound_nodes": []}
        ),
        "a function in place of a layer",
    ),
    # size, depth and sharing
    "work at once": (
        lambda f: functional(
            layer(
                *("keras.layers", "UpSampling1D", {"size": 2**33}),
                arguments=[
                    {"class_name": "__tensor__", "config": numpy("float32", [[[1.0]]])["config"]}
                ],
            )
        ),
        "calls a layer on numbers",
    ),
    "many layers of ours": (lambda f: encoder(num_layers=100_000), "asks for 100000 layers"),
    "a huge image": (lambda f: encoder(image_shape=[65536] * 2 + [1]), "patches, whose positions"),
    "a wide encoder": (lambda f: encoder(hidden_dim=2**13), "more weights than it holds"),
    "a learned table": (
        lambda f: encoder(image_shape=[2**14, 2**14, 1], position_embedding="learned"),
        "patches, whose positions",
    ),
    "a huge dense layer": (lambda f: sequential(dense(units=2**40)), "more weights than it holds"),
    "a huge embedding": (
        lambda f: sequential(
            described(
                "keras.layers", "Embedding", {"name": "e", "input_dim": 2**30, "output_dim": 8}
            )
        ),
        "more weights than it holds",
    ),
    "a huge metric": (
        lambda f: compiled(
            metrics=[described("keras.metrics", "MeanIoU", {"num_classes": 10**6, "name": "m"})]
        ),
        "more weights than it holds",
    ),
    "many thresholds": (
        lambda f: compiled(
            metrics=[described("keras.metrics", "AUC", {"num_thresholds": 10**9, "name": "m"})]
        ),
        "thresholds of a metric",
    ),
    "models called inside of models": (lambda f: nested(20), "call more than 4000 layers"),
    "models in models": (lambda f: wrapped(60), "nested more than 100 deep"),
    "layers in the wrong order": (lambda f: backwards(3000), "not in an order"),
    "a ring of layers": (
        lambda f: functional(
            layer(
                *("keras.layers", "Dropout", {"rate": 0.1}),
                arguments=[
                    {**TENSOR, "config": {**TENSOR["config"], "keras_history": ["run", 0, 0]}}
                ],
            )
        ),
        "not in an order",
    ),
    "counts that are floats": (
        lambda f: functional(
            *({**encoder(num_layers=1000.0), "name": f"e{n}", "inbound_nodes": []} for n in "abc")
        ),
        "num_layers=1000.0, which must be ints",
    ),
    "a width that is a float": (
        lambda f: encoder(image_shape=[2048, 2048, 1], hidden_dim=512.0),
        "hidden_dim=512.0, which must be ints",
    ),
    "a shape of floats": (
        lambda f: encoder(image_shape=[8192.0, 8192.0, 1]),
        "image_shape=.8192.0, 8192.0, 1., which must be ints",
    ),
    "a shape that is an array": (
        lambda f: encoder(image_shape=numpy("int64", [16384, 16384, 1])),
        "image_shape=.* must be ints",
    ),
    "a table of positions": (
        lambda f: sequential(
            {
                **described("mae_keras.layers", "PositionEmbedding", {"grid": [4096, 4096]}),
                "registered_name": "mae_keras>PositionEmbedding",
                "build_config": {"input_shape": [None, 4096 * 4096, 16]},
            }
        ),
        "more weights than it holds",
    ),
    "a normalization of a huge input": (
        lambda f: sequential(
            described("keras.layers", "Normalization", {"mean": [0.0], "variance": [1.0]}),
            shape=(None, 400_000_000),
        ),
        "more weights than it holds",
    ),
    "many calls": (lambda f: calls(30_000), "call more than 4000 layers"),
    "many calls of an autoencoder": (
        lambda f: autoencoder_calls(20),
        "call more than 4000 layers",
    ),
    "many layers that nothing calls": (
        lambda f: functional(
            *(
                described(
                    *("keras.layers", "MultiHeadAttention", {"num_heads": 1, "key_dim": 1}),
                    name=f"a{n}",
                    inbound_nodes=[],
                )
                for n in range(9_000)
            )
        ),
        "call more than 4000 layers",
    ),
    "a number of many digits": (
        lambda f: sequential(dense(units=10**4000)),
        "a number of more than 50 digits",
    ),
    "a long word": (lambda f: sequential(dense(name="a" * 10**6)), "a word of 1000000 letters"),
    "many objects": (
        lambda f: sequential(*(dense(name=f"d{n}") for n in range(20_000))),
        "more than 10000 objects",
    ),
}


def weights(fill=None):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for number in range(20):
            file[f"small/{number}"] = [0.0]
        if fill:
            fill(file)
    return content.getvalue()


HARMLESS = functional()


def write(path, config=HARMLESS, fill=None, members=(), text=None, **zipped):
    """A `.keras` file as Keras writes it, of this config and these weights."""
    with zipfile.ZipFile(path, "w", **zipped) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": keras.__version__}))
        archive.writestr("config.json", json.dumps(config) if text is None else text)
        archive.writestr("model.weights.h5", weights(fill))
        for name, content in members:
            archive.writestr(name, content)
    return path


def with_weights(fill):
    return lambda path: write(path, fill=fill)


def with_text(text, **zipped):
    return lambda path: write(path, text=text, **zipped)


def external_link(file):
    file["vars"] = h5py.ExternalLink("/etc/passwd", "/")


def virtual(file):
    layout = h5py.VirtualLayout((1,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (1,))
    file.create_virtual_dataset("vars", layout)


def two_names(file):
    file["a"] = np.ones(3)
    file["b"] = file["a"]


def huge(file):
    file.create_dataset("vars", (2**30,), "f4", chunks=(2**20,))


def packed(file):
    file.create_dataset("vars", data=np.zeros(2**24, "f4"), compression="gzip")


def packed_twice(config):
    """14 million zeros, packed to 56 kB by the archive alone."""

    def fill(file):
        file.create_dataset("vars", data=np.zeros(14_000_000, "f4"))

    return lambda path: write(path, config, fill, compression=zipfile.ZIP_DEFLATED)


def many_groups(file):
    for number in range(51_000):
        h5py.h5g.create(file.id, str(number).encode())


def deep_groups(file):
    for _ in range(1_000):
        file = file.create_group("g")


def elsewhere(file):
    file.create_dataset("vars", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def linked_member(path):
    item = zipfile.ZipInfo("assets")
    item.external_attr = 0o120777 << 16
    write(path, members=[(item, "/etc")])


def patched(field, value):
    """One field of the first entry of the central directory, and of the local one, replaced."""

    def make(path):
        write(path)
        content = bytearray(path.read_bytes())
        for signature, place in ((b"PK\x01\x02", field), (b"PK\x03\x04", field - 2)):
            struct.pack_into("<H", content, content.index(signature) + place, value)
        path.write_bytes(content)

    return make


def socket_file(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))


def as_h5(path):  # CVE-2025-9905
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(marshalled(path.with_name("ran")))


def twice(path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(path, members=[("config.json", json.dumps(marshalled(path.with_name("ran"))))])


FILES = {
    "weights behind an external link": (with_weights(external_link), "somewhere else"),
    "weights behind a soft link": (
        with_weights(lambda file: file.update(vars=h5py.SoftLink("/x"))),
        "somewhere else",
    ),
    "virtual weights": (with_weights(virtual), "another file|declare"),
    "weights in another file": (with_weights(elsewhere), "another file"),
    "weights under two names": (with_weights(two_names), "under two names"),
    "endless groups": (
        with_weights(lambda file: file.create_group("a").__setitem__("b", file["a"])),
        "under two names",
    ),
    "weights of strings": (
        with_weights(lambda f: f.create_dataset("v", (1,), h5py.string_dtype())),
        "no numbers",
    ),
    "weights of references": (
        with_weights(lambda f: f.create_dataset("v", (1,), h5py.ref_dtype)),
        "no numbers",
    ),
    "weights declared but not held": (with_weights(huge), "declare 4295.0 MB"),
    "weights packed to nothing": (with_weights(packed), "declare 67.1 MB"),
    "a dense layer beside packed weights": (
        packed_twice(sequential(dense(units=10_000), shape=(None, 10_000))),
        "more weights than it holds",
    ),
    "orthogonal weights": (
        packed_twice(
            sequential(
                dense(
                    units=9_000,
                    kernel_initializer=described("keras.initializers", "Orthogonal"),
                ),
                shape=(None, 9_000),
            )
        ),
        "more weights than it holds",
    ),
    "many groups": (with_weights(many_groups), "more than 50000 names"),
    "deep groups": (with_weights(deep_groups), "nested more than 100 deep"),
    "a config of 60 MB of nothing": (with_text("[" + "[]," * 20_000_000 + "[]]"), "config.json"),
    "a config of many values": (with_text("[" + "[]," * 2_000_000 + "[]]"), "2000001|values"),
    "a deep config": (with_text("[" * 400_000 + "]" * 400_000), "nested|deep"),
    "a packed config": (
        with_text(" " * 2**27, compression=zipfile.ZIP_DEFLATED),
        "unfolds to 134.2 MB",
    ),
    "a config of another kind": (with_text("[]"), "not that of a model"),
    "two configs": (twice, "is in it twice"),
    "a member outside": (lambda p: write(p, members=[("../out", "")]), "leads out"),
    "an absolute member": (lambda p: write(p, members=[("/tmp/out", "")]), "leads out"),
    "a member with backslashes": (lambda p: write(p, members=[("a\\..\\x", "")]), "leads out"),
    "a member that is a link": (linked_member, "is a link"),
    "a member too many": (lambda p: write(p, members=[("a.py", "")]), "does not write"),
    "assets": (lambda p: write(p, members=[("assets/vocabulary.txt", "a")]), "does not write"),
    "an unknown compression": (patched(10, 99), "method 99"),
    "an encrypted member": (patched(8, 1), "is encrypted"),
    "a file of the old format": (as_h5, "no whole `.keras` file"),
    "a named pipe": (os.mkfifo, "Received: a named pipe"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "Received: a device"),
    "a loop of links": (lambda path: path.symlink_to(path.name), "a loop of links"),
    "a folder": (os.mkdir, "Received: a folder"),
    "a socket": (socket_file, "Received: a socket"),
}
