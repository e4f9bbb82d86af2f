"""ONNX files: equal to the live model, or not written."""

import json
import sys

import numpy as np
import pytest

from mae_keras.interop import VerificationError, export_onnx
from mae_keras.interop import onnx as module
from mae_keras.models import DenseMaskedAutoencoder, Forecaster, ViTEncoder

HERE = "pip install 'mae_keras[onnx]'"


@pytest.fixture(scope="module")
def runtime():
    for library in ("onnx", "tf2onnx"):
        pytest.importorskip(library, reason=HERE)
    return pytest.importorskip("onnxruntime", reason=HERE)


def run(runtime, path, **inputs):
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    keys = [output.name for output in session.get_outputs()]
    return session, dict(zip(keys, session.run(None, inputs), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5])
def test_features_are_those_of_the_live_model_at_any_batch_size(
    runtime, tiny, images, tmp_path, count
):
    differences = export_onnx(tiny, tmp_path / "encode.onnx")
    assert differences["encode/features"] <= 1e-4
    session, made = run(runtime, tmp_path / "encode.onnx", images=images[:count])
    assert [given.shape for given in session.get_inputs()] == [["batch", 8, 8, 1]]
    np.testing.assert_allclose(made["features"], tiny.encode(images[:count]), atol=1e-4)


@pytest.mark.slow
def test_reconstructions_are_those_of_the_live_model(runtime, tiny, images, patch_masks, tmp_path):
    path = tmp_path / "reconstruct.onnx"
    export_onnx(tiny, path, signature="reconstruct")
    _, made = run(runtime, path, images=images, patch_mask=patch_masks)
    live = tiny.reconstruct(images, patch_masks)
    np.testing.assert_allclose(made["prediction"], live.prediction, atol=1e-4 * 255)
    np.testing.assert_allclose(made["pasted"], live.pasted, atol=1e-4 * 255)


@pytest.mark.slow
def test_forecasts_are_those_of_the_live_model(runtime, tmp_path):
    encoder = ViTEncoder((16, 1), 4, 8, 1, 2, 16, value_range=None, standardize="sample")
    model = Forecaster(encoder, horizon=5, num_channels=2)
    past = np.random.default_rng(0).normal(3, 2, (4, 16, 2)).astype("float32")
    past[0, :3, 0] = np.nan
    export_onnx(model, tmp_path / "forecast.onnx")
    _, made = run(runtime, tmp_path / "forecast.onnx", past=past)
    assert made["future"].shape == (4, 5, 2)
    np.testing.assert_allclose(made["future"], model.forecast(past), atol=1e-4)


@pytest.mark.slow
def test_classifiers_give_logits_and_probabilities(runtime, make_classifier, images, tmp_path):
    model = make_classifier(class_names=["cat", "dog", "ibis"])
    export_onnx(model, tmp_path / "classify.onnx")
    session = runtime.InferenceSession(
        str(tmp_path / "classify.onnx"), providers=["CPUExecutionProvider"]
    )
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == ["cat", "dog", "ibis"]
    _, made = run(runtime, tmp_path / "classify.onnx", images=images)
    np.testing.assert_allclose(made["probabilities"], model.probabilities(images), atol=1e-4)
    np.testing.assert_allclose(made["logits"], model.predict(images, verbose=0), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("signature", ["reconstruct", "inpaint"])
def test_missing_values_are_understood(runtime, make_tiny, tmp_path, signature):
    """Verification feeds NaN to models of floats; tf2onnx's own rule would let it through."""
    model = make_tiny(value_range=(0, 1))
    assert export_onnx(model, tmp_path / "model.onnx", signature=signature)


@pytest.mark.slow
def test_three_axes_and_elements_as_patches_are_exported(runtime, make_tiny, tmp_path):
    for model in (make_tiny((4, 4, 4, 1)), DenseMaskedAutoencoder((4, 4, 3), (8,))):
        assert export_onnx(model, tmp_path / "model.onnx", signature="reconstruct")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "patch_size"), [((4, 6, 8, 1), (2, 3, 4)), ((4, 8, 8, 3), (2, 4, 4))]
)
def test_features_of_volumes_and_clips_with_gaps_are_those_of_the_live_model(
    runtime, make_tiny, tmp_path, shape, patch_size
):
    model = make_tiny(shape, patch_size, value_range=None)
    export_onnx(model, tmp_path / "encode.onnx")
    samples = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    samples[1, 0, :2] = np.nan
    _, made = run(runtime, tmp_path / "encode.onnx", images=samples)
    np.testing.assert_allclose(made["features"], model.encode(samples), atol=1e-4)


@pytest.mark.slow
def test_a_file_that_is_wrong_is_not_written(runtime, tiny, tmp_path):
    with pytest.raises(VerificationError, match="features by"):
        export_onnx(tiny, tmp_path / "encode.onnx", tolerance=0.0)
    assert not list(tmp_path.iterdir())


def test_a_conversion_that_fails_leaves_the_previous_file(runtime, tiny, tmp_path, monkeypatch):
    (tmp_path / "encode.onnx").write_text("previous")
    monkeypatch.setattr(module, "_convert", lambda *_: b"no model")
    with pytest.raises(VerificationError, match="ONNX Runtime does not run it: .*ONNXRuntimeError"):
        export_onnx(tiny, tmp_path / "encode.onnx")
    assert (tmp_path / "encode.onnx").read_text() == "previous"


@pytest.mark.parametrize("library", ["onnx", "tf2onnx", "onnxruntime"])
def test_a_missing_library_is_named_with_its_extra(tiny, tmp_path, monkeypatch, library):
    for name in ("onnx", "tf2onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None if name == library else sys)
    with pytest.raises(ImportError, match=rf"needs `{library}`: pip install '.*\[onnx\]'"):
        export_onnx(tiny, tmp_path / "encode.onnx")


def test_an_autoencoder_cannot_classify(tiny, tmp_path):
    with pytest.raises(ValueError, match="Received: 'classify'"):
        export_onnx(tiny, tmp_path / "model.onnx", signature="classify")


def test_half_precision_is_refused_in_words(make_tiny, tmp_path):
    with pytest.raises(ValueError, match="compute in float32"):
        export_onnx(make_tiny(dtype="mixed_bfloat16"), tmp_path / "model.onnx")
