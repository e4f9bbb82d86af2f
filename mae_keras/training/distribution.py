"""Training on several devices or in several processes, and the same every time.

TensorFlow and JAX are imported on use.
"""

import atexit
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

KINDS = ("none", "devices", "processes")

# "Temporary failure, try again" of sysexits.h: what a scheduler may restart on.
LOST_PROCESS_EXIT = 75

_SIGNS_OF_LOSS = ("gloo", "nccl", "connection", "coordination service", "heartbeat", "unavailable")

# Index of this process and their number. JAX itself must not be asked before it is initialized.
_place = (0, 1)


class LostProcessError(RuntimeError):
    """Another process of the run is gone; this one cannot go on alone."""


@contextlib.contextmanager
def distribute(
    kind: str = "none",
    *,
    job_addresses: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> Iterator[None]:
    """Build, compile and train models on more than one device inside this context.

    Every process runs the same program on its `shard()` of every batch, and the weights come out
    as those of one device trained on the whole batches, up to float rounding. Only the process
    with `is_writer()` may write. Save the model inside the context; to use it afterwards load it
    outside, where it lives on one device. With several processes the context ends when all have
    reached its end, and what follows is no longer distributed; `is_writer()` and `shard()` still
    tell which process this was. Where it ends by an error, the process exits with code 75 if
    another process was lost, 130 if it was interrupted, else 1.

    Args:
        kind: `"none"`; `"devices"`, all devices of this machine (`tf.distribute.MirroredStrategy`
            on TensorFlow, `keras.distribution.DataParallel` on JAX); or `"processes"`, several
            processes with all their devices (`keras.distribution` on JAX), to be called before
            anything else computes.
        job_addresses: str, `"host:port"` of process 0, for `"processes"`; defaults to the
            environment variable `KERAS_DISTRIBUTION_JOB_ADDRESSES`.
        num_processes: int; defaults to `KERAS_DISTRIBUTION_NUM_PROCESSES`.
        process_id: int from 0; defaults to `KERAS_DISTRIBUTION_PROCESS_ID`.

    Yields:
        Nothing.

    Raises:
        ValueError: if `kind` is unknown or not for this backend, or it is not known how many
            processes there are.
        LostProcessError: if another process ended during training.

    Example:
    >>> with distribute("none"):
    ...     is_writer(), shard()
    (True, (0, 1))
    """
    if kind not in KINDS:
        raise ValueError(f"`distribute` must be one of {KINDS}. Received: {kind!r}")
    if kind == "none":
        yield
    elif kind == "devices":
        with _local_scope():
            yield
    else:
        _initialize(job_addresses, num_processes, process_id)
        with _together():
            yield


def process_index() -> int:
    """Number of this process, from 0.

    Example:
    >>> process_index()
    0
    """
    return _place[0]


def is_writer() -> bool:
    """Whether this process writes the run's files: process 0 alone does.

    Example:
    >>> is_writer()
    True
    """
    return _place[0] == 0


def shard() -> tuple[int, int]:
    """This process's slice of every batch, as `mae_keras.data.training_batches` takes it.

    Example:
    >>> shard()
    (0, 1)
    """
    return _place


def wait_for_all(name: str) -> None:
    """Go on when all processes have come here, as after what only the writer did first.

    Args:
        name: str, the same in all processes.

    Raises:
        LostProcessError: out of `distribute`, if one of them has ended.

    Example:
    >>> wait_for_all("folder claimed")
    """
    if _place[1] > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def gather(numbers: Any) -> np.ndarray:
    """What every process says, once all have said it.

    Args:
        numbers: int or array of ints, from -2**31 to 2**31 - 1, of one shape in all processes.

    Returns:
        int32 array `(processes, ...)`; row 0 is the writer's.

    Raises:
        LostProcessError: out of `distribute`, if one of them has ended.

    Example:
    >>> gather([7, -1]).tolist()
    [[7, -1]]
    """
    own = np.asarray(numbers, "int32")  # JAX would cut wider integers without a word
    if _place[1] == 1:
        return own[np.newaxis]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(own))


