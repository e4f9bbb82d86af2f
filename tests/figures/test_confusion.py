"""Confusion matrices of two to a hundred classes."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from mae_keras.figures import confusion_figure

# Drawing takes longer than the fast part has time for.
pytestmark = pytest.mark.slow


def make(num_classes, samples=100, absent=()):
    """Counts with four fifths of each row on the diagonal and the rest one column further."""
    matrix = np.diag(np.full(num_classes, samples - samples // 5))
    matrix += np.roll(np.diag(np.full(num_classes, samples // 5)), 1, axis=1)
    matrix[list(absent)] = 0
    return matrix


def numbers(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()[0].isdigit()]


def test_rows_run_downwards_and_are_shaded_by_their_shares():
    axes = confusion_figure([[8, 2], [30, 10]]).axes[0]
    shares = np.asarray(axes.collections[0].get_array())
    np.testing.assert_allclose(shares.reshape(2, 2), [[0.8, 0.2], [0.75, 0.25]])
    assert axes.yaxis_inverted()


def test_cells_hold_counts_and_zeros_stay_empty():
    figure = confusion_figure([[8, 0], [3, 10]])
    texts = {text.get_position(): text.get_text() for text in figure.axes[0].texts[:3]}
    assert texts == {(0.5, 0.5): "8", (0.5, 1.5): "3", (1.5, 1.5): "10"}


def test_large_counts_are_percent_of_the_row(texts):
    figure = confusion_figure([[1500, 500], [1, 9999]])
    cells = [text.get_text() for text in figure.axes[0].texts[:4]]
    assert cells == ["75.0", "25.0", "<0.1", ">99.9"]
    assert "percent of the row" in texts(figure)


def test_rows_end_with_their_share_of_correct_ones(texts):
    text = texts(confusion_figure([[8, 2], [30, 10]], ["cat", "dog"]))
    assert "80.0% of 10" in text
    assert "25.0% of 40" in text
    assert "Correct: 36.0% of 50 samples; mean over classes 52.5%" in text
    assert "cat" in text


def test_beyond_twenty_classes_mistakes_are_listed_instead_of_numbers(texts):
    assert numbers(confusion_figure(make(20)))
    matrix = make(30)
    matrix[4, 9], matrix[4, 4] = 70, 10
    figure = confusion_figure(matrix)
    assert not numbers(figure)
    assert "Most often mistaken: 4 as 9 (70.0%), " in texts(figure)
    assert "Named is one class in 2." in texts(figure)


def test_without_mistakes_none_are_listed(texts):
    assert "mistaken" not in texts(confusion_figure(np.diag(np.ones(25, int))))


@pytest.mark.parametrize("num_classes", [3, 40])
def test_absent_classes_are_striped_and_named(texts, num_classes):
    figure = confusion_figure(make(num_classes, absent=[1]))
    (stripes,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert stripes.get_xy() == (0, 1)
    assert stripes.get_hatch()
    assert "Without a sample: 1." in texts(figure)


def test_classes_never_predicted_are_named(texts):
    assert "Never predicted: b." in texts(confusion_figure([[5, 0], [3, 0]], ["a", "b"]))


def test_an_empty_matrix_is_drawn(texts):
    assert "Correct" not in texts(confusion_figure(np.zeros((2, 2), int)))


@pytest.mark.parametrize("num_classes", [2, 5, 10, 20, 21, 100])
@pytest.mark.parametrize(
    "name",
    [None, "class {}", "a class with a name that is far too long for any axis, {}"],
    ids=["numbers", "names", "long names"],
)
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, num_classes, name):
    names = None if name is None else [name.format(number) for number in range(num_classes)]
    matrix = make(num_classes, samples=900, absent=[0])
    check_layout(confusion_figure(matrix, names, title="Linear probe on the held-out test set"))


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        (np.ones((2, 3)), None, r"`matrix` must have shape .* Received: .*\(2, 3\)"),
        (np.ones((1, 1)), None, "at least two classes"),
        (np.ones(4), None, r"Received: matrix.shape=\(4,\)"),
        ([[0.5, 0.5], [0, 1]], None, "`matrix` must hold counts"),
        ([[-1, 2], [0, 1]], None, "`matrix` must hold counts.*-1 to 2"),
        ([[np.nan, 2], [0, 1]], None, "`matrix` must hold counts"),
        (np.eye(3), ["a", "b"], "`class_names` must have one name for each of the 3 classes"),
    ],
)
def test_arguments_that_do_not_fit_are_named(matrix, names, message):
    with pytest.raises(ValueError, match=message):
        confusion_figure(matrix, names)
