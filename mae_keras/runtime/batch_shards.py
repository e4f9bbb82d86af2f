"""Batches split into shards, one per CPU core, on TensorFlow.

TensorFlow splits each operation across the cores, one operation after the other. Most operations
of a small transformer are too short for that. With shards, each core takes its samples through the
whole network, and each operation has one thread. The number of threads holds for the whole process
and must be set before TensorFlow starts, so the user has to call `shard_batches_across_cores`.
TensorFlow is imported on use, where it is Keras's backend. Imports nothing of the package.
"""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

# Each shard is traced separately, so many shards start slowly. Measured with two.
MAX_SHARDS = 8


class _Shard(NamedTuple):
    index: int
    start: Any  # number of its first sample in the batch


_available = 1
_NUM_SHARDS: contextvars.ContextVar[int] = contextvars.ContextVar("num_shards", default=1)
_SHARD: contextvars.ContextVar[_Shard | None] = contextvars.ContextVar("shard", default=None)


def shard_batches_across_cores() -> int:
    """Split every batch into shards, one per CPU core, for the rest of this process.

    Call it before TensorFlow creates its first tensor. It sets one thread per operation, which
    slows down models from other packages. It applies to training, evaluation and inference, unless
    XLA compiles the whole step; `jit_compile="auto"` then does not choose that. Measured
    (docs/performance.md): models of width 64 to 192 train up to 1.4 times as fast, of width 768
    0.85 times. `mae-keras` calls it where it helps.

    Returns:
        int, the number of shards. 1 means no change: with one core or more than eight (not
        measured), on a GPU, on other backends than TensorFlow, or if the number of threads is
        already set by `tf.config.threading`, `TF_NUM_INTRAOP_THREADS` or `TF_NUM_INTEROP_THREADS`.
        Later calls return the same number.

    Raises:
        RuntimeError: if TensorFlow has already created a tensor.

    Example:
    >>> shard_batches_across_cores()  # doctest: +SKIP
    2
    """
    global _available
    cores = _num_cores()
    if _available > 1 or not 1 < cores <= MAX_SHARDS or not _threads_are_free():
        return _available
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError as error:
        raise RuntimeError(
            "`shard_batches_across_cores` must be called before TensorFlow creates its first "
            "tensor: the number of threads is fixed from then on"
        ) from error
    _available = cores
    return cores


def available_shards() -> int:
    """Number of shards set by `shard_batches_across_cores`: 1 without it."""
    return _available


@contextlib.contextmanager
def sharded_batches(num_shards: int) -> Iterator[None]:
    """`map_shards` splits batches into `num_shards` inside the block; 1 leaves them whole.

    Example:
    >>> with sharded_batches(2):
    ...     map_shards(lambda x: x + shard_offset(), ops.zeros(4)).numpy().tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    token = _NUM_SHARDS.set(num_shards)
    try:
        yield
    finally:
        _NUM_SHARDS.reset(token)


def map_shards(function: Callable[[Any], Any], batch: Any) -> Any:
    """Apply a function to each shard of a batch and concatenate the results.

    Args:
        function: maps tensors, or structures of them, to the same; the first axis is the batch,
            and each sample's result must not depend on the others.
        batch: tensor or structure of tensors.

    Returns:
        As `function(batch)`.

    Example:
    >>> map_shards(lambda x: 2 * x, 3)
    6
    """
    num_shards = _NUM_SHARDS.get()
    if num_shards == 1:
        return function(batch)
    outputs = []
    with sharded_batches(1):
        for index, (shard, start) in enumerate(_split(batch, num_shards)):
            token = _SHARD.set(_Shard(index, start))
            try:
                outputs.append(function(shard))
            finally:
                _SHARD.reset(token)
    return keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *outputs)


def in_first_shard() -> bool:
    """Whether to do here what a step does once: always, without shards."""
    shard = _SHARD.get()
    return shard is None or shard.index == 0


def shard_offset() -> Any:
    """Index in the batch of this shard's first sample: an int or an int32 scalar tensor."""
    shard = _SHARD.get()
    return 0 if shard is None else shard.start


def _split(batch: Any, num_shards: int) -> list[tuple[Any, Any]]:
    """Shards of a batch, of sizes as equal as possible, each with the index where it starts."""
    import tensorflow as tf

    leaves = keras.tree.flatten(batch)
    count = leaves[0].shape[0]
    count = tf.shape(leaves[0])[0] if count is None else count
    bounds = [count * index // num_shards for index in range(num_shards + 1)]
    sizes = [end - start for start, end in zip(bounds[:-1], bounds[1:], strict=True)]
    shards = zip(*(tf.split(leaf, sizes) for leaf in leaves), strict=True)
    return [
        (keras.tree.pack_sequence_as(batch, shard), start)
        for shard, start in zip(shards, bounds[:-1], strict=True)
    ]


def _threads_are_free() -> bool:
    """Whether TensorFlow computes on this machine's cores, with as many threads as it likes."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    if keras.backend.backend() != "tensorflow" or any(os.environ.get(name) for name in names):
        return False
    import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() or threading.get_inter_op_parallelism_threads():
        return False
    return not tf.config.list_physical_devices("GPU")


def _num_cores() -> int:
    """Cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1
