"""LiteRT files: several signatures, equal to the live model, or not written."""

import sys

import numpy as np
import pytest

from mae_keras.interop import VerificationError, export_litert
from mae_keras.models import MaskedAutoencoder

HERE = "pip install 'mae_keras[litert]'"


@pytest.fixture(scope="module")
def interpreter():
    return pytest.importorskip("ai_edge_litert.interpreter", reason=HERE).Interpreter


@pytest.mark.slow
def test_every_signature_gives_what_the_live_model_gives(
    interpreter, tiny, images, patch_masks, holes, tmp_path
):
    differences = export_litert(tiny, tmp_path / "model.tflite")
    assert max(differences.values()) <= 1e-4
    loaded = interpreter(str(tmp_path / "model.tflite"))
    assert set(loaded.get_signature_list()) == {"encode", "reconstruct", "inpaint"}
    for count in (5, 1):
        features = loaded.get_signature_runner("encode")(images=images[:count])["features"]
        np.testing.assert_allclose(features, tiny.encode(images[:count]), atol=1e-4)
    made = loaded.get_signature_runner("reconstruct")(images=images, patch_mask=patch_masks)
    live = tiny.reconstruct(images, patch_masks)
    np.testing.assert_allclose(made["prediction"], live.prediction, atol=1e-4 * 255)
    made = loaded.get_signature_runner("inpaint")(images=images, missing=holes)
    np.testing.assert_allclose(made["pasted"], tiny.inpaint(images, holes), atol=1e-4 * 255)


@pytest.mark.slow
def test_classifiers_and_one_axis_are_exported(interpreter, make_classifier, make_tiny, tmp_path):
    assert "classify/logits" in export_litert(make_classifier(), tmp_path / "model.tflite")
    assert export_litert(make_tiny((16, 2), 4, value_range=(0, 1)), tmp_path / "model.tflite")


@pytest.mark.slow
def test_int8_is_smaller_and_close(interpreter, images, tmp_path):
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=0)
    paths = [tmp_path / "float32.tflite", tmp_path / "int8.tflite"]
    for path, quantize in zip(paths, (False, True), strict=True):
        export_litert(model, path, signatures=["encode"], quantize=quantize)
    full, small = (path.stat().st_size for path in paths)
    assert small < 0.5 * full
    runner = interpreter(str(paths[1])).get_signature_runner("encode")
    live, made = model.encode(images), runner(images=images)["features"]
    difference = np.abs(made - live).max() / np.abs(live).max()
    assert 1e-4 < difference < 0.1


@pytest.mark.slow
def test_a_file_that_is_wrong_is_not_written(interpreter, tiny, tmp_path):
    with pytest.raises(VerificationError, match="features by"):
        export_litert(tiny, tmp_path / "model.tflite", signatures=["encode"], tolerance=0.0)
    assert not list(tmp_path.iterdir())


def test_three_axes_cannot_be_expressed(make_tiny, tmp_path):
    with pytest.raises(ValueError, match=r"LiteRT transposes at most six axes.*\(4, 4, 4, 1\)"):
        export_litert(make_tiny((4, 4, 4, 1)), tmp_path / "model.tflite")


def test_a_missing_interpreter_is_named_with_its_extra(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match=r"pip install '.*\[litert\]'"):
        export_litert(tiny, tmp_path / "model.tflite")


def test_another_ending_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="must end in '.tflite'"):
        export_litert(tiny, tmp_path / "model.onnx")
