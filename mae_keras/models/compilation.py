"""How a model is compiled: by XLA or not, on which devices, and its functions of one batch."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mae_keras.arguments import check_int
from mae_keras.runtime.batch_shards import available_shards, map_shards, sharded_batches
from mae_keras.runtime.replicas import num_replicas
from mae_keras.runtime.tf_data import without_tuning

# Measured on 2 CPU cores (docs/experiments.md), against XLA for pieces only: in float32 XLA for
# all gains less the wider the model and the more tokens an image has, and loses from here on; in
# bfloat16, which it emulates on CPUs, it always loses. The second is a stand-in for the size of a
# model's arrays, width times tokens: no array need have just that size.
LARGEST_XLA_CPU_DIM = 384
LARGEST_XLA_CPU_IMAGE = 2**15


def resolve_jit_compile(
    jit_compile: bool | str,
    hidden_dim: int,
    compute_dtype: str,
    num_tokens: int = 1,
    convolves: bool = False,
) -> bool:
    """Turn `jit_compile="auto"` into the choice that measured faster.

    Keras's own "auto" never uses XLA on a CPU. TensorFlow cannot compile what its replicas do
    together: under a strategy "auto" is False.

    Args:
        jit_compile: bool, kept as it is, or `"auto"`.
        hidden_dim: int, width of the model's matrix products.
        compute_dtype: str, the dtype policy's compute dtype.
        num_tokens: int, tokens of an image where there are most of them.
        convolves: bool, whether the model has convolutions, which XLA made slower on a CPU.

    Returns:
        bool.

    Raises:
        ValueError: if `jit_compile` is neither a bool nor `"auto"`, or is True under a
            `tf.distribute` strategy with several replicas.

    Example:
    >>> resolve_jit_compile(True, 64, "float32")
    True
    """
    if isinstance(jit_compile, bool):
        if jit_compile and _replicated():
            raise ValueError(
                "`jit_compile` must be 'auto' or False on several TensorFlow replicas: XLA cannot "
                "compile what they do together. Received: jit_compile=True"
            )
        return jit_compile
    if jit_compile != "auto":
        raise ValueError(
            f"`jit_compile` must be True, False or 'auto'. Received: jit_compile={jit_compile!r}"
        )
    backend = keras.backend.backend()
    if backend == "jax":
        return True
    if backend != "tensorflow" or _distributed():
        return False
    if _on_accelerator():
        return True
    narrow = hidden_dim <= LARGEST_XLA_CPU_DIM
    small = hidden_dim * num_tokens <= LARGEST_XLA_CPU_IMAGE
    whole = available_shards() == 1  # or XLA's products would have one thread, and no shards
    return compute_dtype == "float32" and narrow and small and whole and not convolves


def usable_shards() -> int:
    """Number of batch shards on the devices in use, in what XLA does not compile."""
    return 1 if _off_cpu() else available_shards()


def compiles_pieces(model: Any) -> bool:
    """Whether a model has pieces to compile, and may: in float64 they would lose precision."""
    if _off_cpu():
        return False
    precise = model.compute_dtype not in ("float32", "bfloat16", "float16")
    return model.num_tokens > 1 and not precise and _keras_allows_xla(model)


def _keras_allows_xla(model: Any) -> bool:
    """Keras refuses XLA under deterministic operations, for one; its setter alone tells."""
    chosen = model.jit_compile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.jit_compile = True
    allowed, model.jit_compile = model.jit_compile, chosen
    return bool(allowed)


def _off_cpu() -> bool:
    """Whether training runs on something other than TensorFlow on the CPU of one process."""
    return keras.backend.backend() != "tensorflow" or _distributed() or _on_accelerator()


def _on_accelerator() -> bool:
    return any("gpu" in name or "tpu" in name for name in map(str.lower, _devices()))


def _devices() -> list[str]:
    devices: Any = keras.distribution.list_devices()
    return [str(device) for device in devices]


def _distributed() -> bool:
    return keras.distribution.distribution() is not None or _replicated()


def _replicated() -> bool:
    return keras.backend.backend() == "tensorflow" and num_replicas() > 1


class _Endpoint(keras.Model):
    """A function of a model as a model of its own, so that Keras's `predict` can run it."""

    def __init__(self, owner: keras.Model, function: Callable[[Any], Any]):
        super().__init__(name="endpoint", dtype=owner.dtype_policy, autocast=False)
        self.owner = owner
        self.function = function
        self.built = True

    def call(self, inputs: Any) -> Any:
        with sharded_batches(usable_shards()):
            return map_shards(self.function, inputs)


