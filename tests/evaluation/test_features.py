"""Pixel features and the checks on features."""

import subprocess
import sys

import numpy as np
import pytest

from mae_keras.evaluation import check_features, class_notes, fit_pca, pixel_features
from mae_keras.evaluation.features import check_same_width


def test_pixel_features_are_the_flattened_pixels_unscaled():
    images = np.arange(24, dtype="uint8").reshape(2, 2, 3, 2)
    features = pixel_features(images)
    assert features.dtype == np.float32
    assert features.tolist() == [list(range(12)), list(range(12, 24))]


def test_pixel_features_fill_missing_pixels_with_the_mean_of_the_rest():
    images = np.array([[[1.0], [np.nan], [5.0]], [[np.nan], [np.nan], [np.nan]]])
    assert pixel_features(images).tolist() == [[1, 3, 5], [0, 0, 0]]


def test_pixel_features_refuse_a_single_row():
    with pytest.raises(ValueError, match=r"`images` must have shape .* Received: .*\(4,\)"):
        pixel_features(np.zeros(4))


def test_check_features_gives_float32_and_labels():
    features, labels = check_features([[1, 2], [3, 4]], [7, 8])
    assert features.dtype == np.float32
    assert labels.tolist() == [7, 8]


def test_check_features_names_the_rows_that_are_not_finite():
    features = np.zeros((4, 2))
    features[1, 0], features[3, 1] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"`test_features` must be finite.*2 of 4 rows: 1, 3$"):
        check_features(features, [0, 0, 0, 0], "test")


def test_check_features_shortens_a_long_list_of_rows():
    with pytest.raises(ValueError, match=r"9 of 9 rows: 0, 1, 2, 3, 4, \.\.\.$"):
        check_features(np.full((9, 1), np.nan), np.zeros(9, int))


def test_check_features_finds_values_too_large_for_float32():
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="must be finite"):
        check_features([[1e300]], [0])


@pytest.mark.parametrize(
    ("features", "labels", "error", "message"),
    [
        (np.zeros((3, 2)), np.zeros(2, int), ValueError, r"`train_labels` must have shape \(3,\)"),
        (np.zeros((3, 2)), np.zeros((3, 1), int), ValueError, r"Received: .*\(3, 1\)"),
        (np.zeros((3, 2)), np.zeros(3), TypeError, "`train_labels` must be integers.*float64"),
        (np.zeros((3, 2)), [True, False, True], TypeError, "must be integers.*bool"),
        (np.zeros((3, 2, 2)), np.zeros(3, int), ValueError, r"`train_features` must have shape"),
        (np.zeros((0, 2)), np.zeros(0, int), ValueError, r"Received: .*\(0, 2\)"),
    ],
    ids=["length", "rank", "floats", "bools", "not flat", "empty"],
)
def test_check_features_says_what_does_not_fit(features, labels, error, message):
    with pytest.raises(error, match=message):
        check_features(features, labels)


def test_check_same_width_names_the_set_that_differs():
    with pytest.raises(ValueError, match=r"`b` must have as many columns as `a`, 2.*\(4, 3\)"):
        check_same_width(a=np.zeros((1, 2)), c=np.zeros((5, 2)), b=np.zeros((4, 3)))


def test_importing_the_room_loads_neither_scikit_learn_nor_keras():
    code = "import sys, mae_keras.evaluation; print({'sklearn', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_principal_components_are_those_of_a_singular_value_decomposition():
    rows = np.random.default_rng(0).normal(size=(30, 5)) * [5, 3, 1, 1, 1]
    new = np.random.default_rng(1).normal(size=(4, 5))
    _, _, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    expected = (new - rows.mean(axis=0)) @ directions[:2].T
    made = fit_pca(rows, num_components=2)(new)
    assert made.dtype == np.float32
    # components have no sign
    np.testing.assert_allclose(np.abs(made), np.abs(expected), atol=1e-4)


def test_there_are_no_more_components_than_rows_or_columns():
    assert fit_pca(np.eye(3, 7), num_components=100)(np.ones((2, 7))).shape == (2, 3)


@pytest.mark.parametrize("count", [0, -1, 2.5, None])
def test_a_bad_number_of_components_is_refused(count):
    with pytest.raises(ValueError, match="`num_components` must be.*Received"):
        fit_pca(np.eye(3), count)


def test_classes_missing_on_one_side_are_named():
    assert class_notes([0, 1, 1], [0, 1]) == []
    assert class_notes([0, 1], [1, 2, 2], "abc") == [
        "Class c is absent from train: its 2 test images count as wrong.",
        "Class a is absent from test: accuracies say nothing about it.",
    ]
