import statistics
import types

import numpy as np
import pytest
from PIL import Image

from mae_keras.demo.pictures import (
    Pictures,
    check_shown,
    drawn_mask,
    patch_at,
    prediction_spread,
    toggled,
)
from mae_keras.models import DenseMaskedAutoencoder, Reconstruction
from mae_keras.models.checks import cover_pixels

GRID, SHAPE = (2, 3), (4, 6, 1)


class MeanFiller:
    """Stands in for a model: predicts the mean of the visible pixels everywhere."""

    grid, image_shape, num_patches, value_range = GRID, SHAPE, 6, (0, 255)

    def __init__(self):
        self.masks = []

    def reconstruct(self, images, patch_mask, statistics="visible"):
        self.masks += list(patch_mask)
        images = images.astype("float32")
        hidden = patch_mask.reshape(-1, 2, 1, 3, 1).repeat(2, 2).repeat(2, 4)
        hidden = hidden.reshape(len(images), *SHAPE)
        means = [image[~where].mean() for image, where in zip(images, hidden, strict=True)]
        prediction = np.ones_like(images) * np.reshape(means, (-1, 1, 1, 1))
        pasted = np.where(hidden, prediction, images)
        return Reconstruction(prediction.astype("float32"), patch_mask, pasted, None)


@pytest.fixture
def image():
    return np.arange(24, dtype="uint8").reshape(SHAPE) * 10


def test_every_point_of_a_picture_belongs_to_the_patch_drawn_there():
    places = np.array([[patch_at((x, y), (8, 12), GRID) for x in range(12)] for y in range(8)])
    for number in range(6):
        mask = np.arange(6) == number
        drawn = cover_pixels(mask[None], GRID, (8, 12))[0]
        np.testing.assert_array_equal((places == divmod(number, 3)).all(-1), drawn)
    assert patch_at((12, 8), (8, 12), GRID) == (1, 2)  # the far corner


def test_two_clicks_undo_each_other():
    mask = np.array([True, False, False, True, False, False])
    clicked = toggled(mask, (1, 2), GRID)
    assert np.flatnonzero(clicked != mask).tolist() == [5]
    np.testing.assert_array_equal(toggled(clicked, (1, 2), GRID), mask)


def test_masks_are_those_of_the_model_and_never_hide_none_or_all():
    model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,), mask_ratio=0.5)
    image = np.zeros((4, 4, 1), "uint8")
    first = drawn_mask(model, image, 0.5, 0)
    np.testing.assert_array_equal(first, model.reconstruct(image[None]).patch_mask[0])
    draws = [drawn_mask(model, image, 0.25, number) for number in range(4)]
    assert {int(mask.sum()) for mask in draws} == {4}
    assert len({mask.tobytes() for mask in draws}) > 1
    assert drawn_mask(model, image, 0.01, 0).sum() == 1
    assert drawn_mask(model, image, 0.99, 0).sum() == 15


def test_spread_is_the_deviation_over_masks_that_hide_half_of_what_is_seen(image):
    model = MeanFiller()
    mask = np.array([True, False, False, True, False, False])
    spread = prediction_spread(model, image, mask, num_masks=5)
    drawn = np.array(model.masks)
    assert drawn.shape == (5, 6)
    assert drawn[:, mask].all()
    assert ((~drawn).sum(1) == 2).all()
    patches = [image[row : row + 2, column : column + 2] for row in (0, 2) for column in (0, 2, 4)]
    means = [
        np.mean([patches[patch] for patch in range(6) if not hidden[patch]]) for hidden in drawn
    ]
    hidden = np.isfinite(spread[..., 0])
    np.testing.assert_array_equal(hidden, np.repeat([[True, True] + 4 * [False]], 4, 0))
    np.testing.assert_allclose(spread[hidden], statistics.stdev(map(float, means)), rtol=1e-5)


