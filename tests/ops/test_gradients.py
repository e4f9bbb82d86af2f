"""Histograms of oriented gradients against scikit-image, and what is missing."""

import numpy as np
import pytest
from keras import ops

from mae_keras.ops import oriented_gradients

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3)).astype("uint8")


def histograms(images, *arguments, **options):
    return ops.convert_to_numpy(oriented_gradients(images, *arguments, **options))


@pytest.mark.every_backend
@pytest.mark.parametrize(("cell_size", "num_bins"), [(8, 9), ((4, 8), 6), ((2, 2), 9)])
def test_histograms_are_those_of_scikit_image(cell_size, num_bins):
    hog = pytest.importorskip("skimage.feature").hog
    cells = (cell_size, cell_size) if isinstance(cell_size, int) else cell_size
    pixels = IMAGES / 255.0
    options = {"pixels_per_cell": cells, "cells_per_block": (1, 1), "block_norm": "L2"}
    expected = np.stack(
        [
            [hog(image[..., c], num_bins, feature_vector=False, **options) for c in range(3)]
            for image in pixels
        ]
    )  # (batch, channels, rows, columns, 1, 1, bins)
    expected = np.moveaxis(expected[:, :, :, :, 0, 0], 1, 3).reshape(
        2, 24 // cells[0], 32 // cells[1], 3 * num_bins
    )
    found = histograms(pixels.astype("float32"), cell_size, num_bins)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.every_backend
def test_a_missing_pixel_takes_part_in_nothing():
    missing = np.zeros((2, 24, 32), bool)
    missing[0, 8:16, 8:16] = True
    zeroed = np.where(missing[..., None], 0.0, IMAGES / 255.0).astype("float32")
    other = np.where(missing[..., None], 1.0, zeroed).astype("float32")
    found = histograms(zeroed, missing=missing)
    np.testing.assert_array_equal(found, histograms(other, missing=missing))
    assert not found[0, 1, 1].any() and found[0, 1, 0].any()
    whole = histograms(IMAGES[1:] / np.float32(255.0))
    np.testing.assert_allclose(found[1:], whole, atol=1e-6)


@pytest.mark.parametrize("cell_size", [0, 5, (8, 8, 8), "8"])
def test_cells_that_do_not_divide_the_image_are_refused(cell_size):
    with pytest.raises(ValueError, match="`cell_size` must"):
        oriented_gradients(IMAGES, cell_size)
