"""Which models and which of their signatures can be exported."""

import keras
import pytest

from mae_keras.interop.export import check_converter, select_signatures
from mae_keras.models import DenseMaskedAutoencoder, MaskedAutoencoder


class Unbuilt(MaskedAutoencoder):
    def build(self, input_shape):
        pass


def test_all_signatures_are_selected_unless_some_are_named(tiny, make_classifier):
    classifier = make_classifier()
    all_of = ["serving_default", "encode", "reconstruct", "inpaint"]
    assert list(select_signatures(tiny)) == all_of
    assert list(select_signatures(classifier)) == ["serving_default", "encode", "classify"]
    assert list(select_signatures(tiny, ["inpaint", "encode"])) == ["inpaint", "encode"]


def test_an_autoencoder_asked_to_classify_says_what_can(tiny):
    with pytest.raises(ValueError, match="ImageClassifier.from_pretrained.*Received: 'classify'"):
        select_signatures(tiny, ["encode", "classify"])


def test_a_classifier_asked_to_reconstruct_has_no_decoder(make_classifier):
    with pytest.raises(ValueError, match="has no decoder.*Received: 'reconstruct'"):
        select_signatures(make_classifier(), ["reconstruct"])


@pytest.mark.parametrize("names", ["encode", [], ["fly"]], ids=str)
def test_names_that_are_none_are_refused(tiny, names):
    with pytest.raises(ValueError, match="`signatures`"):
        select_signatures(tiny, names)


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="must be a masked autoencoder.*Received: Sequential"):
        select_signatures(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]))


def test_a_model_without_weights_is_refused(tiny):
    model = Unbuilt(tiny.encoder, tiny.decoder)
    model.built = False
    with pytest.raises(ValueError, match="`model` must be built"):
        select_signatures(model)


def test_half_precision_cannot_be_converted(make_tiny):
    with pytest.raises(ValueError, match="ONNX export takes models that compute in float32"):
        check_converter(make_tiny(dtype="mixed_bfloat16"), "ONNX")


def test_more_weights_than_a_file_holds_are_refused(monkeypatch):
    model = DenseMaskedAutoencoder((4, 4, 1), (8,))
    monkeypatch.setattr(type(model), "count_params", lambda self: 2**29)
    with pytest.raises(ValueError, match="LiteRT files hold less than 2 GiB.*2.0 GiB"):
        check_converter(model, "LiteRT")


def test_converters_need_tensorflow(tiny, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow. Received: the jax backend"):
        check_converter(tiny, "ONNX")
