"""Named rows of images, and matrices of numbers."""

import numpy as np
import pytest

from mae_keras.figures import image_grid, matrix_figure


def pictures(figure):
    return [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes]


def test_rows_are_drawn_in_order_with_their_names_and_headings(texts, check_layout):
    images = np.arange(2 * 16, dtype="uint8").reshape(2, 4, 4, 1) * 8
    rows = {"first row": images, "second": images[:1] + 1}
    figure = image_grid(rows, titles=["a", "b"])
    assert len(figure.axes) == 3
    drawn = pictures(figure)
    np.testing.assert_allclose(drawn[1][..., 0], images[1, ..., 0] / 255, atol=1e-6)
    np.testing.assert_allclose(drawn[2][..., 1], (images[0, ..., 0] + 1) / 255, atol=1e-6)
    for text in ("first row", "second", "a", "b"):
        assert text in texts(figure)
    check_layout(figure)


def test_patch_masks_and_pixel_masks_hide_what_they_say(texts):
    images = np.zeros((2, 4, 4, 3), "uint8")
    patch_mask = np.array([[True, False, False, False], [False, True, False, False]])
    pixel_mask = patch_mask.reshape(2, 2, 2).repeat(2, 1).repeat(2, 2)
    rows = {"patches": images, "pixels": images, "seen": images}
    hidden = {"patches": patch_mask, "pixels": pixel_mask[..., None]}
    figure = image_grid(rows, hidden=hidden, patch_size=2)
    drawn = pictures(figure)
    for number in range(4):
        np.testing.assert_array_equal(drawn[number][..., 3], ~pixel_mask[number % 2])
    assert drawn[4].shape[-1] == 3
    assert [bool(axes.patch.get_hatch()) for axes in figure.axes] == [True] * 4 + [False] * 2
    assert "Hidden." in texts(figure)


def test_single_hidden_pixels_have_no_stripes():
    mask = np.eye(16, dtype=bool)[:1]
    figure = image_grid({"x": np.zeros((1, 4, 4, 1))}, hidden={"x": mask})
    assert not figure.axes[0].patch.get_hatch()
    assert pictures(figure)[0][..., 3].sum() == 15


def test_what_is_blank_is_light_gray():
    images = np.zeros((1, 4, 4, 1), "uint8")
    mask = np.array([[True, False, False, False]])
    (drawn,) = pictures(image_grid({"predicted": images}, blank={"predicted": mask}, patch_size=2))
    assert drawn[:2, :2].min() > 0.9 and drawn[2:].max() == drawn[:, 2:].max() == 0


def test_maps_go_from_white_to_dark_by_the_largest_value_of_the_row():
    values = np.zeros((1, 2, 2, 1))
    values[0, 0, 0] = 1000.0
    (drawn,) = pictures(image_grid({"error": values}, maps=["error"]))
    assert drawn[0, 0].sum() < drawn[1, 1].sum()
    assert drawn[1, 1].min() > 0.9


def test_outlines_lie_between_patches():
    figure = image_grid({"x": np.zeros((1, 4, 4, 1))}, patch_size=2, outlines=True)
    edges = [line.get_xydata()[0].tolist() for line in figure.axes[0].lines]
    assert edges == [[0.0, 1.5], [1.5, 0.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": {}}, "at least one row"),
        ({"rows": {"x": np.zeros((2, 4, 1))}}, "num_images, height, width, channels"),
        ({"hidden": {"y": np.zeros((2, 4), bool)}}, "must name rows"),
        ({"hidden": {"x": np.zeros(4, bool)}}, "mask of patches"),
        ({"hidden": {"x": np.zeros((2, 4), bool)}}, "patch_mask.shape"),
        ({"maps": ["y"]}, "must name rows"),
        ({"titles": "ab"}, "sequence of names"),
    ],
)
def test_what_cannot_be_drawn_is_named(change, message):
    given = {"rows": {"x": np.zeros((2, 4, 4, 1))}, **change}
    with pytest.raises((TypeError, ValueError), match=message):
        image_grid(**given)


def test_a_small_matrix_has_its_numbers_and_names(texts, check_layout):
    bold = np.array([[True, False], [False, False]])
    figure = matrix_figure(
        [[1.0, 2.0], [3.0, 4.0]],
        row_names=["top", "bottom"],
        column_names=["left", "right"],
        xlabel="across",
        ylabel="down",
        bold=bold,
        title="Four numbers",
    )
    numbers = figure.axes[0].texts
    assert [text.get_text() for text in numbers] == ["1.00", "2.00", "3.00", "4.00"]
    assert [text.get_weight() for text in numbers] == ["bold", "normal", "normal", "normal"]
    for text in ("top", "bottom", "left", "right", "across", "down", "Four numbers"):
        assert text in texts(figure)
    check_layout(figure)


def test_a_large_matrix_has_a_scale_instead_of_numbers(check_layout):
    values = np.linspace(-1, 1, 16 * 64).reshape(16, 64)
    figure = matrix_figure(values, xlabel="feature", ylabel="patch")
    assert not figure.axes[0].texts and len(figure.axes) == 2
    assert figure.axes[0].get_images()[0].get_clim() == (-1, 1)
    check_layout(figure)


def test_names_that_do_not_fit_a_matrix_are_refused():
    with pytest.raises(ValueError, match="`row_names` must have 2 names. Received: 1"):
        matrix_figure(np.eye(2), row_names=["one"])
    with pytest.raises(ValueError, match="shape of `values`"):
        matrix_figure(np.eye(2), bold=np.zeros(3, bool))
