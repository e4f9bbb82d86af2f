"""Models that compute a batch in branches, against the same models that do not."""

import keras
import numpy as np
import pytest

from mae_keras.models import (
    CrossAttentionDecoder,
    DenseMaskedAutoencoder,
    ImageClassifier,
    compilation,
    endpoints,
)

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="branches are TensorFlow's"
)


def fitted(model, number, monkeypatch, *data, **options):
    monkeypatch.setattr(compilation, "possible_branches", lambda: number)
    model.compile(keras.optimizers.SGD(0.1), **options)
    assert model.num_branches == number
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
        {},
        {"uniformity_weight": 0.1},
        {"decoder_class": CrossAttentionDecoder, "decode_ratio": 0.5},
    ],
    ids=["as by default", "with a loss over the batch", "with decoded shares"],
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


@pytest.mark.slow
def test_a_classifier_drops_and_learns_the_same(make_tiny, images, monkeypatch):
    labels = np.arange(len(images)) % 3

    def classifier():
        return ImageClassifier.from_pretrained(make_tiny(), 3, drop_path_rate=0.3, seed=1)

    # Without XLA on one side, which "auto" would take.
    one = fitted(classifier(), 1, monkeypatch, images, labels, jit_compile=False)
    assert_the_same(fitted(classifier(), 3, monkeypatch, images, labels), one)


@pytest.mark.slow
def test_a_dense_autoencoder_learns_the_same(monkeypatch):
    images = np.random.default_rng(0).random((12, 30, 1), "float32")

    def dense():
        keras.utils.set_random_seed(0)
        return DenseMaskedAutoencoder((30, 1), hidden_units=(16,), value_range=(0, 1), seed=0)

    made = [fitted(dense(), n, monkeypatch, images, jit_compile=False) for n in (1, 2)]
    assert_the_same(*made)


def test_features_and_reconstructions_are_the_same(make_tiny, images, monkeypatch):
    model = make_tiny()
    expected = model.encode(images[:5]), model.reconstruct(images[:5])
    calls = []
    monkeypatch.setattr(endpoints, "possible_branches", lambda: calls.append(1) or 2)
    model._endpoints._made.clear()
    np.testing.assert_allclose(model.encode(images[:5]), expected[0], atol=1e-5)
    made = model.reconstruct(images[:5])
    np.testing.assert_array_equal(made.patch_mask, expected[1].patch_mask)
    np.testing.assert_allclose(made.prediction, expected[1].prediction, atol=1e-2)
    assert calls


def test_there_is_one_branch_where_xla_or_a_strategy_has_the_batch(make_tiny, monkeypatch):
    monkeypatch.setattr(compilation, "possible_branches", lambda: 2)
    model = make_tiny()
    for options, expected in (({}, 2), ({"jit_compile": True}, 1), ({"jit_compile": False}, 2)):
        model.compile("sgd", **options)
        assert (model.num_branches, model.xla != "all") == (expected, expected > 1)
    monkeypatch.setattr(compilation, "num_replicas", lambda: 2)
    model.compile("sgd")
    assert model.num_branches == 1
    monkeypatch.undo()
    monkeypatch.setattr(compilation, "possible_branches", lambda: 2)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda *_: ["gpu:0"])
    model.compile("sgd")
    assert (model.num_branches, model.xla) == (1, "all")
