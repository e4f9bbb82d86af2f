"""Checking the batches of a data set on their way into a model, and their slices for replicas.

Arrays are looked at as a whole before training (`checks`). Of everything else, `tf.data`,
`PyDataset`, generators and PyTorch's `DataLoader`, each batch is looked at as it comes, so that
none is read twice or lost.
"""

import contextlib
import copy
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.models.checks import (
    blind_samples,
    check_input,
    check_labels,
    check_shape,
    check_values,
    check_weights,
    filled_array,
    is_array,
    needs_scan,
    stand_in_labels,
    to_numpy,
    warn_of_blind,
)
from mae_keras.runtime.replicas import check_strategy, num_processes, num_replicas
from mae_keras.runtime.tf_data import checked_dataset


class BatchCheck:
    """What the batches of one data set must be, and the first error that one of them caused.

    TensorFlow turns an error of Python inside a data set into one of its own; `raising` turns it
    back.

    Args:
        image_shape: ints `(*spatial, channels)` of the model.
        value_range: `(low, high)` of the model, or `None`.
        num_classes: int, classes that labels are checked against, or `None`: labels are ignored
            and left out of the batches, since a compiled step takes no text, for one, unless an
            argument below says otherwise.
        weighted: bool, whether Keras makes weights of the labels (`class_weight`), which are kept
            then.
        passes_labels: bool, whether labels that are not checked reach the loss as they are.
        grid: ints, patches per axis, to note images without a whole patch, or `None`: not to.
        mask_shape: ints, shape of the labels of an image, or `None`: one number; see
            `check_labels`.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        value_range: tuple[float, float] | None,
        num_classes: int | None = None,
        weighted: bool = False,
        passes_labels: bool = False,
        grid: Sequence[int] | None = None,
        mask_shape: Sequence[int] | None = None,
    ):
        self.image_shape = tuple(image_shape)
        self.value_range = value_range
        self.num_classes = num_classes
        self.weighted = weighted
        self.passes_labels = passes_labels
        self.grid = grid
        self.mask_shape = mask_shape
        self.error: Exception | None = None
        self.blind: list[str] = []
        # Batches seen so far; stays `None` where Keras or `check_input` sees to it that there are.
        self.seen: int | None = None
        self.knows_units = False

    @property
    def keeps_labels(self) -> bool:
        """Whether the model or Keras needs the labels."""
        return self.weighted or self.passes_labels or self.num_classes is not None

    def needs_scan(self, dtype: str) -> bool:
        """Whether images of this dtype have to be looked at."""
        return needs_scan(dtype, self.value_range)

    def check(self, number: int, images: Any, labels: Any = None, weights: Any = None) -> tuple:
        """Check one batch.

        Args:
            number: int, of the batch, from 0.
            images: array or tensor.
            labels: array or `None`: not checked.
            weights: array or `None`.

        Returns:
            The images, labels and weights as NumPy arrays or as they came.
        """
        self.seen = (self.seen or 0) + 1
        try:
            return self._check(number, images, labels, weights)
        except Exception as error:
            self.error = self.error or error
            raise

    def _check(self, number: int, images: Any, labels: Any, weights: Any) -> tuple:
        if isinstance(images, (dict, list, tuple)) or not hasattr(images, "dtype"):
            check_input(images, self.image_shape, self.value_range)
            raise TypeError(
                f"`images` of a batch must be one array. Received: {type(images).__name__}"
            )
        if isinstance(images, np.ma.MaskedArray):
            images = filled_array(images)
        check_shape(images.shape, self.image_shape)
        values = to_numpy(images)
        # A later batch may be dark, and so may be the first of an epoch in another order.
        check_values(values, self.value_range, number == 0 and not self.knows_units)
        self.knows_units = True
        if self.grid is not None:
            rows = blind_samples(values, self.grid)
            self.blind += [f"image {row} of batch {number}" for row in rows]
        if self.num_classes is not None:
            check_labels(labels, len(values), self.num_classes, mask_shape=self.mask_shape)
        return images, labels, check_weights_of_outputs(weights, len(values))

    def of_batch(self, number: int, batch: Any) -> Any:
        """Check a batch as data sets give them; leave out labels that nobody needs."""
        if isinstance(batch, dict):
            self.check(number, batch)
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        if not self.keeps_labels:
            labels = None
        elif labels is None and self.weighted and self.num_classes is None:
            self.error = ValueError(LABELS_NEEDED)
            raise self.error
        images, labels, weights = self.check(number, images, labels, weights)
        if labels is None and weights is not None:
            if self.passes_labels:
                return images, None, weights
            labels = np.zeros(len(images), "int32")  # without labels Keras drops the weights
        return tuple(part for part in (images, labels, weights) if part is not None)


def check_weights_of_outputs(weights: Any, num_images: int) -> Any:
    """`check_weights`, for a model of several outputs by each of them."""
    if isinstance(weights, dict):
        return {name: check_weights(part, num_images) for name, part in weights.items()}
    if isinstance(weights, (list, tuple)) and any(np.ndim(part) for part in weights):
        return type(weights)(check_weights(part, num_images) for part in weights)
    return check_weights(weights, num_images)


LABELS_NEEDED = (
    "`class_weight` needs labels: `fit(images, labels, ...)`, or a data set of (images, labels). "
    "Received: images alone"
)
_OURS = re.compile(r"(TypeError|ValueError): (`(?:images|labels|sample_weight|class_weight)`.*)")


def labels_for_weights(x: Any, y: Any, sample_weight: Any, class_weight: Any) -> Any:
    """Labels are ignored: only what Keras makes weights of goes on."""
    if class_weight is None:
        return stand_in_labels(x, None, sample_weight)
    if y is None:
        raise ValueError(LABELS_NEEDED)
    labels = to_numpy(y)
    if len(labels) != len(x) or (labels.ndim == 1 and labels.dtype.kind not in "iub"):
        raise ValueError(
            "`class_weight` needs class numbers as labels, one int per image. Received: labels "
            f"of shape {labels.shape} and type {labels.dtype} for {len(x)} images"
        )
    return y


def has_images_alone(x: Any) -> bool:
    """Whether a data set is known to bring images and nothing else."""
    spec = getattr(x, "element_spec", None)
    return spec is not None and not (isinstance(spec, (tuple, list)) and len(spec) > 1)


def can_be_shuffled(x: Any) -> bool:
    """Whether Keras can shuffle what is given to `fit`."""
    return is_array(x) or isinstance(x, keras.utils.PyDataset)


@contextlib.contextmanager
def raising(checks: Sequence[BatchCheck], model: Any) -> Iterator[None]:
    """Raise what a check refused as it was, whatever became of it on the way.

    Args:
        checks: those of the data sets in use, that of the images first.
        model: the model in use, which gets its weights back from JAX's state.

    Yields:
        Nothing.
    """
    try:
        yield
    except Exception as error:
        if hasattr(model, "jax_state_sync"):
            model.jax_state_sync()
        for check in checks:
            if check.error is not None and check.error is not error:
                raise check.error from None
        # Other processes' checks come as text.
        found = None if isinstance(error, (TypeError, ValueError)) else _OURS.search(str(error))
        if checks and found:
            kinds = {"TypeError": TypeError, "ValueError": ValueError}
            raise kinds[found[1]](found[2]) from None
        raise
    if checks and checks[0].seen == 0:
        raise ValueError("`images` must not be empty. Received: a dataset without a batch")
    for check in checks:
        warn_of_blind(check.blind, None)


def checked_batches(x: Any, check: BatchCheck) -> Any:
    """A data set whose batches are checked as they come.

    Args:
        x: `tf.data.Dataset`, `keras.utils.PyDataset`, generator or PyTorch `DataLoader`; anything
            else is returned as it is.
        check: `BatchCheck`.

    Returns:
        What gives the same batches in the same order, or raises.

    Example:
    >>> check = BatchCheck((4, 1), (0.0, 255.0))
    >>> batches = (np.full((2, 4, 1), fill, "float32") for fill in (100, 300))
    >>> for batch in checked_batches(batches, check):
    ...     print(batch[0].shape)
    Traceback (most recent call last):
    ValueError: `images` must be within the model's value_range=(0.0, 255.0). Resizing with bicubic
    or Lanczos interpolation overshoots: clip with tf.clip_by_value(images, 0, 255). Received:
    values from 300 to 300
    """
    if hasattr(x, "element_spec"):
        return checked_dataset(x, check)
    if isinstance(x, WholeBatches):
        return x  # of arrays that were checked
    if isinstance(x, keras.utils.PyDataset):
        return _CheckedPyDataset(x, check)
    if isinstance(x, Iterator):
        return (check.of_batch(number, batch) for number, batch in enumerate(x))
    if hasattr(x, "collate_fn") and isinstance(x, Iterable):
        return _checked_loader(x, check)
    return x


class _CheckedPyDataset(keras.utils.PyDataset):
    def __init__(self, dataset: keras.utils.PyDataset, check: BatchCheck):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self.dataset, self.check = dataset, check

    @property
    def num_batches(self) -> int | None:
        return self.dataset.num_batches

    def __getitem__(self, index: int) -> tuple:
        return self.check.of_batch(index, self.dataset[index])

    def on_epoch_begin(self) -> None:
        self.dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.dataset.on_epoch_end()


def _checked_loader(loader: Any, check: BatchCheck) -> Any:
    """The same `DataLoader`, but its batches are checked as they reach the main process."""
    # A worker process does not know which batch is the first.

    class CheckedLoader(type(loader)):  # Keras knows loaders by their class
        def __iter__(self) -> Iterator[tuple]:
            for number, batch in enumerate(super().__iter__()):
                yield check.of_batch(number, batch)

    checked = copy.copy(loader)
    checked.__class__ = CheckedLoader
    return checked


def may_be_missing(data: Any) -> bool:
    """Whether data may hold NaN; unknown, as of generators, means yes."""
    if data is None:
        return False
    if hasattr(data, "element_spec"):
        data = data.element_spec
    if isinstance(data, (tuple, list)) and data:
        data = data[0]
    dtype = getattr(data, "dtype", None)
    return dtype is None or "float" in str(getattr(dtype, "name", dtype))


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
