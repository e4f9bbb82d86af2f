"""Changes of images and masks together: that they stay together, and that a seed says all."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from mae_keras.data import SegmentationAugmentation

PLAIN = {"flip_axes": ()}
CHANGES = {
    "flips": SegmentationAugmentation(),
    "turns": SegmentationAugmentation(**PLAIN, quarter_turns=True),
    "rotation": SegmentationAugmentation(**PLAIN, max_rotation=180.0),
    "scale": SegmentationAugmentation(**PLAIN, scale=(0.5, 2.0)),
    "elastic": SegmentationAugmentation(**PLAIN, elastic=5.0, elastic_spacing=16),
    "everything": SegmentationAugmentation(
        quarter_turns=True, max_rotation=45.0, scale=(0.7, 1.4), elastic=3.0
    ),
}


@pytest.fixture(scope="module")
def blobs():
    """Large regions of three classes, `(16, 64, 64)`."""
    noise = np.random.default_rng(0).normal(size=(16, 64, 64))
    smooth = ndimage.gaussian_filter(noise, (0, 6, 6))
    return np.digitize(smooth, np.quantile(smooth, [1 / 3, 2 / 3])).astype("int32")


@pytest.mark.parametrize("name", CHANGES)
def test_an_image_of_its_mask_stays_one(blobs, name):
    images = (100 * blobs).astype("uint8")[..., None]
    changed, masks = CHANGES[name].apply(images, blobs, (3, 4), crop_size=(40, 40))
    changed, masks = changed.numpy()[..., 0], masks.numpy()
    assert masks.shape == (16, 40, 40) and masks.dtype == "int32"
    # Away from the edges of regions, where pixels of images are mixed.
    low = ndimage.minimum_filter(masks, (1, 5, 5))
    inside = (low == ndimage.maximum_filter(masks, (1, 5, 5))) & (masks >= 0)
    inside[:, [0, 1, -2, -1]] = inside[:, :, [0, 1, -2, -1]] = False  # more may lie beyond
    assert inside.mean() > 0.25
    np.testing.assert_array_equal(changed[inside], 100 * masks[inside])
    assert not np.array_equal(masks, blobs[:, 12:52, 12:52])
    if name in ("flips", "turns"):
        np.testing.assert_array_equal(changed, 100 * masks)


@pytest.mark.parametrize("rank", [2, 3])
def test_flips_and_turns_are_those_of_numpy(rank):
    shape = (64, *(3, 5, 5)[-rank:])
    masks = np.arange(math.prod(shape), dtype="int32").reshape(shape)
    augmentation = SegmentationAugmentation(("depth", "height", "width"), quarter_turns=True)
    images, changed = augmentation.apply(masks[..., None].astype("float32"), masks, (0, 1))
    np.testing.assert_array_equal(images.numpy()[..., 0], changed.numpy())
    seen = set()
    for before, after in zip(masks, changed.numpy(), strict=True):
        ways = {}
        for turns in range(4):
            for mirrored in (False, True):
                for upside_down in (False, True) if rank == 3 else (False,):
                    made = np.rot90(before, turns, (rank - 2, rank - 1))
                    made = made[..., ::-1] if mirrored else made
                    made = made[::-1] if upside_down else made
                    ways[turns, mirrored, upside_down] = made
        found = [way for way, made in ways.items() if np.array_equal(made, after)]
        assert found
        seen.add(found[0])
    assert len(seen) == len(ways)  # and each of them occurs


def test_a_rotation_is_that_of_scipy(blobs):
    images = ndimage.gaussian_filter(blobs.astype("float32"), (0, 2, 2))[..., None]
    augmentation = SegmentationAugmentation(**PLAIN, max_rotation=30.0)
    changed = augmentation.apply(images, blobs, (0, 1))[0].numpy()[..., 0]
    for before, after in zip(images[:4, ..., 0], changed[:4], strict=True):
        angles = np.arange(-30, 30.1, 0.25)
        errors = [
            np.abs(
                ndimage.rotate(before, angle, reshape=False, order=1)[20:44, 20:44]
                - after[20:44, 20:44]
            ).mean()
            for angle in angles
        ]
        assert min(errors) < 0.005 < 0.05 < np.median(errors)


def test_what_lies_outside_has_no_label_and_the_edge_s_values(blobs):
    images = np.full((8, 32, 32, 1), 7.0, "float32")
    masks = np.ones((8, 32, 32), "int32")
    augmentation = SegmentationAugmentation(**PLAIN, scale=(0.5, 0.5))
    changed, made = augmentation.apply(images, masks, (0, 1))
    expected = np.full((32, 32), -1)
    expected[8:24, 8:24] = 1
    np.testing.assert_array_equal(made, np.broadcast_to(expected, (8, 32, 32)))
    np.testing.assert_array_equal(changed, 7.0)


@pytest.mark.parametrize("name", ["rotation", "scale", "elastic", "everything"])
def test_a_window_is_large_enough(name):
    augmentation = CHANGES[name]
    window = augmentation.window((24, 24))
    masks = np.zeros((64, *window), "int32")
    made = augmentation.apply(masks[..., None].astype("uint8"), masks, (0, 1), crop_size=(24, 24))
    assert (made[1].numpy() == 0).all()
    smaller = np.zeros((64, 24, 24), "int32")
    made = augmentation.apply(smaller[..., None].astype("uint8"), smaller, (0, 1))[1].numpy()
    assert (made == -1).any()


def test_elastic_moves_pixels_smoothly_and_no_further_than_it_says():
    rows = np.broadcast_to(np.arange(96, dtype="float32")[:, None], (4, 96, 96))
    augmentation = SegmentationAugmentation(**PLAIN, elastic=4.0, elastic_spacing=24)
    made = augmentation.apply(
        rows[..., None], np.zeros((4, 96, 96), "int32"), (0, 1), crop_size=(64, 64)
    )[0].numpy()[..., 0]
    shifts = made - rows[:, 16:80, 16:80]
    assert 1.0 < np.abs(shifts).max() < 4.0
    assert np.abs(np.diff(shifts, axis=1)).max() < 1.0  # nothing is folded over
    assert np.abs(np.diff(shifts, axis=2)).max() < 1.0


def test_brightness_and_contrast_change_images_alone(blobs):
    images = (60 + 50 * blobs).astype("uint8")[..., None]
    augmentation = SegmentationAugmentation(**PLAIN, brightness=0.1, contrast=0.3)
    changed, masks = augmentation.apply(images, blobs, (0, 1))
    np.testing.assert_array_equal(masks, blobs)
    assert changed.dtype == "uint8"
    for before, after in zip(images.astype(float), changed.numpy().astype(float), strict=True):
        slope, added = np.polyfit(before.ravel(), after.ravel(), 1)
        assert 0.68 < slope < 1.32
        assert abs(added - (1 - slope) * before.mean()) < 0.1 * 255 + 1
        np.testing.assert_allclose(after, slope * before + added, atol=1.0)


def test_missing_pixels_stay_missing_and_spoil_no_other(blobs):
    images = blobs.astype("float32")[..., None]
    images[:, 30:34, 30:34] = np.nan
    augmentation = SegmentationAugmentation(
        max_rotation=45.0, brightness=0.1, contrast=0.1, quarter_turns=True
    )
    changed, _ = augmentation.apply(images, blobs, (0, 1), value_range=(0, 2))
    missing = np.isnan(changed.numpy()).sum(axis=(1, 2, 3))
    assert (missing >= 9).all() and (missing <= 40).all()


def test_a_seed_says_all_and_a_part_is_changed_as_in_the_whole(blobs):
    images = (100 * blobs).astype("uint8")[..., None]
    augmentation = SegmentationAugmentation(
        quarter_turns=True, max_rotation=45.0, elastic=3.0, brightness=0.1, contrast=0.1
    )
    first = augmentation.apply(images, blobs, (3, 4))
    in_graph = tf.function(augmentation.apply)
    again = in_graph(images, blobs, tf.constant((3, 4), tf.int64))
    same = in_graph(images, blobs, tf.constant((3, 4), tf.int64))
    part = augmentation.apply(images[4:9], blobs[4:9], (3, 4), part=(4, 16))
    for whole, traced, repeated, rows in zip(first, again, same, part, strict=True):
        np.testing.assert_array_equal(traced, repeated)
        np.testing.assert_array_equal(whole[4:9], rows)
        # A graph fuses operations, after which a value between two may be rounded the other way.
        np.testing.assert_allclose(whole, traced, atol=1)
    other = augmentation.apply(images, blobs, (3, 5))[1].numpy()
    assert not np.array_equal(first[1], other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flip_axes": ("left",)}, "`flip_axes` must be of depth, height, width"),
        ({"max_rotation": 200}, r"`max_rotation` must be a number in \[0, 180\]"),
        ({"scale": (2.0, 1.0)}, r"`scale` must be a pair \(low, high\)"),
        ({"scale": 2.0}, r"`scale` must be a pair \(low, high\)"),
        ({"elastic_spacing": 1}, "`elastic_spacing` must be an int"),
        ({"quarter_turns": 1}, "`quarter_turns` must be True or False"),
    ],
)
def test_what_is_no_change_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SegmentationAugmentation(**arguments)


def test_what_does_not_fit_is_refused(blobs):
    images = blobs.astype("float32")[..., None]
    with pytest.raises(ValueError, match=r"`masks` must have the shape of `images` without"):
        SegmentationAugmentation().apply(images, blobs[:, :32], (0, 1))
    with pytest.raises(ValueError, match="`crop_size` must fit into the images"):
        SegmentationAugmentation().apply(images, blobs, (0, 1), crop_size=(65, 64))
    with pytest.raises(ValueError, match="`quarter_turns` needs height and width to be equal"):
        SegmentationAugmentation(quarter_turns=True).window((32, 64))
    with pytest.raises(ValueError, match="are for images; volumes are mirrored"):
        SegmentationAugmentation(max_rotation=5.0).window((8, 32, 32))
    with pytest.raises(ValueError, match="`brightness` is a fraction of the range"):
        SegmentationAugmentation(brightness=0.1).apply(images, blobs, (0, 1))
