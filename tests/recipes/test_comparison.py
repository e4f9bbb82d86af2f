"""The encoder and its baselines: which images they see, and what they make of them."""

import dataclasses

import numpy as np
import pytest

from mae_keras import data
from mae_keras.data import ArraySplit
from mae_keras.models import MaskedAutoencoder
from mae_keras.runs import Comparison
from mae_keras.runs.comparison import (
    naive_losses,
    pixel_values,
    reconstruction_scores,
    shrunk,
)

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def comparison(array_file):
    models = [MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=seed) for seed in (0, 1)]
    return Comparison(*models, data.load(str(array_file)))


def test_the_splits_share_no_image(comparison):
    rows = [{image.tobytes() for image in images} for images, _ in comparison.pixels]
    assert [len(images) for images, _ in comparison.pixels] == [
        len(getattr(comparison.images, name)) for name in ("train", "validation", "test")
    ]
    assert not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])
    assert comparison.shared_images == 0


def test_images_in_two_splits_are_counted(comparison):
    (train, labels), _, (test, test_labels) = comparison.pixels
    leaking = ArraySplit(
        np.concatenate([test, train[:3]]), np.concatenate([test_labels, labels[:3]])
    )
    images = dataclasses.replace(comparison.images, test=leaking)
    assert Comparison(comparison.model, comparison.untrained, images).shared_images == 3


def test_every_baseline_has_features_of_every_image(comparison):
    assert list(comparison.features) == ["trained", "untrained", "pca", "pixels"]
    for features in comparison.features.values():
        for (rows, labels), (images, expected) in zip(features, comparison.pixels, strict=True):
            assert len(rows) == len(images)
            np.testing.assert_array_equal(labels, expected)


def test_components_come_from_training_pixels_alone(comparison):
    from sklearn.decomposition import PCA

    train, test = (pixel_values(comparison.pixels[part][0]) for part in (0, 2))
    expected = PCA(min(64, *train.shape)).fit(train).transform(test)
    made = comparison.features["pca"].test[0]
    np.testing.assert_allclose(np.abs(made[:, :8]), np.abs(expected[:, :8]), rtol=1e-2, atol=0.5)


def test_features_of_several_blocks_stand_side_by_side(comparison):
    joined = Comparison(
        comparison.model, comparison.untrained, comparison.images, max_train=50, num_blocks=3
    )
    images = joined.pixels.train[0]
    expected = np.hstack(comparison.model.encode_blocks(images)[-3:])
    features = {name: made.train[0] for name, made in joined.features.items()}
    assert features["trained"].shape == features["untrained"].shape == (50, 3 * 64)
    np.testing.assert_allclose(features["trained"], expected, atol=1e-5)
    assert features["pca"].shape == (50, 50)  # of 192 asked for, as many as 50 images have
    assert joined.notes == ["Frozen features: those of the last 3 blocks, joined."]


@pytest.mark.parametrize("num_blocks", [0, 5])
def test_blocks_that_are_not_there_are_refused(comparison, num_blocks):
    with pytest.raises(ValueError, match="`num_blocks` must be 1 to the encoder's 4. Received"):
        Comparison(comparison.model, comparison.untrained, comparison.images, num_blocks=num_blocks)


def test_features_of_the_last_block_are_the_features(comparison):
    blocks = comparison.block_features("trained")
    assert len(blocks) == 5
    for part in range(3):
        np.testing.assert_allclose(
            blocks[-1][part][0], comparison.features["trained"][part][0], atol=1e-5
        )


def test_limits_draw_images_at_random(comparison):
    """Folders are sorted by class: the first images would be those of a class or two."""
    images, labels = comparison.pixels.train
    order = np.argsort(labels, kind="stable")
    sorted_images = dataclasses.replace(
        comparison.images, train=ArraySplit(images[order], labels[order])
    )
    models = comparison.model, comparison.untrained
    few = Comparison(*models, sorted_images, max_train=20, max_test=5)
    assert [len(images) for images, _ in few.pixels] == [20, 5, 5]
    assert len(set(few.pixels.train[1])) > 5
    again = Comparison(*models, sorted_images, max_train=20, max_test=5)
    np.testing.assert_array_equal(few.pixels.train[0], again.pixels.train[0])


def test_what_does_not_fit_into_memory_is_left_out_and_told(comparison, monkeypatch):
    monkeypatch.setattr("mae_keras.runs.comparison._MOST_BYTES", 64 * 30)
    few = Comparison(comparison.model, comparison.untrained, comparison.images)
    assert len(few.pixels.train[0]) == 30
    assert few.notes == [f"train: only 30 of {len(few.images.train)} images fit into memory."]


def test_images_of_another_shape_are_refused(comparison):
    wide = dataclasses.replace(comparison.images, image_shape=(8, 10, 1))
    with pytest.raises(ValueError, match=r"the model was made for, \(8, 8, 1\). Received"):
        Comparison(comparison.model, comparison.untrained, wide)


@pytest.mark.parametrize(("count", "words"), [(None, "no classes"), (1, "1 classes")])
def test_data_without_labels_of_two_kinds_are_refused(comparison, count, words):
    bare = dataclasses.replace(comparison.images, num_classes=count)
    with pytest.raises(ValueError, match=f"needs labels of at least two classes. .* {words}"):
        _ = Comparison(comparison.model, comparison.untrained, bare).pixels


def test_large_images_are_averaged_down_for_the_pixel_baseline():
    images = np.arange(2 * 70 * 64 * 3, dtype="float32").reshape(2, 70, 64, 3)
    made = shrunk(images)
    assert made.shape == (2, 17, 16, 3)
    np.testing.assert_allclose(made[0, 0, 0], images[0, :4, :4].mean(axis=(0, 1)), rtol=1e-6)
    small = np.zeros((2, 28, 28, 1), "uint8")
    assert shrunk(small) is small
    assert shrunk(np.zeros((2, 32, 32, 3), "uint8")).shape == (2, 16, 16, 3)
    assert shrunk(np.zeros((2, 5000, 1), "uint8")).shape == (2, 1000, 1)
    assert shrunk(np.zeros((2, 4, 4, 2000), "uint8")).shape == (2, 1, 1, 2000)


def test_naive_losses_of_validation_images_need_no_network(comparison):
    """The same as of the test images, which are scored beside a model's predictions."""
    images = dataclasses.replace(comparison.images, validation=comparison.images.test)
    expected = reconstruction_scores(comparison.model, images)["baseline_loss"]
    assert naive_losses(comparison.model, images) == pytest.approx(expected, rel=1e-5)
    of_all = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, loss_on="all")
    assert naive_losses(of_all, images) == {}
