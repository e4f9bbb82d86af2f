"""Crops and flips of clips: the same in all frames."""

import numpy as np
import pytest

from mae_keras.data import ArraySplit, Augmentation, VideoAugmentation, augment, training_batches


@pytest.fixture
def clips():
    """Frames of one picture, each with its own level added."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 100, (6, 1, 12, 12, 3))
    return (pictures + 20 * np.arange(4).reshape(1, 4, 1, 1, 1)).astype("float32")


@pytest.mark.parametrize("flip", [False, True])
def test_all_frames_are_changed_as_one_image_would_be(clips, flip):
    changed = VideoAugmentation(flip=flip).apply(clips, seed=(1, 2)).numpy()
    of_images = Augmentation((0.5, 1.0), flip=flip)
    for frame in range(4):
        expected = augment(clips[:, frame], of_images, seed=(1, 2)).numpy()
        np.testing.assert_allclose(changed[:, frame], expected, atol=1e-3)
    assert (changed != clips).any(axis=(1, 2, 3, 4)).all()


def test_missing_frames_stay_missing_and_others_whole(clips):
    clips[2, 3] = np.nan
    changed = VideoAugmentation().apply(clips, seed=(3, 4)).numpy()
    assert np.isnan(changed[2, 3]).all() and not np.isnan(changed[2, :3]).any()


def test_batches_are_changed_in_training_and_not_mirrored_by_default(clips):
    split = ArraySplit(clips.astype("uint8"))
    plain, flipped = (
        np.stack(list(training_batches(split, 6, seed=0, epochs=4, augmentation=augmentation)))
        for augmentation in (None, VideoAugmentation(None, flip=True))
    )
    same = (plain == flipped).all(axis=(2, 3, 4, 5))
    mirrored = (plain[..., ::-1, :] == flipped).all(axis=(2, 3, 4, 5))
    assert (same ^ mirrored).all() and 0 < mirrored.mean() < 1
    assert not VideoAugmentation().flip


def test_pictures_are_not_taken_for_clips(clips):
    with pytest.raises(ValueError, match="`samples` must have shape .batch, frames"):
        VideoAugmentation().apply(clips[:, 0], seed=(0, 0))
    with pytest.raises(ValueError, match="`images` must have shape"):
        augment(clips, Augmentation(), seed=(0, 0))
