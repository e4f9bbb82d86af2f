"""The contenders that run an exported model, and the live one: pixels as bytes to features.

Each imports only the library that it is about.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

CORES = len(os.sched_getaffinity(0))


class Served:
    """A function from a batch of pixels to features, asked again and again.

    Args:
        encode: uint8 array to features.
        batch: images at once.
        image_shape: ints `(*spatial, channels)`.
        framework: what runs it.
    """

    def __init__(
        self, encode: Callable[[Any], Any], batch: int, image_shape: list[int], framework: str
    ):
        self.encode = encode
        self.images = np.random.default_rng(0).integers(0, 256, (batch, *image_shape), "uint8")
        self.facts = {"framework": framework}

    def run(self, steps: int) -> None:
        """Encode the batch, `steps` times; every answer is a NumPy array."""
        for _ in range(steps):
            features = self.encode(self.images)
        self.facts["checksum"] = float(np.abs(np.asarray(features, "float32")).mean())


def build(contender: str, sizes: dict[str, Any], dtype: str) -> Served:
    """Load `sizes["path"]` with the library of the contender."""
    encode, framework = LOADERS[contender](sizes["path"], sizes["threads"] or CORES)
    return Served(encode, sizes["batch"], sizes["image_shape"], framework)


def keras(path: str, threads: int) -> tuple[Callable, str]:
    """`model.encode`, as a user of the live model would call it."""
    import keras

    from mae_keras.models import load_model

    model = load_model(path, compile=False)
    framework = f"keras {keras.__version__} on {keras.backend.backend()}"
    return lambda images: model.encode(images, batch_size=len(images)), framework


def saved_model(path: str, threads: int) -> tuple[Callable, str]:
    """The `encode` signature, by TensorFlow alone."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)

    def encode(images: np.ndarray) -> np.ndarray:
        return loaded.signatures["encode"](images=tf.constant(images))["features"].numpy()

    return encode, f"tensorflow {tf.__version__}"


def onnx_runtime(path: str, threads: int) -> tuple[Callable, str]:
    """An ONNX file on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    framework = f"onnxruntime {onnxruntime.__version__}"
    return lambda images: session.run(["features"], {"images": images})[0], framework


def litert(path: str, threads: int) -> tuple[Callable, str]:
    """A LiteRT file, by its interpreter."""
    import importlib.metadata

    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path, num_threads=threads).get_signature_runner("encode")
    framework = f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"
    return lambda images: runner(images=images)["features"], framework


LOADERS = {
    "keras": keras,
    "saved_model": saved_model,
    "onnx_runtime": onnx_runtime,
    "litert": litert,
}
