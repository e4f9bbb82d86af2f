"""Labeled batches: what they hold, that a seed says all, and what is refused."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mae_keras import data
from mae_keras.data import (
    ArraySplit,
    ClassificationAugmentation,
    StreamSplit,
    labeled_batches,
    training_batches,
)

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow

EVERYTHING = dataclasses.replace(
    ClassificationAugmentation.preset("paper"), max_shift=0.1, max_rotation=10.0
)


@pytest.fixture
def split(random_images):
    return ArraySplit(random_images(20, (8, 8, 3)), np.arange(20) % 5)


def batches_of(split, augmentation=None, **kwargs):
    kwargs = {"seed": 1, "epochs": 2, **kwargs}
    batches = labeled_batches(split, 6, 5, augmentation=augmentation, **kwargs)
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


def test_without_augmentation_they_are_the_batches_of_pretraining(split):
    expected = training_batches(split, 6, seed=1, epochs=2, with_labels=True)
    made = batches_of(split)
    assert len(made) == 6
    for (images, labels), (same, numbers) in zip(made, expected, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, np.eye(5)[numbers])
        assert images.dtype == "uint8" and labels.dtype == "float32"


@pytest.mark.every_backend
@pytest.mark.parametrize("name", ["light", "paper", "everything"])
def test_augmented_images_stay_as_stored(split, name):
    augmentation = EVERYTHING if name == "everything" else ClassificationAugmentation.preset(name)
    before = batches_of(split)
    for (images, labels), (plain, _) in zip(batches_of(split, augmentation), before, strict=True):
        assert images.dtype == "uint8" and images.shape == plain.shape
        assert labels.dtype == "float32"
        np.testing.assert_allclose(labels.sum(axis=1), 1.0, atol=1e-6)
        assert not np.array_equal(images, plain)
        assert images.max() > 20  # not scaled to [0, 1]


@pytest.mark.parametrize("shape", [(8, 8, 1), (6, 10, 3)])
def test_floats_keep_their_range(shape, random_images):
    images = random_images(12, shape).astype("float32") / 255 - 0.5
    floats = ArraySplit(images, np.arange(12) % 5)
    for images, _ in batches_of(floats, EVERYTHING, value_range=(-0.5, 0.5)):
        assert images.dtype == "float32"
        assert -0.5 <= images.min() < -0.1 < 0.1 < images.max() <= 0.5


@pytest.mark.slow
def test_the_batches_are_a_function_of_the_seed(split):
    tf.random.set_seed(1)
    first = batches_of(split, EVERYTHING)
    tf.random.set_seed(2)
    again, other = batches_of(split, EVERYTHING), batches_of(split, EVERYTHING, seed=2)
    for (images, labels), (same, same_labels) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)
    assert not any(np.array_equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_starting_later_gives_the_batches_an_unbroken_run_sees(split):
    whole = batches_of(split, EVERYTHING, epochs=3)
    rest = batches_of(split, EVERYTHING, epochs=3, start_epoch=1)
    assert len(rest) == len(whole) - 3
    for (images, labels), (same, same_labels) in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)


def test_the_same_image_is_changed_differently_in_every_epoch():
    ramps = np.broadcast_to(np.arange(8, dtype="uint8")[:, None, None] * 9, (6, 8, 8, 1))
    split = ArraySplit(ramps, np.arange(6) % 5)
    light = ClassificationAugmentation(max_shift=0.3)
    first, second = (images for images, _ in batches_of(split, light))
    assert not np.array_equal(first, second)


def test_mixed_pixels_and_labels_have_one_share():
    """Two flat classes, so a label can be read off the pixels."""
    labels = np.arange(40) % 2
    images = (labels[:, None, None, None] * 200 * np.ones((4, 4, 1))).astype("uint8")
    split = ArraySplit(images, labels)
    mixing = ClassificationAugmentation(mixup_alpha=1.0, cutmix_alpha=1.0)
    for mixed, shares in labeled_batches(split, 20, 2, seed=3, epochs=2, augmentation=mixing):
        means = mixed.numpy().mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means / 200, shares.numpy()[:, 1], atol=0.5 / 200 + 1e-6)


def test_shapes_are_static_for_xla(split):
    images, labels = labeled_batches(split, 6, 5, seed=0, augmentation=EVERYTHING).element_spec
    assert tuple(images.shape) == (6, 8, 8, 3) and tuple(labels.shape) == (6, 5)


def test_a_remainder_can_be_kept(split):
    sizes = [len(i) for i, _ in batches_of(split, EVERYTHING, drop_remainder=False, epochs=1)]
    assert sizes == [6, 6, 6, 2]


def test_streams_are_augmented_too(random_images):
    pixels = random_images(12)
    stream = StreamSplit(
        lambda: tf.data.Dataset.from_tensor_slices((pixels, np.arange(12) % 5)),
        lambda image: image,
        (8, 8, 1),
        12,
        has_labels=True,
    )
    light = ClassificationAugmentation.preset("light")
    assert len(batches_of(stream, light, epochs=1)) == 2


def test_mixup_takes_signals():
    signals = ArraySplit(np.ones((12, 16, 1), "float32"), np.arange(12) % 5)
    [(first, _), *_] = batches_of(signals, ClassificationAugmentation(mixup_alpha=0.5))
    assert first.shape == (6, 16, 1)


def test_digits_are_never_mirrored_by_the_light_preset():
    assert not ClassificationAugmentation.preset("light").flip
    assert ClassificationAugmentation.preset("none") == ClassificationAugmentation()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_shift": 1.5}, r"`max_shift` must be a number in \[0, 1\]"),
        ({"max_rotation": -1}, r"`max_rotation` must be a number in \[0, 180\]"),
        ({"magnitude": float("nan")}, r"`magnitude` must be a number in \[0, 1\]"),
        ({"num_ops": 1.5}, "`num_ops` must be an int"),
        ({"mixup_alpha": float("inf")}, "`mixup_alpha` must be a finite number of at least 0"),
        ({"crop_scale": (0.5, 2.0)}, "crop_scale must be a pair"),
    ],
)
def test_numbers_out_of_range_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ClassificationAugmentation(**kwargs)


def test_an_unknown_preset_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="none, light, paper. Did you mean 'light'?"):
        ClassificationAugmentation.preset("ligth")


def test_labels_have_to_fit(random_images, split):
    with pytest.raises(ValueError, match="labels from 0 to 4"):
        labeled_batches(split, 4, 3, seed=0)
    with pytest.raises(ValueError, match="`num_classes` must be an int from 2 to"):
        labeled_batches(split, 4, 1, seed=0)
    with pytest.raises(ValueError, match="expects a split with labels"):
        labeled_batches(ArraySplit(random_images(8)), 4, 3, seed=0)


def test_signals_cannot_be_turned():
    signals = ArraySplit(np.ones((12, 16, 1), "float32"), np.arange(12) % 5)
    with pytest.raises(ValueError, match="expects images"):
        batches_of(signals, ClassificationAugmentation.preset("light"))


def test_operations_on_colors_need_a_range(split):
    for wrong in ((0, np.inf), (np.nan, 255), (255, 0)):
        with pytest.raises(ValueError, match="`value_range` must be"):
            batches_of(split, EVERYTHING, value_range=wrong)
    with pytest.raises(ValueError, match="expect a value_range"):
        batches_of(split, EVERYTHING, value_range=None)


def test_the_old_name_still_works():
    with pytest.warns(DeprecationWarning, match="use mae_keras.data.labeled_batches"):
        assert data.labelled_batches is labeled_batches
