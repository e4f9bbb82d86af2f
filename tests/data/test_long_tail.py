"""Long-tailed splits: exact sizes, the same images for the same seed."""

from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mae_keras.data.rebalancing import long_tailed, long_tailed_rows
from mae_keras.data.splits import ArraySplit, MappedSplit, SelectedSplit, StreamSplit

getcontext().prec = 40


def labels_of_equal_classes(num_classes, size, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(num_classes), size))


def sizes_of(labels, rows):
    return np.bincount(labels[rows]).tolist()


@given(st.integers(2, 7), st.integers(20, 60), st.integers(1, 20))
def test_sizes_are_those_of_the_formula(num_classes, size, ratio):
    labels = labels_of_equal_classes(num_classes, size)
    rows = long_tailed_rows(labels, ratio)
    expected = []
    for place in range(num_classes):
        exponent = Decimal(place) / (num_classes - 1)
        # to 40 digits; the quantum keeps a whole number whole
        exact = Decimal(size) / Decimal(ratio) ** exponent
        expected.append(int((exact + Decimal("1e-30")) // 1))
    assert sizes_of(labels, rows) == expected


def test_long_tailed_cifar_has_the_published_number_of_images():
    # Cui et al. and all after them: 5000 down to 50, 12 406 in all
    labels = labels_of_equal_classes(10, 5000)
    sizes = sizes_of(labels, long_tailed_rows(labels, 100))
    assert sizes == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sum(sizes) == 12_406


def test_rows_rise_and_do_not_repeat():
    rows = long_tailed_rows(labels_of_equal_classes(4, 30), 10)
    assert (np.diff(rows) > 0).all()


def test_the_seed_decides_which_images_stay():
    labels = labels_of_equal_classes(4, 30)
    rows = [long_tailed_rows(labels, 10, seed).tolist() for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]
    assert len(rows[0]) == len(rows[2])


def test_a_larger_ratio_keeps_a_subset():
    labels = labels_of_equal_classes(4, 30)
    some, fewer = (set(long_tailed_rows(labels, ratio, seed=5)) for ratio in (3, 20))
    assert fewer < some


def test_class_zero_is_the_largest_unless_classes_are_shuffled():
    labels = labels_of_equal_classes(6, 32)
    plain = sizes_of(labels, long_tailed_rows(labels, 32))
    shuffled = [
        sizes_of(labels, long_tailed_rows(labels, 32, seed, shuffle_classes=True))
        for seed in range(3)
    ]
    assert plain == [32, 16, 8, 4, 2, 1]
    assert all(sorted(sizes, reverse=True) == plain for sizes in shuffled)
    assert shuffled[0] != shuffled[1]


def test_unequal_classes_start_from_the_smallest():
    labels = np.repeat([0, 1, 2], [40, 20, 30])
    assert sizes_of(labels, long_tailed_rows(labels, 4)) == [20, 10, 5]


def test_the_largest_class_can_be_given():
    labels = np.repeat([0, 1, 2], [40, 20, 30])
    assert sizes_of(labels, long_tailed_rows(labels, 4, largest=40)) == [40, 20, 10]


def test_an_array_split_gives_an_array_split_of_some_of_its_images(random_images):
    labels = labels_of_equal_classes(3, 16)
    images = random_images(len(labels))
    split = long_tailed(ArraySplit(images, labels), 16, seed=2)
    rows = long_tailed_rows(labels, 16, seed=2)
    assert type(split) is ArraySplit
    np.testing.assert_array_equal(split.images, images[rows])
    np.testing.assert_array_equal(split.labels, labels[rows])
    assert np.bincount(split.labels).tolist() == [16, 4, 1]


def test_other_splits_stay_where_they_are(tmp_path, random_images):
    np.save(tmp_path / "images.npy", random_images(12))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    labels = np.arange(12) % 3
    split = long_tailed(MappedSplit(mapped, np.arange(12), labels=labels), 4)
    assert type(split) is SelectedSplit
    np.testing.assert_array_equal(split.arrays()[0], mapped[split.rows])
    assert np.bincount(split.labels).tolist() == [4, 2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imbalance_ratio": 0.5}, "`imbalance_ratio` must be .*at least 1"),
        ({"imbalance_ratio": float("nan")}, "`imbalance_ratio` must be .*at least 1"),
        ({"imbalance_ratio": 31}, "`imbalance_ratio` must leave at least one image"),
        ({"imbalance_ratio": 2, "largest": 31}, "takes 31 of the 30 images of class 0"),
        ({"imbalance_ratio": 2, "largest": 0}, "`imbalance_ratio` must leave at least one image"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        long_tailed_rows(labels_of_equal_classes(4, 30), **options)


def test_a_single_class_is_refused():
    with pytest.raises(ValueError, match="at least two classes. Received: .* 1 classes"):
        long_tailed_rows(np.zeros(5, int))


def test_a_stream_is_refused():
    stream = StreamSplit(None, None, (8, 8, 1), 5, has_labels=True)
    with pytest.raises(TypeError, match="`split` must have random access.*Received: a stream"):
        long_tailed(stream)
