"""Normalization constants of whole models: computed, used, saved, and refused when too late."""

import keras
import numpy as np
import pytest

from mae_keras.models import DenseMaskedAutoencoder, MaskedAutoencoder, ViTEncoder

SMALL = {"num_layers": 1, "decoder_num_layers": 1, "seed": 0}


def build(kind):
    keras.utils.set_random_seed(0)
    if kind == "vision":
        return MaskedAutoencoder.from_preset("nano", (8, 8, 3), 2, **SMALL)
    return DenseMaskedAutoencoder((8, 8, 3), (8,), seed=0)


@pytest.fixture(scope="module")
def pictures():
    """Channels of different brightness and contrast."""
    rng = np.random.default_rng(0)
    levels = rng.normal([60, 120, 200], [10, 20, 30], (24, 8, 8, 3))
    return np.clip(levels, 0, 255).astype("uint8")


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", ["vision", "dense"])
def test_models_normalize_by_the_images_they_were_adapted_to(kind, pictures, tmp_path):
    model = build(kind)
    model.compile("adam", run_eagerly=True)
    model.adapt(pictures)
    exact = pictures.astype("float64") / 255
    np.testing.assert_allclose(model.normalization.mean, exact.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(model.normalization.std, exact.std((0, 1, 2)), rtol=1e-12)
    patches, _ = model.to_patches(keras.ops.convert_to_tensor(pictures))
    assert abs(float(keras.ops.mean(patches))) < 1e-5
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.normalization.mean == model.normalization.mean
    np.testing.assert_allclose(loaded.encode(pictures), model.encode(pictures), atol=1e-5)


def test_a_dense_model_predicts_in_the_value_range_whatever_its_constants(pictures):
    model = build("dense")
    model.adapt(pictures)
    compared = model.predict_patches(pictures)
    targets = compared.targets.reshape(pictures.shape)
    np.testing.assert_allclose(targets, pictures / 255.0, atol=1e-6)  # float32 rounding
    made = model.reconstruct(pictures)
    predictions = compared.predictions.reshape(pictures.shape)
    np.testing.assert_allclose(made.prediction, predictions * 255, atol=1e-3)
    shown = ~made.patch_mask.reshape(pictures.shape)
    np.testing.assert_array_equal(made.pasted[shown], pictures[shown])


def test_an_encoder_adapts_by_itself(pictures):
    encoder = ViTEncoder((8, 8, 3), 2, 8, 1, 2, 8)
    encoder.adapt(pictures)
    again = ViTEncoder.from_config(encoder.get_config())
    assert again.normalization.mean == pytest.approx((pictures / 255).mean((0, 1, 2)))


@pytest.mark.parametrize("use", ["encode", "fit"])
def test_a_model_in_use_keeps_its_constants(use, pictures):
    model = build("dense")
    model.compile("sgd", jit_compile=False)
    if use == "encode":
        model.encode(pictures)
    else:
        model.fit(pictures, verbose=0)
    with pytest.raises(ValueError, match="`adapt` must be called before the model is first used"):
        model.adapt(pictures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[..., :1], "must have the shape the model was made for"),
        (lambda x: x / 255, r"seem to be scaled to \[0, 1\]"),
        (lambda x: x[:0], "must not be empty"),
    ],
)
def test_images_that_do_not_fit_are_refused(change, message, pictures):
    with pytest.raises(ValueError, match=message):
        build("dense").adapt(change(pictures))


def test_files_with_constants_in_gray_levels_name_them(pictures):
    config = build("dense").get_config()
    config.update(mean=[123.0, 116.0, 103.0])
    with pytest.raises(ValueError, match="`mean` must be in units of the scaled values"):
        DenseMaskedAutoencoder.from_config(config)
    del config["mean"], config["std"]  # as earlier versions wrote it
    assert DenseMaskedAutoencoder.from_config(config).normalization.mean is None