@pytest.mark.parametrize("hidden", [0, 5, 6])
def test_without_two_visible_patches_or_any_hidden_there_is_no_spread(image, hidden):
    assert np.isnan(prediction_spread(MeanFiller(), image, np.arange(6) < hidden)).all()


def test_pictures_show_what_was_seen_what_was_predicted_and_both_together(image):
    pictures = Pictures(MeanFiller(), (0, 255))
    view = pictures.view(image, np.arange(6) == 0, "visible")
    scale = pictures.scale
    assert view.seen.shape == (4 * scale, 6 * scale, 3)
    middle = np.s_[scale // 2 :: scale, scale // 2 :: scale, 0]  # of every pixel's square
    seen, composite = view.seen[middle], view.composite[middle]
    hidden = np.zeros((4, 6), bool)
    hidden[:2, :2] = True
    np.testing.assert_array_equal(seen[~hidden], image[..., 0][~hidden])
    np.testing.assert_array_equal(composite[~hidden], image[..., 0][~hidden])
    mean = image[..., 0][~hidden].mean()
    np.testing.assert_allclose(composite[hidden], mean, atol=0.5)
    assert len(np.unique(view.predicted[middle][~hidden])) == 1  # blank
    # By hand: hidden are 0, 10, 60, 70.
    error = np.abs(np.array([0, 10, 60, 70]) - mean).mean() / 255
    assert "1 of 6 patches hidden (17%)" in view.sentence
    assert view.sentence.count(f"{error:.1%}") == 2  # this model is that baseline


def test_an_upload_is_upright_gray_and_in_the_model_s_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 4, 3), "uint8")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    read = Pictures(MeanFiller(), (0, 255)).read(tmp_path / "turned.png")
    gray = np.asarray(Image.fromarray(np.rot90(pixels, -1)).convert("L"))
    np.testing.assert_allclose(read[..., 0].astype(int), gray, atol=1)


def test_what_is_no_picture_is_refused_by_its_name(tmp_path):
    path = tmp_path / "cat.png"
    path.write_text("import os")
    with pytest.raises(ValueError, match="^cat.png cannot be read as a picture: not an image"):
        Pictures(MeanFiller(), (0, 255)).read(path)


def test_black_and_white_are_swapped_in_the_model_s_range():
    assert Pictures(MeanFiller(), (0, 255)).inverted(np.uint8([0, 55])).tolist() == [255, 200]
    assert Pictures(MeanFiller(), (-1, 1)).inverted(np.float32([-1, 0.5])).tolist() == [1, -0.5]


@pytest.mark.parametrize("shape", [(16, 1), (4, 4, 4, 1), (4, 4, 2)])
def test_signals_volumes_and_other_channels_are_refused(shape):
    model = types.SimpleNamespace(image_shape=shape, reconstruct=None)
    with pytest.raises(ValueError, match="`run` must be a run of gray or color images"):
        check_shown(model)


def test_models_of_sound_are_refused():
    encoder = types.SimpleNamespace(preprocessing={"log_mel": {}})
    model = types.SimpleNamespace(reconstruct=None, image_shape=(96, 64, 1), encoder=encoder)
    with pytest.raises(ValueError, match="Received: a model of recordings"):
        check_shown(model)


def test_models_that_hide_single_channels_are_refused():
    model = DenseMaskedAutoencoder((4, 4, 3), hidden_units=(8,), mask_ratio=0.5)
    with pytest.raises(ValueError, match="hides all channels .* 48 patches in 4 x 4 places"):
        check_shown(model)
    check_shown(DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,), mask_ratio=0.5))


def test_models_without_pixels_to_show_are_refused():
    from mae_keras.models import MaskedAutoencoder

    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 4, num_layers=1, target="hog")
    with pytest.raises((TypeError, ValueError), match="hog|pixels"):
        check_shown(model)
    with pytest.raises(ValueError, match="a classifier has no decoder"):
        check_shown(types.SimpleNamespace())
