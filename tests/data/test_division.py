"""Splits by content."""

import numpy as np
import pytest

from mae_keras.data.division import (
    content_keys,
    default_fractions,
    divide,
    divide_beside,
    mixed,
)


def test_equal_images_share_a_key_and_different_ones_do_not():
    images = np.array([[0, 1], [0, 1], [1, 0]], "uint8")
    keys = content_keys(images)
    assert keys[0] == keys[1] != keys[2]


def test_parts_cover_everything_once_in_the_asked_proportions():
    keys = np.arange(1000, dtype="uint64")
    test, validation, train = divide(keys, (0.15, 0.15), 0, "numbers")
    assert (len(test), len(validation), len(train)) == (150, 150, 700)
    np.testing.assert_array_equal(np.sort(np.concatenate([test, validation, train])), keys)


def test_duplicates_stay_in_one_part():
    keys = np.random.default_rng(0).integers(0, 50, 400).astype("uint64")
    parts = [set(keys[part]) for part in divide(keys, (0.2, 0.2), 3, "numbers")]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_the_order_of_the_images_does_not_matter():
    keys = np.arange(100, dtype="uint64")
    shuffled = np.random.default_rng(1).permutation(keys)
    straight, mixed = divide(keys, [0.3], 5, "numbers"), divide(shuffled, [0.3], 5, "numbers")
    assert set(keys[straight[0]]) == set(shuffled[mixed[0]])


def test_another_seed_cuts_elsewhere():
    keys = np.arange(100, dtype="uint64")
    assert set(divide(keys, [0.3], 0, "n")[0]) != set(divide(keys, [0.3], 1, "n")[0])


@pytest.mark.parametrize("count", [3, 4, 7])
def test_no_part_is_empty_however_few_images_there_are(count):
    keys = np.arange(count, dtype="uint64")
    assert all(len(part) for part in divide(keys, (0.15, 0.15), 0, "few"))


def test_an_image_repeated_very_often_stays_in_the_training_part():
    keys = np.array([0] * 500 + list(range(1, 501)), "uint64")
    for seed in range(5):
        test, validation, train = divide(keys, (0.15, 0.15), seed, "numbers")
        assert 0 in keys[train] and len(test) == 150


def test_too_few_different_images_are_refused():
    with pytest.raises(ValueError, match="at least 3 different images. Received: 2 different amo"):
        divide(np.array([1, 1, 2], "uint64"), (0.15, 0.15), 0, "twins")


def test_images_of_the_held_out_split_leave_the_others():
    keys = np.arange(10, dtype="uint64")
    parts, left_out = divide_beside(keys, np.array([2, 3, 99], "uint64"), [0.25], 0, "numbers")
    assert left_out == 2
    assert sorted(np.concatenate(parts)) == [0, 1, 4, 5, 6, 7, 8, 9]
    assert [len(part) for part in parts] == [2, 6]


def test_mixing_depends_on_the_seed_and_keeps_every_part_whole():
    parts = [np.arange(50), np.arange(50, 70)]
    made = mixed(parts, 3)
    for part, shuffled in zip(parts, made, strict=True):
        np.testing.assert_array_equal(np.sort(shuffled), part)
        assert (shuffled != part).any()
    np.testing.assert_array_equal(made[0], mixed(parts, 3)[0])
    assert (made[0] != mixed(parts, 4)[0]).any()


def test_small_data_sets_hold_out_more():
    assert default_fractions(9_999) == (0.15, 0.15)
    assert default_fractions(10_000) == (0.05, 0.05)
