"""Balanced splits: how often classes and images come up, and that runs resume exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mae_keras.data.pipeline import training_batches
from mae_keras.data.rebalancing import balanced_split
from mae_keras.data.splits import ArraySplit, StreamSplit

COUNTS = st.lists(st.integers(1, 30), min_size=1, max_size=5)


def split_with(counts, seed=0):
    """A split in mixed order whose n-th image holds nothing but the number n."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype="float32").reshape(-1, 1, 1, 1)
    return ArraySplit(images, labels)


def numbers(batches):
    return [batch.numpy()[:, 0, 0, 0].astype(int).tolist() for batch in batches]


@given(COUNTS)
def test_every_class_becomes_as_large_as_the_largest(counts):
    balanced = balanced_split(split_with(counts))
    assert np.bincount(balanced.labels).tolist() == [max(counts)] * len(counts)


@given(COUNTS, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_images_keep_their_label_and_come_up_evenly_within_a_class(counts, power):
    split = split_with(counts)
    balanced = balanced_split(split, power=power)
    np.testing.assert_array_equal(balanced.labels, split.labels[balanced.rows])
    times = np.bincount(balanced.rows, minlength=len(split))
    for label in range(len(counts)):
        own = times[split.labels == label]
        assert own.min() >= 1
        assert own.max() - own.min() <= 1


def test_power_zero_leaves_every_image_as_it_is():
    balanced = balanced_split(split_with([9, 4, 1]), power=0.0)
    assert sorted(balanced.rows) == list(range(14))


def test_power_a_half_goes_by_the_square_root():
    # sqrt(100 * 100), sqrt(100 * 25), sqrt(100 * 1)
    balanced = balanced_split(split_with([100, 25, 1]), power=0.5)
    assert np.bincount(balanced.labels).tolist() == [100, 50, 10]


def test_an_epoch_holds_every_class_equally_often():
    balanced = balanced_split(split_with([12, 3, 1]))
    batches = training_batches(balanced, 6, seed=3, epochs=2, with_labels=True)
    labels = np.concatenate([labels.numpy() for _, labels in batches])
    for epoch in np.split(labels, 2):
        assert np.bincount(epoch).tolist() == [12, 12, 12]


def test_the_first_images_are_a_fair_sample():
    """Statistics and pictures are made of the first images of a split."""
    first = balanced_split(split_with([300, 100, 30])).labels[:300]
    assert np.bincount(first).min() > 70


def test_resuming_gives_the_batches_of_an_unbroken_run():
    whole = numbers(training_batches(balanced_split(split_with([12, 3])), 5, seed=1, epochs=3))
    rest = training_batches(balanced_split(split_with([12, 3])), 5, seed=1, start_epoch=1, epochs=3)
    assert numbers(rest) == whole[len(whole) // 3 :]
    assert whole[:4] != whole[4:8]


def test_the_seed_decides_order_and_extra_images():
    split = split_with([11, 4])
    rows = [balanced_split(split, seed).rows for seed in (0, 0, 1)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert rows[0].tolist() != rows[2].tolist()
    assert sorted(rows[0]) != sorted(rows[2])


def test_labels_need_not_be_consecutive():
    split = ArraySplit(np.zeros((5, 2, 2, 1), "uint8"), np.array([7, 7, 3, 7, 7]))
    assert sorted(balanced_split(split).labels) == [3] * 4 + [7] * 4


def test_a_stream_is_refused():
    stream = StreamSplit(None, None, (8, 8, 1), 5, has_labels=True)
    with pytest.raises(TypeError, match="`split` must have random access.*Received: a stream"):
        balanced_split(stream)


def test_a_split_without_labels_is_refused():
    with pytest.raises(ValueError, match="`split` must have labels"):
        balanced_split(ArraySplit(np.zeros((5, 2, 2, 1), "uint8")))


@pytest.mark.parametrize("power", [-0.1, 1.5, float("nan")])
def test_a_power_out_of_range_is_refused(power):
    with pytest.raises(ValueError, match="`power` must be.*Received: power="):
        balanced_split(split_with([2, 1]), power=power)
