"""Checkpoints as PyTorch writes them, made without PyTorch, of weights drawn from a seed.

`scripts/golden/make_interop.py` puts the same weights, by the same functions, into PyTorch models;
so nothing of Keras is imported at the top.
"""

import collections
import io
import json
import pickle
import zipfile
import zlib

import numpy as np

_STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
}
ENDINGS = (".safetensors", ".bin", ".pth")


def draw(seed, name, shape):
    """The numbers of one weight: they depend on the seed and its name alone."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values = rng.standard_normal(shape, dtype="float32")
    if len(shape) > 1 and "token" not in name and "pos" not in name:
        return values / np.float32(np.sqrt(np.prod(shape[1:])))  # outputs of size 1
    values *= np.float32(0.1)
    return values + np.float32("norm" in name and name.endswith("weight"))


def meta_shapes(
    width=16,
    depth=2,
    mlp=24,
    patch=(2, 2),
    channels=3,
    grid=(4, 4),
    decoder=(8, 1, 20),
    class_token=True,
    classes=None,
    mean_pooling=True,
):
    """Names and shapes of facebookresearch/mae's tensors."""
    shapes = {"cls_token": (1, 1, width)} if class_token else {}
    shapes["pos_embed"] = (1, int(np.prod(grid)) + class_token, width)
    shapes["patch_embed.proj.weight"] = (width, channels, *patch)
    shapes["patch_embed.proj.bias"] = (width,)
    shapes |= _blocks("blocks", width, depth, mlp)
    if classes is None:
        shapes |= _norm("norm", width)
    else:
        shapes |= _norm("fc_norm" if mean_pooling else "norm", width)
        shapes |= {"head.weight": (classes, width), "head.bias": (classes,)}
    if decoder:
        narrow, layers, hidden = decoder
        shapes["mask_token"] = (1, 1, narrow)
        shapes["decoder_pos_embed"] = (1, int(np.prod(grid)) + class_token, narrow)
        shapes |= _dense("decoder_embed", width, narrow)
        shapes |= _blocks("decoder_blocks", narrow, layers, hidden)
        shapes |= _norm("decoder_norm", narrow)
        shapes |= _dense("decoder_pred", narrow, int(np.prod(patch)) * channels)
    return shapes


def _dense(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _blocks(prefix, width, depth, mlp):
    shapes = {}
    for index in range(depth):
        name = f"{prefix}.{index}"
        shapes |= _norm(f"{name}.norm1", width) | _norm(f"{name}.norm2", width)
        shapes |= _dense(f"{name}.attn.qkv", width, 3 * width)
        shapes |= _dense(f"{name}.attn.proj", width, width)
        shapes |= _dense(f"{name}.mlp.fc1", width, mlp) | _dense(f"{name}.mlp.fc2", mlp, width)
    return shapes


def sincos_table(grid, width, class_token=True):
    """A sin-cos table as checkpoints store it."""
    from mae_keras.ops import sincos_positions

    rows = sincos_positions(grid, width)
    return np.pad(rows, ((int(class_token), 0), (0, 0)))[None]


def meta_tensors(seed=0, learned=False, qkv_bias=True, table=sincos_table, **sizes):
    """Tensors of a checkpoint of facebookresearch/mae; positions are fixed unless `learned`."""
    shapes = meta_shapes(**sizes)
    grid, class_token = sizes.get("grid", (4, 4)), sizes.get("class_token", True)
    tensors = {name: draw(seed, name, shape) for name, shape in shapes.items()}
    for name in ("pos_embed", "decoder_pos_embed"):
        if name in tensors and not (learned and name == "pos_embed"):
            tensors[name] = table(grid, shapes[name][-1], class_token)
    if not qkv_bias:
        tensors = {k: v for k, v in tensors.items() if not k.endswith("attn.qkv.bias")}
    return tensors


def to_hugging_face(tensors):
    """facebookresearch/mae's names as those of the files on the hub, the other way than ours."""
    found = {}
    for name, array in tensors.items():
        if ".attn.qkv." in name:
            for part, piece in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                found[name.replace("attn.qkv", f"attention.attention.{part}")] = piece
        else:
            found[name] = array
    changes = {
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    renamed = {}
    for name, array in found.items():
        for old, new in changes.items():
            name = name.replace(old, new)
        if name.startswith(("decoder_", "mask_token")):
            name = "decoder." + name.replace("decoder_blocks", "decoder_layers")
        elif name.startswith("head."):
            name = name.replace("head", "classifier")
        else:
            own = {
                "cls_token": "embeddings.cls_token",
                "pos_embed": "embeddings.position_embeddings",
            }
            name = own.get(name, name).replace("blocks.", "encoder.layer.")
            name = "vit." + name.replace("norm.", "layernorm.").replace("layerlayer", "layer")
        renamed[name] = array
    return renamed


class _Global:
    """Something that a pickle names and that need not exist here."""

    def __init__(self, module, name):
        self.line = f"{module}\n{name}\n".encode()


class _Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class TorchPickler(pickle._Pickler):
    """Pickles arrays as `torch.save` pickles tensors; the numbers go into `self.records`."""

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.records = []

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Global):
            self.write(pickle.GLOBAL + obj.line)
        elif isinstance(obj, _Call):
            self.save(obj.function)
            self.save(tuple(obj.arguments))
            self.write(pickle.REDUCE)
        elif isinstance(obj, np.ndarray):
            self._save_tensor(obj)
        else:
            super().save(obj, save_persistent_id)

    def _save_tensor(self, array):
        array = np.asarray(array, order="C")
        storage = _Global("torch", _STORAGES[array.dtype.name])
        steps = tuple(step // array.itemsize for step in array.strides)
        self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
        self.write(pickle.MARK)
        self.save(("storage", storage, str(len(self.records)), "cpu", array.size))
        self.write(pickle.BINPERSID)
        for argument in (0, array.shape, steps, False, collections.OrderedDict()):
            self.save(argument)
        self.write(pickle.TUPLE + pickle.REDUCE)
        self.records.append(array)

    def memoize(self, obj):
        pass  # every array anew: simple, and arrays that are gone cannot be mixed up


def write_pth(path, content):
    """Write a zip file as `torch.save` does."""
    text = io.BytesIO()
    pickler = TorchPickler(text)
    pickler.dump(content)
    write_archive(path, text.getvalue(), pickler.records)


def write_archive(path, text, records=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", text)
        archive.writestr("archive/byteorder", "little")
        for number, record in enumerate(records):
            archive.writestr(f"archive/data/{number}", record.tobytes())
        archive.writestr("archive/version", "3\n")


def write(path, tensors, **json_files):
    """Write tensors in the format of the ending; keyword arguments go into JSON files beside."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    else:
        write_pth(path, tensors if path.suffix == ".bin" else {"model": tensors})
    for name, content in json_files.items():
        (path.parent / f"{name}.json").write_text(json.dumps(content))
    return path
