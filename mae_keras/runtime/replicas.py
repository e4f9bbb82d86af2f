"""The seam to `tf.distribute`: how many replicas there are, which one this is, what they share.

A replica is one device's copy of the model, with a slice of each batch. On JAX one program sees
the whole batch and Keras cuts it, so there is nothing to ask. TensorFlow is imported on use, where
it is Keras's backend.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from mae_keras.runtime.batch_shards import in_first_shard, shard_offset


def num_replicas() -> int:
    """Into how many slices every batch is cut here and now: 1 without a distribution.

    Returns:
        int, of the `tf.distribute` strategy in scope (TensorFlow) or of the
        `keras.distribution` in place (JAX), over all processes.

    Example:
    >>> num_replicas()
    1
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return int(tf.distribute.get_strategy().num_replicas_in_sync)
    distribution = keras.distribution.distribution()
    if backend != "jax" or distribution is None:
        return 1
    mesh = distribution.device_mesh
    axis = getattr(distribution, "batch_dim_name", None) or mesh.axis_names[0]
    return int(mesh.shape[list(mesh.axis_names).index(axis)])


def num_processes() -> int:
    """How many processes train together, each with its slice of every batch: JAX only.

    Example:
    >>> num_processes()
    1
    """
    if keras.backend.backend() != "jax" or keras.distribution.distribution() is None:
        return 1
    import jax

    return int(jax.process_count())


def own_copy(variable: Any) -> Any:
    """A variable as this process holds it, to compute with while the other processes do not.

    Args:
        variable: `keras.Variable` of which every device has a copy.

    Returns:
        What is on this process's first device; without other processes, the variable.

    Example:
    >>> float(own_copy(keras.Variable(3.0)))
    3.0
    """
    return variable.value.addressable_data(0) if num_processes() > 1 else variable


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """What one of several processes does without the others, such as saving.

    Keras creates variables when it saves, which JAX would share with processes that do not save:
    it would wait for them forever.

    Yields:
        Nothing.

    Example:
    >>> with alone():
    ...     num_replicas()
    1
    """
    if num_processes() == 1:
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.callback(keras.distribution.set_distribution, keras.distribution.distribution())
        keras.distribution.set_distribution(None)
        yield


def check_strategy() -> None:
    """Refuse the `tf.distribute` strategies that Keras 3 cannot train with.

    Raises:
        ValueError: if one of them is in scope.

    References:
        - keras-team/keras#20585 (`MultiWorkerMirroredStrategy`).
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    known = (tf.distribute.MirroredStrategy, tf.distribute.OneDeviceStrategy)
    strategy = tf.distribute.get_strategy()
    if tf.distribute.has_strategy() and not isinstance(strategy, known):
        raise ValueError(
            "On TensorFlow, Keras 3 trains on the devices of one machine: the strategy in scope "
            "must be a `tf.distribute.MirroredStrategy` (keras-team/keras#20585). For several "
            "machines use `keras.distribution` on the JAX backend: `KERAS_BACKEND=jax` and "
            '`mae_keras.training.distribute("processes")`. '
            f"Received: {type(strategy).__name__}"
        )


def in_replica() -> bool:
    """Whether this code is being run, or traced, for one of several TensorFlow replicas.

    Example:
    >>> in_replica()
    False
    """
    return _context() is not None


def first_sample(batch_size: Any, seen: Any = None) -> Any:
    """Number of this replica's first sample, so that all count as one device would.

    Args:
        batch_size: int or int scalar tensor, samples in this replica's slice.
        seen: int scalar tensor, samples that this replica saw before; slices may then differ in
            size. `None` counts from the start of the batch and takes slices of equal size.

    Returns:
        int32 scalar tensor, or an int.

    Example:
    >>> first_sample(8), first_sample(8, seen=16)
    (0, 16)
    """
    context = _context()
    if context is None:
        return 0 if seen is None else seen
    number = ops.cast(context.replica_id_in_sync_group, "int32")
    if seen is None:
        return number * batch_size
    import tensorflow as tf

    # Row r holds what replica r knows; the sum over replicas is the whole table.
    known = ops.cast(ops.stack([batch_size, seen]), "float32")
    row = ops.one_hot(number, context.num_replicas_in_sync)[:, None]
    table = context.all_reduce(tf.distribute.ReduceOp.SUM, row * known)
    before = ops.arange(context.num_replicas_in_sync) < number
    total = ops.sum(table[:, 1]) + ops.sum(table[:, 0] * ops.cast(before, "float32"))
    return ops.cast(total, "int32")


def sample_ids(batch_size: Any, seen: Any = None) -> Any:
    """Numbers of the samples at hand in the whole batch, whatever replicas and shards it is cut in.

    Args:
        batch_size: int or int scalar tensor, samples at hand.
        seen: as in `first_sample`.

    Returns:
        int32 tensor `(batch_size,)`.

    Example:
    >>> sample_ids(3).numpy().tolist()
    [0, 1, 2]
    """
    return first_sample(batch_size, seen) + shard_offset() + ops.arange(batch_size, dtype="int32")


def count_batch(counter: Any) -> None:
    """Add one to an integer variable, once for all shards of a batch."""
    if in_first_shard():
        counter.assign(counter + 1)


def agreed(condition: Any) -> Any:
    """Whether a condition holds in all replicas, so that they act alike.

    Args:
        condition: bool scalar tensor.

    Returns:
        bool scalar tensor, the same in every replica.

    Example:
    >>> bool(agreed(ops.convert_to_tensor(True)))
    True
    """
    context = _context()
    if context is None:
        return condition
    import tensorflow as tf

    failed = ops.cast(ops.logical_not(condition), "float32")
    return ops.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, failed), 0.0)


def joined(rows: Any) -> Any:
    """The rows of all replicas, in order, for losses that are no mean over images.

    Gradients flow back to the replica that each row came from.

    Args:
        rows: tensor `(batch, ...)`, this replica's.

    Returns:
        Tensor `(batch of all replicas, ...)`.

    Example:
    >>> joined(ops.ones((2, 3))).shape
    TensorShape([2, 3])
    """
    context = _context()
    return rows if context is None else context.all_gather(rows, axis=0)


def decide_together(
    condition: Callable[[], Any],
    then: Callable[..., None],
    otherwise: Callable[..., None],
    *arguments: Any,
) -> None:
    """`ops.cond` whose branches may hold what replicas do together, such as summing gradients.

    TensorFlow forbids that in a condition of one replica: all must take the same branch.

    Args:
        condition: returns a bool scalar, the same in every replica.
        then: called in every replica, with its own `arguments`, if the condition holds.
        otherwise: called likewise if it does not.
        *arguments: tensors and variables, or lists of them.
    """

    def decide(strategy: Any, *arguments: Any) -> None:
        def run(branch: Callable[..., None]) -> None:
            strategy.extended.call_for_each_replica(branch, args=arguments)

        ops.cond(condition(), lambda: run(then), lambda: run(otherwise))

    _context().merge_call(decide, args=arguments)


def _context() -> Any:
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context
