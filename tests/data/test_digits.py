"""The embedded digits."""

import numpy as np
from sklearn import datasets

from mae_keras.data import load


def test_all_digits_are_there_as_bytes_with_their_labels():
    data = load("digits")
    raw = datasets.load_digits()
    expected = {
        (image.tobytes(), label) for image, label in zip(raw.images, raw.target, strict=True)
    }
    found = set()
    for split in (data.train, data.validation, data.test):
        images, labels = split.arrays()
        assert images.dtype == np.uint8
        ink = np.rint(images[..., 0].astype("float64") * 16 / 255)
        found |= {(image.tobytes(), label) for image, label in zip(ink, labels, strict=True)}
    assert found == expected
    assert data.image_shape == (8, 8, 1) and data.value_range == (0, 255)
    assert data.class_names == tuple("0123456789")


def test_splits_are_70_15_15_and_disjoint():
    data = load("digits")
    sizes = [len(split) for split in (data.train, data.validation, data.test)]
    assert sum(sizes) == 1797
    np.testing.assert_allclose(np.array(sizes) / 1797, [0.7, 0.15, 0.15], atol=0.001)
    held = [{image.tobytes() for image in split.arrays()[0]} for split in (data.train, data.test)]
    assert not held[0] & held[1]


def test_the_split_depends_on_the_seed_alone():
    first, again, other = (load("digits", seed=seed).test.images for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


def test_digits_can_come_without_labels_and_larger():
    data = load("digits", labels=False, image_size=16)
    assert data.image_shape == (16, 16, 1) and data.num_classes is None
