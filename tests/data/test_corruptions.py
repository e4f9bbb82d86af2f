"""Corruptions against SciPy, scikit-image and numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mae_keras.data import CORRUPTIONS, corrupt

KINDS = sorted(CORRUPTIONS)
STRENGTHS = range(1, 6)
every_kind = pytest.mark.parametrize("kind", KINDS)
every_strength = pytest.mark.parametrize("strength", STRENGTHS)


def photos(count=4, shape=(12, 10, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype("uint8")


def fractions(count=4, shape=(12, 10, 3), dtype="float32"):
    return (photos(count, shape) / 255).astype(dtype)


@given(
    kind=st.sampled_from(KINDS),
    strength=st.sampled_from(STRENGTHS),
    shape=st.sampled_from([(7, 2), (8, 8, 1), (9, 5, 3), (4, 5, 6, 2), (1, 1, 1)]),
    dtype=st.sampled_from(["uint8", "float16", "float32", "float64"]),
    seed=st.integers(0, 2**40),
)
def test_shape_dtype_and_range_are_kept_and_the_input_untouched(kind, strength, shape, dtype, seed):
    images = photos(3, shape, seed % 7).astype(dtype)
    before = images.copy()
    changed = corrupt(images, kind, strength, seed, value_range=(0, 255))
    assert changed.shape == images.shape and changed.dtype == images.dtype
    assert changed.min() >= 0 and changed.max() <= 255
    np.testing.assert_array_equal(images, before)


@given(
    kind=st.sampled_from(KINDS),
    cut=st.integers(0, 6),
    seed=st.integers(0, 1000),
    start=st.integers(0, 1000),
)
def test_an_image_is_changed_alike_in_every_batch(kind, cut, seed, start):
    images = photos(6)
    whole = corrupt(images, kind, 3, seed, first_index=start)
    parts = [
        corrupt(images[:cut], kind, 3, seed, first_index=start),
        corrupt(images[cut:], kind, 3, seed, first_index=start + cut),
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("kind", ["noise", "occlusion"])
def test_seed_and_number_decide_what_is_random(kind):
    images = np.full((2, 16, 16, 1), 200, "uint8")
    first = corrupt(images, kind, 2, seed=0)
    np.testing.assert_array_equal(first, corrupt(images, kind, 2, seed=0))
    assert (first != corrupt(images, kind, 2, seed=1)).any()
    assert (first[0] != first[1]).any()


@every_kind
def test_bytes_are_the_rounded_floats(kind):
    images = photos()
    as_floats = corrupt(images.astype("float64"), kind, 3, value_range=(0, 255))
    # Float32 work may fall on the other side of a half.
    np.testing.assert_allclose(corrupt(images, kind, 3), as_floats, atol=0.5001)


@every_kind
def test_the_unit_of_the_pixels_does_not_count(kind):
    images = fractions(dtype="float64")
    changed = corrupt(images, kind, 3, value_range=(0, 1))
    shifted = corrupt(images * 6 - 3, kind, 3, value_range=(-3, 3))
    np.testing.assert_allclose(shifted, changed * 6 - 3, atol=1e-6)


@every_kind
def test_a_higher_strength_changes_more(kind):
    images = photos(8, (28, 28, 1)).astype("float64") / 255
    errors = [
        np.mean((corrupt(images, kind, s, value_range=(0, 1)) - images) ** 2) for s in STRENGTHS
    ]
    assert errors == sorted(errors) and errors[0] > 0


@every_strength
def test_noise_is_normal_with_the_deviation_of_the_table(strength):
    gray = np.full((2, 200, 200, 1), 0.5)
    noise = corrupt(gray, "noise", strength, value_range=(0, 1)) - 0.5
    # Counted within one deviation, which clipping to the range leaves alone; 80,000 draws.
    within = np.mean(np.abs(noise) < CORRUPTIONS["noise"][strength - 1])
    assert within == pytest.approx(0.6827, abs=5 * (0.6827 * 0.3173 / 80_000) ** 0.5)
    assert abs(noise.mean()) < 5 * noise.std() / 80_000**0.5


def test_stronger_noise_is_the_same_noise_scaled():
    gray = np.full((1, 8, 8, 1), 0.5)
    weak, strong = (corrupt(gray, "noise", s, value_range=(0, 1)) - 0.5 for s in (1, 5))
    np.testing.assert_allclose(strong, np.clip(weak * 0.38 / 0.08, -0.5, 0.5), rtol=1e-5)


@every_strength
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 20, 3), (5, 6, 7, 2), (30, 1)])
def test_blur_is_that_of_scipy(strength, shape):
    ndimage = pytest.importorskip("scipy.ndimage")
    images = fractions(2, shape, "float64")
    deviation = CORRUPTIONS["blur"][strength - 1] * min(shape[:-1]) ** 0.5
    sigma = [0.0, *[deviation] * (len(shape) - 1), 0.0]
    expected = ndimage.gaussian_filter(images, sigma, mode="reflect", truncate=4.0)
    changed = corrupt(images, "blur", strength, value_range=(0, 1))
    np.testing.assert_allclose(changed, expected, atol=1e-12)


def test_blur_of_a_photo_is_that_of_scikit_image():
    filters = pytest.importorskip("skimage.filters")
    image = fractions(1, (100, 100, 3), "float64")
    # 0.2 times the root of 100 pixels
    expected = filters.gaussian(image[0], 2.0, mode="reflect", channel_axis=-1)
    changed = corrupt(image, "blur", 3, value_range=(0, 1))
    np.testing.assert_allclose(changed[0], expected, atol=1e-12)


@every_strength
@pytest.mark.parametrize("side", [8, 28, 224])
def test_occlusion_is_one_gray_square_of_the_area_of_the_table(strength, side):
    images = np.full((3, side, side, 1), 7, "uint8")
    area = CORRUPTIONS["occlusion"][strength - 1]
    for changed in corrupt(images, "occlusion", strength)[..., 0]:
        hidden = changed == 128
        assert (changed[~hidden] == 7).all()
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        assert len(rows) == len(columns) == np.ptp(rows) + 1 == np.ptp(columns) + 1
        assert hidden.sum() == len(rows) ** 2
        # to the nearest pixel
        assert len(rows) == pytest.approx(side * area**0.5, abs=0.5)


def test_occlusion_falls_everywhere():
    images = np.zeros((400, 8, 8, 1))
    hidden = corrupt(images, "occlusion", 1, value_range=(0, 1))[..., 0] > 0
    assert hidden.any(axis=0).all()
    corners = hidden[:, :2, :2].all(axis=(1, 2)).mean(), hidden[:, -2:, -2:].all(axis=(1, 2)).mean()
    # one place of 7 x 7 = 49; five standard deviations
    assert corners == pytest.approx((1 / 49, 1 / 49), abs=5 * (1 / 49 / 400) ** 0.5)


def test_contrast_moves_toward_the_mean_of_image_and_channel():
    image = np.array([[[[0.0, 0.5], [1.0, 0.5]]]])
    changed = corrupt(image, "contrast", 3, value_range=(0, 1))
    np.testing.assert_allclose(changed, [[[[0.4, 0.5], [0.6, 0.5]]]])


@every_kind
def test_a_missing_pixel_stays_missing_and_touches_no_other(kind):
    images = fractions(2)
    images[0, 3, 4] = np.nan
    images[1] = np.nan
    changed = corrupt(images, kind, 3, value_range=(0, 1))
    np.testing.assert_array_equal(np.isnan(changed), np.isnan(images))


def test_blur_leaves_missing_pixels_out():
    images = np.full((1, 9, 9, 1), 0.7)
    images[0, 2:5, 3] = np.nan
    changed = corrupt(images, "blur", 5, value_range=(0, 1))
    np.testing.assert_allclose(changed[~np.isnan(images)], 0.7)


def test_the_table_is_plain_data():
    assert all(len(amounts) == 5 for amounts in CORRUPTIONS.values())
    for kind in ("noise", "blur", "occlusion"):
        assert list(CORRUPTIONS[kind]) == sorted(CORRUPTIONS[kind])


def test_no_images_stay_none():
    assert corrupt(np.zeros((0, 8, 8, 1), "uint8"), "noise", 1).shape == (0, 8, 8, 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "fog"}, ValueError, "`kind` must be 'noise', .*Received: kind='fog'"),
        ({"strength": 0}, ValueError, "`strength` must be .*Received: strength=0"),
        ({"strength": 2.5}, ValueError, "`strength` must be"),
        ({"seed": -1}, ValueError, "`seed` must be .*of at least 0"),
        ({"first_index": 0.5}, ValueError, "`first_index` must be .*of at least 0"),
        ({"images": photos().astype("int32")}, TypeError, "must be uint8 or floats.*int32"),
        ({"images": photos()[0, 0]}, ValueError, r"`images` must have shape \(batch, \*spatial"),
        ({"images": fractions()}, ValueError, "`value_range` must be given for floats"),
        ({"value_range": (1, 1)}, ValueError, r"`value_range` must be \(low, high\)"),
        ({"value_range": (0, 9)}, ValueError, r"`images` must lie in `value_range`, \(0, 9\)"),
        (
            {"images": np.full((1, 2, 2, 1), np.inf), "value_range": (0, 1)},
            ValueError,
            "Received: values from inf to inf",
        ),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        corrupt(**{"images": photos(), "kind": "noise", "strength": 1, **change})
