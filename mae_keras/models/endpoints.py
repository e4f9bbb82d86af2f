"""Running one of a model's functions over many images, compiled and in batches."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mae_keras.arguments import check_int
from mae_keras.branches import branched, in_branches
from mae_keras.models.compilation import branches_here
from mae_keras.replicas import num_replicas
from mae_keras.tuning import without_tuning


class _Endpoint(keras.Model):
    """A function of a model as a model of its own, so that Keras's `predict` can run it."""

    def __init__(self, owner: keras.Model, function: Callable[[Any], Any]):
        super().__init__(name="endpoint", dtype=owner.dtype_policy, autocast=False)
        self.owner = owner
        self.function = function
        self.built = True

    def call(self, inputs: Any) -> Any:
        with branched(branches_here()):
            return in_branches(self.function, inputs)


class Endpoints:
    """The compiled functions of one model, made on first use.

    Deliberately no Keras object and no container: attributes of those kinds would be saved with
    the model and would make it contain itself.
    """

    def __init__(self) -> None:
        self._made: dict[Any, _Endpoint] = {}

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
        if key not in self._made:
            self._made[key] = _Endpoint(owner, function)
        endpoint = self._made[key]
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
    """`predict` without the data set that Keras makes of arrays.

    To make it, and to wait for its end, can take longer than to encode the images.
    """

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