class Endpoints:
    """The compiled functions of one model, made on first use.

    Deliberately no Keras object and no container: attributes of those kinds would be saved with
    the model and would make it contain itself.
    """

    def __init__(self) -> None:
        self._endpoints: dict[Any, _Endpoint] = {}

    def run(
        self,
        owner: keras.Model,
        key: Any,
        function: Callable[[Any], Any],
        inputs: Any,
        batch_size: int,
    ) -> Any:
        """Apply `function` batch by batch.

        Args:
            owner: the model whose weights `function` uses.
            key: hashable; the same key must mean the same function.
            function: tensors in, tensors out.
            inputs: what `keras.Model.predict` takes.
            batch_size: int; without effect on datasets, which come in batches.

        Returns:
            NumPy arrays, batches joined.
        """
        batch_size = check_int("batch_size", batch_size, 1)
        if key not in self._endpoints:
            self._endpoints[key] = _Endpoint(owner, function)
        endpoint = self._endpoints[key]
        if hasattr(inputs, "element_spec"):
            try:
                return endpoint.predict(without_tuning(inputs), verbose=0)
            except Exception:
                if hasattr(endpoint, "jax_state_sync"):
                    endpoint.jax_state_sync()  # or the owner's weights would be gone
                raise
        # A ragged last batch would be traced and compiled again, and could not be shared evenly by
        # replicas: pad it, then cut.
        count = keras.tree.flatten(inputs)[0].shape[0]
        replicas = num_replicas()
        batch_size = -(-min(batch_size, count) // replicas) * replicas
        padding = -count % batch_size
        padded = keras.tree.map_structure(lambda array: _pad(array, padding), inputs)
        if replicas > 1:
            outputs = endpoint.predict(padded, batch_size=batch_size, verbose=0)
        else:
            outputs = _predict(endpoint, padded, batch_size)
        return keras.tree.map_structure(lambda array: array[:count], outputs)


def _predict(endpoint: keras.Model, inputs: Any, batch_size: int) -> Any:
    """`predict` without the data set that Keras makes of arrays."""
    # Creating the data set and waiting for its end can take longer than encoding the images.

    def of_batch(start: int) -> Any:
        rows = slice(start, start + batch_size)
        return endpoint.predict_on_batch(keras.tree.map_structure(lambda x: x[rows], inputs))

    count = len(keras.tree.flatten(inputs)[0])
    outputs = [of_batch(start) for start in range(0, count, batch_size)]
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)


def _pad(array: Any, padding: int) -> np.ndarray:
    array = keras.ops.convert_to_numpy(array)
    if keras.backend.is_float_dtype(array.dtype.name):
        array = array.astype(keras.config.floatx(), copy=False)  # as `predict` does
    return np.resize(array, (len(array) + padding, *array.shape[1:])) if padding else array


class FunctionsPerRatio:
    """Compiled functions per number of hidden patches; no container that Keras would track."""

    def __init__(self) -> None:
        self._functions: dict[int, tuple[Any, Any]] = {}
        self.traced: set[int] = set()

    def put(self, key: int, train_function: Any, test_function: Any) -> None:
        self._functions[key] = (train_function, test_function)

    def get(self, key: int) -> tuple[Any, Any] | None:
        return self._functions.get(key)
