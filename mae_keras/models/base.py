"""What every model here shares, whatever it learns."""

import contextlib
import os
import random
import time
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras import __version__
from mae_keras.arguments import check_int
from mae_keras.files import replacing
from mae_keras.runtime.batch_shards import available_shards, map_shards, sharded_batches
from mae_keras.runtime.cpu_kernels import compiled_pieces
from mae_keras.runtime.replicas import agreed, alone, check_strategy, num_processes, num_replicas
from mae_keras.runtime.tf_data import without_tuning

# Measured on 2 CPU cores (docs/performance.md), against XLA for pieces alone: in float32 XLA for
# all gains less the wider the model and the more tokens an image has, and loses from here on; in
# bfloat16, which it emulates on CPUs, it always loses. The second is a stand-in for the size of a
# model's arrays, width times tokens: no array need have just that size.
LARGEST_XLA_CPU_DIM = 384
LARGEST_XLA_CPU_IMAGE = 2**15


class CompiledAsAsked:
    """Mixin of models that decide about XLA and keep in files what was asked of it.

    To stand before `keras.Model`, in models that have `_width`, that of their matrix products.
    """

    # Tokens of an image, where there are most of them; 1 without a transformer.
    num_tokens = 1
    # Shards of each batch, one per core: `mae_keras.runtime.batch_shards`.
    num_shards = 1
    _compiles_pieces = False

    def compile(self, *args: Any, jit_compile: bool | str, **kwargs: Any) -> None:
        """As `keras.Model.compile`; `jit_compile="auto"` becomes what measured faster."""
        self._requested_jit = jit_compile
        if kwargs.get("run_eagerly") and jit_compile == "auto":
            jit_compile = False
        chosen = resolve_jit_compile(jit_compile, self._width, self.compute_dtype, self.num_tokens)
        super().compile(*args, jit_compile=chosen, **kwargs)
        self.num_shards = self._num_shards_now()
        left_to_tensorflow = jit_compile == "auto" and not chosen
        self._compiles_pieces = left_to_tensorflow and _has_pieces(self)

    @property
    def xla(self) -> str:
        """What XLA compiles of a training step: `"all"`, `"pieces"` or `"nothing"`.

        Pieces are what lies between a block's matrix products (`runtime.cpu_kernels`): on a CPU,
        where `"auto"` left the products to TensorFlow.
        """
        if self.jit_compile:
            return "all"
        return "pieces" if self._compiles_pieces else "nothing"

    def train_step(self, *args: Any) -> Any:
        """As in Keras."""
        with compiled_pieces(self.xla == "pieces"), sharded_batches(self.num_shards):
            return super().train_step(*args)

    def test_step(self, *args: Any) -> Any:
        """As in Keras."""
        with sharded_batches(self.num_shards):
            return super().test_step(*args)

    def predict_step(self, *args: Any) -> Any:
        """As in Keras."""
        with sharded_batches(self._num_shards_now()):  # which works uncompiled as well
            return super().predict_step(*args)

    def _num_shards_now(self) -> int:
        return 1 if self.jit_compile or self.run_eagerly else usable_shards()

    def get_compile_config(self) -> dict[str, Any]:
        """As in Keras; keeps `"auto"`, which may mean something else where the model is loaded."""
        config = super().get_compile_config()
        return {**config, "jit_compile": self._requested_jit} if config else config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as saved, optimizer state included."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)


def resolve_jit_compile(
    jit_compile: bool | str, hidden_dim: int, compute_dtype: str, num_tokens: int = 1
) -> bool:
    """Turn `jit_compile="auto"` into the choice that measured faster.

    Keras's own "auto" never uses XLA on a CPU. TensorFlow cannot compile what its replicas do
    together: under a strategy "auto" is False.

    Args:
        jit_compile: bool, kept as it is, or `"auto"`.
        hidden_dim: int, width of the model's matrix products.
        compute_dtype: str, the dtype policy's compute dtype.
        num_tokens: int, tokens of an image where there are most of them.

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
    return compute_dtype == "float32" and narrow and small and whole


def usable_shards() -> int:
    """Number of batch shards on the devices in use, in what XLA does not compile."""
    return 1 if _elsewhere() else available_shards()


def _has_pieces(model: Any) -> bool:
    """Whether a model has pieces to compile, and may: in float64 they would lose precision."""
    if _elsewhere():
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


def _elsewhere() -> bool:
    """Whether training runs elsewhere than on TensorFlow on one machine's processor."""
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


class SavedInOneStep:
    """Mixin of models, to stand before `keras.Model` among the bases."""

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """As `keras.Model.save`, but a crash while saving leaves the previous file whole.

        Args:
            filepath: path ending in `.keras`.
            overwrite: bool, whether an existing file is replaced. Defaults to `True`.
            **kwargs: passed to `keras.Model.save`.
        """
        path = os.fspath(filepath)
        if "://" in path or not path.endswith(".keras"):
            return super().save(filepath, overwrite=overwrite, **kwargs)
        if os.path.exists(path) and not overwrite:
            raise ValueError(
                f"`filepath` exists and `overwrite` is False. Received: filepath={path!r}"
            )
        with alone(), replacing(path) as aside, _one_date_in_archives():
            super().save(str(aside), **kwargs)
        return None


