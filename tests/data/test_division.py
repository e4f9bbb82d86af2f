"""Splits by content."""

import numpy as np
import pytest

from mae_keras.data.division import (
    Division,
    content_keys,
    default_fractions,
    divide,
    divide_by_key,
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


@pytest.mark.parametrize("by", ["key", "order"])
def test_images_of_the_held_out_split_leave_the_others(by):
    keys = {"train": np.arange(100, dtype="uint64"), "test": np.array([2, 3, 999], "uint64")}
    rows, notes = Division(by=by).rows(keys, "numbers")
    (part, train), (_, validation) = rows["train"], rows["validation"]
    assert part == "train" and not {2, 3} & {*train, *validation}
    assert len(train) + len(validation) == 98 and len(validation)
    assert rows["test"][1].tolist() == [0, 1, 2]
    assert notes == ["left out 2 training images that are held out too."]


def random_keys(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**63, count).astype("uint64")


FRACTIONS = {"test": 0.15, "validation": 0.15, "train": 0.7}


def test_a_new_image_moves_no_other_one():
    keys = random_keys(2001)
    before = divide_by_key(keys[:2000], FRACTIONS, 0, "numbers")
    after = divide_by_key(keys, FRACTIONS, 0, "numbers")
    for split, rows in before.items():
        assert set(keys[after[split]]) - set(keys[2000:]) == set(keys[rows])
    assert [len(rows) for rows in before.values()] == pytest.approx([300, 300, 1400], abs=60)


def test_fractions_of_zero_leave_a_split_empty():
    keys = {"train": random_keys(60)}
    for by in ("key", "order"):
        rows, _ = Division((1, 0, 0), by=by).rows(keys, "numbers")
        assert [len(rows[split][1]) for split in ("train", "validation", "test")] == [60, 0, 0]
        rows, _ = Division((0.5, 0, 0.5), by=by).rows(keys, "numbers")
        assert len(rows["validation"][1]) == 0 and 15 < len(rows["test"][1]) < 45
    rows, _ = Division((0, 0, 1)).rows(keys, "numbers")
    assert [len(rows[split][1]) for split in ("train", "validation", "test")] == [0, 0, 60]


@pytest.mark.parametrize("seed", range(20))
def test_few_labels_leave_every_class_in_train_and_no_split_empty(seed):
    keys, labels = random_keys(20, seed), np.arange(20) % 10
    rows, _ = Division((0.34, 0.33, 0.33), seed=seed).rows({"train": keys}, "few", labels=labels)
    assert set(labels[rows["train"][1]]) == set(range(10))
    assert all(len(chosen) for _, chosen in rows.values())
    assert sorted(np.concatenate([chosen for _, chosen in rows.values()])) == list(range(20))


@pytest.mark.parametrize("by", ["key", "order"])
def test_groups_and_copies_stay_together(by):
    keys, groups = random_keys(300), np.arange(300) // 5
    keys[7] = keys[299]  # joins the groups 1 and 59
    rows, _ = Division(by=by).rows({"train": keys}, "x", groups={"train": groups.astype(str)})
    held = [set(groups[chosen]) for _, chosen in rows.values()]
    assert sum(len(split) for split in held) == 60 == len(set.union(*held))
    assert any({1, 59} <= split for split in held)


def test_groups_that_are_held_out_leave_the_training_images():
    keys = {"train": random_keys(30), "test": random_keys(2, 1)}
    groups = {"train": np.array(list("abc") * 10), "test": np.array(["a", "x"])}
    rows, notes = Division((0.5, 0.5, 0)).rows(keys, "x", groups=groups)
    assert {*groups["train"][rows["train"][1]], *groups["train"][rows["validation"][1]]} == {*"bc"}
    assert notes == ["left out 10 training images whose groups are held out too."]


@pytest.mark.parametrize(
    "splits", [(0.8, 0.1), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), "0.8", 0.8, (0.8, 0.1, float("nan"))]
)
def test_splits_that_are_no_fractions_are_refused(splits):
    with pytest.raises(ValueError, match="`splits` must be three fractions .* Received: splits="):
        Division(splits)


