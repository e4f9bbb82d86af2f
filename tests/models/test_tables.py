"""Tables through models: the loss beside a loop, training, filling, files, export, classifiers."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

from mae_keras.data import load_table
from mae_keras.models import (
    Forecaster,
    ImageClassifier,
    MAEDecoder,
    MaskedAutoencoder,
    PatchInputs,
    TableInputs,
    TableTarget,
    TransformerEncoder,
    load_model,
)
from mae_keras.testing import check_encoder, check_inputs, check_target
from mae_keras.training import MaskedAdamW


def make_frame(rows=256, seed=0):
    """A hidden cause behind numbers and categories, some cells empty."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=rows)
    frame = pd.DataFrame(
        {
            "height": 170 + 10 * (cause + 0.1 * rng.normal(size=rows)),
            "size": np.array(["S", "M", "L"])[np.digitize(cause, [-0.5, 0.5])],
            "weight": 70 - 8 * (cause + 0.1 * rng.normal(size=rows)),
            "tall": cause > 0,
            "score": 3 * cause + rng.normal(size=rows),
        }
    )
    frame["tall"] = frame["tall"].astype(object)
    return frame.mask(rng.random(frame.shape) < 0.05)


@pytest.fixture(scope="module")
def table():
    return load_table(make_frame(), label=False)


def autoencoder(table, **options):
    encoder = TransformerEncoder(TableInputs(table.schema), 16, 1, 2, name="encoder")
    decoder = MAEDecoder(16, 1, 2, 32, name="decoder")
    return MaskedAutoencoder(encoder, decoder, **{"masking": 0.4, "seed": 0, **options})


