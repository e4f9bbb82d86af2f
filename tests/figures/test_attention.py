"""Attention laid over images."""

import numpy as np
import pytest

from mae_keras.figures import attention_figure

# Drawing takes longer than the fast part has time for.
pytestmark = pytest.mark.slow


def make(shape=(8, 8, 1), heads=2, patches=16, batch=2):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *shape)).astype("uint8")
    return images, rng.dirichlet(np.ones(patches), (batch, heads))


def shown(axes):
    return np.asarray(axes.get_images()[0].get_array())


def test_each_row_shows_the_image_the_mean_and_each_head(texts):
    figure = attention_figure(*make(heads=3), (4, 4))
    assert len(figure.axes) == 2 * 5
    for heading in ("Image", "Mean of heads", "Head 1", "Head 3"):
        assert heading in texts(figure)


def test_the_patch_attended_to_is_red_and_the_others_are_gray():
    attention = np.zeros((1, 2, 16))
    attention[0, :, 6] = 0.9  # second row of patches, third column
    figure = attention_figure(np.zeros((1, 8, 8, 1), "uint8"), attention, (4, 4))
    for axes in figure.axes[1:]:
        redness = reddish(shown(axes))
        assert redness[2:4, 4:6].min() > 0.3
        redness[2:4, 4:6] = 0
        assert redness.max() < 0.06


def reddish(picture):
    """How much more red than blue there is in each pixel."""
    return picture[..., 0] - picture[..., 2]


@pytest.mark.parametrize("weight", [0.0, 1 / 16, 0.2, 1.0])
def test_the_image_shows_through_any_attention(weight):
    """Black and white pixels keep a contrast of 3 to 1, as WCAG 2 wants of graphics."""
    images = np.zeros((1, 8, 8, 1), "uint8")
    images[:, ::2] = 255
    attention = np.full((1, 1, 16), weight)
    attention[0, 0, 0] = max(weight, 1e-6)
    picture = shown(attention_figure(images, attention, (4, 4)).axes[1])
    linear = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    light = linear @ [0.2126, 0.7152, 0.0722]
    assert (light[::2].min() + 0.05) / (light[1::2].max() + 0.05) > 3


def test_even_attention_is_not_drawn_as_a_find():
    even = np.full((1, 2, 16), 1 / 16)
    picture = shown(attention_figure(np.zeros((1, 8, 8, 1)), even, (4, 4)).axes[1])
    peak = np.full((1, 2, 16), 0.01)
    peak[..., 6] = 0.85
    strongest = shown(attention_figure(np.zeros((1, 8, 8, 1)), peak, (4, 4)).axes[1])
    assert reddish(picture).max() < 0.6 * reddish(strongest).max()


def test_the_largest_weight_is_written_as_a_multiple_of_even_attention(texts):
    attention = np.full((1, 2, 16), 0.05)
    attention[0, 0, 3] = 0.25
    figure = attention_figure(np.zeros((1, 8, 8, 1)), attention, (4, 4))
    captions = [axes.texts[0].get_text() for axes in figure.axes[1:]]
    assert captions == ["up to 2.4×", "up to 4.0×", "up to 0.8×"]
    assert "1/16" in texts(figure)


def test_a_single_head_needs_no_mean(texts):
    figure = attention_figure(*make(heads=1), (4, 4))
    assert len(figure.axes) == 4
    assert "Mean" not in texts(figure)


def test_only_the_first_rows_and_heads_are_shown_and_the_mean_is_of_all(texts):
    images, attention = make(heads=12, batch=6)
    attention[:, 6:] = np.eye(16)[5]
    figure = attention_figure(images, attention, (4, 4), max_rows=3)
    assert len(figure.axes) == 3 * 8
    assert "6 of 12 heads" in texts(figure)
    weight = attention[0].mean(axis=0).max() * 16
    assert figure.axes[1].texts[0].get_text() == f"up to {weight:.1f}×"


def test_attention_of_nothing_is_drawn():
    figure = attention_figure(make()[0], np.zeros((2, 2, 16)), (4, 4))
    assert np.isfinite(shown(figure.axes[1])).all()


def test_signals_are_lines_over_shaded_patches():
    attention = np.zeros((1, 2, 4))
    attention[0, :, 1] = 1.0
    figure = attention_figure(np.zeros((1, 12, 2)), attention, (4,))
    image, mean = figure.axes[:2]
    assert len(image.lines) == len(mean.lines) == 2
    spans = [box for box in mean.patches if box.get_alpha()]
    assert [(box.get_x(), box.get_width()) for box in spans] == [(2.5, 3.0)]


def test_volumes_show_their_middle_slice_and_say_so(texts):
    images, _ = make((4, 8, 8, 1), batch=1)
    attention = np.zeros((1, 2, 32))
    attention[0, :, 16 + 6] = 1.0  # the second of two slices of patches
    figure = attention_figure(images, attention, (2, 4, 4))
    assert reddish(shown(figure.axes[1]))[2:4, 4:6].min() > 0.3
    assert "slice 3 of 4" in texts(figure)


def test_missing_pixels_are_explained_only_where_there_are_any(texts):
    images, attention = make()
    assert "Missing" not in texts(attention_figure(images, attention, (4, 4)))
    images = images.astype("float32")
    images[0, 0, 0] = np.nan
    assert "Missing" in texts(attention_figure(images, attention, (4, 4)))


@pytest.mark.parametrize(
    ("shape", "grid", "heads"),
    [
        ((8, 8, 1), (4, 4), 1),
        ((8, 24, 5), (4, 4), 12),
        ((40, 4, 3), (20, 2), 3),
        ((32, 2), (8,), 4),
    ],
    ids=["one head", "wide", "tall", "signal"],
)
def test_texts_are_neither_cut_off_nor_on_top_of_each_other(check_layout, shape, grid, heads):
    images, attention = make(shape, heads, int(np.prod(grid)))
    images = images.astype("float32")
    images[0, 0] = np.nan
    check_layout(attention_figure(images, attention, grid, title="Attention, last block"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((2, 8))}, r"`images` must have shape \(batch, \*spatial, channels\)"),
        ({"grid": (4,)}, "`grid` must have a number of patches for each"),
        ({"grid": (3, 3)}, r"`grid` must have .*Received: grid=\(3, 3\)"),
        ({"attention": np.zeros((2, 16))}, r"`attention` must have shape \(2, num_heads, 16\)"),
        ({"attention": np.zeros((2, 2, 17))}, r"Received: attention.shape=\(2, 2, 17\)"),
        ({"attention": np.zeros((2, 0, 16))}, "`attention` must have shape"),
        ({"attention": np.full((2, 2, 16), np.nan)}, "`attention` must be finite"),
        ({"attention": np.full((2, 2, 16), -1.0)}, "`attention` must be .*not negative"),
        ({"value_range": (1, 0)}, "`value_range` must be two numbers"),
        ({"max_rows": 0}, "`max_rows` must be an int of at least 1"),
        ({"max_heads": 1.5}, "`max_heads` must be an int of at least 1"),
    ],
)
def test_arguments_that_do_not_fit_are_named(changes, message):
    images, attention = make()
    with pytest.raises(ValueError, match=message):
        attention_figure(**{"images": images, "attention": attention, "grid": (4, 4), **changes})
