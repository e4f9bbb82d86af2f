"""Batches that several replicas can share: all of one size, which the replicas divide evenly.

Each replica's loss is a mean over its own slice. The mean of those is the mean over the batch only
if the slices are equal, so everything else is refused, or left out as a remainder.
"""

import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.replicas import check_strategy, num_processes, num_replicas


class WholeBatches(keras.utils.PyDataset):
    """Arrays in batches of one size; the remainder, another one in each epoch, is left out.

    Args:
        arrays: arrays of one length.
        batch_size: int, not larger than that length.
        shuffle: bool, whether every epoch has another order.
        **kwargs: passed to `keras.utils.PyDataset`.

    Example:
    >>> batches = WholeBatches([np.arange(7)], 3, shuffle=False)
    >>> [batch[0].tolist() for batch in (batches[0], batches[1])], len(batches)
    ([[0, 1, 2], [3, 4, 5]], 2)
    """

    def __init__(self, arrays: Sequence[Any], batch_size: int, shuffle: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.arrays = [keras.ops.convert_to_numpy(array) for array in arrays]
        self.batch_size = batch_size
        self.order = np.arange(len(self.arrays[0]))
        # `keras.utils.set_random_seed` seeds it.
        self.generator = np.random.default_rng(random.randrange(2**31)) if shuffle else None
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self.order) // self.batch_size

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return tuple(array[rows] for array in self.arrays)

    def on_epoch_end(self) -> None:
        if self.generator is not None:
            self.generator.shuffle(self.order)


class BuiltFromOneSlice:
    """Mixin of models, to stand before `keras.Model`: builds from what one replica gets.

    Keras adds up the replicas' slices of a first batch to see its shape, which fails for slices of
    different sizes: a held-out set that the replicas do not divide would end training after the
    first epoch.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None and self._distribute_strategy is not None:
            local = self._distribute_strategy.experimental_local_results
            for _, _, batches in iterator:
                data_batch = keras.tree.map_structure(lambda part: local(part)[0], next(batches))
                break
            iterator = None
        super()._maybe_symbolic_build(iterator, data_batch)


def check_replicas(model: keras.Model) -> None:
    """Refuse to compile a model under another distribution than the one it was built under.

    Args:
        model: model that has `built_for`, the number of replicas when it was built.

    Raises:
        ValueError: if it differs, or Keras cannot train under the strategy.
    """
    check_strategy()
    if num_replicas() != model.built_for:
        raise ValueError(
            "`compile` must be called under the distribution that the model was built under, "
            f"inside its `scope()`. Received: {model.built_for} replica(s) when built, "
            f"{num_replicas()} now"
        )


def check_optimizer(optimizer: Any) -> None:
    """Refuse what Keras does to each TensorFlow replica's own gradients, before they are summed.

    Args:
        optimizer: of a compiled model.

    Raises:
        ValueError: if there are several replicas and the optimizer clips gradients or scales the
            loss, as Keras makes it do under `mixed_float16`.
    """
    if keras.backend.backend() != "tensorflow" or num_replicas() == 1:
        return
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            "`mixed_float16` cannot be trained under a `tf.distribute` strategy: Keras asks the "
            "first replica alone whether its gradients are finite, and another's infinite ones go "
            "into the weights. Use `mixed_bfloat16`, or the JAX backend. "
            f"Received: {type(optimizer).__name__}"
        )
    for name in ("clipnorm", "global_clipnorm", "clipvalue"):
        if getattr(optimizer, name, None) is not None:
            raise ValueError(
                f"`{name}` must be None under a `tf.distribute` strategy: Keras clips each "
                "replica's own gradient, which is not what one device clips. The JAX backend "
                f"clips the sum. Received: {name}={getattr(optimizer, name)}"
            )


def training_input(
    x: Any, y: Any, options: dict[str, Any], replicas: int
) -> tuple[Any, Any, dict[str, Any]]:
    """What `fit` may be given on several replicas; on one, all as it came.

    Args:
        x: arrays or a dataset of batches.
        y: labels or `None`.
        options: the other arguments of `fit`, by name.
        replicas: int, slices of every batch.

    Returns:
        `x`, `y` and options for `keras.Model.fit`; arrays became `WholeBatches`.

    Raises:
        TypeError: if there is no telling how large the batches are.
        ValueError: if the replicas do not divide them evenly.
    """
    if replicas == 1:
        return x, y, options
    _check_validation(options, replicas)
    if hasattr(x, "element_spec"):
        _check_dataset(x, replicas // num_processes())
        return x, y, options
    if not hasattr(x, "shape") or num_processes() > 1:
        raise TypeError(
            "On several replicas `fit` trains on arrays or a `tf.data.Dataset`, in several "
            "processes on a dataset of each process's slices "
            f"(`mae_keras.data.training_batches(shard=...)`). Received: {type(x).__name__}"
        )
    if options.get("validation_split"):
        raise ValueError("On several replicas give `validation_data`, not `validation_split`.")
    batch_size = options.get("batch_size") or 32
    _check_divided(batch_size, replicas)
    if batch_size > len(x):
        raise ValueError(
            "`batch_size` must not be larger than the number of images: the remainder is left "
            f"out. Received: batch_size={batch_size} for {len(x)} images"
        )
    options = dict(options)
    # Weights never come without labels: `stand_in_labels` saw to that.
    arrays = [array for array in (x, y, options.pop("sample_weight", None)) if array is not None]
    shuffled = bool(options.pop("shuffle", True))
    return WholeBatches(arrays, batch_size, shuffled), None, {**options, "shuffle": False}


def check_evaluation_input(x: Any, batch_size: int | None, replicas: int) -> None:
    """Refuse what JAX could not cut evenly; TensorFlow weighs uneven slices rightly.

    Args:
        x: arrays or a dataset of batches.
        batch_size: int or `None`, Keras's default.
        replicas: int, slices of every batch.

    Raises:
        ValueError: if the replicas do not divide every batch.
    """
    if replicas == 1 or keras.backend.backend() != "jax":
        return
    if hasattr(x, "element_spec"):
        _check_dataset(x, replicas // num_processes())
    elif hasattr(x, "shape"):
        batch_size = batch_size or 32
        _check_divided(batch_size, replicas)
        _check_divided(len(x) % batch_size, replicas, "the last batch")


def _check_validation(options: dict[str, Any], replicas: int) -> None:
    validation = options.get("validation_data")
    if validation is not None:
        images = validation[0] if isinstance(validation, (tuple, list)) else validation
        batch_size = options.get("validation_batch_size") or options.get("batch_size")
        check_evaluation_input(images, batch_size, replicas)


def _check_dataset(dataset: Any, replicas: int) -> None:
    size = keras.tree.flatten(dataset.element_spec)[0].shape[0]
    if size is None:
        raise ValueError(
            "On several replicas a dataset must have batches of one known size: "
            "`dataset.batch(batch_size, drop_remainder=True)`. Received: batches of unknown size"
        )
    _check_divided(size, replicas)


def _check_divided(size: int, replicas: int, what: str = "`batch_size`") -> None:
    if size % replicas:
        raise ValueError(
            f"{what} must be a multiple of the number of replicas, {replicas}, each of which "
            f"takes an equal slice. Received: {size} images"
        )
