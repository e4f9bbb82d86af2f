"""Masks: exact counts, the shape of each strategy, gathering and putting back."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mae_keras.ops import (
    block_scores,
    gather_patches,
    grid_scores,
    hide_highest,
    hide_present,
    num_hidden,
    present_counts,
    random_scores,
    restore_indices,
    restore_patches,
    split_indices,
    visible_indices,
)

GRIDS = st.lists(st.integers(1, 5), min_size=1, max_size=3).filter(lambda g: 2 <= math.prod(g) < 65)
STRATEGIES = ["random", "block", "grid"]


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def mask_of(strategy, grid, count, batch=4, seed=0, step=1, **arguments):
    """A mask `(batch, num_patches)` with `count` hidden patches in every image."""
    if strategy == "grid":
        scores = np.tile(grid_scores(grid), (batch, 1))
    else:
        scores_of = {"random": random_scores, "block": block_scores}[strategy]
        scores = scores_of(grid, seed, step, np.arange(batch), **arguments)
    return array(hide_highest(scores, count))


@st.composite
def masks(draw):
    """A mask `(batch, num_patches)` with the same number hidden in every image."""
    num_patches, batch = draw(st.integers(2, 24)), draw(st.integers(1, 4))
    hidden = draw(st.integers(1, num_patches - 1))
    places = st.permutations(range(num_patches))
    return np.array([draw(places) for _ in range(batch)]) < hidden


@pytest.mark.parametrize(
    ("num_patches", "ratio", "expected"),
    [
        (196, 0.75, 147),
        (16, 0.75, 12),
        (49, 0.75, 37),
        (10, 0.9, 9),  # the reference's int(10 * (1 - 0.9)) keeps none
        (10, 0.25, 3),  # a half is rounded up: one more hidden
        (2, 0.5, 1),
        (3, np.float32(0.4), 1),
    ],
)
def test_num_hidden_by_hand(num_patches, ratio, expected):
    hidden = num_hidden(num_patches, ratio)
    assert (hidden, type(hidden)) == (expected, int)


@given(st.integers(2, 400), st.integers(1, 99))
def test_num_hidden_is_the_nearest_count(num_patches, percent):
    exact = num_patches * percent / 100
    if not 0.51 < exact < num_patches - 0.51:
        return
    assert abs(num_hidden(num_patches, percent / 100) - exact) <= 0.5 + 1e-9


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0, 1, -0.1, 75, "0.75", None, True, float("nan")])
def test_what_is_no_ratio_is_refused(ratio):
    with pytest.raises(ValueError, match=r"`mask_ratio` must be a number in \(0, 1\).*mask_ratio="):
        num_hidden(16, ratio)


@pytest.mark.parametrize(("ratio", "hides"), [(0.02, 0), (0.99, 16)])
def test_a_ratio_that_hides_none_or_all_is_refused(ratio, hides):
    with pytest.raises(
        ValueError, match=f"of 16 patches {ratio} hides {hides}.*mask_ratio={ratio}"
    ):
        num_hidden(16, ratio)


def test_the_highest_scores_are_hidden():
    scores = np.array([[0.1, 0.9, 0.5, 0.2], [4.0, -1.0, 3.0, 2.0]], "float32")
    expected = [[False, True, True, False], [True, False, True, False]]
    np.testing.assert_array_equal(array(hide_highest(scores, 2)), expected)


@pytest.mark.parametrize("count", [0, 1, 5, 9, 10])
def test_ties_do_not_change_the_count(count):
    scores = np.array([[0.5] * 10, [0.0] * 5 + [1.0] * 5], "float32")
    np.testing.assert_array_equal(array(hide_highest(scores, count)).sum(axis=1), count)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(GRIDS, st.data(), st.integers(0, 2**31 - 1))
def test_every_strategy_hides_the_exact_count_in_every_image(strategy, grid, data, seed):
    count = data.draw(st.integers(1, math.prod(grid) - 1))
    patch_mask = mask_of(strategy, grid, count, seed=seed)
    assert patch_mask.shape == (4, math.prod(grid))
    np.testing.assert_array_equal(patch_mask.sum(axis=1), count)


@given(masks())
def test_visible_and_hidden_patches_are_all_patches(patch_mask):
    num_patches, hidden = patch_mask.shape[1], int(patch_mask[0].sum())
    visible = array(visible_indices(patch_mask, num_patches - hidden))
    concealed = array(visible_indices(~patch_mask, hidden))
    together = np.sort(np.concatenate([visible, concealed], axis=1), axis=1)
    np.testing.assert_array_equal(together, np.tile(np.arange(num_patches), (len(visible), 1)))
    assert np.all(np.diff(visible, axis=1) > 0)
    assert not np.any(np.take_along_axis(patch_mask, visible, axis=1))
    for part, alone in zip(
        split_indices(patch_mask, num_patches - hidden), (visible, concealed), strict=True
    ):
        np.testing.assert_array_equal(array(part), alone)


@given(masks(), st.integers(1, 3))
def test_what_is_gathered_goes_back_to_its_place(patch_mask, features):
    batch, num_patches = patch_mask.shape
    patches = np.arange(batch * num_patches * features, dtype="float32") + 1.0
    patches = patches.reshape(batch, num_patches, features)
    indices = visible_indices(patch_mask, num_patches - int(patch_mask[0].sum()))
    restored = array(restore_patches(gather_patches(patches, indices), patch_mask, -1.0))
    np.testing.assert_array_equal(restored, np.where(patch_mask[..., None], -1.0, patches))


def test_indices_by_hand():
    patch_mask = np.array([[True, False, True, False, False], [False, False, True, True, False]])
    visible = array(visible_indices(patch_mask, 3))
    np.testing.assert_array_equal(visible, [[1, 3, 4], [0, 1, 4]])
    restored = array(restore_indices(patch_mask))
    assert restored[0, [1, 3, 4]].tolist() == [0, 1, 2]
    assert restored[1, [0, 1, 4]].tolist() == [0, 1, 2]
    assert np.all((restored >= 0) & (restored < 3))


def test_gather_patches_by_hand():
    patches = np.array([[[1, 10], [2, 20], [3, 30]], [[4, 40], [5, 50], [6, 60]]])
    picked = array(gather_patches(patches, np.array([[2, 0], [1, 1]])))
    np.testing.assert_array_equal(picked, [[[3, 30], [1, 10]], [[5, 50], [5, 50]]])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32"])
def test_gathered_patches_keep_their_dtype(dtype):
    picked = gather_patches(np.ones((1, 3, 2), dtype), np.array([[2]]))
    assert keras.backend.standardize_dtype(picked.dtype) == dtype


def test_a_token_fills_all_hidden_places():
    visible = np.array([[[1.0, 2.0]], [[3.0, 4.0]]], "float32")
    patch_mask = np.array([[True, False, True], [False, True, True]])
    token = np.array([[[-1.0, -2.0]]], "float32")
    restored = array(restore_patches(visible, patch_mask, token))
    expected = [[[-1, -2], [1, 2], [-1, -2]], [[3, 4], [-1, -2], [-1, -2]]]
    np.testing.assert_array_equal(restored, expected)


@pytest.mark.parametrize("strategy", ["random", "block"])
def test_scores_depend_on_seed_step_and_sample_only(strategy):
    base = mask_of(strategy, (6, 6), 18, batch=8)
    np.testing.assert_array_equal(mask_of(strategy, (6, 6), 18, batch=8), base)
    np.testing.assert_array_equal(mask_of(strategy, (6, 6), 18, batch=3), base[:3])
    assert not np.array_equal(mask_of(strategy, (6, 6), 18, batch=8, seed=1), base)
    assert not np.array_equal(mask_of(strategy, (6, 6), 18, batch=8, step=2), base)


def test_every_patch_is_hidden_at_random_as_often_as_any():
    share = mask_of("random", (4, 4), 12, batch=4000).mean(axis=0)
    np.testing.assert_allclose(share, 0.75, atol=4.5 * np.sqrt(0.75 * 0.25 / 4000))


def pieces(hidden):
    """How many connected pieces the hidden patches of one grid form, counting sides only."""
    left = set(map(tuple, np.argwhere(hidden)))
    count = 0
    while left:
        edge, count = [left.pop()], count + 1
        while edge:
            place = np.array(edge.pop())
            steps = np.concatenate(
                [np.eye(hidden.ndim, dtype=int), -np.eye(hidden.ndim, dtype=int)]
            )
            found = {tuple(place + step) for step in steps} & left
            left -= found
            edge += found
    return count


@pytest.mark.parametrize("grid", [(36,), (10, 14), (6, 6, 6)], ids=["rank 1", "rank 2", "rank 3"])
def test_blocks_hang_together(grid):
    half = math.prod(grid) // 2
    counts = {
        strategy: np.mean(
            [pieces(mask.reshape(grid)) for mask in mask_of(strategy, grid, half, 16)]
        )
        for strategy in ("random", "block")
    }
    # Four or five boxes of up to a quarter each, some of which touch, cover half.
    assert counts["block"] <= 5
    if len(grid) < 3:  # in three dimensions half of all patches hang together by chance
        assert counts["block"] < counts["random"] / 2


def test_one_block_is_one_piece_without_holes():
    few = mask_of("block", (12, 12), 4, batch=32).reshape(32, 12, 12)
    joined = [pieces(hidden) == 1 for hidden in few]
    # A box may be cut by the edge of the grid to fewer than four patches: then a second one starts.
    assert np.mean(joined) > 0.85


def test_blocks_lie_anywhere():
    share = mask_of("block", (8, 8), 32, batch=400).mean(axis=0)
    assert share.min() > 0.1
    assert share.max() < 0.9


def test_smaller_blocks_make_more_pieces():
    small, large = (
        np.mean(
            [pieces(m.reshape(12, 12)) for m in mask_of("block", (12, 12), 48, 16, **arguments)]
        )
        for arguments in ({"block_fraction": (0.01, 0.02)}, {"block_fraction": (0.2, 0.3)})
    )
    assert small > 1.5 * large


def test_square_blocks_stay_square():
    stretched, square = (
        [
            np.ptp(np.argwhere(mask.reshape(16, 16)), axis=0)
            for mask in mask_of(
                "block", (16, 16), 40, 64, block_fraction=(0.2, 0.2), aspect_ratio=ratio
            )
        ]
        for ratio in (10.0, 1.0)
    )
    difference = [
        np.abs(extents[:, 0] - extents[:, 1]).mean()
        for extents in map(np.array, (stretched, square))
    ]
    assert difference[0] > 1.5 * difference[1]


def test_blocks_that_do_not_cover_enough_keep_the_count():
    patch_mask = mask_of("block", (8, 8), 60, 4, num_blocks=1, block_fraction=(0.1, 0.1))
    np.testing.assert_array_equal(patch_mask.sum(axis=1), 60)


@pytest.mark.parametrize(
    ("grid", "count", "visible"),
    [
        ((8, 8), 48, np.s_[::2, ::2]),
        ((4, 6), 18, np.s_[::2, ::2]),
        ((8, 8), 60, np.s_[::4, ::4]),
        ((16,), 12, np.s_[::4]),
        ((4, 4, 4), 56, np.s_[::2, ::2, ::2]),
    ],
    ids=["every second", "oblong", "every fourth", "rank 1", "rank 3"],
)
def test_grid_masking_leaves_a_lattice(grid, count, visible):
    expected = np.ones(grid, bool)
    expected[visible] = False
    np.testing.assert_array_equal(mask_of("grid", grid, count, 1)[0], expected.ravel())


def test_half_of_a_grid_is_a_chessboard():
    rows, columns = np.indices((6, 6))
    expected = (rows + columns) % 2 == 1
    np.testing.assert_array_equal(mask_of("grid", (6, 6), 18, 1)[0], expected.ravel())


@given(GRIDS)
def test_grid_scores_rank_the_patches(grid):
    scores = grid_scores(grid)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(np.sort(scores), np.arange(math.prod(grid)))


@pytest.mark.parametrize("count", [8, 16, 24, 32, 48, 60])
def test_grid_masking_is_even_at_any_ratio(count):
    hidden = mask_of("grid", (8, 8), count, 1)[0].reshape(8, 8)
    quadrants = [hidden[i : i + 4, j : j + 4].sum() for i in (0, 4) for j in (0, 4)]
    assert max(quadrants) - min(quadrants) <= 1


def feasible_ratio(num_patches, ratio):
    return 0 < math.floor(num_patches * ratio + 0.5) < num_patches


RATIOS = [0.001, 0.05, 0.1, 0.25, 1 / 3, 0.34, 0.5, 0.6, 2 / 3, 0.75, 0.9, 0.95, 0.999]


@pytest.mark.parametrize("missing", ["proportional", "first"])
def test_present_patches_fit_into_the_slots_whatever_is_missing(missing):
    """Every number of patches up to 130, every number present, many ratios."""
    for num_patches in range(2, 131):
        for ratio in RATIOS:
            if not feasible_ratio(num_patches, ratio):
                continue
            hidden = num_hidden(num_patches, ratio)
            counts = present_counts(num_patches, ratio, missing)
            assert len(counts) == num_patches + 1
            assert counts[-1] == hidden
            assert counts[:2].tolist() == [0, 0]
            for present in range(2, num_patches + 1):
                count = int(counts[present])
                assert 1 <= count <= present - 1
                assert count <= hidden
                assert present - count <= num_patches - hidden
                if missing == "proportional":  # the nearest count, but for the limits
                    exact = min(max(present * ratio, 1), present - 1)
                    assert abs(count - exact) <= 0.5 + 1e-9


@given(st.integers(2, 10**5), st.floats(1e-6, 1 - 1e-6))
def test_present_patches_fit_whatever_the_rounding(num_patches, ratio):
    if not feasible_ratio(num_patches, ratio):
        return
    hidden, present = num_hidden(num_patches, ratio), np.arange(2, num_patches + 1)
    for missing in ("proportional", "first"):
        counts = present_counts(num_patches, ratio, missing)[2:]
        assert np.all((counts >= 1) & (counts < present) & (counts <= hidden))
        assert np.all(present - counts <= num_patches - hidden)


@pytest.mark.every_backend
@pytest.mark.parametrize("missing", ["proportional", "first"])
def test_the_highest_of_the_present_are_hidden(missing):
    """Compared with a loop over sorted lists; scores with ties and of any size."""
    rng = np.random.default_rng(0)
    num_patches = 23
    scores = rng.choice([-3e38, -1.0, 0.0, 0.25, 0.5, 2.0, 1e9], (60, num_patches))
    scores = np.where(rng.random(scores.shape) < 0.5, rng.random(scores.shape), scores)
    scores = scores.astype("float32")
    missing_mask = rng.random(scores.shape) < np.linspace(0, 1, 60)[:, None]
    for ratio in (0.1, 0.5, 0.8):
        counts = present_counts(num_patches, ratio, missing)
        made = array(hide_present(scores, missing_mask, counts))
        for row, absent, hidden in zip(scores, missing_mask, made, strict=True):
            ascending = sorted(range(num_patches), key=lambda place: (row[place], place))
            there = [place for place in ascending if not absent[place]]
            gone = [place for place in ascending if absent[place]]
            count = int(counts[len(there)])
            of_gone = num_hidden(num_patches, ratio) - count
            expected = set(there[len(there) - count :]) | set(gone[len(gone) - of_gone :])
            assert set(np.flatnonzero(hidden).tolist()) == expected


@given(st.integers(2, 60), st.integers(1, 99), st.integers(0, 2**31 - 1))
def test_with_nothing_missing_the_mask_is_that_of_before(num_patches, percent, seed):
    if not feasible_ratio(num_patches, percent / 100):
        return
    scores = np.round(np.random.default_rng(seed).random((3, num_patches)), 1).astype("float32")
    nothing = np.zeros(scores.shape, bool)
    expected = array(hide_highest(scores, num_hidden(num_patches, percent / 100)))
    for missing in ("proportional", "first"):
        counts = present_counts(num_patches, percent / 100, missing)
        np.testing.assert_array_equal(array(hide_present(scores, nothing, counts)), expected)
