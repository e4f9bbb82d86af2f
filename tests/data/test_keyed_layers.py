"""Keras's layers inside tf.data as functions of a key."""

import numpy as np
import pytest
import tensorflow as tf

from mae_keras.data import keyed_layers as keyed

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow

KEY = np.array([3, 9])


@pytest.fixture
def images(random_images):
    return random_images(12, (8, 8, 3)).astype("float32")


def changed(function, images, key=KEY):
    """Run inside tf.data, as the pipeline does."""
    seeds = keyed.KeyedSeeds()

    def run(batch):
        seeds.start(tf.constant(key, tf.int64))
        return function(batch, seeds)

    return next(iter(tf.data.Dataset.from_tensors(images).map(run))).numpy()


def all_layers():
    named = keyed.rand_augment_layers(0.9, 3, (0, 255))
    named += keyed.shift_and_rotate_layers(0.2, 15.0) + keyed.erasing_layers(1.0, (0, 255))
    return [pytest.param(layer, id=f"{n}-{type(layer).__name__}") for n, layer in enumerate(named)]


@pytest.mark.every_backend
@pytest.mark.parametrize("layer", all_layers())
def test_a_layer_changes_images_by_the_key_and_keeps_their_range(layer, images):
    first, again, other = (
        changed(lambda batch, seeds: keyed.apply_layer(layer, batch, seeds), images, key)
        for key in (KEY, KEY, KEY + 1)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == images.shape and first.dtype == "float32"
    assert not np.array_equal(first, images)
    assert first.min() >= -1e-3 and first.max() <= 255 + 1e-3
    deterministic = type(layer).__name__ in ("RandomPosterization", "AutoContrast")
    assert np.array_equal(first, other) == deterministic


def test_seeds_differ_from_each_other_and_start_over():
    seeds = keyed.KeyedSeeds()
    seeds.start(tf.constant(KEY))
    first = [tuple(seeds.next().numpy()) for _ in range(3)]
    seeds.start(tf.constant(KEY))
    assert [tuple(seeds.next().numpy()) for _ in range(3)] == first
    assert len(set(first)) == 3


def test_each_image_gets_an_operation_of_its_own(images):
    same = np.broadcast_to(images[:1], (64, 8, 8, 3))
    layers = keyed.rand_augment_layers(0.9, 3, (0, 255))
    made = changed(lambda batch, seeds: keyed.rand_augment(batch, layers, 1, seeds), same)
    posterized = images[0].astype("uint8") >> 4 << 4
    hits = [np.array_equal(image, posterized) for image in made]
    assert 0 < sum(hits) < 20  # one operation of nine


def test_more_operations_change_more(images):
    layers = keyed.rand_augment_layers(0.9, 3, (0, 255))
    once, twice = (
        changed(lambda batch, seeds, n=n: keyed.rand_augment(batch, layers, n, seeds), images)
        for n in (1, 2)
    )
    assert np.abs(twice - images).mean() > np.abs(once - images).mean() > 0


def test_erasing_hits_the_wanted_fraction_of_images():
    flat = np.full((400, 8, 8, 1), 77.0, "float32")
    [layer] = keyed.erasing_layers(0.25, (0, 255))
    made = changed(lambda batch, seeds: keyed.apply_layer(layer, batch, seeds), flat)
    hit = (made != flat).any(axis=(1, 2, 3))
    assert hit.mean() == pytest.approx(0.25, abs=0.08)


def test_shifts_stay_within_their_limit():
    dot = np.zeros((100, 11, 11, 1), "float32")
    dot[:, 5, 5] = 255.0
    layers = keyed.shift_and_rotate_layers(0.2, 0.0)
    made = changed(lambda batch, seeds: keyed.apply_layer(layers[0], batch, seeds), dot)
    rows = np.arange(11)[:, None]
    centers = (made[..., 0] * rows).sum(axis=(1, 2)) / made[..., 0].sum(axis=(1, 2))
    assert np.abs(centers - 5).max() <= 0.2 * 11 + 1e-3
    assert np.abs(centers - 5).max() > 1.0


def test_nothing_wanted_makes_no_layer():
    assert keyed.shift_and_rotate_layers(0.0, 0.0) == keyed.erasing_layers(0.0, (0, 255)) == []


def test_magnitude_zero_changes_nothing_but_contrast(images):
    for layer in keyed.rand_augment_layers(0.0, 3, (0, 255))[:7]:
        made = changed(lambda b, s, layer=layer: keyed.apply_layer(layer, b, s), images)
        np.testing.assert_allclose(made, images, atol=1e-2, err_msg=type(layer).__name__)
