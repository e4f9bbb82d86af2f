"""The classic, fully connected masked autoencoder."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mae_keras.models import DenseMaskedAutoencoder, load_model


def build(image_shape=(8, 8, 1), hidden_units=(24, 12), **overrides):
    keras.utils.set_random_seed(0)
    return DenseMaskedAutoencoder(image_shape, hidden_units, **{"seed": 5, **overrides})


@pytest.fixture(scope="module")
def trained(images):
    model = build(mask_ratio=0.3)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = model.fit(np.tile(images, (8, 1, 1, 1)), epochs=15, batch_size=16, verbose=0)
    return model, history.history["loss"]


@pytest.mark.slow
def test_it_learns(trained):
    _, losses = trained
    assert losses[-1] < 0.6 * losses[0]


def test_the_decoder_mirrors_the_encoder():
    model = build(hidden_units=(32, 16, 4))
    widths = [layer.units for layer in (*model.encoder_layers, *model.decoder_layers, model.head)]
    assert widths == [32, 16, 4, 16, 32, 64]
    pairs = [(64, 32), (32, 16), (16, 4), (4, 16), (16, 32), (32, 64)]
    assert model.count_params() == sum(a * b + b for a, b in pairs) + 1  # the step of the masks


@pytest.mark.parametrize(("ratio", "hidden"), [(0.3, 19), (0.5, 32), (0.1, 6)])
def test_exactly_as_many_elements_are_hidden_in_every_image(images, ratio, hidden):
    masks = build(mask_ratio=ratio).reconstruct(images).patch_mask
    assert masks.shape == (16, 64)
    assert (masks.sum(axis=1) == hidden).all()
    assert len(np.unique(masks, axis=0)) == 16


def test_every_channel_is_an_element_of_its_own():
    model = build((4, 4, 3), mask_ratio=0.5)
    assert (model.num_patches, model.num_hidden) == (48, 24)


@pytest.mark.slow
def test_hidden_elements_do_not_influence_the_prediction(trained, images):
    model, _ = trained
    masks = np.random.default_rng(0).random((16, 8, 8, 1)) < 0.4
    changed = np.where(masks, 255 - images, images).astype("uint8")
    first, second = (model.reconstruct(x, masks) for x in (images, changed))
    np.testing.assert_array_equal(first.prediction, second.prediction)
    np.testing.assert_array_equal(first.pasted[~masks], images[~masks])
    np.testing.assert_array_equal(first.pasted[masks], first.prediction[masks])


@pytest.mark.slow
@pytest.mark.parametrize("loss_on", ["all", "hidden"])
@pytest.mark.parametrize("batch_size", [16, 5])
def test_the_loss_is_that_of_an_independent_computation(images, loss_on, batch_size):
    model = build(loss_on=loss_on, mask_ratio=0.3)
    model.compile("sgd", jit_compile=False)
    made = model.reconstruct(images)
    squares = ((made.prediction - images) / 255.0) ** 2
    counted = made.patch_mask.reshape(16, 8, 8, 1) | (loss_on == "all")
    expected = np.mean([s[c].mean() for s, c in zip(squares, counted, strict=True)])
    loss = model.evaluate(images, batch_size=batch_size, verbose=0)
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value_range", [(0, 255), (-1, 1)])
def test_predictions_stay_within_the_range_of_the_pixels(value_range):
    low, high = value_range
    model = build(value_range=value_range)
    for layer in (*model.encoder_layers, *model.decoder_layers, model.head):
        layer.kernel.assign(layer.kernel * 30)
    images = np.random.default_rng(0).uniform(low, high, (4, 8, 8, 1)).astype("float32")
    prediction = model.reconstruct(images).prediction
    slack = 1e-5 * (high - low)
    assert low - slack <= prediction.min() <= prediction.max() <= high + slack
    assert prediction.max() - prediction.min() > 0.9 * (high - low)


def test_calling_predicting_and_hiding_nothing_are_the_same(trained, images):
    model, _ = trained
    called = keras.ops.convert_to_numpy(model(images))
    assert called.shape == images.shape
    np.testing.assert_allclose(model.predict(images, verbose=0), called, atol=1e-3)
    nothing = np.zeros((8, 8, 1), bool)
    np.testing.assert_allclose(model.reconstruct(images, nothing).prediction, called, atol=1e-3)


def test_features_are_the_innermost_units(trained, images):
    model, _ = trained
    features = images.reshape(16, 64) / 255.0
    for layer in model.encoder_layers:
        kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in layer.weights)
        features = np.maximum(features @ kernel + bias, 0)
    np.testing.assert_allclose(model.encode(images), features, atol=1e-5)


def test_there_is_nothing_to_pool(trained, images):
    with pytest.raises(ValueError, match="features are one vector per image. Received"):
        trained[0].encode(images, pooling="token")


@pytest.mark.slow
def test_missing_elements_stay_out_of_the_weights_and_of_the_loss(images):
    holed = images.astype("float32")
    holed[:, :3] = np.nan
    model = build(mask_ratio=0.5)
    model.compile("adam", jit_compile=False)
    history = model.fit(holed, epochs=2, batch_size=16, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.slow
def test_rank_1_and_3_are_reconstructed():
    for shape in ((12, 2), (4, 4, 2, 1)):
        images = np.random.default_rng(0).integers(0, 256, (3, *shape)).astype("uint8")
        model = build(shape)
        assert model.reconstruct(images).pasted.shape == (3, *shape)
        assert model.encode(images).shape == (3, 12)


@pytest.mark.slow
def test_a_reloaded_model_is_the_same(trained, images, tmp_path):
    model, _ = trained
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert int(loaded.micro_step) == int(model.micro_step) == 120
    first, second = model.reconstruct(images), loaded.reconstruct(images)
    np.testing.assert_array_equal(first.patch_mask, second.patch_mask)
    np.testing.assert_array_equal(first.prediction, second.prediction)


def test_every_argument_survives_the_config():
    model = build(
        (6, 6, 2), (8,), mask_ratio=0.2, loss_on="hidden", activation="tanh", value_range=(-1, 1)
    )
    config = model.get_config()
    again = DenseMaskedAutoencoder.from_config(config)
    assert again.get_config() == config
    assert (again.mask_ratio, again.loss_on, again.masking.seed) == (0.2, "hidden", 5)
    assert again.value_range == (-1.0, 1.0)
    assert again.activation is keras.activations.tanh


def test_a_dtype_policy_survives_the_config():
    model = build(dtype="mixed_bfloat16")
    again = DenseMaskedAutoencoder.from_config(model.get_config())
    assert again.head.compute_dtype == "bfloat16"


@pytest.mark.slow
def test_an_exported_model_has_the_same_signatures(trained, images, tmp_path):
    model, _ = trained
    model.export(tmp_path / "saved_model")
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    masks = np.random.default_rng(0).random((16, 64)) < 0.4
    made = loaded.signatures["reconstruct"](
        images=tf.constant(images), patch_mask=tf.constant(masks)
    )
    np.testing.assert_allclose(made["pasted"], model.reconstruct(images, masks).pasted, atol=2e-3)
    features = loaded.signatures["serving_default"](images=tf.constant(images))["features"]
    np.testing.assert_allclose(features, model.encode(images), atol=1e-5)


@pytest.mark.parametrize("units", [32, [32], (32,), np.array([32])])
def test_units_may_be_one_number_or_several(units):
    assert DenseMaskedAutoencoder((4, 4, 1), units).hidden_units == (32,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_units": ()}, "`hidden_units` must be a sequence of ints"),
        ({"hidden_units": (8, 0)}, "`hidden_units` must be a sequence of ints"),
        ({"hidden_units": (8, 2.5)}, "`hidden_units` must be a sequence of ints"),
        ({"value_range": None}, "`value_range` must be"),
        ({"mask_ratio": 0.0}, r"`mask_ratio` must be a number in \(0, 1\)"),
        ({"mask_ratio": 1.5}, r"`mask_ratio` must be a number in \(0, 1\)"),
        ({"mask_ratio": 0.001}, "`mask_ratio` must hide at least one patch"),
        ({"loss_on": "visible"}, "`loss_on` must be 'hidden' or 'all'"),
        ({"image_shape": (8,)}, "`image_shape` must be"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DenseMaskedAutoencoder(**{"image_shape": (8, 8, 1), **arguments})
