"""Checks of explanations, by cases counted by hand and by SciPy."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from mae_keras.evaluation import localization, map_correlations, patch_maps


def test_mass_hits_and_chance():
    maps = np.array([[[4.0, 1.0], [-9.0, 3.0]], [[-1.0, -2.0], [-3.0, -4.0]]])
    regions = np.array([[[1, 0], [1, 0]], [[1, 1], [0, 1]]])
    result = localization(maps, regions)
    np.testing.assert_allclose(result.mass, [0.5, 0.0])
    assert result.hits.tolist() == [True, True]
    np.testing.assert_allclose(result.chance, [0.5, 0.75])
    assert "mass in the region 0.250" in result.text() and "2 images" in result.text()


def test_random_maps_are_at_chance():
    rng = np.random.default_rng(0)
    regions = np.zeros((400, 8, 8), bool)
    regions[:, 2:4, 3:7] = True
    result = localization(rng.random((400, 8, 8)), regions)
    assert result.mass.mean() == pytest.approx(1 / 8, abs=0.01)
    assert result.hits.mean() == pytest.approx(1 / 8, abs=0.05)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_scale_of_a_map_does_not_matter(scale):
    result = localization(scale * np.arange(4.0).reshape(1, 2, 2), [[[0, 0], [0, 1]]])
    np.testing.assert_allclose(result.mass, 0.5)


def test_correlations_are_those_of_spearman():
    rng = np.random.default_rng(0)
    maps, others = rng.normal(size=(2, 5, 4, 4)).round(1)
    expected = [spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(maps, others, strict=True)]
    np.testing.assert_allclose(map_correlations(maps, others), expected)
    np.testing.assert_allclose(map_correlations(maps, np.exp(maps)), 1)
    np.testing.assert_array_equal(map_correlations(maps, np.ones_like(maps)), 0)


def test_patch_maps_follow_raster_order():
    maps = patch_maps(np.arange(6.0)[None], (2, 3), (4, 9, 1))
    np.testing.assert_array_equal(maps[0, ::2, ::3], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(maps, np.kron(maps[:, ::2, ::3], np.ones((1, 2, 3))))
    assert patch_maps([[1, 2]], 2, (4, 3)).tolist() == [[1, 1, 2, 2]]  # a signal of 3 channels


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: localization(np.ones((1, 2)), np.ones((1, 3), int)), ValueError, "one shape"),
        (lambda: localization([[1.0, 2.0]], [[0, 2]]), ValueError, "`regions` must be 0 and 1"),
        (lambda: localization([[1.0, 2.0]], [[0.5, 1]]), TypeError, "`regions` must be an array"),
        (lambda: localization([[1.0, 2.0]], [[0, 0]]), ValueError, "Received: nothing of image 0"),
        (lambda: localization([[1.0, 2.0]], [[1, 1]]), ValueError, "Received: all of image 0"),
        (lambda: localization([[np.nan, 2.0]], [[0, 1]]), ValueError, "`maps` must be finite"),
        (lambda: map_correlations(np.ones((1, 2)), np.ones((2, 2))), ValueError, "one shape"),
        (
            lambda: patch_maps([[1, 2, 3]], 2, (4, 4, 1)),
            ValueError,
            "`values` must be one for each",
        ),
        (lambda: patch_maps([[1, 2]], 3, (4, 4, 1)), ValueError, "`values` must be one for each"),
        (lambda: patch_maps([[1, 2]], (2, 2, 2), (4, 4, 1)), ValueError, "`patch_size` must be 2"),
    ],
)
def test_what_does_not_fit_is_refused(use, error, message):
    with pytest.raises(error, match=message):
        use()