def test_a_fraction_of_a_split_that_is_given_is_refused():
    keys = {"train": random_keys(30), "test": random_keys(2, 1)}
    with pytest.raises(ValueError, match="`splits` must be 0 for the test split of x"):
        Division((0.8, 0.1, 0.1)).rows(keys, "x")


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


def held(labels, parts):
    """How many images of each class each split holds."""
    return {split: np.bincount(labels[rows], minlength=3) for split, rows in parts.items()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_few_images_leave_every_class_in_test_and_validation_that_has_enough(seed):
    """Classes of 2, 3, 4 and 12 images: enough for train, for test, for all, and by chance."""
    labels = np.repeat(np.arange(4), (2, 3, 4, 12))
    keys = random_keys(len(labels), seed)
    counts = held(labels, divide_by_key(keys, FRACTIONS, seed, "few", labels=labels))
    assert (counts["train"] >= 1).all()
    assert (counts["test"][1:] >= 1).all() and (counts["validation"][2:] >= 1).all()
    assert sum(counts.values()).tolist() == [2, 3, 4, 12]


def test_two_images_of_a_class_are_enough_for_one_held_out_split():
    labels, fractions = np.repeat(np.arange(3), 2), {"validation": 0.2, "train": 0.8}
    for seed in range(20):
        parts = divide_by_key(random_keys(6, seed), fractions, seed, "six", labels=labels)
        assert held(labels, parts)["validation"].tolist() == [1, 1, 1]


def test_only_classes_without_a_held_out_image_change_places():
    """Each of 60 images at most moves once, into a split that had none of its class."""
    moved_at_all = 0
    for seed in range(30):
        keys, labels = random_keys(60, seed), np.arange(60) % 3
        pure = divide_by_key(keys, FRACTIONS, seed, "numbers")
        made = divide_by_key(keys, FRACTIONS, seed, "numbers", labels=labels)
        missing = sum((count == 0).sum() for count in held(labels, pure).values())
        moved = sum(len(set(made[split]) - set(pure[split])) for split in made)
        assert moved == missing
        moved_at_all += moved
    assert moved_at_all


def test_many_images_keep_the_places_of_their_keys():
    keys, labels = random_keys(10_000), np.zeros(10_000, int)
    labels[:4] = 1
    pure = divide_by_key(keys, FRACTIONS, 0, "numbers")
    made = divide_by_key(keys, FRACTIONS, 0, "numbers", labels=labels)
    assert 0 in [count[1] for count in held(labels, pure).values()]
    for split, rows in pure.items():
        np.testing.assert_array_equal(made[split], rows)


def test_the_order_of_images_does_not_change_what_is_held_out():
    labels, order = np.repeat(np.arange(3), 5), np.random.default_rng(0).permutation(15)
    keys = random_keys(15)
    for seed in range(20):
        straight = divide_by_key(keys, FRACTIONS, seed, "x", labels=labels)
        other = divide_by_key(keys[order], FRACTIONS, seed, "x", labels=labels[order])
        for split in straight:
            assert set(keys[straight[split]]) == set(keys[order][other[split]])


def test_groups_stay_whole_when_classes_are_held_out():
    """Three patients of each class; one more has both diseases."""
    groups = np.repeat(np.arange(7), 4).astype(str)
    labels = np.repeat([0, 0, 0, 1, 1, 1, 0], 4)
    labels[-1] = 1
    for seed in range(20):
        keys = {"train": random_keys(28, seed)}
        rows, _ = Division(seed=seed).rows(keys, "x", labels=labels, groups={"train": groups})
        patients = [set(groups[chosen]) for _, chosen in rows.values()]
        assert sum(map(len, patients)) == 7
        assert set(labels[rows["train"][1]]) == set(labels[rows["test"][1]]) == {0, 1}
