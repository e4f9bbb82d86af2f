"""Batches for private training."""

import importlib.util

import numpy as np
import pytest

from mae_keras.data import ArraySplit, Augmentation, StreamSplit, poisson_batches
from mae_keras.training import Privacy

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("dp_accounting") is None,
    reason="dp-accounting is not installed: pip install '.[privacy]'",
)
SPLIT = ArraySplit(np.arange(40 * 64, dtype="float32").reshape(40, 8, 8, 1) / 2560)


def privacy_of(num_samples=40, seed=3):
    return Privacy(
        1.0, delta=1e-3, num_samples=num_samples, batch_size=8, seed=seed, micro_batch_size=4
    )


def test_batches_hold_the_samples_that_the_seed_and_step_draw():
    privacy = privacy_of()
    for step, (images, numbers) in enumerate(poisson_batches(SPLIT, privacy).take(5)):
        np.testing.assert_array_equal(numbers, privacy.numbers(step))
        drawn = numbers.numpy() >= 0
        np.testing.assert_array_equal(images[drawn], SPLIT.images[numbers[drawn]])


def test_they_start_at_any_step_augmented_alike():
    changes = Augmentation(crop_scale=(0.5, 1.0))
    whole = list(poisson_batches(SPLIT, privacy_of(), augmentation=changes).take(4))
    later = list(poisson_batches(SPLIT, privacy_of(), start_step=2, augmentation=changes).take(2))
    for one, two in zip(whole[2:], later, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    other = next(iter(poisson_batches(SPLIT, privacy_of(seed=4), augmentation=changes)))
    assert not np.array_equal(other[1], whole[0][1])


def test_splits_whose_samples_are_not_drawn_alike_are_refused():
    with pytest.raises(ValueError, match="as many samples as privacy accounts for, 30"):
        poisson_batches(SPLIT, privacy_of(30))
    stream = StreamSplit.__new__(StreamSplit)
    with pytest.raises(ValueError, match="can be read in any order"):
        poisson_batches(stream, privacy_of())
    with pytest.raises(ValueError, match="start_step"):
        poisson_batches(SPLIT, privacy_of(), start_step=-1)
