"""Filling holes without looking into them; averages over masks that hide everything in turn."""

import numpy as np
import pytest
import tensorflow as tf

from mae_keras.models import DenseMaskedAutoencoder
from mae_keras.ops import covering_masks

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def holes():
    """Another hole `(3, 3)` in each of 16 images of 8 x 8: it touches at least 4 patches."""
    missing = np.zeros((16, 8, 8), bool)
    corners = np.random.default_rng(0).integers(0, 6, (16, 2))
    for image, (row, column) in zip(missing, corners, strict=True):
        image[row : row + 3, column : column + 3] = True
    return missing


@pytest.fixture(scope="module")
def dense(images):
    model = DenseMaskedAutoencoder((8, 8, 1), hidden_units=(16,), seed=0)
    model.compile("adam", run_eagerly=True)
    model.fit(images, epochs=1, batch_size=8, verbose=0)
    model.run_eagerly = False
    return model


@pytest.fixture(scope="module")
def standardized(make_tiny):
    return make_tiny(normalize_targets=True, mean=0.4, std=0.2)


@pytest.fixture(params=["tiny", "standardized", "dense"])
def model(request):
    return request.getfixturevalue(request.param)


def patches_of(missing):
    """Bool `(batch, 16)`: 2 x 2 patches of 8 x 8 images that hold a missing pixel."""
    return missing.reshape(-1, 4, 2, 4, 2).any(axis=(2, 4)).reshape(-1, 16)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_what_stands_at_missing_pixels_changes_no_bit(model, images, holes, dtype):
    filled = []
    for garbage in (0, 255, RANDOM.integers(0, 256, (16, 8, 8, 1))):
        spoiled = np.where(holes[..., None], garbage, images).astype(dtype)
        filled.append(model.inpaint(spoiled, holes))
    np.testing.assert_array_equal(filled[0], filled[1])
    np.testing.assert_array_equal(filled[0], filled[2])


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -9999.0])
def test_missing_pixels_may_hold_what_is_no_pixel(model, images, holes, garbage):
    spoiled = np.where(holes[..., None], garbage, images).astype("float32")
    filled = model.inpaint(spoiled, holes)
    np.testing.assert_allclose(filled, model.inpaint(images, holes), atol=1e-3)


def test_known_pixels_stay_bit_for_bit_and_missing_ones_change(model, images, holes):
    filled = model.inpaint(images, holes)
    assert (filled.dtype, filled.shape) == (np.float32, images.shape)
    np.testing.assert_array_equal(filled[~holes], images.astype("float32")[~holes])
    assert (filled[holes] != images[holes]).mean() > 0.9


def test_missing_pixels_are_those_of_a_reconstruction_without_their_patches(tiny, images, holes):
    filled = tiny.inpaint(images, holes)
    prediction = tiny.reconstruct(images, patches_of(holes)).prediction
    expected = np.clip(prediction, 0, 255)
    np.testing.assert_allclose(filled[holes], expected[holes], atol=1e-3)


def test_standardized_predictions_take_their_brightness_from_around(standardized, images, holes):
    filled = standardized.inpaint(images, holes)
    made = standardized.reconstruct(images, patches_of(holes), statistics="visible")
    np.testing.assert_allclose(filled[holes], np.clip(made.prediction, 0, 255)[holes], atol=1e-2)


def test_models_of_single_values_see_every_known_pixel(dense, images, holes):
    filled = dense.inpaint(images, holes)
    prediction = dense.reconstruct(images, holes.reshape(16, 64)).prediction
    np.testing.assert_allclose(filled[holes], prediction[holes], atol=1e-3)


def test_one_hole_serves_all_images(tiny, images, holes):
    np.testing.assert_array_equal(
        tiny.inpaint(images, holes[3]), tiny.inpaint(images, np.stack([holes[3]] * 16)[..., None])
    )


def test_nan_pixels_are_missing_with_and_without_a_mask(tiny, images, holes):
    holed = images.astype("float32")
    holed[holes] = np.nan
    expected = tiny.inpaint(images.astype("float32"), holes)
    np.testing.assert_array_equal(tiny.inpaint(holed, None), expected)
    np.testing.assert_array_equal(tiny.inpaint(holed, np.zeros((8, 8), bool)), expected)


def test_with_nothing_missing_the_images_come_back(model, images):
    filled = model.inpaint(images, np.zeros((8, 8), bool))
    np.testing.assert_array_equal(filled, images.astype("float32"))


