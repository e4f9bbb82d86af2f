"""The contenders on Keras: this package, and a plain implementation."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mae_keras.models import MaskedAutoencoder, training_flops
from mae_keras.runtime.batch_shards import available_shards, map_shards, sharded_batches
from mae_keras.training import MaskedAdamW, shard_batches_across_cores

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class KerasContender:
    """A compiled Keras model, trained by `fit` on one batch that stays in memory.

    The time that `fit` itself takes at its beginning and end is counted.

    Args:
        model: compiled `keras.Model`.
        images: array, one batch.
        facts: what is to be reported about it.
    """

    def __init__(self, model: keras.Model, images: np.ndarray, facts: dict[str, Any]):
        self.model = model
        options = tf.data.Options()
        options.autotune.enabled = False  # or a short `fit` may wait seconds for that thread to end
        self.batches = tf.data.Dataset.from_tensors(images).repeat().prefetch(2)
        self.batches = self.batches.with_options(options)
        self._facts = facts

    def run(self, steps: int) -> None:
        """Train, and wait until the last weight has its new value."""
        self.model.fit(self.batches, epochs=1, steps_per_epoch=steps, verbose=0, shuffle=False)
        keras.ops.convert_to_numpy(self.model.trainable_variables[-1])

    @property
    def facts(self) -> dict[str, Any]:
        """Weights, versions and settings; after the first step, when all of it is known."""
        trained = sum(int(np.prod(v.shape)) for v in self.model.trainable_variables)
        backend = keras.backend.backend()
        module = __import__(backend)
        return {
            "parameters": trained,
            "jit_compile": bool(self.model.jit_compile),
            "xla": getattr(self.model, "xla", None),
            "shards": getattr(self.model, "num_shards", 1),
            "framework": f"{backend} {module.__version__}, keras {keras.__version__}",
            "device": str(keras.distribution.list_devices()[0]),
            **self._facts,
        }


def draw_images(sizes: dict[str, Any]) -> np.ndarray:
    """One batch of noise, uint8 as images are stored."""
    shape = (sizes["batch"], *sizes["image_shape"])
    return np.random.default_rng(0).integers(0, 256, shape).astype("uint8")


def build(contender: str, sizes: dict[str, Any], dtype: str) -> KerasContender:
    """Make one of the contenders of this file."""
    if contender in ("mae_keras", "mae_keras_cross"):
        shard_batches_across_cores()
    keras.utils.set_random_seed(0)
    return MAKE[contender](sizes, dtype)


def build_cross(sizes: dict[str, Any], dtype: str) -> KerasContender:
    """A decoder of cross-attention, and a quarter of the hidden patches decoded in each step."""
    return build_ours(sizes, dtype, decoder_attention="cross", decode_ratio=0.25)


def build_ours(sizes: dict[str, Any], dtype: str, **options: Any) -> KerasContender:
    """`MaskedAutoencoder`, everything else as by default."""
    model = make_model(sizes, dtype, **options)
    model.compile(MaskedAdamW(1e-4))
    reference = training_flops(model, sizes["batch"], num_decoded=model.num_patches).total
    facts = {
        "flops_per_step": training_flops(model, sizes["batch"]).total,
        "reference_flops_per_step": reference,
    }
    return KerasContender(model, draw_images(sizes), facts)


def make_model(
    sizes: dict[str, Any],
    dtype: str,
    cls: type[MaskedAutoencoder] = MaskedAutoencoder,
    **options: Any,
) -> MaskedAutoencoder:
    """The package's model of these sizes, not compiled."""
    return cls.from_preset(
        sizes["preset"],
        image_shape=tuple(sizes["image_shape"]),
        patch_size=sizes["patch"],
        mask_ratio=sizes["mask_ratio"],
        seed=0,
        dtype=POLICIES[dtype],
        **options,
    )


def build_plain(sizes: dict[str, Any], dtype: str) -> KerasContender:
    """The model of `plain_keras.py`, compiled as Keras does by default."""
    from contenders.plain_keras import PlainMaskedAutoencoder

    keras.config.set_dtype_policy(POLICIES[dtype])
    model = PlainMaskedAutoencoder(sizes)
    model.compile(keras.optimizers.AdamW(1e-4, weight_decay=0.05, beta_2=0.95))
    return KerasContender(model, draw_images(sizes).astype("float32") / 255, {})


MAKE = {
    "mae_keras": build_ours,
    "mae_keras_cross": build_cross,
    "mae_keras_unsharded": build_ours,
    "plain_keras": build_plain,
}


def matrix_product(size: int, dtype: str) -> Callable[[], None]:
    """A function that multiplies two square matrices and waits for the result."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(size, size)).astype("float32")
    if keras.backend.backend() == "jax":
        import jax

        matrix = jax.numpy.asarray(values, dtype)
        multiply = jax.jit(jax.numpy.matmul)
        return lambda: multiply(matrix, matrix).block_until_ready()
    matrix = tf.constant(values, dtype)

    @tf.function
    def multiply() -> tf.Tensor:
        with sharded_batches(available_shards()):
            return map_shards(lambda rows: tf.matmul(rows, matrix)[:1, :1], matrix)

    # One number copied back waits for all of them, on a GPU too.
    return lambda: float(multiply()[0, 0])
