"""Which patches are decoded: as many as asked, of those that count, at random."""

import keras
import numpy as np
import pytest

from mae_keras.models.decoders import draw_decoded, num_decoded

# Rows with 9 of 12 patches in the loss.
COUNTED = np.random.default_rng(1).permuted(np.tile(np.arange(12) < 9, (500, 1)), axis=1)


def draw(count, counted=COUNTED, seed=0, step=1, first=0):
    samples = np.arange(first, first + len(counted))
    return keras.ops.convert_to_numpy(draw_decoded(counted, count, seed, step, samples))


@pytest.mark.parametrize(
    ("counted", "ratio", "expected"), [(48, 0.25, 12), (48, 1.0, 48), (10, 0.25, 3), (3, 0.01, 1)]
)
def test_the_number_is_rounded_and_never_none(counted, ratio, expected):
    assert num_decoded(counted, ratio) == expected


@pytest.mark.parametrize("count", [1, 4, 9])
def test_those_that_count_are_drawn_once_each(count):
    drawn = draw(count)
    assert drawn.shape == (500, count)
    assert all(len(set(row)) == count for row in drawn)
    assert np.take_along_axis(COUNTED, drawn, axis=1).all()


def test_where_too_few_count_others_fill_up():
    few = np.tile(np.arange(12) < 2, (5, 1))
    drawn = draw(4, few)
    assert all(set(row[:2]) == {0, 1} for row in drawn)
    assert all(len(set(row)) == 4 for row in drawn)


def test_each_is_drawn_equally_often():
    everything = np.ones((4000, 12), bool)
    frequency = np.bincount(draw(3, everything).ravel(), minlength=12) / 4000
    # 1/4 each; four standard deviations of 4,000 draws
    np.testing.assert_allclose(frequency, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / 4000))


def test_steps_seeds_and_samples_draw_anew_and_alike():
    drawn = draw(4)
    np.testing.assert_array_equal(draw(4, COUNTED[100:], first=100), drawn[100:])
    for other in (draw(4, seed=1), draw(4, step=2)):
        assert 0.2 < np.mean((other != drawn).any(axis=1))