@contextlib.contextmanager
def _one_date_in_archives() -> Iterator[None]:
    """Date what is zipped 1 January 1980, whatever the clock says."""
    # `zipfile` raises before 1980 and after 2107, where clocks without a battery start; Keras
    # lets nobody choose the date.
    date = time.struct_time((1980, 1, 1, 0, 0, 0, 1, 1, 0))
    zipfile.time = types.SimpleNamespace(  # type: ignore[attr-defined]
        time=lambda: 0.0, localtime=lambda *_: date
    )
    try:
        yield
    finally:
        zipfile.time = time  # type: ignore[attr-defined]


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Make what is built inside a function of `seed`; leave all generators as they were.

    Keras draws the seeds of initializers, and this package those of dropped paths, from Python's
    `random`. `keras.utils.set_random_seed` would do more: reseed NumPy and the backend for good.

    Args:
        seed: int, or `None` to change nothing.

    Yields:
        Nothing.

    Example:
    >>> with seeded(3):
    ...     first = random.random()
    >>> with seeded(3):
    ...     first == random.random()
    True
    """
    if seed is None:
        yield
        return
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


# Where weights that are not trained, the counters among them, are in JAX's state.
_WEIGHTS = 1


class SkipsNonFinite:
    """Mixin of models: `compile(skip_nonfinite=True)`, to stand before `keras.Model`.

    A step after which any weight, optimizer variable or metric is not finite is undone as a whole:
    all of them get their earlier values, only the model's integer counters (of masks and drop path)
    go on, so that a step's masks stay a function of its number. The metric `skipped_steps` counts
    such steps of the epoch. Costs one more copy of all variables in each step.
    """

    _skipping: "_Counter | None" = None
    _evaluating = False

    def compile(self, *args: Any, skip_nonfinite: bool = False, **kwargs: Any) -> None:
        """As `keras.Model.compile`.

        Args:
            *args: passed on.
            skip_nonfinite: bool, undo steps that are not finite and count them.
            **kwargs: passed on.
        """
        self._skipping = _Counter() if skip_nonfinite else None
        super().compile(*args, **kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        """As in Keras; keeps `skip_nonfinite`."""
        config = super().get_compile_config()
        return {**config, "skip_nonfinite": True} if config and self._skipping else config

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """As in Keras; and the number of skipped steps."""
        return [*super().metrics, *([self._skipping.metric] if self._skipping else [])]

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`."""
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras; skipped steps are of training alone."""
        result = super().get_metrics_result()
        if self._evaluating:
            result.pop("skipped_steps", None)
        return result

    def train_step(self, *args: Any) -> Any:
        """As in Keras, but undone where it is not finite. JAX passes (state, data)."""
        if self._skipping is None:
            return super().train_step(*args)
        return self._pure_step(*args) if len(args) == 2 else self._step_in_place(*args)

    def _step_in_place(self, data: Any) -> Any:
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        variables = self._revocable()
        before = [ops.copy(ops.convert_to_tensor(variable)) for variable in variables]
        super().train_step(data)
        # Metrics are each replica's own until Keras sums them.
        finite = agreed(_all_finite(variables))
        for variable, value in zip(variables, before, strict=True):
            variable.assign(ops.where(finite, variable, value))
        self._skipping.metric.update_state(ops.where(finite, 0.0, 1.0 / num_replicas()))
        return self.get_metrics_result()

    def _pure_step(self, state: Sequence[Any], data: Any) -> Any:
        _, after = super().train_step(state, data)
        finite = _all_finite([value for part in after for value in part])
        chosen = [
            [
                ops.where(finite, new, old) if part != _WEIGHTS or _is_float(new) else new
                for new, old in zip(*values, strict=True)
            ]
            for part, values in enumerate(zip(after, state, strict=True))
        ]
        mapping = list(zip(self.metrics_variables, chosen[-1], strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self._skipping.metric.update_state(ops.where(finite, 0.0, 1.0))
            logs = self.get_metrics_result()
        chosen[-1] = [scope.get_current_value(variable) for variable in self.metrics_variables]
        return logs, tuple(chosen)

    def _revocable(self) -> list[Any]:
        weights = [variable for variable in self.variables if _is_float(variable)]
        return [*weights, *self.optimizer.variables, *self.metrics_variables]


class _Counter:
    """Holds a metric without Keras tracking it, which a built model no longer allows."""

    def __init__(self) -> None:
        self.metric = keras.metrics.Sum(name="skipped_steps")


def _is_float(value: Any) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype))


def _all_finite(values: Sequence[Any]) -> Any:
    checks = [ops.all(ops.isfinite(value)) for value in values if _is_float(value)]
    return ops.all(ops.stack(checks))


VERSION_KEY = "mae_keras_version"


def with_version(config: dict[str, Any]) -> dict[str, Any]:
    """Add the package version to a model's config."""
    return {**config, VERSION_KEY: __version__}


def from_versioned_config(
    cls: type, config: dict[str, Any], children: Sequence[str] = ()
) -> keras.Model:
    """Rebuild a model from its config.

    Args:
        cls: class to build.
        config: as `get_config` gave it.
        children: keys whose values are serialised Keras objects.

    Returns:
        Instance of `cls`.

    Raises:
        ValueError: naming both versions if another version's config does not fit this one.
    """
    config = dict(config)
    version = config.pop(VERSION_KEY, None)
    try:
        for child in children:
            config[child] = keras.saving.deserialize_keras_object(config[child])
        return cls(**config)
    except (TypeError, ValueError) as error:
        if version == __version__:
            raise
        raise ValueError(
            f"This {cls.__name__} was saved by mae_keras {version or 'of unknown version'} and "
            f"does not fit mae_keras {__version__}, which is installed: {error}"
        ) from error