def test_an_image_with_nothing_left_to_see_is_refused_by_number(tiny, images, holes):
    missing = holes.copy()
    missing[[3, 7], ::2, ::2] = True  # one pixel of every patch
    with pytest.raises(ValueError, match=r"all 16 patches of 2 of 16 images: 3, 7"):
        tiny.inpaint(images, missing)


def test_predictions_are_clipped_to_the_range_of_pixels(make_tiny, images, holes):
    model = make_tiny()
    model.head.bias.assign(np.full(model.head.bias.shape, 3.0))
    assert model.reconstruct(images).prediction.max() > 255
    assert model.inpaint(images, holes)[holes].max() == 255
    assert model.denoise(images, 2).max() == 255


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_inpainting_does_not_depend_on_the_batch_size(tiny, images, holes, batch_size):
    parts = tiny.inpaint(images, holes, batch_size)
    np.testing.assert_allclose(parts, tiny.inpaint(images, holes), atol=1e-3)


def test_masks_that_do_not_fit_are_refused(tiny, images, holes):
    with pytest.raises(ValueError, match=r"`missing` must have shape \(8, 8\)"):
        tiny.inpaint(images, holes[:, :4])
    with pytest.raises(TypeError, match="`missing` must be boolean"):
        tiny.inpaint(images, holes.astype("uint8"))


def by_hand(model, images, masks):
    """Mean, spread and number of the predictions of hidden pixels, one mask after the other."""
    predictions = [
        np.clip(model.reconstruct(images, mask, statistics="visible").prediction, 0, 255)
        for mask in masks
    ]
    grids = masks.reshape(*masks.shape[:2], 4, 4, 1)
    hidden = grids.repeat(2, axis=2).repeat(2, axis=3)
    kept = np.where(hidden, predictions, np.nan).astype("float64")
    return np.nanmean(kept, 0), np.nanstd(kept, 0, ddof=1), hidden.sum(0)


@pytest.mark.parametrize("name", ["tiny", "standardized"])
def test_every_pixel_is_averaged_over_the_masks_that_hid_it(request, images, name):
    model = request.getfixturevalue(name)
    made = model.restore(images, num_masks=6, mask_ratio=0.5, seed=4)
    masks = np.asarray(covering_masks(16, 8, 6, 4, np.arange(16)))
    mean, spread, count = by_hand(model, images, masks)
    np.testing.assert_array_equal(made.count, count)
    np.testing.assert_allclose(made.denoised, mean, atol=1e-2)
    np.testing.assert_allclose(made.uncertainty, spread, atol=1e-2)
    np.testing.assert_allclose(made.anomaly, np.abs(images - mean), atol=1e-2)
    assert {array.dtype for array in made[:3]} == {np.dtype("float32")}


def test_visible_pixels_do_not_come_through(make_tiny, images):
    model = make_tiny()
    for weight in (model.head.kernel, model.head.bias):
        weight.assign(np.zeros(weight.shape))  # predicts black, whatever it sees
    made = model.restore(images, 4)
    np.testing.assert_allclose(made.denoised, 0, atol=1e-4)
    np.testing.assert_allclose(made.anomaly, images, atol=1e-4)
    np.testing.assert_allclose(made.uncertainty, 0, atol=1e-4)


def test_restoring_depends_on_seed_and_number_of_the_image_alone(model, images):
    whole = model.restore(images, 4, seed=1)
    for batch_size in (3, 100):
        parts = model.restore(images[:7], 4, seed=1, batch_size=batch_size)
        for one, other in zip(whole, parts, strict=True):
            np.testing.assert_allclose(one[:7], other, atol=2e-2)
        np.testing.assert_array_equal(whole.count[:7], parts.count)
    assert not np.allclose(model.restore(images, 4, seed=2).denoised, whole.denoised, atol=0.1)


def test_a_pixel_predicted_once_has_no_spread(tiny, images):
    made = tiny.restore(images, num_masks=2, mask_ratio=0.5)
    assert (made.count == 1).all()
    assert np.isnan(made.uncertainty).all()
    assert np.isfinite(made.denoised).all()


def test_short_forms_are_parts_of_the_whole(tiny, images):
    made = tiny.restore(images, 3, mask_ratio=0.6, seed=9)
    np.testing.assert_array_equal(tiny.denoise(images, 3, 0.6, seed=9), made.denoised)
    np.testing.assert_array_equal(tiny.anomaly_map(images, 3, 0.6, seed=9), made.anomaly)


