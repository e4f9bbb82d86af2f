"""Chosen rows of another split are fetched like any others."""

import numpy as np
import pytest

from mae_keras.data.pipeline import evaluation_batches, training_batches
from mae_keras.data.splits import ArraySplit, MappedSplit, SelectedSplit, StreamSplit, labels_of


def numbers(batches):
    return [batch.numpy()[:, 0, 0, 0].astype(int).tolist() for batch in batches]


def test_rows_come_in_their_order_and_as_often_as_named(numbered_split):
    split = SelectedSplit(numbered_split(9), [7, 2, 2, 5])
    images, labels = split.arrays()
    assert images[:, 0, 0, 0].tolist() == labels.tolist() == [7, 2, 2, 5]
    assert numbers(evaluation_batches(split, 3)) == [[7, 2, 2], [5]]


def test_training_batches_have_the_labels_of_their_images(numbered_split):
    split = SelectedSplit(numbered_split(9), [8, 0, 3, 3])
    batches = training_batches(split, 2, seed=0, epochs=3, with_labels=True)
    for images, labels in batches:
        assert images.numpy()[:, 0, 0, 0].tolist() == labels.numpy().tolist()


def test_a_selection_of_a_selection_is_a_selection(numbered_split):
    split = SelectedSplit(SelectedSplit(numbered_split(9), [8, 6, 4]), [2, 0])
    images, labels = split.arrays()
    assert images[:, 0, 0, 0].tolist() == labels.tolist() == [4, 8]


def test_rows_of_a_mapped_file_are_read_from_the_file(tmp_path, random_images):
    images = random_images(6)
    np.save(tmp_path / "images.npy", images)
    mapped = MappedSplit(np.load(tmp_path / "images.npy", mmap_mode="r"), [1, 3, 5])
    split = SelectedSplit(mapped, [2, 2, 0])
    np.testing.assert_array_equal(split.arrays()[0], images[[5, 5, 1]])
    assert not split.has_labels


def test_shape_and_dtype_are_those_of_the_other_split(random_images):
    split = SelectedSplit(ArraySplit(random_images(3, (4, 6, 3))), [0])
    assert (split.image_shape, split.dtype, len(split)) == ((4, 6, 3), "uint8", 1)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], ValueError, "`rows` must have shape .* at least one row"),
        ([[0]], ValueError, "`rows` must have 1 axis"),
        ([0, 5], ValueError, "`rows` must be in .* Received: rows from 0 to 5"),
        ([-1], ValueError, "`rows` must be in"),
        ([0, [1]], ValueError, "`rows` must be one array"),
        (None, TypeError, "`rows` must be an array of real numbers. Received: NoneType"),
        ([0.5], TypeError, "`rows` must be an array of integers. Received: rows.dtype=float64"),
    ],
    ids=str,
)
def test_bad_rows_are_refused(numbered_split, rows, error, message):
    with pytest.raises(error, match=message):
        SelectedSplit(numbered_split(5), rows)


def test_a_stream_is_refused():
    stream = StreamSplit(None, None, (8, 8, 1), 5, has_labels=True)
    with pytest.raises(TypeError, match="`split` must have random access.*Received: a stream"):
        SelectedSplit(stream, [0])


def test_labels_are_wanted(random_images):
    with pytest.raises(ValueError, match="`split` must have labels"):
        labels_of(ArraySplit(random_images(3)))