def exit_at_once(code: int) -> None:
    """End this process without waiting for others, which a failure may have left waiting.

    Args:
        code: int, the exit code.

    Example:
    >>> exit_at_once(1)  # doctest: +SKIP
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _local_scope() -> Any:
    backend = keras.backend.backend()
    if backend == "jax":
        distribution = keras.distribution.DataParallel()
        several = distribution.device_mesh.devices.size > 1
        return distribution.scope() if several else contextlib.nullcontext()
    if backend != "tensorflow":
        raise ValueError(
            '`distribute="devices"` needs the TensorFlow or the JAX backend. '
            f"Received: KERAS_BACKEND={backend}"
        )
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:  # nothing to mirror, and XLA stays possible
        return contextlib.nullcontext()
    return _mirrored(tuple(device.name for device in devices)).scope()


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    """One strategy for all that this process trains on these devices."""
    # Every strategy numbers its sums from the same start, and TensorFlow remembers the shape of
    # each number for as long as the process lives: a second one would meet the shapes of the first.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(list(devices))


def _initialize(
    job_addresses: str | None, num_processes: int | None, process_id: int | None
) -> None:
    global _place
    if keras.backend.backend() != "jax":
        raise ValueError(
            '`distribute="processes"` needs the JAX backend: set KERAS_BACKEND=jax. Keras 3 does '
            "not train over several machines on TensorFlow (keras-team/keras#20585). "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    given = {
        "JOB_ADDRESSES": job_addresses,
        "NUM_PROCESSES": num_processes,
        "PROCESS_ID": process_id,
    }
    missing = [
        f"KERAS_DISTRIBUTION_{name}"
        for name, value in given.items()
        if value is None and f"KERAS_DISTRIBUTION_{name}" not in os.environ
    ]
    if missing:
        raise ValueError(
            '`distribute="processes"` needs the address of process 0, the number of processes and '
            f"the number of this one. Missing: the environment variables {', '.join(missing)}"
        )
    keras.distribution.initialize(job_addresses, num_processes, process_id)
    import jax

    _place = (jax.process_index(), jax.process_count())


@contextlib.contextmanager
def _together() -> Iterator[None]:
    import jax

    if not is_writer():
        # A scheduler signals all processes, each at another step. The writer answers, by saving
        # and ending the run; the others end when they find it gone.
        names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        numbers = [getattr(signal, name) for name in names]
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    else:
        handlers = {}
    # Each process is given its own slices: nothing is left for Keras to cut.
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        try:
            yield
        except BaseException as error:
            # At its end JAX waits for all processes, minutes for those that are lost.
            atexit.register(exit_at_once, _exit_code(error))
            if _tells_of_loss(error):
                raise LostProcessError(
                    "Another process of this run has ended. Start all of them again with "
                    "`--resume` to go on from the newest checkpoint."
                ) from error
            raise
    jax.distributed.shutdown()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _exit_code(error: BaseException) -> int:
    """What Python would exit with, but for a lost process: what a scheduler may restart on."""
    if _tells_of_loss(error):
        return LOST_PROCESS_EXIT
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _tells_of_loss(error: BaseException) -> bool:
    # JAX raises no OSError; files and memory do ("Resource temporarily unavailable").
    if not isinstance(error, Exception) or isinstance(error, OSError):
        return False
    message = str(error).lower()
    return any(sign in message for sign in _SIGNS_OF_LOSS)


def enable_determinism() -> None:
    """Use operations that give the same result every time; on GPUs they are slower.

    On CPUs runs are the same to the bit without it. Call it before anything is computed: JAX's
    switch is an XLA flag, which is read when the first device is used, and PyTorch refuses matrix
    products on CUDA without a fixed workspace of cuBLAS, an environment variable that is set here.

    Example:
    >>> enable_determinism()  # doctest: +SKIP
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    else:
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
