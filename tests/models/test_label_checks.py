"""Labels that do not fit a classifier are refused with the reason."""

import numpy as np
import pytest
import tensorflow as tf

from mae_keras.models.checks import check_labeled, check_labels

IMAGES = np.zeros((4, 8, 8, 1), "uint8")


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, 2, 2]),
        np.array([0, 1, 2, 2], "uint8"),
        np.array([[0], [1], [2], [2]]),
        np.eye(3, dtype="float32")[[0, 1, 2, 2]],
        np.full((4, 3), 1 / 3, "float16"),
    ],
    ids=["int", "uint8", "column", "one-hot", "shares"],
)
def test_class_numbers_and_shares_are_accepted(labels):
    check_labels(labels, 4, 3)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (None, TypeError, "`labels` must be given"),
        (np.array([0, 1, 2]), ValueError, r"one label for each of the 4 images.*\(3,\)"),
        (np.array([0.0, 1.0, 2.0, 0.5]), TypeError, "must be integers from 0 to 2"),
        (np.array([1, 2, 3, 1]), ValueError, "values from 1 to 3"),
        (np.array([-1, 0, 1, 2]), ValueError, "values from -1 to 2"),
        (np.zeros((4, 2)), ValueError, r"\(4, 3\), shares.*\(4, 2\)"),
        (np.zeros((4, 3)), ValueError, "summing to 1"),
        (np.array([[2.0, -1.0, 0.0]] * 4), ValueError, "at least 0"),
        (np.full((4, 3), np.nan), ValueError, "at least 0"),
    ],
    ids=["none", "short", "float", "from-1", "negative", "width", "empty", "signed", "nan"],
)
def test_other_labels_are_refused(labels, error, message):
    with pytest.raises(error, match=message):
        check_labels(labels, 4, 3)


def test_the_argument_is_named():
    with pytest.raises(ValueError, match="`test_labels` must have one label"):
        check_labels(np.zeros(3, int), 4, 3, "test_labels")


def test_a_dataset_without_labels_is_refused():
    with pytest.raises(TypeError, match="a dataset of images alone"):
        check_labeled(tf.data.Dataset.from_tensor_slices(IMAGES).batch(2), None, 3)


def test_the_first_batch_of_a_dataset_is_looked_at():
    labeled = tf.data.Dataset.from_tensor_slices((IMAGES, np.array([0, 3, 1, 1]))).batch(2)
    with pytest.raises(ValueError, match="values from 0 to 3"):
        check_labeled(labeled, None, 3)


def test_generators_are_left_alone():
    check_labeled((batch for batch in [(IMAGES, np.zeros(4, int))]), None, 3)
