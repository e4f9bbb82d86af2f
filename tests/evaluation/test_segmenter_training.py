"""Segmenters trained from an encoder, and whole images segmented by them."""

import keras
import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from mae_keras.data import SegmentationAugmentation, SegmentationSplit
from mae_keras.evaluation import score_segmenter, segment_images, train_segmenter
from mae_keras.models import ViTEncoder


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    encoder = ViTEncoder((16, 16, 1), 4, hidden_dim=32, num_layers=2, num_heads=2, mlp_dim=64)
    encoder.build((None, 16, 16, 1))
    return encoder


def squares(count, side, seed):
    """Noise with a bright square, and where it is."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, side, side), "int32")
    for mask in masks:
        top, left = rng.integers(0, side - 8, 2)
        mask[top : top + 8, left : left + 8] = 1
    images = rng.integers(0, 80, masks.shape) + 150 * masks
    return SegmentationSplit(images.astype("uint8")[..., None], masks)


@pytest.fixture(scope="module")
def trained(encoder):
    before = [np.array(weight) for weight in encoder.weights]
    settings = {"head": "linear", "steps": 60, "learning_rate": 1e-2}
    training = train_segmenter(encoder, squares(12, 24, 0), 2, **settings)
    for weight, old in zip(encoder.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)  # a copy was trained
    return training


def test_it_learns_squares_and_scores_whole_images(trained):
    assert (trained.steps, len(trained.history["loss"])) == (60, 10)
    assert trained.history["loss"][-1] < trained.history["loss"][0] / 2
    test = squares(6, 24, 1)
    report, predictions = score_segmenter(trained.model, test)
    truth, found = np.concatenate([mask.ravel() for mask in test.masks]), np.ravel(predictions)
    assert report.mean_iou == pytest.approx(jaccard_score(truth, found, average="macro"))
    assert report.mean_iou > 0.8 and report.roc_auc > 0.95


def test_larger_images_go_through_windows(trained):
    images = squares(2, 24, 2).images
    for image, maps in zip(images, segment_images(trained.model, images), strict=True):
        expected = trained.model.segment(image, probabilities=True)
        np.testing.assert_allclose(maps, expected, atol=1e-6)
        assert maps.shape == (24, 24, 2)


def test_images_of_the_models_size_go_through_at_once(trained):
    images = squares(3, 16, 3).images
    expected = trained.model.probabilities(np.stack(images))
    np.testing.assert_allclose(np.stack(segment_images(trained.model, images)), expected)
    assert segment_images(trained.model, []) == []


def test_a_frozen_encoder_stays_and_a_fresh_one_starts_elsewhere(encoder):
    options = {"head": "linear", "steps": 2, "seed": 1}
    frozen = train_segmenter(encoder, squares(4, 16, 0), 2, train_blocks=0, **options)
    for own, weight in zip(frozen.model.encoder.weights, encoder.weights, strict=True):
        np.testing.assert_array_equal(own, weight)
    # A norm, and a dense layer to two classes of the 16 pixels of a patch.
    assert frozen.num_trained_weights == 2 * 32 + 32 * 16 * 2 + 16 * 2
    fresh = train_segmenter(encoder, squares(4, 16, 0), 2, from_scratch=True, **options)
    kernels = [w for w in encoder.weights if w.path.endswith("kernel")]
    own = [w for w in fresh.model.encoder.weights if w.path.endswith("kernel")]
    assert not any(np.allclose(a, b, atol=1e-2) for a, b in zip(own, kernels, strict=True))


@pytest.mark.long
def test_the_same_seed_gives_the_same_weights(encoder):
    settings = {"head": "linear", "steps": 3, "augmentation": SegmentationAugmentation()}
    first, second, other = (
        train_segmenter(encoder, squares(4, 20, 0), 2, seed=seed, **settings).model
        for seed in (4, 4, 5)
    )
    for one, two in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not all(np.array_equal(a, b) for a, b in zip(first.weights, other.weights, strict=True))


def test_fewer_crops_than_a_batch_are_cut_more_often(encoder):
    training = train_segmenter(encoder, squares(1, 16, 0), 2, head="linear", steps=1)
    assert training.steps == 1


def test_the_wrong_data_is_refused(encoder):
    with pytest.raises(TypeError, match="`train` must be a SegmentationSplit"):
        train_segmenter(encoder, np.zeros((4, 16, 16, 1)), 2)
    with pytest.raises(ValueError, match="`steps` must be"):
        train_segmenter(encoder, squares(4, 16, 0), 2, steps=0)
