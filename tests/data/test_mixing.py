"""Mixup and cutmix against NumPy, and the distributions they draw from."""

import numpy as np
import pytest
import tensorflow as tf

from mae_keras.data.classification import beta, blend, cut_boxes, mix

LABELS = np.eye(3, dtype="float32")[[0, 1, 2, 1, 0]]


@pytest.fixture
def images(random_images):
    return random_images(5, (6, 7, 2)).astype("float32")


def test_mixup_is_the_weighted_mean_with_the_image_before(images):
    kept = np.array([1.0, 0.75, 0.5, 0.125, 0.0], "float32")
    mixed, labels = blend(images, LABELS, kept[:, None, None, None])
    for index in range(5):
        share = kept[index]
        expected = share * images[index] + (1 - share) * images[index - 1]
        np.testing.assert_allclose(mixed[index], expected, atol=1e-4)
        expected = share * LABELS[index] + (1 - share) * LABELS[index - 1]
        np.testing.assert_allclose(labels[index], expected, atol=1e-6)


def test_cutmix_puts_a_box_of_the_image_before_and_weighs_labels_by_its_pixels(images):
    kept = np.ones((5, 6, 7, 1), "float32")
    kept[2, 1:4, 2:6] = 0.0
    mixed, labels = blend(images, LABELS, kept)
    expected = images.copy()
    expected[2, 1:4, 2:6] = images[1, 1:4, 2:6]
    np.testing.assert_array_equal(mixed, expected)
    np.testing.assert_allclose(labels[2], [0.0, 12 / 42, 30 / 42], atol=1e-6)
    np.testing.assert_array_equal(labels.numpy()[[0, 1, 3]], LABELS[[0, 1, 3]])


def test_mixup_gives_labels_the_share_of_the_pixels(images):
    mixed, labels = mix(images, LABELS, (3, 4), mixup_alpha=1.0)
    mixed, shares = mixed.numpy(), (labels.numpy() * LABELS).sum(axis=1)
    # classes 0 and 0 meet at the wrap-around: nothing can be read off the first label
    for index in range(1, 5):
        share = shares[index]
        expected = share * images[index] + (1 - share) * images[index - 1]
        np.testing.assert_allclose(mixed[index], expected, atol=1e-3)
    np.testing.assert_allclose(labels.numpy().sum(axis=1), 1.0, atol=1e-6)


def test_cutmix_gives_labels_the_share_of_the_pixels():
    values = np.arange(64, dtype="float32").reshape(-1, 1, 1, 1) * np.ones((8, 8, 1), "float32")
    one_hot = np.eye(64, dtype="float32")
    mixed, labels = mix(values, one_hot, (1, 2), cutmix_alpha=1.0)
    mixed, labels = mixed.numpy(), labels.numpy()
    replaced = mixed != values
    assert 0.2 < replaced.mean() < 0.6
    for index in range(64):
        assert set(np.unique(mixed[index])) <= {float(index), float((index - 1) % 64)}
        assert labels[index, index] == pytest.approx(1 - replaced[index].mean(), abs=1e-6)
        assert labels[index, index - 1] == pytest.approx(replaced[index].mean(), abs=1e-6)
        rows, columns = np.nonzero(replaced[index, ..., 0])
        if len(rows):  # one solid box
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_with_both_each_image_gets_one_of_them():
    values = np.arange(200, dtype="float32").reshape(-1, 1, 1, 1) * np.ones((4, 4, 1), "float32")
    mixed, _ = mix(values, np.eye(200), (5, 6), mixup_alpha=1.0, cutmix_alpha=1.0)
    flat = mixed.numpy().reshape(200, -1)[1:]
    blended = (flat % 1 != 0).any(axis=1)
    cut = ((flat == np.arange(200)[1:, None]) | (flat == np.arange(199)[:, None])).all(axis=1)
    np.testing.assert_array_equal(blended, ~cut)
    assert 0.35 < blended.mean() < 0.65


def test_without_either_nothing_changes(images):
    mixed, labels = mix(images, LABELS, (0, 1))
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_array_equal(labels, LABELS)


def test_the_mixture_is_a_function_of_the_seed(images):
    first, again, other = (
        mix(images, LABELS, seed, 0.8, 1.0)[0].numpy() for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_missing_pixel_does_not_spread_where_its_image_has_no_share(images):
    images[1, 0, 0] = np.nan
    kept = np.ones((5, 6, 7, 1), "float32")
    kept[2, 3:] = 0.0
    kept[1, 0, 0] = 0.0
    mixed, _ = blend(images, LABELS, kept)
    assert np.isfinite(mixed).all()


def test_mixup_takes_signals_and_volumes():
    for shape in ((5, 4, 1), (5, 3, 3, 3, 1)):
        mixed, labels = mix(np.ones(shape), LABELS, (0, 1), mixup_alpha=0.5)
        np.testing.assert_allclose(mixed, np.ones(shape), atol=1e-6)
        assert labels.shape == (5, 3)


@pytest.mark.parametrize("alpha", [0.02, 0.2, 1.0, 5.0])
def test_shares_are_beta_distributed(alpha):
    draws = beta(alpha, 20_000, (7, 8)).numpy()
    assert np.isfinite(draws).all()
    assert draws.mean() == pytest.approx(0.5, abs=0.015)
    assert draws.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.04)


def test_boxes_have_the_wanted_size_where_the_border_allows():
    share = np.full(300, 0.75, "float32")
    boxes = cut_boxes(share, (8, 12), (0, 1)).numpy()[..., 0]
    assert boxes.shape == (300, 8, 12)
    heights, widths = boxes.any(axis=2).sum(axis=1), boxes.any(axis=1).sum(axis=1)
    assert (heights.max(), widths.max()) == (4, 6)
    whole = (heights == 4) & (widths == 6)
    assert whole.mean() > 0.3
    assert (boxes.sum(axis=(1, 2)) == heights * widths).all()
    assert boxes.any(axis=0).all()  # every pixel is hit by some box


def test_boxes_of_nothing_and_of_everything():
    boxes = cut_boxes(tf.constant([1.0]), (8, 8), (0, 1)).numpy()
    assert not boxes.any()
    boxes = cut_boxes(np.zeros(50, "float32"), (8, 8), (0, 1)).numpy()
    assert boxes.any(axis=(1, 2, 3)).all()
