"""Batches of images and masks: that pairs stay pairs, and that a seed says all."""

import numpy as np
import pytest

from mae_keras.data import SegmentationAugmentation, SegmentationSplit, segmentation_batches

pytestmark = pytest.mark.slow

WARPS = SegmentationAugmentation(
    quarter_turns=True, max_rotation=30.0, scale=(0.8, 1.2), elastic=2.0, brightness=0.1
)


def numbered(*sizes):
    """Images whose pixels say which image and which place they are, and masks the same."""
    masks = [
        1000 * number + np.arange(np.prod(size)).reshape(size) % 1000
        for number, size in enumerate(sizes)
    ]
    return SegmentationSplit([mask[..., None].astype("float32") for mask in masks], masks)


def batches_of(split, batch_size=4, **kwargs):
    kwargs = {"seed": 1, "epochs": 2, **kwargs}
    batches = segmentation_batches(split, batch_size, **kwargs)
    return [(images.numpy(), masks.numpy()) for images, masks in batches]


@pytest.mark.parametrize("sizes", [[(30, 20), (17, 40)], [(6, 10, 12), (8, 9, 9)]])
def test_a_crop_is_a_part_of_its_image(sizes):
    split = numbered(*sizes)
    seen = set()
    for images, masks in batches_of(split, crop_size=5, crops_per_image=20):
        np.testing.assert_array_equal(images[..., 0], masks)
        for mask in masks:
            whole = split.masks[mask.flat[0] // 1000]
            windows = np.lib.stride_tricks.sliding_window_view(whole, mask.shape)
            found = np.argwhere(
                (windows == mask).all(axis=tuple(range(whole.ndim, 2 * whole.ndim)))
            )
            assert len(found)
            seen.add((mask.flat[0] // 1000, *found[0]))
    assert len({key[0] for key in seen}) == 2 and len(seen) > 40


def test_an_epoch_takes_as_many_crops_as_fill_each_image():
    split = numbered((30, 20), (17, 40))
    counts = [0, 0]
    for _, masks in batches_of(split, 1, crop_size=10, epochs=1):
        counts[masks.flat[0] // 1000] += 1
    assert counts == [3 * 2, 2 * 4]
    assert len(segmentation_batches(numbered((8, 8), (8, 8)), 1, seed=0, epochs=1)) == 2


def test_a_crop_larger_than_its_image_has_no_labels_around_it():
    split = SegmentationSplit(np.full((1, 6, 20, 1), 9, "uint8"), np.ones((1, 6, 20), "int32"))
    starts = set()
    for images, masks in batches_of(split, 1, crop_size=8, epochs=4):
        assert (images == 9).all()
        rows = (masks[0] == 1).all(axis=1)
        assert rows.sum() == 6 and (masks[0][~rows] == -1).all()
        starts.add(int(rows.argmax()))
    assert starts == {0, 1, 2}


@pytest.mark.parametrize("augmentation", [None, WARPS])
def test_a_run_goes_on_where_it_stopped(augmentation):
    split = SegmentationSplit(
        np.random.default_rng(0).integers(0, 256, (3, 40, 40, 1), "uint8"),
        np.random.default_rng(1).integers(-1, 3, (3, 40, 40)),
    )
    options = {"crop_size": 16, "augmentation": augmentation, "value_range": (0, 255)}
    whole = batches_of(split, **options)
    steps = len(whole) // 2
    later = batches_of(split, **options, start_epoch=1, start_step=2)
    assert steps > 3 and len(later) == steps - 2
    for expected, found in zip(whole[steps + 2 :], later, strict=True):
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(whole[0][1], whole[steps][1])
    halves = [batches_of(split, **options, shard=(index, 2)) for index in range(2)]
    for expected, *parts in zip(whole, *halves, strict=True):
        for place, one in enumerate(expected):
            np.testing.assert_array_equal(one, np.concatenate([part[place] for part in parts]))
    assert not np.array_equal(whole[0][1], batches_of(split, **options, seed=2)[0][1])


def test_changes_reach_for_what_lies_around_a_crop():
    split = SegmentationSplit(np.zeros((1, 200, 200, 1), "uint8"), np.zeros((1, 200, 200), "int32"))
    labeled = [
        (masks == 0).mean() for _, masks in batches_of(split, 16, crop_size=32, augmentation=WARPS)
    ]
    assert np.mean(labeled) > 0.98  # but for crops at the edge of the image
    images, masks = batches_of(split, 16, crop_size=32, augmentation=WARPS)[0]
    assert images.shape == (16, 32, 32, 1) and masks.shape == (16, 32, 32)
    assert images.dtype == "uint8" and masks.dtype == "int32"


def test_what_does_not_fit_is_refused():
    split = numbered((30, 20), (17, 40))
    for arguments, message in (
        ({}, "`crop_size` must be given for images of several sizes"),
        ({"crop_size": 4, "patch_size": 8}, r"must be a multiple of the patch.*crop_size=\(4, 4\)"),
        ({"crop_size": 0}, "`crop_size` must be an int"),
        ({"crop_size": (8, 8, 8)}, "`crop_size` must be 2 ints"),
        ({"crop_size": 8, "crops_per_image": 0}, "`crops_per_image` must be an int"),
        ({"crop_size": 8, "augmentation": WARPS}, "`brightness` is a fraction of the range"),
        ({"crop_size": (8, 4), "augmentation": WARPS}, "`quarter_turns` needs height and width"),
    ):
        with pytest.raises(ValueError, match=message):
            segmentation_batches(split, 2, seed=0, **arguments)
    with pytest.raises(TypeError, match="`split` must be a SegmentationSplit"):
        segmentation_batches(np.zeros((3, 8, 8)), 2, seed=0)
    with pytest.raises(TypeError, match="`augmentation` must be a SegmentationAugmentation"):
        segmentation_batches(split, 2, seed=0, crop_size=8, augmentation="light")
    with pytest.raises(ValueError, match="`split` must hold images"):
        segmentation_batches(SegmentationSplit([], []), 2, seed=0)