def test_missing_patches_are_predicted_by_every_mask(model, images):
    holed = images.astype("float32")
    holed[:, 2:4, 4:6] = np.nan
    made = model.restore(holed, 4)
    assert (made.count[:, 2:4, 4:6] == 4).all()
    assert np.isfinite(made.denoised).all()
    np.testing.assert_array_equal(np.isnan(made.anomaly), np.isnan(holed))


def holed_to(images, present):
    """Images of which only these patches are without NaN."""
    absent = np.ones(16, bool)
    absent[list(present)] = False
    pixels = absent.reshape(4, 1, 4, 1).repeat(2, 1).repeat(2, 3).reshape(8, 8, 1)
    return np.where(pixels, np.nan, images).astype("float32"), absent


def test_every_patch_is_predicted_from_what_is_present(tiny, images):
    """Two patches take turns: one of them is always seen, however many a mask would hide."""
    holed, absent = holed_to(images, [0, 5])
    made = tiny.restore(holed, 6, mask_ratio=0.75, seed=4)
    count = made.count[:, ::2, ::2, 0].reshape(16, 16)
    assert (count[:, absent] == 6).all()
    assert (count[:, ~absent].sum(axis=1) == 6).all()
    assert (count[:, ~absent] == 3).all()
    assert np.isfinite(made.denoised).all() and np.isfinite(made.uncertainty).all()
    np.testing.assert_array_equal(np.isnan(made.anomaly), np.isnan(holed))


def test_a_single_present_patch_is_predicted_by_none(tiny, images):
    holed, absent = holed_to(images, [5])
    made = tiny.restore(holed, 4, mask_ratio=0.75)
    count = made.count[:, ::2, ::2, 0].reshape(16, 16)
    assert (count[:, absent] == 4).all() and (count[:, 5] == 0).all()
    np.testing.assert_array_equal(np.isnan(made.denoised), made.count == 0)


def test_images_without_a_whole_patch_are_refused_by_number(tiny, images):
    holed = images.astype("float32")
    holed[[3, 7], ::2, ::2] = np.nan  # one pixel of every patch
    with pytest.raises(ValueError, match=r"`images` must .* NaN in all 16 .* of 16 images: 3, 7"):
        tiny.restore(holed, 4)


def test_too_few_masks_are_refused(tiny, images):
    for wrong in (0, 1, 2.5):
        with pytest.raises(ValueError, match="`num_masks` must be an int, at least 2"):
            tiny.restore(images, wrong)
    with pytest.raises(ValueError, match="`num_masks` must be an int, at least 4"):
        tiny.restore(images, 3, mask_ratio=0.25)
    with pytest.raises(ValueError, match="`mask_ratio` must be a number in"):
        tiny.restore(images, 4, mask_ratio=1.5)


@pytest.mark.parametrize("ask", ["inpaint", "restore", "denoise", "anomaly_map"])
def test_images_that_do_not_fit_are_refused(tiny, images, ask):
    def call(images, **options):
        more = (np.zeros((8, 8), bool),) if ask == "inpaint" else ()
        return getattr(tiny, ask)(images, *more, **options)

    with pytest.raises(ValueError, match="One axis is missing"):
        call(images[0])
    with pytest.raises(ValueError, match=r"scaled to \[0, 1\]"):
        call(images / 255.0)
    with pytest.raises(ValueError, match="must not be empty"):
        call(images[:0])
    with pytest.raises(ValueError, match="`batch_size` must be an int of at least 1"):
        call(images, batch_size=0)
    with pytest.raises(TypeError, match="`images` must be real numbers"):
        call(images.astype("complex64"))
    with pytest.raises(TypeError, match="`images` must be an array. Received: a"):
        call(tf.data.Dataset.from_tensor_slices(images).batch(4))


def test_images_given_are_not_changed(tiny, images, holes):
    before = images.copy()
    tiny.inpaint(images, holes)
    tiny.restore(images, 2)
    np.testing.assert_array_equal(images, before)


@pytest.mark.every_backend
@pytest.mark.parametrize("shape", [(8, 2), (8, 4, 3), (4, 4, 4, 1)])
def test_any_rank_is_restored(make_tiny, shape):
    model = make_tiny(image_shape=shape)
    given = np.random.default_rng(0).integers(0, 256, (3, *shape)).astype("uint8")
    missing = np.zeros(shape[:-1], bool)
    missing[0] = True
    filled = model.inpaint(given, missing)
    np.testing.assert_array_equal(filled[:, 1:], given[:, 1:])
    assert np.isfinite(model.restore(given, 2).denoised).all()
