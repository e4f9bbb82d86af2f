"""The SavedModel, and what a failing export leaves behind."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from mae_keras.interop import export_saved_model
from mae_keras.layers import RandomMasking
from mae_keras.models import DenseMaskedAutoencoder, ImageClassifier, load_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "saved_model"
    tiny.export(folder)
    return folder


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported))
    yield loaded.signatures  # which do not keep what they need alive by themselves
    del loaded


def test_there_are_the_signatures_of_the_design(signatures):
    assert set(signatures) == {"serving_default", "encode", "reconstruct", "inpaint"}


@pytest.mark.parametrize("name", ["serving_default", "encode"])
@pytest.mark.parametrize("count", [1, 5, 16])
def test_features_are_those_of_the_live_model_at_any_batch_size(
    signatures, tiny, images, name, count
):
    features = signatures[name](images=tf.constant(images[:count]))["features"]
    np.testing.assert_allclose(features, tiny.encode(images[:count]), rtol=1e-5, atol=1e-5)


def test_reconstructions_are_those_of_the_live_model(signatures, tiny, images, random_masks):
    made = signatures["reconstruct"](
        images=tf.constant(images), patch_mask=tf.constant(random_masks)
    )
    live = tiny.reconstruct(images, random_masks)
    assert set(made) == {"prediction", "pasted"}
    np.testing.assert_allclose(made["prediction"], live.prediction, rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(made["pasted"], live.pasted, rtol=1e-5, atol=2e-3)


def stored_values(folder):
    """How many numbers the weights of a SavedModel take up on disk."""
    listed = tf.train.list_variables(str(folder / "variables" / "variables"))
    return sum(int(np.prod(shape)) for name, shape in listed if not name.startswith("_CHECKPOINT"))


def test_every_weight_is_stored_once(exported, tiny):
    weights = sum(int(np.prod(weight.shape)) for weight in tiny.weights)
    trained = sum(int(np.prod(weight.shape)) for weight in tiny.trainable_weights)
    assert trained <= stored_values(exported) <= weights


def test_features_alone_are_stored_without_the_decoder(tiny, tmp_path):
    export_saved_model(tiny, tmp_path / "features", signatures=["encode"], verify=False)
    weights = sum(int(np.prod(weight.shape)) for weight in tiny.encoder.weights)
    assert stored_values(tmp_path / "features") == weights


def test_signatures_take_pixels_as_bytes(signatures):
    _, inputs = signatures["serving_default"].structured_input_signature
    assert inputs["images"].dtype == tf.uint8
    assert tuple(inputs["images"].shape) == (None, 8, 8, 1)


def test_models_of_other_ranges_take_floats(tmp_path):
    model = DenseMaskedAutoencoder((4, 4, 1), (8,), value_range=(0, 1))
    model.export(tmp_path / "saved_model")
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    _, inputs = loaded.signatures["serving_default"].structured_input_signature
    assert inputs["images"].dtype == tf.float32


def test_missing_pixels_are_understood_by_an_exported_model(tmp_path, make_tiny):
    model = make_tiny(value_range=(0, 1))
    model.export(tmp_path / "saved_model")
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    image = np.full((1, 8, 8, 1), 0.5, "float32")
    image[0, 0, 0, 0] = np.nan
    features = loaded.signatures["encode"](images=tf.constant(image))["features"]
    np.testing.assert_allclose(features, model.encode(image), rtol=1e-5, atol=1e-5)


def test_exporting_replaces_an_earlier_saved_model_as_a_whole(tiny, tmp_path):
    target = tmp_path / "saved_model"
    (target / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "keras_metadata.pb", "variables/stale"):
        (target / name).write_text("stale")
    tiny.export(str(target))
    assert not (target / "keras_metadata.pb").exists() and not list(target.rglob("stale"))
    assert (target / "saved_model.pb").read_bytes() != b"stale"


def test_exporting_does_not_remove_what_is_no_saved_model(tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for held in ([], ["saved_model.pb"]):
        for name in held:
            (tmp_path / name).touch()
        with pytest.raises(ValueError, match="`filepath` must be a new or empty folder.*thesis"):
            tiny.export(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_what_tensorflow_says_of_a_full_disk_is_an_error_of_the_disk(tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="could not be written: No space left on device"):
        DenseMaskedAutoencoder((4, 4, 1), (8,)).export(tmp_path / "saved_model")
    assert not list(tmp_path.iterdir())


def test_a_backend_without_saved_models_is_refused_before_any_work(tmp_path, monkeypatch):
    model = DenseMaskedAutoencoder((4, 4, 1), (8,))
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="on TensorFlow or JAX.* Received: the torch backend"):
        model.export(tmp_path / "saved_model")
    assert not list(tmp_path.iterdir())


def test_an_export_that_fails_midway_leaves_the_previous_folder_whole(tiny, tmp_path, monkeypatch):
    target = tmp_path / "saved_model"
    target.mkdir()
    (target / "saved_model.pb").write_text("previous")

    def half_then_fail(_, filepath, *__, **___):
        pathlib.Path(filepath).mkdir()
        (pathlib.Path(filepath) / "saved_model.pb").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", half_then_fail)
    with pytest.raises(OSError, match="disk full"):
        tiny.export(target)
    assert (target / "saved_model.pb").read_text() == "previous"
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model"]


def test_exporting_does_not_disturb_the_model(make_tiny, images, tmp_path):
    model = make_tiny()
    before = model.encode(images), model.get_weights()
    model.export(tmp_path / "saved_model")
    np.testing.assert_array_equal(model.encode(images), before[0])
    assert len(model.get_weights()) == len(before[1])
    model.save(tmp_path / "model.keras")


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"normalize_targets": True, "use_class_token": False},
        {"masking": RandomMasking(0.5, seed=0), "dtype": "mixed_bfloat16"},
        {"image_shape": (16, 2), "patch_size": 4},
    ],
    ids=["standardized", "bfloat16", "rank 1"],
)
def test_other_models_are_exported(make_tiny, tmp_path, options):
    model = make_tiny(**options)
    images = np.random.default_rng(0).integers(0, 256, (3, *model.image_shape)).astype("uint8")
    mask = np.arange(model.num_patches) % 2 == 0
    masks = np.tile(mask, (3, 1))
    model.export(tmp_path / "saved_model")
    made = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["reconstruct"](
        images=tf.constant(images), patch_mask=tf.constant(masks)
    )
    live = model.reconstruct(images, mask)
    tolerance = 8.0 if "dtype" in options else 2e-3  # bfloat16 keeps 8 bits
    np.testing.assert_allclose(made["prediction"], live.prediction, atol=tolerance)


def test_classifiers_are_exported_with_features_and_classes(tiny, images, tmp_path):
    model = ImageClassifier.from_pretrained(tiny, 3)
    model.export(tmp_path / "saved_model")
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    assert set(loaded.signatures) == {"serving_default", "encode", "classify"}
    for name in ("classify", "serving_default"):
        made = loaded.signatures[name](images=tf.constant(images))
        assert set(made) == {"logits", "probabilities"}
        np.testing.assert_allclose(made["probabilities"], model.probabilities(images), atol=1e-6)
    made = loaded.signatures["encode"](images=tf.constant(images))
    np.testing.assert_allclose(made["features"], model.encode(images), rtol=1e-5, atol=1e-5)


def test_a_classifier_serves_probabilities_by_class_name(tiny, images, tmp_path):
    model = ImageClassifier.from_pretrained(tiny, 3, class_names=["cat", "dog", "Ibiß"])
    model.save(tmp_path / "model.keras")
    load_model(tmp_path / "model.keras").export(tmp_path / "saved_model")
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    made = loaded.signatures["serving_default"](images=tf.constant(images))
    names = [[name.decode() for name in row] for row in made["class_names"].numpy()]
    assert names == [["cat", "dog", "Ibiß"]] * len(images)
    np.testing.assert_allclose(made["probabilities"], model.probabilities(images), atol=1e-6)


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_formats_that_keras_writes_wrongly_are_refused_with_the_call_to_use(tmp_path, format):
    model = DenseMaskedAutoencoder((4, 4, 1), (8,))
    with pytest.raises(ValueError, match=rf"interop\.export_{format}\(model"):
        model.export(tmp_path / "model", format=format)
    assert not list(tmp_path.iterdir())


def test_exports_are_the_same_every_time(signatures, images):
    first, second = (signatures["encode"](images=tf.constant(images)) for _ in range(2))
    np.testing.assert_array_equal(first["features"], second["features"])
