"""Positions: the reference's table, and cubic interpolation by hand."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mae_keras.ops import interpolate_positions, sincos_positions


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def encode(positions, width):
    """One axis: sines, then cosines."""
    table = np.zeros((len(positions), width))
    for row, position in enumerate(positions):
        for k in range(width // 2):
            angle = position * 10000.0 ** (-k / (width / 2))
            table[row, k], table[row, width // 2 + k] = np.sin(angle), np.cos(angle)
    return table


def reference(grid, hidden_dim):
    """facebookresearch/mae `get_2d_sincos_pos_embed`, with its names corrected: width first."""
    columns, rows = np.meshgrid(np.arange(grid[1]), np.arange(grid[0]))
    width, height = (encode(axis.ravel(), hidden_dim // 2) for axis in (columns, rows))
    return np.concatenate([width, height], axis=1)


@pytest.mark.parametrize("grid", [(14, 14), (3, 5), (5, 3), (1, 4)])
@pytest.mark.parametrize("hidden_dim", [4, 16, 192])
def test_two_axes_are_encoded_as_in_the_reference(grid, hidden_dim):
    table = sincos_positions(grid, hidden_dim)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, reference(grid, hidden_dim), atol=1e-6)  # float32 rounding


def test_the_first_half_encodes_the_column():
    table = sincos_positions((3, 4), 8).reshape(3, 4, 8)
    np.testing.assert_array_equal(table[..., :4], table[:1, :, :4].repeat(3, axis=0))
    np.testing.assert_array_equal(table[..., 4:], table[:, :1, 4:].repeat(4, axis=1))


def test_one_axis_by_hand():
    table = sincos_positions((3,), 4)
    # frequencies 1 and 1 / 100
    expected = [[np.sin(p), np.sin(p / 100), np.cos(p), np.cos(p / 100)] for p in range(3)]
    np.testing.assert_allclose(table, expected, atol=1e-6)


def test_three_axes_share_the_features_last_axis_first():
    table = sincos_positions((2, 3, 4), 12).reshape(2, 3, 4, 12)
    for depth, row, column in np.ndindex(2, 3, 4):
        expected = np.concatenate([encode([place], 4)[0] for place in (column, row, depth)])
        np.testing.assert_allclose(table[depth, row, column], expected, atol=1e-6)


@pytest.mark.parametrize(("grid", "hidden_dim", "used"), [((2, 2), 7, 4), ((2, 2, 2), 16, 12)])
def test_features_that_do_not_divide_stay_zero(grid, hidden_dim, used):
    table = sincos_positions(grid, hidden_dim)
    assert table.shape[1] == hidden_dim
    np.testing.assert_array_equal(table[:, used:], 0.0)
    np.testing.assert_array_equal(table[:, :used], sincos_positions(grid, used))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(6, 40))
def test_no_two_places_have_the_same_position(grid, hidden_dim):
    table = sincos_positions(grid, hidden_dim)
    assert len(np.unique(table.round(4), axis=0)) == np.prod(grid)


@pytest.mark.parametrize(("grid", "hidden_dim"), [((4,), 1), ((2, 2), 3), ((2, 2, 2), 5)])
def test_a_width_too_small_for_the_axes_is_refused(grid, hidden_dim):
    least, rank = 2 * len(grid), len(grid)
    message = f"at least {least} to encode {rank} axes.*Received: hidden_dim={hidden_dim}"
    with pytest.raises(ValueError, match=message):
        sincos_positions(grid, hidden_dim)


def test_equal_grids_give_the_table_itself():
    table = np.ones((6, 4), "float32")
    assert interpolate_positions(table, (2, 3), [2, 3]) is table


def test_enlarging_one_axis_by_hand():
    # Centers at -1/4, 1/4, 3/4, 5/4; the cubic kernel with a = -0.75 gives 0.2265625 of the
    # farther of two values a quarter of the way, and overshoots by 0.10546875 at the ends.
    larger = array(interpolate_positions(np.array([[0.0], [1.0]], "float32"), (2,), (4,)))
    np.testing.assert_allclose(
        larger[:, 0], [-0.10546875, 0.2265625, 0.7734375, 1.10546875], atol=1e-6
    )


def test_shrinking_one_axis_by_hand():
    # Halfway weights are -0.09375, 0.59375, 0.59375, -0.09375; the end repeats.
    table = np.array([[1.0], [2.0], [4.0], [8.0]], "float32")
    smaller = array(interpolate_positions(table, (4,), (2,)))
    first = -0.09375 * 1 + 0.59375 * 1 + 0.59375 * 2 - 0.09375 * 4
    last = -0.09375 * 2 + 0.59375 * 4 + 0.59375 * 8 - 0.09375 * 8
    np.testing.assert_allclose(smaller[:, 0], [first, last], rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "target"),
    [((3,), (7,)), ((2, 3), (4, 4)), ((4, 4), (2, 3)), ((2, 2, 2), (3, 1, 4))],
    ids=["rank 1", "rank 2, larger", "rank 2, smaller", "rank 3"],
)
def test_a_constant_stays_constant(source, target):
    table = np.full((np.prod(source), 2), 3.5, "float32")
    resized = array(interpolate_positions(table, source, target))
    assert resized.shape == (np.prod(target), 2)
    np.testing.assert_allclose(resized, 3.5, rtol=1e-6)


def test_axes_are_resized_each_for_itself():
    rows, columns = np.array([[0.0], [1.0]], "float32"), np.array([[1.0], [3.0], [2.0]], "float32")
    product = (rows[:, None] * columns[None]).reshape(6, 1)
    resized = array(interpolate_positions(product, (2, 3), (4, 5))).reshape(4, 5)
    tall = array(interpolate_positions(rows, (2,), (4,)))
    wide = array(interpolate_positions(columns, (3,), (5,)))
    np.testing.assert_allclose(resized, tall * wide.T, atol=1e-6)


def test_features_do_not_mix():
    table = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
    together = array(interpolate_positions(table, (3, 4), (5, 2)))
    for feature in range(3):
        alone = array(interpolate_positions(table[:, [feature]], (3, 4), (5, 2)))
        np.testing.assert_allclose(together[:, [feature]], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "target"),
    [((2, 2), (3, 3)), ((2, 3), (6,)), ((6,), (2, 3))],
    ids=["another size", "fewer axes", "more axes"],
)
def test_grids_that_do_not_fit_are_refused(source, target):
    message = r"`table` must have one row.*table.shape=\(6, 4\), source_grid=.*target_grid="
    with pytest.raises(ValueError, match=message):
        interpolate_positions(np.zeros((6, 4), "float32"), source, target)
