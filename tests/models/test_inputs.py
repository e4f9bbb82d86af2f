"""Inputs of a user's own: rows of a table through training, files, features and export."""

import keras
import numpy as np
import pytest
from keras import ops

from mae_keras.models import (
    Inputs,
    MAEDecoder,
    MaskedAutoencoder,
    PatchInputs,
    TransformerEncoder,
    ViTEncoder,
    load_model,
)
from mae_keras.testing import check_inputs


@keras.saving.register_keras_serializable(package="tests")
class Columns(Inputs):
    """Rows of a table: a token for every column, NaN for an empty cell."""

    def __init__(self, means):
        self.means = tuple(means)
        self.sample_shape = self.grid = (len(self.means),)
        self.row_dim = 1

    def rows(self, samples):
        cells = ops.cast(samples, "float32") - ops.convert_to_tensor(self.means, "float32")
        missing = ops.isnan(cells)
        return ops.where(missing, 0.0, cells)[..., None], missing

    def get_config(self):
        return {"means": self.means}


@pytest.fixture
def table():
    """A hidden cause behind six columns, a tenth of the cells empty."""
    generator = np.random.default_rng(0)
    cause = generator.normal(size=(256, 1))
    cells = 3 + cause * np.array([1, -1, 2, -2, 1, 1]) + 0.1 * generator.normal(size=(256, 6))
    return np.where(generator.random(cells.shape) < 0.1, np.nan, cells).astype("float32")


def autoencoder():
    encoder = TransformerEncoder(Columns(6 * [3.0]), 16, 1, 2, name="encoder")
    return MaskedAutoencoder(encoder, MAEDecoder(16, 1, 2, 32), masking=0.5, seed=0)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.every_backend
def test_rows_of_a_table_are_trained_on_saved_encoded_and_exported(table, tmp_path):
    check_inputs(Columns(6 * [3.0]), table)
    model = autoencoder()
    model.compile(keras.optimizers.Adam(1e-2))
    losses = model.fit(table, epochs=60, batch_size=32, verbose=0).history["loss"]
    empty = np.isnan(table)
    assert losses[-1] < 0.5 * np.nanvar(table)
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras", custom_objects={"tests>Columns": Columns})
    made, again = (m.predict_patches(table, np.arange(6) < 2) for m in (model, loaded))
    np.testing.assert_array_equal(made.predictions, again.predictions)
    np.testing.assert_allclose(made.targets[..., 0], np.where(empty, 0, table - 3), atol=1e-6)
    np.testing.assert_array_equal(made.missing, empty)
    features = loaded.encode(table)
    assert features.shape == (256, 16)
    other = table.copy()
    other[:, 0] = np.nan
    np.testing.assert_allclose(loaded.encode(other)[empty[:, 0]], features[empty[:, 0]], atol=1e-5)
    with pytest.raises(TypeError, match="`adapt` sets the constants of `PatchInputs`"):
        loaded.adapt(table)
    with pytest.raises(
        ValueError, match="have methods `samples` and `assemble`. Received: Columns"
    ):
        model.reconstruct(table)
    with pytest.raises(ValueError, match="the shape the model was made for, .'batch', 6"):
        model.encode(table[:, :5])
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        model.export(tmp_path / "served")
        served = tf.saved_model.load(str(tmp_path / "served")).signatures
        assert set(served) == {"serving_default", "encode"}
        exported = served["encode"](images=tf.constant(table))["features"]
        np.testing.assert_allclose(exported, features, atol=1e-5)


def test_a_vision_transformer_is_the_encoder_of_its_inputs():
    options = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2}
    vision = ViTEncoder((8, 8, 1), 4, **options, name="encoder")
    general = TransformerEncoder(vision.sample_inputs, **options, name="encoder")
    assert [w.path for w in general.weights] == [w.path for w in vision.weights]
    general.set_weights(vision.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), "uint8")
    again = TransformerEncoder.from_config(general.get_config())
    again.set_weights(vision.get_weights())
    for encoder in (general, again):
        np.testing.assert_array_equal(encoder(images), vision(images))
    assert set(vision.get_config()) & {"inputs", "patch_size"} == {"patch_size"}


