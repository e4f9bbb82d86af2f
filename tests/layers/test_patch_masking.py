"""What all masking layers share: the count, the saved step, the seed, the grid."""

import keras
import numpy as np
import pytest
from keras import ops

from mae_keras.layers import (
    BlockMasking,
    GridMasking,
    PatchMasking,
    RandomMasking,
    TailMasking,
)
from mae_keras.layers.masking import time_masking

STRATEGIES = [RandomMasking, BlockMasking, GridMasking, time_masking, TailMasking]
DRAWN = [RandomMasking, BlockMasking, time_masking]


def array(tensor):
    return ops.convert_to_numpy(tensor)


def tokens_of(num_patches=16, batch=5):
    """Tokens that say which image and patch they are."""
    tokens = np.stack(np.meshgrid(np.arange(batch), np.arange(num_patches), indexing="ij"), -1)
    return tokens.astype("float32")


def mask_of(layer, batch=5, num_patches=16, **arguments):
    return array(layer(tokens_of(num_patches, batch), **arguments)[1])


class HideTheFirst(PatchMasking):
    """The smallest strategy there can be."""

    def scores(self, grid, step, samples):
        scores = -np.arange(np.prod(grid), dtype="float32")
        return ops.broadcast_to(scores[None], (ops.shape(samples)[0], len(scores)))


def test_a_strategy_is_one_method():
    visible, patch_mask = HideTheFirst(0.25)(tokens_of(8, 2))
    np.testing.assert_array_equal(array(patch_mask), [[True] * 2 + [False] * 6] * 2)
    np.testing.assert_array_equal(array(visible), tokens_of(8, 2)[:, 2:])


def test_the_base_has_no_strategy():
    with pytest.raises(NotImplementedError):
        PatchMasking(0.5).scores((4, 4), 0, np.arange(2))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("num_patches", "ratio", "hidden"), [(16, 0.75, 12), (10, 0.9, 9)])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_mask_hides_the_exact_count_and_visible_is_the_rest(
    strategy, num_patches, ratio, hidden, training
):
    tokens = tokens_of(num_patches, 7)
    visible, patch_mask = strategy(ratio, seed=0)(tokens, training=training)
    visible, patch_mask = array(visible), array(patch_mask)
    assert patch_mask.dtype == bool
    np.testing.assert_array_equal(patch_mask.sum(axis=1), hidden)
    for image in range(7):
        np.testing.assert_array_equal(visible[image], tokens[image][~patch_mask[image]])


@pytest.mark.parametrize("strategy", DRAWN)
def test_masks_differ_between_images(strategy):
    assert len(np.unique(mask_of(strategy(0.5, seed=0), batch=8), axis=0)) > 4


@pytest.mark.parametrize("strategy", DRAWN)
def test_masks_differ_at_the_next_training_step(strategy):
    layer = strategy(0.5, seed=0)
    first, second = mask_of(layer, training=True), mask_of(layer, training=True)
    assert not np.array_equal(first, second)
    assert int(array(layer.micro_step)) == 2


@pytest.mark.parametrize("strategy", DRAWN)
def test_masks_stand_still_at_inference(strategy):
    layer = strategy(0.5, seed=0)
    before = mask_of(layer)
    mask_of(layer, training=True)
    np.testing.assert_array_equal(mask_of(layer), before)
    assert int(array(layer.micro_step)) == 1


