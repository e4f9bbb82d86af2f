"""Models that compute a batch in shards, against the same models that do not."""

import keras
import numpy as np
import pytest

from mae_keras.models import (
    CrossAttentionDecoder,
    DenseMaskedAutoencoder,
    ImageClassifier,
    ViTEncoder,
    compilation,
)

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="shards are TensorFlow's"
)


def fitted(model, number, monkeypatch, *data, **options):
    monkeypatch.setattr(compilation, "available_shards", lambda: number)
    model.compile(keras.optimizers.SGD(0.1), **options)
    assert model.num_shards == number
    history = model.fit(
        *data, epochs=2, batch_size=6, verbose=0, shuffle=False, validation_data=data
    )
    return model.get_weights(), history.history


def assert_the_same(one, other):
    (weights, history), (wanted, expected) = one, other
    for mine, theirs in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)
    assert list(history) == list(expected)
    for name in history:
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="as by default", marks=pytest.mark.long),
        pytest.param({"uniformity_weight": 0.1}, id="with a loss over the batch"),
        pytest.param(
            {"decoder_class": CrossAttentionDecoder, "decode_ratio": 0.5},
            id="with decoded shares",
            marks=pytest.mark.long,
        ),
    ],
)
def test_an_autoencoder_learns_the_same(make_tiny, images, monkeypatch, options):
    images = images.astype("float32")
    images[::3, :4, :4] = np.nan  # missing patches
    how = {"jit_compile": False} if options else {}
    made = [fitted(make_tiny(**options), n, monkeypatch, images, **how) for n in (1, 2)]
    for weights, history in made:
        assert np.isfinite(history["loss"]).all()
        assert all(np.isfinite(weight).all() for weight in weights)
    assert_the_same(*made)


@pytest.mark.long
def test_a_classifier_drops_and_learns_the_same(make_tiny, images, monkeypatch):
    labels = np.arange(len(images)) % 3

    def classifier(rate=0.5):
        autoencoder = make_tiny(num_layers=3)
        return ImageClassifier.from_pretrained(autoencoder, 3, drop_path_rate=rate, seed=1)

    how = {"jit_compile": False}
    one, cut = (fitted(classifier(), n, monkeypatch, images, labels, **how) for n in (1, 3))
    assert_the_same(cut, one)
    nothing_dropped = fitted(classifier(0.0), 3, monkeypatch, images, labels, **how)
    assert abs(nothing_dropped[1]["loss"][-1] - cut[1]["loss"][-1]) > 1e-3


@pytest.mark.slow
def test_a_batch_may_be_smaller_than_the_number_of_shards(make_tiny, images, monkeypatch):
    model = make_tiny(dtype="mixed_bfloat16")
    monkeypatch.setattr(compilation, "available_shards", lambda: 3)
    model.compile("sgd")
    assert (model.num_shards, model.xla) == (3, "pieces")
    assert np.isfinite(model.fit(images[:1], verbose=0).history["loss"]).all()
    assert np.isfinite(model.encode(images[:1])).all()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.slow
def test_a_dense_autoencoder_learns_the_same(monkeypatch):
    images = np.random.default_rng(0).random((12, 30, 1), "float32")

    def dense():
        keras.utils.set_random_seed(0)
        return DenseMaskedAutoencoder((30, 1), hidden_units=(16,), value_range=(0, 1), seed=0)

    made = [fitted(dense(), n, monkeypatch, images, jit_compile=False) for n in (1, 2)]
    assert_the_same(*made)


@pytest.mark.slow
def test_inference_is_the_same(make_tiny, images, monkeypatch):
    model = make_tiny()
    images = images[:5].astype("float32")
    expected = model.encode(images), model.reconstruct(images), model.predict(images, verbose=0)
    sizes = []
    make = ViTEncoder.encode_patches

    def spied(self, patches, *args, **kwargs):
        sizes.append(patches.shape[0])
        return make(self, patches, *args, **kwargs)

    monkeypatch.setattr(ViTEncoder, "encode_patches", spied)
    monkeypatch.setattr(compilation, "available_shards", lambda: 2)
    model._endpoints._endpoints.clear()
    model.predict_function = None
    np.testing.assert_allclose(model.encode(images), expected[0], atol=1e-5)
    assert sizes == [2, 3]
    made = model.reconstruct(images)
    np.testing.assert_array_equal(made.patch_mask, expected[1].patch_mask)
    np.testing.assert_allclose(made.prediction, expected[1].prediction, atol=1e-2)
    assert sizes == 2 * [2, 3]
    np.testing.assert_allclose(model.predict(images, verbose=0), expected[2], atol=1e-2)
    assert len(sizes) == 6
    model(images)
    assert sizes[6:] == [5]  # nor in exported functions: only where somebody asked for a batch


def test_there_is_one_shard_where_xla_or_a_strategy_has_the_batch(make_tiny, monkeypatch):
    monkeypatch.setattr(compilation, "available_shards", lambda: 2)
    model = make_tiny()
    for options, expected in (
        ({}, (2, "pieces")),
        ({"jit_compile": True}, (1, "all")),
        ({"jit_compile": False}, (2, "nothing")),
        ({"run_eagerly": True}, (1, "nothing")),
    ):
        model.compile("sgd", **options)
        assert (model.num_shards, model.xla) == expected
    monkeypatch.setattr(compilation, "_replicated", lambda: True)
    model.compile("sgd")
    assert model.num_shards == 1
    monkeypatch.undo()
    monkeypatch.setattr(compilation, "available_shards", lambda: 2)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda *_: ["gpu:0"])
    model.compile("sgd")
    assert (model.num_shards, model.xla) == (1, "all")
