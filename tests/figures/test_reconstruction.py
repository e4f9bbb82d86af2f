"""Rows of original, masked, predicted and composite images, and the legend under them."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from mae_keras.figures import reconstruction_figure
from mae_keras.figures.sheet import MISSING


def shown(figure, row, column):
    return np.asarray(figure.axes[4 * row + column].get_images()[0].get_array())


def test_each_row_shows_original_visible_predicted_and_composite(make_case, texts):
    images, patch_mask, prediction = make_case()
    figure = reconstruction_figure(images, patch_mask, prediction, patch_size=2)
    assert len(figure.axes) == 12
    for heading in ("Original", "Visible", "Predicted", "Composite"):
        assert heading in texts(figure)
    original, masked, made, pasted = (shown(figure, 1, column) for column in range(4))
    hidden = patch_mask[1].reshape(4, 4).repeat(2, 0).repeat(2, 1)
    scaled = images[1, ..., 0] / 255
    np.testing.assert_allclose(original[..., 0], scaled, atol=1e-6)
    np.testing.assert_allclose(made[..., 0][hidden], (1 - scaled)[hidden], atol=1e-6)
    np.testing.assert_array_equal(made[..., 3], hidden)  # blank where nothing was predicted
    assert "Blank in the prediction: what the model saw." in texts(figure)
    np.testing.assert_allclose(pasted[..., 0], np.where(hidden, 1 - scaled, scaled), atol=1e-6)
    np.testing.assert_allclose(masked[..., 0][~hidden], scaled[~hidden], atol=1e-6)
    np.testing.assert_array_equal(masked[..., 3], ~hidden)  # stripes show through


def test_the_masked_picture_has_stripes_behind_it(make_case):
    figure = reconstruction_figure(*make_case(), patch_size=2)
    assert [bool(axes.patch.get_hatch()) for axes in figure.axes[:4]] == [False, True, False, False]


def test_hidden_patches_are_outlined_in_the_prediction():
    images = np.zeros((1, 4, 4, 1), "uint8")
    mask = np.array([[True, False, False, False]])  # the upper left one of four
    figure = reconstruction_figure(images, mask, images, patch_size=2)
    assert [len(axes.collections) for axes in figure.axes] == [0, 0, 1, 0]
    edges = {tuple(map(tuple, edge)) for edge in figure.axes[2].collections[0].get_segments()}
    right = {((1.5, y - 0.5), (1.5, y + 0.5)) for y in (0, 1)}
    assert edges == right | {((x - 0.5, 1.5), (x + 0.5, 1.5)) for x in (0, 1)}


def test_given_pasted_images_are_shown(make_case):
    images, patch_mask, prediction = make_case()
    pasted = np.full(images.shape, 51.0)
    figure = reconstruction_figure(images, patch_mask, prediction, patch_size=2, pasted=pasted)
    np.testing.assert_allclose(shown(figure, 0, 3), 0.2, atol=1e-6)


@pytest.mark.slow
def test_the_value_range_says_what_is_white(make_case):
    images, patch_mask, prediction = make_case()
    figure = reconstruction_figure(
        images / 255 * 2 - 1, patch_mask, prediction, patch_size=2, value_range=(-1, 1)
    )
    np.testing.assert_allclose(shown(figure, 0, 0)[..., 0], images[0, ..., 0] / 255, atol=1e-6)


def test_only_the_first_rows_are_shown(make_case):
    images, patch_mask, prediction = make_case(batch=5)
    figure = reconstruction_figure(images, patch_mask, prediction, patch_size=2, max_rows=2)
    assert len(figure.axes) == 8


def test_the_legend_tells_the_mask_ratio(make_case, texts):
    images, patch_mask, prediction = make_case()
    assert "75%" in texts(reconstruction_figure(images, patch_mask, prediction, patch_size=2))
    patch_mask[0] = np.arange(16) < 8
    text = texts(reconstruction_figure(images, patch_mask, prediction, patch_size=2))
    assert "50 to 75%" in text


@pytest.mark.parametrize(
    ("statistics", "says", "not_says"),
    [
        (None, "Hidden patches", "standardized"),
        ("original", "brightness of hidden patches is given away", "visible patches only"),
        ("visible", "estimated from visible patches only", "given away"),
    ],
)
def test_the_legend_tells_whose_statistics_were_used(make_case, texts, statistics, says, not_says):
    text = texts(reconstruction_figure(*make_case(), patch_size=2, statistics=statistics))
    assert says in text
    assert not_says not in text


def test_missing_pixels_are_explained_only_where_there_are_any(make_case, texts):
    images, patch_mask, prediction = make_case()
    assert "Missing" not in texts(
        reconstruction_figure(images, patch_mask, prediction, patch_size=2)
    )
    images = images.astype(float)
    images[0, 0, 0] = np.nan
    assert "Missing" in texts(reconstruction_figure(images, patch_mask, prediction, patch_size=2))


def test_single_values_hidden_in_color_are_explained(make_case, texts):
    images, _, prediction = make_case((8, 8, 3))
    patch_mask = np.arange(3 * 192).reshape(3, 192) % 5 > 1
    figure = reconstruction_figure(images, patch_mask, prediction, patch_size=(1, 1, 1))
    assert "Hidden values" in texts(figure)
    hidden = patch_mask[0].reshape(8, 8, 3)
    partly = hidden & ~hidden.all(axis=-1, keepdims=True)
    np.testing.assert_allclose(shown(figure, 0, 1)[..., :3][partly], 0.5, atol=1e-6)
    made = shown(figure, 0, 2)
    np.testing.assert_allclose(made[..., :3][hidden], prediction[0][hidden] / 255, atol=1e-6)
    seen_of_partly = ~hidden & hidden.any(axis=-1, keepdims=True)
    np.testing.assert_allclose(made[..., :3][seen_of_partly], 0.5, atol=1e-6)
    np.testing.assert_array_equal(made[..., 3], hidden.any(axis=-1))
    assert "blank where it saw all channels" in texts(figure)


def test_signals_are_drawn_as_lines_with_gaps_where_hidden(make_case, texts):
    images, patch_mask, prediction = make_case((32, 1), num_patches=8)
    images = images.astype(float)
    images[0, 0] = np.nan
    figure = reconstruction_figure(images, patch_mask, prediction, patch_size=4)
    original, masked, made, pasted = (
        [line.get_ydata() for line in a.lines] for a in figure.axes[:4]
    )
    hidden = patch_mask[0].repeat(4)
    assert len(original) == 1
    np.testing.assert_array_equal(original[0], images[0, :, 0])
    assert np.isnan(masked[0][hidden]).all()
    np.testing.assert_array_equal(made[0], np.where(hidden, prediction[0, :, 0], np.nan))
    expected = np.where(hidden, prediction[0, :, 0], images[0, :, 0])
    np.testing.assert_array_equal(pasted[0], expected)
    assert "light blue" in texts(figure)
    missing = [
        [box.get_x() for box in axes.patches if box.get_facecolor()[:3] == to_rgb(MISSING)]
        for axes in figure.axes[:4]
    ]
    assert missing == [[-0.5], [-0.5], [], [-0.5]]  # the first patch is visible and begins so


def test_volumes_show_their_middle_slice_and_say_so(make_case, texts):
    images, patch_mask, prediction = make_case((6, 8, 8, 1), num_patches=48)
    figure = reconstruction_figure(images, patch_mask, prediction, patch_size=2)
    np.testing.assert_allclose(shown(figure, 2, 0)[..., 0], images[2, 3, :, :, 0] / 255, atol=1e-6)
    assert "slice 4 of 6" in texts(figure)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "num_patches", "options"),
    [
        ((8, 8, 1), 16, {"title": "Held-out images", "statistics": "original"}),
        ((8, 8, 5), 16, {"title": "A very long title, " * 9, "statistics": "visible"}),
        ((4, 24, 3), 24, {}),
        ((40, 2, 3), 20, {}),
        ((32, 2), 16, {"title": "Signals"}),
        ((4, 8, 8, 2), 32, {"max_rows": 1}),
    ],
    ids=["gray", "long texts", "wide", "tall", "signal", "volume"],
)
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(
    make_case, check_layout, shape, num_patches, options
):
    images, patch_mask, prediction = make_case(shape, num_patches)
    images = images.astype(float)
    images[0, 0] = np.nan
    figure = reconstruction_figure(images, patch_mask, prediction, patch_size=2, **options)
    check_layout(figure)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((3, 8))}, r"`images` must have shape \(batch, \*spatial, channels\)"),
        ({"images": np.zeros((0, 8, 8, 1))}, r"`images` must have .* Received: .*\(0, 8, 8, 1\)"),
        ({"prediction": np.zeros((3, 8, 8, 3))}, "`prediction` must have the shape of `images`"),
        ({"pasted": np.zeros((2, 8, 8, 1))}, "`pasted` must have the shape of `images`"),
        ({"patch_mask": np.ones((3, 4), bool)}, "`patch_mask` must have shape"),
        ({"patch_size": 5}, "`patch_size` must divide"),
        ({"value_range": (1, 0)}, r"`value_range` must be two numbers.*\(1, 0\)"),
        ({"value_range": (np.nan, 1)}, "`value_range` must be two numbers"),
        ({"statistics": "mine"}, "`statistics` must be None, 'original' or 'visible'.*'mine'"),
        ({"max_rows": 0}, "`max_rows` must be an int of at least 1"),
    ],
)
def test_arguments_that_do_not_fit_are_named(make_case, changes, message):
    images, patch_mask, prediction = make_case()
    given = {"images": images, "patch_mask": patch_mask, "prediction": prediction, "patch_size": 2}
    with pytest.raises(ValueError, match=message):
        reconstruction_figure(**{**given, **changes})


def test_a_note_is_added_to_the_legend():
    images = np.zeros((1, 4, 4, 1), "uint8")
    mask = np.array([[True, False, False, True]])
    figure = reconstruction_figure(images, mask, images, patch_size=2, note="Look here.")
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert any("Look here." in text for text in texts)


@pytest.mark.parametrize(
    ("options", "unit", "last"),
    [
        ({}, "steps", 16),
        ({"time_step": 0.5}, "seconds", 8),
        ({"time_step": 2.0, "time_unit": "day"}, "day", 32),
    ],
)
def test_signals_have_an_axis_of_time_below_the_last_row(options, unit, last):
    signals = np.random.default_rng(0).normal(size=(2, 16, 1))
    mask = np.tile(np.arange(4) == 1, (2, 1))
    figure = reconstruction_figure(signals, mask, signals, patch_size=4, **options)
    assert [axes.get_xlabel() for axes in figure.axes] == [""] * 4 + [unit] * 4
    figure.canvas.draw()
    axes = figure.axes[4]
    # What stands at a place is that place times the step.
    times = [float(label.get_text()) for label in axes.get_xticklabels()]
    np.testing.assert_allclose(times, axes.get_xticks() * last / 16)
    assert last / 2 < times[-1] < last


def test_a_time_step_must_be_positive():
    signals, mask = np.zeros((1, 8, 1)), np.ones((1, 2), bool)
    with pytest.raises(ValueError, match="`time_step` must be"):
        reconstruction_figure(signals, mask, signals, patch_size=4, time_step=0)


def test_channels_hidden_by_themselves_are_drawn_so():
    signals = np.random.default_rng(0).normal(size=(1, 8, 2))
    mask = np.array([[[True, False], [False, False]]]).reshape(1, 4)
    figure = reconstruction_figure(signals, mask, signals, patch_size=(4, 1))
    first, second = (line.get_ydata() for line in figure.axes[1].lines)
    np.testing.assert_array_equal(np.isnan(first), np.arange(8) < 4)
    assert not np.isnan(second).any()
