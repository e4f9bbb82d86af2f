"""Strips of frames, and animations."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from mae_keras.figures import save_animation, video_figure, video_frames
from mae_keras.figures.sheet import HIDDEN, MISSING

FRAMES, SIDE = 6, 8


@pytest.fixture
def case():
    """Two clips, each frame of a gray level of its own; the right half is hidden throughout."""
    levels = np.arange(2 * FRAMES, dtype="float32").reshape(2, FRAMES) * 20
    clips = np.broadcast_to(levels[..., None, None, None], (2, FRAMES, SIDE, SIDE, 1)).copy()
    mask = np.tile([False, True], (2, FRAMES // 2 * 2))  # grid (3, 2, 2)
    return clips, mask, 255 - clips


def panel(figure, row, column, columns):
    return np.asarray(figure.axes[columns * row + column].get_images()[0].get_array())


def test_strips_show_what_was_seen_predicted_and_true(case, texts):
    clips, mask, prediction = case
    figure = video_figure(
        *(clips, mask, prediction), patch_size=(2, 4, 4), max_frames=3, seconds_per_frame=0.5
    )
    assert len(figure.axes) == 2 * 3 * 3
    for text in ("Seen", "Predicted", "True", "0.00 s", "1.00 s", "2.50 s"):
        assert text in texts(figure)
    assert "Shown are 3 of 6 frames." in texts(figure)
    for column, frame in enumerate((0, 2, 5)):
        seen, predicted, true = (panel(figure, 3 + row, column, 3) for row in range(3))
        level = clips[1, frame, 0, 0, 0] / 255
        np.testing.assert_allclose(true[..., 0], level, atol=1e-6)
        np.testing.assert_allclose(predicted[:, :4, 0], level, atol=1e-6)
        np.testing.assert_allclose(predicted[:, 4:, 0], 1 - level, atol=1e-6)
        np.testing.assert_array_equal(seen[..., 3], np.arange(SIDE) < 4 + 0 * np.ones((SIDE, 1)))
    outlined = [bool(axes.collections) for axes in figure.axes]
    assert outlined == 2 * (3 * [False] + 3 * [True] + 3 * [False])


def test_clips_stand_apart(case):
    figure = video_figure(*case, patch_size=(2, 4, 4))
    tops = [axes.get_position().y1 for axes in figure.axes[::FRAMES]]
    gaps = -np.diff(tops)
    assert gaps[2] > 1.05 * gaps[1] and gaps[1] == pytest.approx(gaps[0])


def test_missing_frames_have_their_color(case, texts):
    clips, mask, prediction = case
    clips[0, -2:] = np.nan
    figure = video_figure(clips, mask, prediction, patch_size=(2, 4, 4))
    np.testing.assert_allclose(panel(figure, 2, FRAMES - 1, FRAMES)[0, 0], to_rgb(MISSING))
    assert "Missing: after the end of a video." in texts(figure)


def test_an_animation_plays_the_frames(case, tmp_path):
    clips, mask, prediction = case
    frames = video_frames(clips, mask, prediction, patch_size=(2, 4, 4), max_rows=1)
    assert frames.shape[0] == FRAMES and frames.dtype == np.uint8
    cell = 96 + 6
    for frame in range(FRAMES):
        seen, predicted, true = (frames[frame, 50, 90 + cell * column] for column in range(3))
        np.testing.assert_allclose(seen / 255, to_rgb(HIDDEN), atol=0.01)
        assert (predicted == 255 - 20 * frame).all() and (true == 20 * frame).all()
    save_animation(frames, tmp_path / "clip.gif", seconds_per_frame=0.25)
    with Image.open(tmp_path / "clip.gif") as image:
        assert image.n_frames == FRAMES and image.info["duration"] == 250
        image.seek(3)
        assert abs(np.asarray(image.convert("RGB"))[50, 90 + 2 * cell].astype(int) - 60).max() < 4


def test_mistakes_are_named(case, tmp_path):
    clips, mask, prediction = case
    with pytest.raises(ValueError, match="`clips` must have shape"):
        video_figure(clips[:, 0], mask, prediction, patch_size=4)
    with pytest.raises(ValueError, match=r"`path` must end in \.gif"):
        save_animation(np.zeros((1, 8, 8, 3), "uint8"), tmp_path / "clip.png")
    with pytest.raises(ValueError, match="`frames` must be uint8"):
        save_animation(np.zeros((1, 8, 8, 3), "int32"), tmp_path / "clip.gif")
