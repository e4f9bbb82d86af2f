"""When a model is compiled by XLA."""

import keras
import numpy as np
import pytest

from mae_keras.models import DenseMaskedAutoencoder, compilation
from mae_keras.models.compilation import resolve_jit_compile
from mae_keras.runtime import cpu_kernels
from mae_keras.runtime.cpu_kernels import compiled

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


@pytest.mark.parametrize(("tokens", "expected"), [(64, True), (256, True), (257, False)])
def test_auto_leaves_images_of_many_numbers_to_tensorflow(monkeypatch, tokens, expected):
    place(monkeypatch, "tensorflow", CPU)
    assert resolve_jit_compile("auto", 128, "float32", tokens) is expected
    place(monkeypatch, "tensorflow", GPU)
    assert resolve_jit_compile("auto", 128, "float32", tokens) is True


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


def trained(model, images, **options):
    model.compile(keras.optimizers.SGD(0.1), **options)
    model.fit(images, epochs=2, batch_size=8, verbose=0, shuffle=False)
    return model


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="pieces are TensorFlow's")
def test_fused_blocks_train_the_same_model(make_tiny, images, monkeypatch):
    monkeypatch.setattr(compilation, "LARGEST_XLA_CPU_DIM", 1)
    taken = []
    monkeypatch.setattr(cpu_kernels, "compiled", lambda f: taken.append(f.__name__) or compiled(f))
    in_pieces = trained(make_tiny(num_layers=2), images)
    assert (in_pieces.xla, in_pieces.jit_compile) == ("pieces", False)
    blocks, times = 4, taken.count("_gelu") // 4
    # Traced as often as Keras traces a step.
    for name, expected in (("_gelu", blocks), ("_split", blocks), ("_norm", 2 * blocks)):
        assert taken.count(name) == expected * times > 0
    taken.clear()
    whole = trained(make_tiny(num_layers=2), images, jit_compile=False)
    assert (whole.xla, taken) == ("nothing", [])
    for mine, theirs in zip(in_pieces.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="pieces are TensorFlow's")
@pytest.mark.parametrize(("dtype", "atol"), [("mixed_bfloat16", 4e-3), ("mixed_float16", 5e-4)])
def test_fused_blocks_train_the_same_model_in_half_precision(make_tiny, images, dtype, atol):
    def weights(**options):
        model = make_tiny(num_layers=2, dtype=dtype)
        before = model.get_weights()
        return before, trained(model, images, **options)

    before, in_pieces = weights()
    _, whole = weights(jit_compile=False)
    assert (in_pieces.xla, whole.xla) == ("pieces", "nothing")
    moved = 0.0
    for start, mine, theirs in zip(
        before, in_pieces.get_weights(), whole.get_weights(), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=atol)
        moved = max(moved, np.abs(mine.astype("float64") - start).max())
    assert moved > 10 * atol


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="pieces are TensorFlow's")
def test_pieces_are_for_what_auto_left_to_tensorflow(make_tiny, monkeypatch):
    model = make_tiny()
    for options, expected in (
        ({}, "all"),
        ({"jit_compile": True}, "all"),
        ({"jit_compile": False}, "nothing"),
        ({"run_eagerly": True}, "nothing"),
    ):
        model.compile("sgd", **options)
        assert model.xla == expected
    monkeypatch.setattr(compilation, "LARGEST_XLA_CPU_IMAGE", 16 * 16 - 1)
    model.compile("sgd")
    assert model.xla == "pieces"
    model.jit_compile = False
    assert model.xla == "pieces"
    precise = make_tiny(dtype="float64")
    assert precise.xla == "nothing"
    precise.compile("sgd")
    assert precise.xla == "nothing"
    dense = DenseMaskedAutoencoder((300, 1), hidden_units=(512,))
    dense.compile("sgd")
    assert dense.xla == "nothing"


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="pieces are TensorFlow's")
def test_there_are_no_pieces_where_keras_refuses_xla(make_tiny, monkeypatch):
    model = make_tiny(dtype="mixed_bfloat16")
    model.compile("sgd")
    assert model.xla == "pieces"
    monkeypatch.setattr(model.encoder, "supports_jit", False)
    model.compile("sgd")
    assert (model.xla, model.jit_compile) == ("nothing", False)
    single = make_tiny()
    monkeypatch.setattr(single.encoder, "supports_jit", False)
    with pytest.warns(UserWarning, match="jit_compile"):
        single.compile("sgd")
    assert single.xla == "nothing"
