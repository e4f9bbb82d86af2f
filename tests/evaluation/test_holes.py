"""Holes of the asked size, inside the image, the same for the same seed and number."""

import functools

import numpy as np
import pytest

from mae_keras.evaluation import random_boxes, random_patches, random_scratches

MAKERS = [random_boxes, random_scratches, functools.partial(random_patches, patch_size=4)]
every_maker = pytest.mark.parametrize("make", MAKERS, ids=["boxes", "scratches", "patches"])
SHAPES = [(64, 1), (28, 28, 1), (32, 16, 3), (8, 8, 12, 1)]


@every_maker
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_image_has_a_hole_and_something_left(make, shape):
    missing = make(20, shape)
    assert (missing.dtype, missing.shape) == (bool, (20, *shape[:-1]))
    share = missing.reshape(20, -1).mean(axis=1)
    assert (share > 0).all() and (share < 1).all()


@every_maker
def test_a_hole_depends_on_the_seed_and_the_number_of_the_image_alone(make):
    many = make(10, (28, 28, 1), seed=3)
    np.testing.assert_array_equal(make(4, (28, 28, 3), seed=3), many[:4])
    assert not np.array_equal(make(10, (28, 28, 1), seed=4), many)
    assert len(np.unique(many, axis=0)) > 5


@pytest.mark.parametrize("fraction", [0.04, 0.25, 0.49])
def test_boxes_are_boxes_of_the_asked_area(fraction):
    for missing in random_boxes(10, (20, 30, 1), fraction):
        rows, columns = (np.flatnonzero(missing.any(axis=axis)) for axis in (1, 0))
        assert missing[np.ix_(rows, columns)].all()
        assert missing.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert missing.mean() == pytest.approx(fraction, abs=0.02)


def test_boxes_reach_every_pixel():
    assert random_boxes(500, (8, 8, 1), 0.2).any(axis=0).all()


def test_scratches_are_thin_and_grow_with_their_number_and_width():
    one, two, broad = (
        random_scratches(50, (32, 32, 1), number, width).mean()
        for number, width in ((1, 1.5), (2, 1.5), (1, 4.0))
    )
    assert 0.01 < one < 0.03
    assert one < two < broad


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_patches_are_whole_and_as_many_as_asked(ratio):
    missing = random_patches(10, (16, 24, 1), (4, 6), ratio)
    cells = missing.reshape(10, 4, 4, 4, 6).mean(axis=(2, 4))
    assert set(np.unique(cells)) == {0.0, 1.0}
    assert (cells.sum(axis=(1, 2)) == 16 * ratio).all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: random_boxes(2, (8, 8, 1), 0.0), "`fraction` must be"),
        (lambda: random_boxes(2, (8, 8, 1), 1.0), "`fraction` must be"),
        (lambda: random_scratches(2, (8, 8, 1), 0), "`num_scratches` must be"),
        (lambda: random_scratches(2, (8, 8, 1), 1, 0.0), "`width` must be"),
        (lambda: random_boxes(2, (8, 8, 10**20)), "`image_shape` must be that of images that fit"),
        (lambda: random_patches(2, (8, 8, 1), 4, 1.5), "`mask_ratio` must be"),
        (lambda: random_patches(2, (8, 8, 1), 3), "`patch_size` must divide the image"),
        (
            lambda: random_patches(2, (8, 8, 1), (4, 4, 1)),
            "`patch_size` must be an int or have one entry",
        ),
    ],
)
def test_sizes_that_make_no_hole_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
