"""Which functions an exported model has, and that they are those of the live one."""

import numpy as np
import pytest

from mae_keras.models import DenseMaskedAutoencoder, ImageClassifier
from mae_keras.models.exporting import signatures_of


@pytest.mark.slow
def test_autoencoders_encode_reconstruct_and_inpaint(tiny):
    names = ["serving_default", "encode", "reconstruct", "inpaint"]
    assert list(signatures_of(tiny)) == names
    assert list(signatures_of(DenseMaskedAutoencoder((4, 4, 3), (8,)))) == names


@pytest.mark.slow
def test_classifiers_encode_and_classify(tiny):
    classifier = ImageClassifier.from_pretrained(tiny, 3)
    signatures = signatures_of(classifier)
    assert list(signatures) == ["serving_default", "encode", "classify"]
    assert signatures["serving_default"] is signatures["classify"]


@pytest.mark.parametrize(("value_range", "dtype"), [((0, 255), "uint8"), ((0, 1), "float32")])
def test_inputs_are_pixels_as_stored_of_any_number(make_tiny, value_range, dtype):
    signatures = signatures_of(make_tiny(value_range=value_range))
    images, patch_mask = signatures["reconstruct"].inputs
    assert (images.name, images.dtype, images.shape) == ("images", dtype, (None, 8, 8, 1))
    assert (patch_mask.name, patch_mask.dtype, patch_mask.shape) == (
        "patch_mask",
        "bool",
        (None, 16),
    )
    missing = signatures["inpaint"].inputs[1]
    assert (missing.name, missing.dtype, missing.shape) == ("missing", "bool", (None, 8, 8))


@pytest.mark.every_backend
def test_outputs_are_those_of_the_live_model(tiny, images, random_masks):
    signatures = signatures_of(tiny)
    features = signatures["encode"].function(images)["features"]
    np.testing.assert_allclose(np.asarray(features), tiny.encode(images), atol=1e-5)
    made = signatures["reconstruct"].function(images, random_masks)
    live = tiny.reconstruct(images, random_masks)
    np.testing.assert_allclose(np.asarray(made["pasted"]), live.pasted, atol=2e-3)


@pytest.mark.slow
@pytest.mark.every_backend
def test_a_classifier_is_deterministic_however_much_it_drops_in_training(make_tiny, images):
    model = ImageClassifier.from_pretrained(
        make_tiny(num_layers=2), 3, drop_path_rate=0.9, head_dropout_rate=0.9
    )
    classify = signatures_of(model)["classify"].function
    first, second = classify(images), classify(images)
    np.testing.assert_array_equal(np.asarray(first["logits"]), np.asarray(second["logits"]))
    np.testing.assert_allclose(
        np.asarray(first["probabilities"]), model.probabilities(images), atol=1e-6
    )


def test_class_names_come_with_every_row_of_probabilities(tiny, images):
    model = ImageClassifier.from_pretrained(tiny, 3, class_names=["cat", "dog", "ibis"])
    made = signatures_of(model, class_names=True)["serving_default"].function(images[:2])
    assert made["class_names"].numpy().tolist() == [[b"cat", b"dog", b"ibis"]] * 2
    assert set(signatures_of(model)["classify"].function(images)) == {"logits", "probabilities"}
