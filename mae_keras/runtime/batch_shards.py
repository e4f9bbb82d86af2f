"""A batch computed in shards, one for each processor core, on TensorFlow.

TensorFlow shares the work of each operation among all cores, one operation after the other: most
operations of a small transformer are too short for that. Shards divide the batch instead: each
core takes its images through the whole network, with operations of one thread. How many threads
operations have holds for the whole process and is said before TensorFlow starts, so that it has to
be asked for. TensorFlow is imported on use, where it is Keras's backend. Imports nothing of the
package.
"""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

# Every branch is traced and built, so that many would start slowly. Measured with two.
MOST_BRANCHES = 8


class _Branch(NamedTuple):
    index: int
    start: Any  # number of its first sample in the batch


_asked_for = 1
_NUMBER: contextvars.ContextVar[int] = contextvars.ContextVar("num_branches", default=1)
_BRANCH: contextvars.ContextVar[_Branch | None] = contextvars.ContextVar("branch", default=None)


def use_branches() -> int:
    """From here on, models on TensorFlow compute each batch in branches, one for each core.

    In training, evaluation and inference, where XLA does not compile the model as a whole; its
    `"auto"` then does not. To be called before anything else: TensorFlow takes numbers of threads
    only before it starts. Operations have one thread then in all that this process does; models
    that know nothing of branches are slower with it. Measured (docs/performance.md): models of
    width 64 to 192 train up to 1.4 times as fast, of width 768 0.85 times.

    Returns:
        int, the number of branches. 1, which changes nothing, with one core or more than eight (not
        measured), a GPU, another backend than TensorFlow, or where numbers of threads were set
        already: by `tf.config.threading` or the environment variables `TF_NUM_INTRAOP_THREADS` and
        `TF_NUM_INTEROP_THREADS`. Another call gives the same number again.

    Raises:
        RuntimeError: if there would be branches, but TensorFlow has started.

    Example:
    >>> use_branches()  # doctest: +SKIP
    2
    """
    global _asked_for
    cores = _num_cores()
    if _asked_for > 1 or not 1 < cores <= MOST_BRANCHES or not _threads_are_free():
        return _asked_for
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError as error:
        raise RuntimeError(
            "`use_branches` must be called before TensorFlow makes its first tensor: it takes "
            "numbers of threads only before"
        ) from error
    _asked_for = cores
    return cores


def possible_branches() -> int:
    """How many branches `use_branches` made possible: 1 without.

    Example:
    >>> possible_branches()
    1
    """
    return _asked_for


@contextlib.contextmanager
def branched(number: int) -> Iterator[None]:
    """`in_branches` inside makes so many.

    Args:
        number: int, 1 for none.

    Yields:
        Nothing.

    Example:
    >>> with branched(2):
    ...     in_branches(lambda x: x + first_of_branch(), ops.zeros(4)).numpy().tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    token = _NUMBER.set(number)
    try:
        yield
    finally:
        _NUMBER.reset(token)


def in_branches(function: Callable[[Any], Any], batch: Any) -> Any:
    """What `function` makes of a batch, image by image, in the branches asked for by `branched`.

    Args:
        function: takes and gives tensors, or structures of them, with a first axis for the images;
            what it makes of an image may not depend on the others.
        batch: tensor or structure of tensors.

    Returns:
        As `function(batch)`.

    Example:
    >>> in_branches(lambda x: 2 * x, 3)
    6
    """
    number = _NUMBER.get()
    if number == 1:
        return function(batch)
    made = []
    with branched(1):
        for index, (part, start) in enumerate(_parts(batch, number)):
            token = _BRANCH.set(_Branch(index, start))
            try:
                made.append(function(part))
            finally:
                _BRANCH.reset(token)
    return keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *made)


def in_first_branch() -> bool:
    """Whether what a step does once is to be done here: always, without branches.

    Example:
    >>> in_first_branch()
    True
    """
    branch = _BRANCH.get()
    return branch is None or branch.index == 0


def first_of_branch() -> Any:
    """Number of this branch's first image in the batch: an int, or an int32 scalar tensor.

    Example:
    >>> first_of_branch()
    0
    """
    branch = _BRANCH.get()
    return 0 if branch is None else branch.start


def _parts(batch: Any, number: int) -> list[tuple[Any, Any]]:
    """The parts of a batch, as equal as they can be, and where each starts."""
    import tensorflow as tf

    leaves = keras.tree.flatten(batch)
    count = leaves[0].shape[0]
    count = tf.shape(leaves[0])[0] if count is None else count
    bounds = [count * index // number for index in range(number + 1)]
    sizes = [end - start for start, end in zip(bounds[:-1], bounds[1:], strict=True)]
    parts = zip(*(tf.split(leaf, sizes) for leaf in leaves), strict=True)
    return [
        (keras.tree.pack_sequence_as(batch, part), start)
        for part, start in zip(parts, bounds[:-1], strict=True)
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
