"""Models as Hugging Face reads them; `scripts/golden/round_trip.py` lets it read them itself."""

import json

import keras
import numpy as np
import pytest
from interop.torch_files import meta_tensors, to_hugging_face

from mae_keras.interop import model_from_torch, save_torch_weights
from mae_keras.interop.torch_reading import read_safetensors
from mae_keras.layers import PixelNormalization
from mae_keras.models import (
    CrossAttentionDecoder,
    ImageClassifier,
    MAEDecoder,
    MaskedAutoencoder,
    ViTEncoder,
)

pytest.importorskip("safetensors")


def encoder(image_shape=(8, 8, 3), patch_size=2, **options):
    return ViTEncoder(image_shape, patch_size, 16, 2, 2, 24, **options)


def autoencoder(**options):
    return MaskedAutoencoder(encoder(**options), MAEDecoder(8, 1, 2, 20), normalize_targets=True)


@pytest.mark.parametrize(
    "model, sizes, drop",
    [
        (autoencoder, {}, ""),
        (encoder, {"decoder": None}, "vit."),
        (
            lambda: ImageClassifier(encoder(), 3, pooling="token"),
            {"decoder": None, "classes": 3, "mean_pooling": False},
            "",
        ),
    ],
    ids=["ViTMAEForPreTraining", "ViTMAEModel", "ViTForImageClassification"],
)
def test_names_and_shapes_are_those_that_hugging_face_loads(model, sizes, drop, tmp_path):
    save_torch_weights(model(), tmp_path / "out")
    written = read_safetensors(str(tmp_path / "out" / "model.safetensors"))
    # `from_pretrained` found none of these missing, when the golden files were made
    expected = to_hugging_face(meta_tensors(**sizes))
    assert {name: tensor.shape for name, tensor in written.items()} == {
        name.removeprefix(drop): array.shape for name, array in expected.items()
    }


def test_an_encoder_that_was_written_is_read_back_to_be_trained(tmp_path):
    """Its `config.json` says that nothing is hidden, which is no way to train."""
    model = encoder()
    save_torch_weights(model, tmp_path / "out")
    with pytest.warns(UserWarning, match="No decoder"):
        again, report = model_from_torch(tmp_path / "out")
    assert again.masking.mask_ratio == 0.75
    assert "mask_ratio=0.75 (the default: 0.0 in config.json hides none or all)." in report.notes
    np.testing.assert_array_equal(again.encoder.class_token, model.class_token)


@pytest.mark.parametrize("kind", ["sincos", "learned"])
def test_what_is_written_gives_the_same_model_back(kind, tmp_path):
    model = autoencoder(position_embedding=kind, mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.1])
    save_torch_weights(model, tmp_path / "out")
    again, report = model_from_torch(tmp_path / "out")
    assert report.complete
    assert again.encoder.get_config()["mean"] == [0.4, 0.5, 0.6]
    assert again.normalize_targets
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    np.testing.assert_allclose(again(images), model(images), rtol=0, atol=1e-5)


def test_the_processor_gives_the_numbers_that_the_model_computes(tmp_path):
    layer = {"value_range": (-1, 3), "mean": 0.4, "std": [0.2, 0.3, 0.1]}
    save_torch_weights(encoder(**layer), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    pixels = np.random.default_rng(0).uniform(-1, 3, (5, 3))
    theirs = pixels * written["rescale_factor"] - written["image_mean"]
    theirs /= written["image_std"]
    np.testing.assert_allclose(PixelNormalization(**layer)(pixels), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "model, words",
    [
        (lambda: encoder((8, 12, 3)), "only squares"),
        (lambda: encoder((8, 8, 3), (2, 4)), "patches of"),
        (lambda: encoder((8, 3)), "only squares"),
        (lambda: encoder(use_class_token=False), "no class token"),
        (lambda: ImageClassifier(encoder(), 3), "pooling='mean'"),
        (
            lambda: MaskedAutoencoder(encoder(layer_norm_epsilon=1e-3), MAEDecoder(8, 1, 2, 20)),
            "two epsilons",
        ),
        (
            lambda: MaskedAutoencoder(encoder(), CrossAttentionDecoder(8, 1, 2, 20)),
            "a decoder of cross-attention",
        ),
    ],
)
def test_what_the_format_cannot_express_is_refused(model, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        save_torch_weights(model(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="thesis.txt"):
        save_torch_weights(encoder(), tmp_path)


def test_an_earlier_folder_is_replaced(tmp_path):
    save_torch_weights(encoder(), tmp_path / "out")
    save_torch_weights(encoder(), tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_another_kind_of_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Sequential"):
        save_torch_weights(keras.Sequential(), tmp_path / "out")