def test_an_encoder_of_something_else_is_refused():
    with pytest.raises(TypeError, match="`inputs` must be Inputs. Received: tuple"):
        TransformerEncoder((8, 8, 1), 8, 1, 2)


def test_adapting_one_encoder_leaves_another_of_the_same_inputs():
    inputs = PatchInputs((8, 8, 1), 4)
    first, second = (TransformerEncoder(inputs, 8, 1, 2) for _ in range(2))
    first.sample_inputs.adapt(
        np.full((2, 8, 8, 1), 51, "uint8") + np.arange(2, dtype="uint8")[:, None, None, None]
    )
    assert first.normalization.mean and second.normalization.mean is None
    assert inputs.normalization.mean is None


@pytest.mark.every_backend
def test_samples_are_standardized_by_themselves_and_come_back():
    samples = np.random.default_rng(0).normal(size=(3, 8, 2)).astype("float32") * 5 + 40
    samples[1, 4:, 0] = np.nan
    samples[2, :, 1] = 7  # constant
    samples[0, :, 0] += 1e5  # a level at which sums in float32 are not exact
    inputs = PatchInputs((8, 2), (2,), value_range=None, mean=[30, 0], std=2, standardize="sample")
    rows, missing = inputs.rows(keras.ops.convert_to_tensor(samples))
    rows = keras.ops.convert_to_numpy(rows)
    values = rows.reshape(3, 8, 2)
    present = ~np.isnan(samples)
    for sample in range(3):
        for channel in range(2):
            seen = present[sample].all(axis=-1)  # a patch with a gap is not seen in any channel
            own = values[sample, seen, channel]
            assert own.mean() == pytest.approx(0, abs=1e-3)
            assert own.std() == pytest.approx(float(samples[sample, 0, channel] != 7), abs=1e-3)
    assert keras.ops.convert_to_numpy(missing).tolist()[1] == [False, False, True, True]
    back = keras.ops.convert_to_numpy(inputs.samples(rows, like=samples))
    np.testing.assert_allclose(back[present], samples[present], rtol=1e-4)
    config = inputs.get_config()
    assert PatchInputs(**config).standardize == "sample"
    assert "standardize" not in PatchInputs((8, 2), (2,)).get_config()


@pytest.mark.every_backend
def test_training_on_forecasts_knows_nothing_of_the_future():
    model = MaskedAutoencoder.from_preset(
        *("nano", (16, 1), (4,)), value_range=None, seed=0, standardize="sample",
        masking="forecast", mask_ratio=0.5,
    )  # fmt: skip
    samples = np.random.default_rng(0).normal(size=(2, 16, 1)).astype("float32")
    other = samples.copy()
    other[:, 8:] = 50 + 3 * other[:, 8:]
    first, second = (model.predict_patches(each) for each in (samples, other))
    np.testing.assert_allclose(first.predictions, second.predictions, atol=1e-6)
    past = samples[:, :8]
    mean, std = past.mean(axis=1, keepdims=True), np.sqrt(past.var(axis=1, keepdims=True) + 1e-5)
    expected = ((other - mean) / std).reshape(2, 4, 4)
    np.testing.assert_allclose(second.targets, expected, rtol=1e-4, atol=1e-4)
    batch, _, _ = model._masked_batch(keras.ops.convert_to_tensor(other), 0)
    np.testing.assert_allclose(batch["patches"], expected, rtol=1e-4, atol=1e-4)


def test_restoring_knows_not_even_the_mean_of_what_is_hidden():
    model = MaskedAutoencoder.from_preset(
        *("nano", (16, 1), (4,)), value_range=None, seed=0, standardize="sample"
    )
    samples = np.random.default_rng(0).normal(size=(1, 16, 1)).astype("float32")
    other = samples.copy()
    other[:, 4:8] += 1000
    hidden = np.arange(4) == 1
    predicted, same = (
        model._reconstruct_checked({"images": each, "patch_mask": hidden[None]}, "visible", 1)[
            "prediction"
        ]
        for each in (samples, other)
    )
    np.testing.assert_array_equal(predicted[:, 4:8], same[:, 4:8])
