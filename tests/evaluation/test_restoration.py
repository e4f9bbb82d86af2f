"""Fillers that learned nothing, and scores that agree with scikit-image."""

import sys

import numpy as np
import pytest

from mae_keras.evaluation import (
    biharmonic_fill,
    frame_fill,
    mean_fill,
    random_boxes,
    restoration_scores,
    score_filled,
)

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow

SHAPE = (6, 16, 16, 2)
MISSING = random_boxes(6, SHAPE[1:], 0.2)


def slopes(shape=SHAPE):
    """Images that are planes, each of another slope, the channels different."""
    row, column = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    planes = [20 + n * row + 3 * column + 50 * c for n in range(shape[0]) for c in range(shape[3])]
    return np.stack(planes).reshape(shape[0], shape[3], *shape[1:3]).transpose(0, 2, 3, 1)


class Filler:
    """Stands for a model: fills with one gray."""

    value_range = (0, 255)

    def inpaint(self, images, missing, batch_size=32):
        return np.where(missing, 100, images).astype("float32")


def test_the_mean_is_that_of_known_pixels_per_image_and_channel():
    images = slopes().astype("uint8")
    filled = mean_fill(images, MISSING)
    for image, hole, made in zip(images, MISSING, filled, strict=True):
        np.testing.assert_array_equal(made[~hole], image[~hole])
        expected = image[~hole].astype("float64").mean(axis=0)
        np.testing.assert_allclose(made[hole], np.tile(expected, (hole.sum(), 1)), rtol=1e-6)


@pytest.mark.parametrize("fill", [mean_fill, biharmonic_fill])
def test_what_stands_at_missing_pixels_is_never_read(fill):
    pytest.importorskip("skimage")
    images = slopes().astype("float32")
    spoiled = np.where(MISSING[..., None], np.nan, images)
    np.testing.assert_array_equal(fill(images, MISSING), fill(spoiled, MISSING))


def test_biharmonic_filling_is_that_of_scikit_image():
    restoration = pytest.importorskip("skimage.restoration")
    images = slopes() + np.random.default_rng(0).normal(0, 5, SHAPE)
    filled = biharmonic_fill(images, MISSING)
    for image, hole, made in zip(images, MISSING, filled, strict=True):
        expected = restoration.inpaint_biharmonic(image, hole, channel_axis=-1)
        np.testing.assert_allclose(made, expected, rtol=1e-3)


def test_biharmonic_filling_continues_a_plane_inside_it():
    pytest.importorskip("skimage")
    hole = np.zeros((16, 16), bool)
    hole[5:9, 6:10] = True
    np.testing.assert_allclose(biharmonic_fill(slopes(), hole), slopes(), atol=1e-2)


def test_channels_may_have_holes_of_their_own():
    pytest.importorskip("skimage")
    missing = np.zeros(SHAPE, bool)
    missing[:, 5:9, 5:9, 1] = True
    filled = biharmonic_fill(slopes(), missing)
    np.testing.assert_array_equal(filled[..., 0], slopes()[..., 0])
    np.testing.assert_allclose(filled[..., 1], slopes()[..., 1], atol=1e-2)
    missing[..., 1] = True
    with pytest.raises(ValueError, match="`missing` must leave a pixel of every channel"):
        biharmonic_fill(slopes(), missing)


