"""The switch reaches the backend."""

import os
import subprocess
import sys
import types

import keras
import pytest

from mae_keras.training import enable_determinism

CHECK = """
import os
os.environ["KERAS_BACKEND"] = "{backend}"
from mae_keras.training import enable_determinism
enable_determinism()
{check}
"""
CHECKS = {
    "tensorflow": "import tensorflow as tf; assert tf.config.experimental."
    "is_op_determinism_enabled() if hasattr(tf.config.experimental, 'is_op_determinism_enabled') "
    "else True; import os; from tensorflow.python.framework import config; "
    "assert config.is_op_determinism_enabled()",
    "jax": "assert '--xla_gpu_deterministic_ops=true' in os.environ['XLA_FLAGS']",
}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("backend", CHECKS)
def test_it_is_on_for_the_whole_process(backend):
    pytest.importorskip(backend)
    code = CHECK.format(backend=backend, check=CHECKS[backend])
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_on_torch_cublas_gets_the_workspace_that_it_needs(monkeypatch):
    said = []
    torch = types.SimpleNamespace(use_deterministic_algorithms=said.append)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    enable_determinism()
    assert said == [True] and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    enable_determinism()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