def array(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.every_backend
def test_the_loss_is_that_of_a_loop_over_cells(table):
    target = TableTarget()
    target.build(TableInputs(table.schema))
    assert target.dim == 1 + 3 + 1 + 2 + 1
    rng = np.random.default_rng(1)
    cells = np.nan_to_num(table.values[:6])
    cells[0, 1] = 3.0  # unknown
    indices = np.stack([rng.permutation(5)[:3] for _ in range(6)]).astype("int32")
    rows = np.take_along_axis(cells, indices, axis=1)[..., None]
    predictions = rng.normal(size=(6, 3, 8)).astype("float32")
    losses = array(target.loss(target.encode(ops.convert_to_tensor(rows), indices), predictions))
    outputs = [[0], [1, 2, 3], [4], [5, 6], [7]]
    for row, token in np.ndindex(6, 3):
        column = indices[row, token]
        own, cell = predictions[row, token, outputs[column]], cells[row, column]
        if len(own) == 1:
            expected = (own[0] - cell) ** 2
        elif cell == len(own):
            expected = 0.0
        else:
            shares = make_frame().iloc[:, column].value_counts(normalize=True)
            entropy = -(shares * np.log(shares)).sum()
            expected = (np.log(np.exp(own).sum()) - own[int(cell)]) / entropy
        assert losses[row, token] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    decoded = array(target.decode(np.tile(predictions[:, :1], (1, 5, 1)), None, None))[..., 0]
    for column, own in enumerate(outputs):
        given = predictions[:, 0, own]
        expected = given[:, 0] if len(own) == 1 else given.argmax(axis=-1)
        np.testing.assert_allclose(decoded[:, column], expected, atol=1e-6)
    shares = target.probabilities(np.tile(predictions[:, :1], (1, 5, 1)))
    assert shares[1].shape == (6, 3) and shares[0].shape == (6,)
    np.testing.assert_allclose(shares[1].sum(axis=-1), 1, atol=1e-6)


@pytest.mark.every_backend
def test_a_guess_that_knows_the_shares_alone_has_a_loss_of_one(table):
    target = TableTarget()
    target.build(TableInputs(table.schema))
    guess = [[0.0] if not c.size else np.log(c.shares) for c in table.schema.columns]
    predictions = np.broadcast_to(np.concatenate(guess), (256, 5, 8)).astype("float32")
    rows, missing = TableInputs(table.schema).rows(ops.convert_to_tensor(table.values))
    losses = np.where(array(missing), np.nan, array(target.loss(target.encode(rows), predictions)))
    np.testing.assert_allclose(np.nanmean(losses, axis=0), 1, rtol=1e-4)


@pytest.mark.every_backend
def test_what_the_package_relies_on_holds(table):
    model = autoencoder(table)
    check_inputs(model.encoder.sample_inputs, table.values[:6])
    check_target(model, table.values[:6])


def test_an_encoder_of_tables_is_an_encoder(table):
    check_encoder(autoencoder(table).encoder, table.values[:6])


@pytest.mark.slow
@pytest.mark.every_backend
def test_a_model_learns_fills_is_saved_and_exported(table, tmp_path):
    model = autoencoder(table)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    losses = model.fit(table.frame, epochs=30, batch_size=64, verbose=0).history["loss"]
    assert losses[-1] < 0.6 < losses[0]
    other = make_frame(128, seed=1)
    gaps = other.copy()
    gaps.loc[::2, "size"] = None
    gaps.loc[1::2, "height"] = None
    filled = model.impute(gaps)
    assert filled.notna().all().all() and set(filled["size"]) <= {"S", "M", "L"}
    known = gaps.notna()
    pd.testing.assert_frame_equal(filled.where(known), gaps.where(known))
    hidden = other["size"].notna() & gaps["size"].isna()
    assert (filled["size"] == other["size"])[hidden].mean() > 0.7
    hidden = other["height"].notna() & gaps["height"].isna()
    error = (filled["height"] - other["height"])[hidden]
    assert error.std() < 0.6 * other["height"].std()
    features = model.encode(gaps)
    assert features.shape == (128, 16) and np.isfinite(features).all()
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert loaded.encoder.sample_inputs.schema == table.schema
    assert isinstance(loaded.target, TableTarget)
    np.testing.assert_array_equal(loaded.encode(gaps), features)
    again = MaskedAutoencoder.from_pretrained(tmp_path / "m.keras")
    pd.testing.assert_frame_equal(again.impute(gaps), filled)
    values = table.schema.encode(gaps)
    pasted = model.reconstruct(gaps, np.arange(5) == 2).pasted
    np.testing.assert_allclose(pasted[:, [0, 1]], model.impute(values)[:, [0, 1]], atol=2)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        model.export(tmp_path / "served")
        served = tf.saved_model.load(str(tmp_path / "served")).signatures
        assert set(served) == {"serving_default", "encode", "reconstruct", "impute"}
        pasted = served["impute"](images=tf.constant(values))["pasted"]
        np.testing.assert_allclose(pasted, model.impute(values), atol=1e-4)


@pytest.mark.slow
@pytest.mark.every_backend
def test_a_classifier_is_built_on_a_copy_of_the_encoder(tmp_path):
    table = load_table(make_frame(), label="tall")
    model = autoencoder(table)
    classifier = ImageClassifier.from_pretrained(model, 2, class_names=table.class_names, seed=0)
    known = table.labels >= 0
    classifier.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    values, labels = table.values[known], table.labels[known]
    classifier.fit(values, labels, epochs=5, batch_size=64, verbose=0)
    other = make_frame(128, seed=1)
    probabilities = classifier.probabilities(other)
    truth = load_table(other, schema=table.schema).labels
    assert (probabilities.argmax(axis=1) == truth)[truth >= 0].mean() > 0.8
    classifier.save(tmp_path / "c.keras")
    np.testing.assert_array_equal(
        load_model(tmp_path / "c.keras").probabilities(other), probabilities
    )


def test_weight_decay_spares_the_vectors_of_columns(table):
    model = autoencoder(table)
    optimizer = MaskedAdamW(1e-3)
    optimizer.build(model.trainable_variables)
    embedding = model.encoder.patch_projection
    assert len(embedding.weights) == 3
    assert not any(optimizer._use_weight_decay(weight) for weight in embedding.weights)
    assert optimizer._use_weight_decay(model.head.kernel)


def test_a_file_whose_target_is_not_the_default_keeps_it(table):
    model = autoencoder(table, target="pixels")
    assert MaskedAutoencoder.from_config(model.get_config()).target.name == "pixels"
    assert autoencoder(table).target.name == "table"


def test_what_does_not_fit_is_refused(table):
    model = autoencoder(table)
    with pytest.raises(ValueError, match="column 'height' must be there, as in training"):
        model.encode(table.frame.drop(columns="height"))
    with pytest.raises(ValueError, match="the shape the model was made for"):
        model.impute(table.values[:, :3])
    with pytest.raises(ValueError, match="rows of a table; `impute` fills empty cells"):
        model.restore(table.values[:4])
    with pytest.raises(ValueError, match="a value in every row .* none in 3 of 3 rows: 0, 1, 2"):
        model.impute(table.frame.head(3).assign(**dict.fromkeys(table.frame, None)))
    with pytest.raises(TypeError, match="`schema` must be a TableSchema"):
        TableInputs("age")
    with pytest.raises(ValueError, match="'table' for models of tables alone"):
        TableTarget().build(PatchInputs((8, 8, 1), 2))
    with pytest.raises(TypeError, match="`encoder` must be a ViTEncoder"):
        Forecaster.from_pretrained(model, 4)