def test_scores_are_means_over_images_of_the_measures_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    images = slopes().astype("uint8")
    filled = mean_fill(images, MISSING)
    score = score_filled(filled, images, MISSING)
    pairs = list(zip(images.astype("float64"), filled.astype("float64"), strict=True))
    whole = [metrics.peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs]
    inside = [
        10 * np.log10(255**2 / np.mean((a[hole] - b[hole]) ** 2))
        for (a, b), hole in zip(pairs, MISSING, strict=True)
    ]
    similar = [
        metrics.structural_similarity(
            a,
            b,
            data_range=255,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in pairs
    ]
    assert score.psnr.mean == pytest.approx(np.mean(whole), rel=1e-5)
    assert score.hole_psnr.mean == pytest.approx(np.mean(inside), rel=1e-5)
    assert score.ssim.mean == pytest.approx(np.mean(similar), abs=1e-4)
    # Student's t for 5 degrees of freedom
    half = 2.5706 * np.std(whole, ddof=1) / np.sqrt(6)
    assert score.psnr.high - score.psnr.mean == pytest.approx(half, rel=1e-3)


def test_images_filled_exactly_count_60_decibels():
    score = score_filled(slopes(), slopes(), MISSING)
    assert score.hole_psnr == score.psnr == (60.0, 60.0, 60.0)
    assert score.ssim.mean == 1.0


def test_the_span_sets_the_scale():
    images, filled = slopes() / 255, mean_fill(slopes(), MISSING) / 255
    in_units = score_filled(filled, images, MISSING, span=1.0)
    in_gray = score_filled(filled * 255, images * 255, MISSING)
    np.testing.assert_allclose(in_units, in_gray, rtol=1e-4)


def test_a_model_is_compared_with_every_filler_on_the_same_holes():
    pytest.importorskip("skimage")
    images = slopes().astype("uint8")
    made = restoration_scores(Filler(), images, MISSING)
    assert list(made.scores) == list(made.filled) == ["mean", "biharmonic", "model"]
    assert not made.skipped
    expected = score_filled(np.where(MISSING[..., None], 100, images), images, MISSING)
    assert made.scores["model"] == expected
    psnr = {name: score.hole_psnr.mean for name, score in made.scores.items()}
    assert psnr["biharmonic"] > psnr["mean"] > psnr["model"]


def test_where_black_is_changes_no_score():
    class Shifted(Filler):
        value_range = (-1, 1)

        def inpaint(self, images, missing, batch_size=32):
            return np.where(missing, 2 * 100 / 255 - 1, images).astype("float32")

    images = slopes().astype("float32")
    plain = restoration_scores(Filler(), images, MISSING, fillers=("mean",)).scores
    moved = restoration_scores(Shifted(), 2 * images / 255 - 1, MISSING, fillers=("mean",)).scores
    for name in ("mean", "model"):
        np.testing.assert_allclose(moved[name], plain[name], rtol=1e-3)


def test_images_of_one_gray_are_scored_by_a_model_without_a_range():
    class Unscaled(Filler):
        value_range = None

    made = restoration_scores(Unscaled(), np.full(SHAPE, 100.0), MISSING, fillers=("mean",))
    assert made.scores["model"].psnr.mean == 60.0


def test_without_scikit_image_its_filler_is_skipped_and_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    images = slopes().astype("uint8")
    made = restoration_scores(Filler(), images, MISSING)
    assert list(made.scores) == ["mean", "model"]
    assert "[restoration]'" in made.skipped["biharmonic"]
    with pytest.raises(ImportError, match=r"needs scikit-image: pip install '"):
        biharmonic_fill(images, MISSING)


def test_an_unknown_filler_is_refused():
    with pytest.raises(ValueError, match=r"`fillers` must be among .*Received: 'magic'"):
        restoration_scores(Filler(), slopes(), MISSING, fillers=("mean", "magic"))


def test_what_cannot_be_scored_is_refused():
    images, missing = slopes().astype("float32"), MISSING.copy()
    with pytest.raises(ValueError, match=r"`missing` must have shape \(16, 16\)"):
        score_filled(images, images, missing[:, :8])
    with pytest.raises(TypeError, match="`missing` must be boolean"):
        score_filled(images, images, missing.astype(int))
    missing[4] = False
    with pytest.raises(ValueError, match="none in 1 of 6 images, the first is 4"):
        score_filled(images, images, missing)
    images[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="`images` must be whole"):
        score_filled(images, images, MISSING)
    images[0, 0, 0] = np.inf
    for use in (mean_fill, lambda *given: score_filled(given[0], *given)):
        with pytest.raises(ValueError, match="`images` must be finite"):
            use(images, MISSING)
    with pytest.raises(ValueError, match=r"`images` must have shape \(batch"):
        mean_fill(np.zeros(8), MISSING)
    images = np.ones_like(images)
    with pytest.raises(ValueError, match="`filled` and `images` must be pixels"):
        score_filled(images * 1e30, images, MISSING)


def test_clips_are_filled_from_the_frames_around():
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(2, 6, 3, 3, 1)).astype("float32")
    missing = rng.random((2, 6, 3, 3)) < 0.5
    missing[0, :, 0, 0] = True
    filled = frame_fill(clips, missing)
    times = np.arange(6)
    for clip, row, column in np.ndindex(2, 3, 3):
        known = ~missing[clip, :, row, column]
        values = clips[clip, :, row, column, 0]
        expected = np.full(6, clips[clip, ..., 0][~missing[clip]].mean())
        if known.any():
            expected = np.interp(times, times[known], values[known])
        np.testing.assert_allclose(filled[clip, :, row, column, 0], expected, atol=1e-5)
