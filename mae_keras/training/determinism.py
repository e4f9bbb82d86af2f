"""Making a GPU compute the same every time."""

import os

import keras


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
