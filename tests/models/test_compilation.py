"""When a model is compiled by XLA."""

import keras
import pytest

from mae_keras.models import compilation
from mae_keras.models.compilation import resolve_jit_compile

CPU, GPU, TPU = ["cpu:0"], ["gpu:0", "gpu:1"], ["tpu:0"]


def place(monkeypatch, backend, devices, distribution=None):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda *_: devices)
    monkeypatch.setattr(keras.distribution, "distribution", lambda: distribution)


@pytest.mark.parametrize(
    ("backend", "devices", "dim", "dtype", "expected"),
    [
        ("tensorflow", CPU, 64, "float32", True),
        ("tensorflow", CPU, 256, "float32", True),
        ("tensorflow", CPU, 768, "float32", False),
        ("tensorflow", CPU, 64, "bfloat16", False),
        ("tensorflow", CPU, 64, "float16", False),
        ("tensorflow", GPU, 768, "float32", True),
        ("tensorflow", GPU, 64, "bfloat16", True),
        ("tensorflow", ["GPU:0"], 768, "float32", True),
        ("tensorflow", TPU, 768, "bfloat16", True),
        ("jax", CPU, 768, "float32", True),
        ("jax", GPU, 64, "bfloat16", True),
        ("torch", CPU, 64, "float32", False),
        ("torch", ["cuda:0"], 64, "float32", False),
    ],
)
def test_auto_is_decided_by_backend_device_width_and_dtype(
    monkeypatch, backend, devices, dim, dtype, expected
):
    place(monkeypatch, backend, devices)
    assert resolve_jit_compile("auto", dim, dtype) is expected


def test_auto_is_off_under_a_distribution_on_tensorflow(monkeypatch):
    place(monkeypatch, "tensorflow", GPU, distribution=object())
    assert resolve_jit_compile("auto", 64, "float32") is False


@pytest.mark.parametrize("choice", [True, False])
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_choice_of_the_user_is_kept(monkeypatch, backend, choice):
    place(monkeypatch, backend, CPU)
    assert resolve_jit_compile(choice, 4096, "bfloat16") is choice


@pytest.mark.parametrize("wrong", ["yes", None, 1])
def test_anything_else_is_refused(wrong):
    with pytest.raises(ValueError, match="`jit_compile` must be True, False or 'auto'. Received"):
        resolve_jit_compile(wrong, 64, "float32")


def test_several_tensorflow_replicas_go_without_xla(monkeypatch):
    place(monkeypatch, "tensorflow", GPU)
    monkeypatch.setattr(compilation, "num_replicas", lambda: 2)
    assert resolve_jit_compile("auto", 64, "float32") is False
    assert resolve_jit_compile(False, 64, "float32") is False
    with pytest.raises(ValueError, match="must be 'auto' or False on several TensorFlow replicas"):
        resolve_jit_compile(True, 64, "float32")


def test_several_jax_replicas_are_one_compiled_program(monkeypatch):
    place(monkeypatch, "jax", GPU, distribution=object())
    monkeypatch.setattr(compilation, "num_replicas", lambda: 2)
    assert resolve_jit_compile("auto", 64, "float32") is True
    assert resolve_jit_compile(True, 64, "float32") is True