@pytest.mark.parametrize("strategy", DRAWN)
def test_equal_seeds_give_equal_masks_and_others_do_not(strategy):
    first, same, other = (
        [mask_of(layer, training=True) for _ in range(3)]
        for layer in (strategy(0.5, seed=4), strategy(0.5, seed=4), strategy(0.5, seed=5))
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("strategy", DRAWN)
def test_masks_do_not_depend_on_the_size_of_the_batch(strategy):
    layer = strategy(0.5, seed=0)
    np.testing.assert_array_equal(mask_of(layer, batch=3), mask_of(layer, batch=9)[:3])


@pytest.mark.parametrize("strategy", DRAWN)
def test_a_part_of_a_batch_draws_its_part_of_the_masks(strategy):
    layer = strategy(0.5, seed=0)
    whole = array(layer.draw((4, 4), 3, np.arange(8)))
    part = array(layer.draw((4, 4), 3, np.arange(5, 8)))
    np.testing.assert_array_equal(part, whole[5:])


def test_the_saved_step_resumes_the_sequence_of_masks():
    layer = RandomMasking(0.5, seed=0)
    for _ in range(3):
        mask_of(layer, training=True)
    resumed = RandomMasking.from_config(layer.get_config())
    resumed.build((None, 16, 2))
    resumed.set_weights(layer.get_weights())
    np.testing.assert_array_equal(mask_of(resumed, training=True), mask_of(layer, training=True))


def test_without_a_seed_one_is_drawn_and_kept():
    keras.utils.set_random_seed(3)
    first, second = RandomMasking(), RandomMasking()
    assert first.seed != second.seed
    assert RandomMasking.from_config(first.get_config()).seed == first.seed
    keras.utils.set_random_seed(3)
    assert RandomMasking().seed == first.seed


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_ratio_counts_what_is_present(strategy):
    """From none to all missing, in every way that 8 of 16 can be and more."""
    rng = np.random.default_rng(0)
    missing_mask = np.array([rng.permutation(16) < count for count in range(17)])
    layer = strategy(0.75, seed=0)
    patch_mask = array(layer.draw((4, 4), 1, np.arange(17), missing_mask))
    np.testing.assert_array_equal(patch_mask.sum(axis=1), 12)
    present = 16 - np.arange(17)
    expected = np.clip(np.floor(present * 0.75 + 0.5), 1, np.maximum(present - 1, 1))
    expected[-2:] = 0  # one patch, and none
    np.testing.assert_array_equal((patch_mask & ~missing_mask).sum(axis=1), expected)
    np.testing.assert_array_equal(patch_mask[0], array(layer.draw((4, 4), 1, np.arange(1)))[0])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_missing_patches_are_hidden_first_where_asked(strategy):
    missing_mask = np.random.default_rng(0).random((20, 16)) < 0.3
    layer = strategy(0.75, seed=0, missing="first")
    patch_mask = array(layer.draw((4, 4), 1, np.arange(20), missing_mask))
    np.testing.assert_array_equal(patch_mask.sum(axis=1), 12)
    few = missing_mask.sum(axis=1) <= 11
    assert few.any()
    assert np.all(patch_mask[few] >= missing_mask[few])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_missing_patches_than_hidden_ones_leave_one_to_predict(strategy):
    missing_mask = np.arange(16)[None] % 8 < 7
    layer = strategy(0.5, seed=0, missing="first")
    patch_mask = array(layer.draw((4, 4), 1, np.arange(1), missing_mask))
    assert patch_mask.sum() == 8
    assert np.sum(patch_mask & ~missing_mask) == 1


def test_a_config_that_does_not_say_hides_missing_patches_first():
    """As files did before there was a choice: their masks, by the rule they were drawn by."""
    layer = RandomMasking(0.75, seed=0)
    assert RandomMasking.from_config(layer.get_config()).missing == "proportional"
    config = {key: value for key, value in layer.get_config().items() if key != "missing"}
    old = RandomMasking.from_config(config)
    assert old.missing == "first"
    missing_mask = np.random.default_rng(0).random((20, 16)) < 0.4
    scores = np.where(missing_mask, 1e6, array(layer.scores((4, 4), 1, np.arange(20))))
    expected = np.argsort(np.argsort(scores, axis=1, kind="stable"), axis=1) >= 4
    drawn = array(old.draw((4, 4), 1, np.arange(20), missing_mask))
    several = missing_mask.sum(axis=1) < 12
    assert several.sum() > 10
    np.testing.assert_array_equal(drawn[several], expected[several])


def test_an_unknown_way_to_count_is_refused():
    with pytest.raises(ValueError, match="`missing` must be 'proportional' or 'first'"):
        RandomMasking(0.5, missing="last")


class HideTheBright(PatchMasking):
    """A strategy that looks at the samples, and at nothing else."""

    def scores(self, grid, step, samples, patches=None):
        return ops.mean(patches, axis=-1)


def test_a_strategy_may_look_at_the_samples():
    patches = np.random.default_rng(0).random((3, 8, 5)).astype("float32")
    visible, patch_mask = HideTheBright(0.25)(patches)
    for image, hidden in enumerate(array(patch_mask)):
        brightest = np.argsort(patches[image].mean(axis=1))[-2:]
        assert set(np.flatnonzero(hidden)) == set(brightest)
    with pytest.raises(ValueError, match=r"`patches` must be given: HideTheBright\.scores looks"):
        HideTheBright(0.25).draw((8,), 0, np.arange(3))


class OneForAll(PatchMasking):
    def scores(self, grid, step, samples):
        return -np.arange(np.prod(grid), dtype="float32")[None]


def test_scores_may_broadcast():
    patch_mask = array(OneForAll(0.25).draw((8,), 0, np.arange(3)))
    np.testing.assert_array_equal(patch_mask, [[True] * 2 + [False] * 6] * 3)


def test_a_grid_is_taken_as_square_where_it_can_be():
    np.testing.assert_array_equal(
        mask_of(GridMasking(0.75)), mask_of(GridMasking(0.75, grid=(4, 4)))
    )
    np.testing.assert_array_equal(
        mask_of(GridMasking(0.75), num_patches=12),
        mask_of(GridMasking(0.75, grid=(12,)), num_patches=12),
    )
    assert not np.array_equal(
        mask_of(GridMasking(0.75)), mask_of(GridMasking(0.75, grid=(2, 8)))
    ), "a grid that is given matters"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_grid_of_another_size_is_refused(strategy):
    message = r"`grid` must have as many patches as there are tokens, 16.*grid=\(3, 4\)"
    with pytest.raises(ValueError, match=message):
        strategy(0.5, grid=(3, 4))(tokens_of())


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 1.5, "half", None, float("nan")])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_impossible_ratio_is_refused_at_once(strategy, ratio):
    with pytest.raises(ValueError, match=r"`mask_ratio` must be a number in \(0, 1\).*mask_ratio="):
        strategy(ratio)


@pytest.mark.parametrize(("ratio", "hidden"), [(0.01, 0), (0.99, 4)])
def test_a_ratio_that_hides_none_or_all_is_refused(ratio, hidden):
    with pytest.raises(ValueError, match=f"of 4 patches {ratio} hides {hidden}.*mask_ratio"):
        RandomMasking(ratio)(tokens_of(4))
