"""Loading into a model that exists: what is reported, refused and left alone."""

import keras
import numpy as np
import pytest
from interop.torch_files import meta_tensors, write_pth

from mae_keras.interop import load_torch_weights
from mae_keras.models import (
    CrossAttentionDecoder,
    ImageClassifier,
    MAEDecoder,
    MaskedAutoencoder,
    ViTEncoder,
)

NO_DECODER = "No decoder in this checkpoint: reconstructions will be noise, encode"


def encoder(**options):
    return ViTEncoder((8, 8, 3), 2, 16, 2, 2, 24, **options)


@pytest.fixture
def autoencoder():
    return MaskedAutoencoder(encoder(), MAEDecoder(8, 1, 2, 20))


@pytest.fixture
def load(tmp_path):
    """Load tensors through a file."""

    def load(model, tensors, **options):
        write_pth(tmp_path / "a.pth", {"model": tensors})
        return load_torch_weights(model, tmp_path / "a.pth", **options)

    return load


def weights(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]


def unchanged(model, before):
    return all(np.array_equal(a, b) for a, b in zip(weights(model), before, strict=True))


@pytest.mark.every_backend
def test_everything_is_loaded_and_reported(autoencoder, load):
    tensors = meta_tensors()
    report = load(autoencoder, tensors)
    assert report.complete and set(report.names("loaded")) == set(tensors)
    np.testing.assert_array_equal(
        autoencoder.decoder.embedding.kernel, tensors["decoder_embed.weight"].T
    )


def test_an_encoder_alone_warns_that_reconstructions_will_be_noise(autoencoder, load):
    before = weights(autoencoder.decoder)
    with pytest.warns(UserWarning, match=NO_DECODER):
        report = load(autoencoder, meta_tensors(decoder=None))
    assert report.missing_parts == ("decoder",)
    assert len(report.names("absent")) == len(weights(autoencoder.decoder)) + 2  # and the head's
    assert any(NO_DECODER in note for note in report.notes)
    assert unchanged(autoencoder.decoder, before)


def test_a_decoder_is_not_used_by_an_encoder(load):
    report = load(encoder(), meta_tensors())
    unused = {name for name in meta_tensors() if name.startswith(("decoder", "mask"))}
    assert set(report.names("unused")) == unused


def test_a_classifier_of_a_pretrained_encoder_warns_that_its_head_is_untrained(load):
    with pytest.warns(UserWarning, match="No classifier in this checkpoint"):
        report = load(ImageClassifier(encoder(), 3), meta_tensors(decoder=None))
    assert report.missing_parts == ("head",)


def test_a_fine_tuned_classifier_is_loaded(load):
    report = load(ImageClassifier(encoder(), 3), meta_tensors(decoder=None, classes=3))
    assert report.complete


def test_a_classifier_of_other_classes_is_refused(load):
    with pytest.raises(ValueError, match=r"head.weight \(\(5, 16\) in the file, \(3, 16\)"):
        load(ImageClassifier(encoder(), 3), meta_tensors(decoder=None, classes=5))


def test_a_refused_checkpoint_changes_nothing(autoencoder, load):
    before = weights(autoencoder)
    tensors = {**meta_tensors(), "norm.weight": np.zeros(12, "float32")}
    with pytest.raises(ValueError, match=r"wrong shape: norm.weight \(\(12,\) in the file"):
        load(autoencoder, tensors)
    assert unchanged(autoencoder, before)
    assert autoencoder.normalization.mean is None


@pytest.mark.parametrize(
    "change, words",
    [
        ({"blocks.0.ls1.gamma": np.ones(16, "float32")}, "looks like DINOv2"),
        ({"blocks.1.norm1.bias": None}, "absent: blocks.1.norm1.bias"),
        ({"mask_token": None}, "absent: mask_token"),
        ({"strange": np.ones(2, "float32")}, "unexpected: strange"),
    ],
)
def test_strict_loading_refuses_what_does_not_fit(change, words, autoencoder, load):
    tensors = {k: v for k, v in {**meta_tensors(), **change}.items() if v is not None}
    with pytest.raises(ValueError, match=words):
        load(autoencoder, tensors)


def test_loose_loading_loads_the_rest_and_reports(autoencoder, load):
    tensors = {**meta_tensors(), "strange": np.ones(2, "float32")}
    tensors["norm.weight"] = np.zeros(12, "float32")
    del tensors["norm.bias"]
    report = load(autoencoder, tensors, strict=False)
    assert report.names("unexpected") == ["strange"]
    assert report.names("wrong shape") == ["norm.weight"]
    assert report.names("absent") == ["norm.bias"]
    np.testing.assert_array_equal(autoencoder.encoder.norm.gamma, np.ones(16))
    np.testing.assert_array_equal(autoencoder.decoder.mask_token, tensors["mask_token"])


def test_a_decoder_of_cross_attention_keeps_its_weights(load):
    model = MaskedAutoencoder(encoder(), CrossAttentionDecoder(8, 1, 2, 20))
    before, tensors = weights(model.decoder), meta_tensors()
    with pytest.warns(UserWarning, match="one of cross-attention, which none of the formats"):
        report = load(model, tensors)
    assert unchanged(model.decoder, before)
    assert set(report.names("unused")) == {
        name for name in tensors if name.startswith(("decoder_", "mask_token"))
    }
    np.testing.assert_array_equal(model.encoder.norm.gamma, tensors["norm.weight"])


def test_another_patch_size_is_a_wrong_shape(load):
    with pytest.raises(ValueError, match=r"patch_embed.proj.weight \(\(16, 3, 2, 2\) in the file"):
        load(ViTEncoder((8, 8, 3), 4, 16, 2, 2, 24), meta_tensors(decoder=None))


def test_the_position_of_the_class_token_is_added_to_it(load):
    tensors = meta_tensors(decoder=None, learned=True)
    model = encoder(position_embedding="learned")
    load(model, tensors)
    expected = tensors["cls_token"] + tensors["pos_embed"][:, :1]
    np.testing.assert_allclose(model.class_token, expected, rtol=1e-6)


def test_pixel_constants_reach_functions_that_were_compiled_before(autoencoder, load):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    autoencoder.encode(images)
    report = load(autoencoder, meta_tensors())
    assert "ImageNet" in report.normalization
    np.testing.assert_allclose(
        autoencoder.encode(images), autoencoder.encode_batch(images), rtol=0, atol=1e-5
    )


def test_constants_of_its_own_stay_and_are_warned_of(load):
    with pytest.warns(UserWarning, match="the model keeps its own"):
        load(encoder(mean=0.5, std=0.5), meta_tensors(decoder=None))


def test_prefixes_are_taken_off(load):
    tensors = {f"module.{name}": array for name, array in meta_tensors(decoder=None).items()}
    report = load(encoder(), tensors)
    assert report.complete and "'module.'" in str(report)


def test_another_kind_of_model_is_refused_before_the_file_is_looked_at():
    with pytest.raises(TypeError, match="MaskedAutoencoder"):
        load_torch_weights(keras.Sequential(), "nowhere.pth")


def test_numbers_that_are_not_finite_are_warned_of(load):
    tensors = {**meta_tensors(decoder=None), "norm.bias": np.full(16, np.nan, "float32")}
    with pytest.warns(UserWarning, match="Not finite.*norm.bias"):
        load(encoder(), tensors)


def test_memory_is_limited(load):
    with pytest.raises(MemoryError, match="max_bytes"):
        load(encoder(), meta_tensors(), max_bytes=1000)
