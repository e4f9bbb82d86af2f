"""Crops and flips, eagerly and inside tf.data."""

import numpy as np
import pytest
import tensorflow as tf

from mae_keras.data.augmentation import Augmentation, augment, default_augmentation

FLIP = Augmentation(crop_scale=None, flip=True)
FULL_CROP = Augmentation(crop_scale=(1.0, 1.0))


def eagerly(images, augmentation, seed):
    return augment(images, augmentation, seed).numpy()


def in_tf_data(images, augmentation, seed):
    batches = tf.data.Dataset.from_tensors(images)
    return next(iter(batches.map(lambda batch: augment(batch, augmentation, seed)))).numpy()


both_ways = pytest.mark.parametrize("apply", [eagerly, in_tf_data])


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 17, 3), (1, 5, 2)])
def test_a_crop_of_everything_changes_nothing(apply, shape, random_images):
    images = random_images(16, shape)
    np.testing.assert_array_equal(apply(images, FULL_CROP, (0, 1)), images)


@both_ways
def test_half_of_the_images_are_mirrored_and_the_rest_untouched(apply, random_images):
    images = random_images(400)
    flipped = apply(images, FLIP, (0, 1))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    untouched = (flipped == images).all((1, 2, 3))
    assert (mirrored ^ untouched).all()
    assert 150 < mirrored.sum() < 250  # five standard deviations


def test_the_same_flips_twice_give_the_images_back(random_images):
    images = random_images(20)
    np.testing.assert_array_equal(eagerly(eagerly(images, FLIP, (3, 4)), FLIP, (3, 4)), images)


@both_ways
def test_a_seed_decides_everything(apply, random_images):
    images = random_images(20)
    augmentation = Augmentation(flip=True)
    first = apply(images, augmentation, (5, 6))
    np.testing.assert_array_equal(first, apply(images, augmentation, (5, 6)))
    assert (first != apply(images, augmentation, (5, 7))).any()


def test_eager_and_graph_agree(random_images):
    images = random_images(20)
    augmentation = Augmentation(flip=True)
    np.testing.assert_array_equal(
        eagerly(images, augmentation, (1, 2)), in_tf_data(images, augmentation, (1, 2))
    )


@both_ways
def test_crops_never_leave_the_image(apply):
    # Anything sampled from outside would be black.
    images = np.full((4000, 9, 9, 1), 200, "uint8")
    assert (apply(images, Augmentation(crop_scale=(0.05, 1.0)), (1, 1)) == 200).all()


def test_crops_of_a_ramp_are_ramps_with_the_slope_of_their_size():
    rows, columns = np.meshgrid(np.arange(32.0), np.arange(32.0), indexing="ij")
    images = np.stack([rows, columns], -1).astype("float32")[np.newaxis].repeat(300, 0)
    augmentation = Augmentation(crop_scale=(0.25, 0.25), crop_ratio=(0.5, 2.0))
    cropped = eagerly(images, augmentation, (0, 0))
    heights = (cropped[:, -1, 0, 0] - cropped[:, 0, 0, 0]) + 1
    widths = (cropped[:, 0, -1, 1] - cropped[:, 0, 0, 1]) + 1
    np.testing.assert_allclose(heights * widths, 0.25 * 32 * 32, rtol=1e-4)  # float32 sampling
    ratios = widths / heights
    assert 0.499 < ratios.min() < 0.6 and 1.6 < ratios.max() < 2.001
    steps = np.diff(cropped[:, :, 0, 0], axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(31, 1), atol=1e-4)
    assert cropped[:, 0, 0, 0].min() < 2 and cropped[:, -1, 0, 0].max() > 29


def test_values_stay_within_those_of_the_image(random_images):
    images = random_images(100, (16, 16, 3)) // 4 + 90
    cropped = eagerly(images, Augmentation(), (2, 2))
    assert cropped.dtype == np.uint8
    assert cropped.min() >= images.min() and cropped.max() <= images.max()


def test_floats_stay_floats_and_are_not_rounded():
    images = np.random.default_rng(0).random((10, 8, 8, 1)).astype("float32")
    cropped = eagerly(images, Augmentation(), (2, 2))
    assert cropped.dtype == np.float32
    assert 0 < cropped.min() and cropped.max() < 1


def test_missing_pixels_spread_to_their_neighbors_only():
    images = np.ones((50, 8, 8, 1), "float32")
    images[:, :, 7] = np.nan
    cropped = eagerly(images, Augmentation(crop_scale=(0.5, 0.5)), (0, 0))
    known = cropped[~np.isnan(cropped)]
    np.testing.assert_allclose(known, 1, rtol=1e-6)
    assert np.isfinite(cropped[:, :, 0]).all()


@pytest.mark.parametrize("scale", [(0, 1), (0.5, 0.2), (0.5, 1.5), (0.5,), (0.5, float("nan"))])
def test_a_crop_scale_out_of_range_is_refused(scale):
    with pytest.raises(ValueError, match=r"crop_scale must be a pair .* Received: crop_scale="):
        Augmentation(crop_scale=scale)


def test_an_endless_crop_ratio_is_refused():
    with pytest.raises(ValueError, match=r"crop_ratio must be a pair \(low, high\) in \(0, 1000\]"):
        Augmentation(crop_ratio=(1, float("inf")))
    with pytest.raises(ValueError, match="crop_ratio must be a pair"):
        Augmentation(crop_ratio=(1, 10**20))


@pytest.mark.parametrize("name", ["digits", "mnist", "tfds:mnist", "tfds:mnist:3.*.*"])
def test_digits_are_never_mirrored(name):
    augmentation = default_augmentation(name)
    assert augmentation is None or not augmentation.flip


def test_photographs_are_cropped_and_mirrored(tmp_path):
    for name in ("cifar10", "tfds:imagenette", tmp_path):
        assert default_augmentation(name) == Augmentation(crop_scale=(0.2, 1.0), flip=True)
