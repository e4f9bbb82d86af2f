"""Models built from a file alone."""

import json

import keras
import numpy as np
import pytest
from interop.test_pickled_tensors import by_torch
from interop.torch_files import meta_tensors, to_hugging_face, write, write_pth

from mae_keras.interop import load_torch_weights, model_from_torch
from mae_keras.models import ImageClassifier, MaskedAutoencoder, ViTEncoder

HEADS = {"num_heads": 2, "decoder_num_heads": 2}


@pytest.fixture
def build(tmp_path):
    """Build from tensors through a file."""

    def build(tensors, **options):
        write_pth(tmp_path / "a.pth", {"model": tensors})
        return model_from_torch(tmp_path / "a.pth", **{**HEADS, **options})

    return build


def test_sizes_are_read_from_the_tensors(build):
    model, report = build(meta_tensors(patch=(2, 4), grid=(3, 5), channels=2))
    assert isinstance(model, MaskedAutoencoder) and report.complete
    assert (model.image_shape, model.patch_size) == ((6, 20, 2), (2, 4))
    assert (model.encoder.hidden_dim, model.encoder.num_layers) == (16, 2)
    assert (model.decoder.hidden_dim, model.decoder.num_layers) == (8, 1)


def test_a_checkpoint_that_pytorch_wrote_tells_its_training_arguments(tmp_path):
    path = by_torch("training", tmp_path / "a.pth")
    model, report = model_from_torch(path, **HEADS)
    assert report.complete
    assert model.normalize_targets and model.masking.mask_ratio == 0.6
    assert any("the arguments saved with the weights" in note for note in report.notes)


@pytest.mark.slow
def test_an_encoder_alone_gets_the_decoder_of_the_paper(build):
    with pytest.warns(UserWarning, match="No decoder"):
        model, report = build(meta_tensors(decoder=None), decoder_num_heads=None)
    decoder = model.decoder
    assert (decoder.hidden_dim, decoder.num_layers, decoder.num_heads) == (512, 8, 16)
    assert report.missing_parts == ("decoder",)


@pytest.mark.parametrize(
    "tensors, kind, cls",
    [
        (meta_tensors(), "encoder", ViTEncoder),
        (meta_tensors(decoder=None, classes=3), None, ImageClassifier),
        (meta_tensors(decoder=None, classes=3, mean_pooling=False), "encoder", ViTEncoder),
    ],
)
def test_the_kind_is_told_or_found_out(tensors, kind, cls, build):
    assert type(build(tensors, kind=kind)[0]) is cls


def test_a_tensor_without_axes_is_refused_in_words(build):
    tensors = {**meta_tensors(), "blocks.0.attn.qkv.weight": np.zeros((), "float32")}
    with pytest.raises(ValueError, match="absent: blocks.0.attn.qkv.weight"):
        build(tensors)


def test_a_classifier_without_a_head_is_refused(build):
    with pytest.raises(ValueError, match="needs a checkpoint with a head"):
        build(meta_tensors(), kind="classifier")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="`kind`"):
        model_from_torch("nowhere.pth", kind="decoder")


def test_trained_positions_become_learned_ones(build):
    model, _ = build(meta_tensors(learned=True))
    assert model.encoder.position_embedding == "learned"
    assert build(meta_tensors())[0].encoder.position_embedding == "sincos"


def test_positions_for_another_image_size_are_interpolated_as_the_encoder_would(build):
    tensors = meta_tensors(decoder=None, learned=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 8, 3)).astype("uint8")
    expected = build(tensors, kind="encoder")[0](keras.ops.convert_to_tensor(images))
    model, report = build(tensors, kind="encoder", image_shape=(12, 8, 3))
    assert model.grid == (6, 4)
    tokens = model(keras.ops.convert_to_tensor(images))
    np.testing.assert_allclose(tokens, expected, rtol=0, atol=1e-5)
    assert any("interpolated" in note for note in report.notes)


def test_fixed_positions_for_another_image_size_are_interpolated_too(build):
    model, report = build(meta_tensors(), image_shape=(12, 12, 3))
    assert model.encoder.position_embedding == "learned"
    assert any("interpolated from (4, 4) patches to (6, 6)" in note for note in report.notes)


def test_positions_that_are_no_square_need_an_image_shape(build):
    tensors = meta_tensors(decoder=None, learned=True, grid=(2, 3))
    with pytest.raises(ValueError, match="`image_shape` must be given"):
        build(tensors)
    assert build(tensors, kind="encoder", image_shape=(4, 6, 3))[1].complete


def test_an_image_shape_of_other_channels_is_refused(build):
    with pytest.raises(ValueError, match="3 channels"):
        build(meta_tensors(), image_shape=(8, 8, 1))


def test_heads_that_nothing_tells_have_to_be_given(build):
    with pytest.raises(ValueError, match="`num_heads` must be given"):
        build(meta_tensors(), num_heads=None)


def test_the_configuration_of_hugging_face_tells_the_rest(tmp_path):
    config = {
        "model_type": "vit_mae",
        "num_attention_heads": 4,
        "decoder_num_attention_heads": 2,
        "layer_norm_eps": 1e-5,
        "norm_pix_loss": True,
        "mask_ratio": 0.5,
        "image_size": 8,
    }
    write(tmp_path / "pytorch_model.bin", to_hugging_face(meta_tensors()), config=config)
    model, report = model_from_torch(tmp_path)
    assert (model.encoder.num_heads, model.decoder.num_heads) == (4, 2)
    assert model.encoder.layer_norm_epsilon == model.decoder.layer_norm_epsilon == 1e-5
    assert model.normalize_targets and model.masking.mask_ratio == 0.5
    assert any("Heads: 4 (config.json)" in note for note in report.notes)


def test_timm_tells_image_size_heads_and_constants_in_its_configuration(tmp_path):
    config = {
        "architecture": "vit_base_patch16_224",
        "model_args": {"num_heads": 4},
        "pretrained_cfg": {"input_size": [3, 4, 6], "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    tensors = meta_tensors(decoder=None, learned=True, grid=(2, 3))
    path = write(tmp_path / "pytorch_model.bin", tensors, config=config)
    model, _ = model_from_torch(path, kind="encoder")
    assert (model.num_heads, model.grid) == (4, (2, 3))
    assert model.normalization.mean == [0.5] * 3


def test_arguments_of_the_encoder_may_be_overridden(build):
    model, _ = build(meta_tensors(), value_range=(0, 1), layer_norm_epsilon=1e-3)
    assert model.value_range == (0, 1)
    assert model.decoder.layer_norm_epsilon == 1e-3


@pytest.mark.slow
def test_a_built_model_round_trips_through_keras(build, tmp_path):
    from mae_keras.models import load_model

    model, _ = build(meta_tensors(learned=True))
    model.save(tmp_path / "a.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    loaded = load_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(loaded(images), model(images))


def test_the_weights_are_those_that_loading_gives(build, tmp_path):
    model, _ = build(meta_tensors())
    other, _ = build(meta_tensors(seed=1))
    write_pth(tmp_path / "b.pth", meta_tensors())
    load_torch_weights(other, tmp_path / "b.pth")
    for one, two in zip(model.trainable_variables, other.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_image_of_a_config_that_dwarfs_the_weights_is_refused(tmp_path):
    write_pth(tmp_path / "pytorch_model.bin", to_hugging_face(meta_tensors()))
    config = {"model_type": "vit_mae", "image_size": 65536, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="`image_shape` must be given: .* positions take"):
        model_from_torch(tmp_path)
