"""Inpainting of one batch on tensors, as exported models do it."""

import numpy as np
import pytest

from mae_keras.models import DenseMaskedAutoencoder
from mae_keras.models.checks import touched_patches
from mae_keras.models.restoration import inpaint_batch

pytestmark = pytest.mark.every_backend


def scratch(*shape):
    """Missing pixels in the first half of every image."""
    missing = np.random.default_rng(2).random(shape) < 0.4
    missing[:, shape[1] // 2 :] = False
    return missing


@pytest.mark.slow
def test_it_equals_the_method_of_the_model(tiny, images):
    missing = scratch(16, 8, 8)
    made = inpaint_batch(tiny, images, missing)
    np.testing.assert_allclose(np.asarray(made["pasted"]), tiny.inpaint(images, missing), atol=2e-3)


@pytest.mark.slow
def test_it_tells_the_patches_that_were_hidden(tiny, images):
    missing = scratch(16, 8, 8)
    expected = touched_patches(missing[..., None], (4, 4))
    made = inpaint_batch(tiny, images, missing)
    np.testing.assert_array_equal(np.asarray(made["patch_mask"]), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image_shape", "patch_size"), [((16, 2), 4), ((4, 6, 3), (2, 3)), ((4, 4, 4, 2), 2)], ids=str
)
def test_any_number_of_axes_and_standardized_targets_will_do(make_tiny, image_shape, patch_size):
    model = make_tiny(image_shape, patch_size, normalize_targets=True)
    images = np.random.default_rng(0).integers(0, 256, (3, *image_shape)).astype("uint8")
    missing = scratch(3, *image_shape[:-1])
    made = inpaint_batch(model, images, missing)
    np.testing.assert_allclose(
        np.asarray(made["pasted"]), model.inpaint(images, missing), atol=2e-3
    )


def test_every_value_may_be_a_patch():
    model = DenseMaskedAutoencoder((4, 4, 3), (8,))
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3)).astype("uint8")
    missing = scratch(3, 4, 4)
    made = inpaint_batch(model, images, missing)
    np.testing.assert_allclose(
        np.asarray(made["pasted"]), model.inpaint(images, missing), atol=2e-3
    )
    assert np.asarray(made["patch_mask"]).sum() == 3 * missing.sum()


@pytest.mark.slow
def test_nan_is_missing_too(make_tiny):
    model = make_tiny(value_range=(0, 1))
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")
    images[:, 7, 7] = np.nan
    missing = scratch(2, 8, 8)
    pasted = np.asarray(inpaint_batch(model, images, missing)["pasted"])
    assert np.isfinite(pasted).all()
    np.testing.assert_allclose(pasted, model.inpaint(images, missing), atol=1e-5)


@pytest.mark.slow
def test_what_stands_at_missing_pixels_is_never_read(tiny, images):
    missing = scratch(16, 8, 8)
    other = np.where(missing[..., None], 255 - images, images).astype("uint8")
    first, second = (inpaint_batch(tiny, given, missing)["pasted"] for given in (images, other))
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))
