"""Position embedding: fixed and learned, all patches or some, other grids."""

import keras
import numpy as np
import pytest
from layer_checks import check_layer

from mae_keras.layers import PositionEmbedding


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def learned(grid, table):
    """A layer whose learned table is given."""
    layer = PositionEmbedding(grid, "learned")
    layer.build((None, None, len(table[0])))
    layer.set_weights([np.array(table, "float32")])
    return layer


@pytest.mark.parametrize(
    ("kind", "num_weights"), [("sincos", 0), ("learned", 1)], ids=["sincos", "learned"]
)
@pytest.mark.parametrize("grid", [(6,), (2, 3), (3, 1, 2)], ids=["rank 1", "rank 2", "rank 3"])
def test_contract(kind, num_weights, grid):
    tokens = np.random.default_rng(0).normal(size=(2, 6, 12)).astype("float32")
    init_kwargs = {"grid": grid, "kind": kind}
    check_layer(PositionEmbedding, init_kwargs, tokens, num_weights=num_weights)


def test_fixed_positions_by_hand():
    # Features: sine, cosine of the column, then of the row; the frequency of the first pair is 1.
    added = array(PositionEmbedding((2, 3))(np.zeros((1, 6, 4), "float32")))[0]
    for patch, (row, column) in enumerate(np.ndindex(2, 3)):
        angles = np.array([column, column, row, row])
        expected = np.where([True, False, True, False], np.sin(angles), np.cos(angles))
        np.testing.assert_allclose(added[patch], expected, atol=1e-6)


def test_positions_are_added_to_the_tokens():
    layer, tokens = PositionEmbedding((2, 2)), np.full((3, 4, 8), 5.0, "float32")
    only = array(layer(np.zeros_like(tokens)))
    np.testing.assert_allclose(array(layer(tokens)), only + 5.0, atol=1e-6)


def test_learned_positions_are_added_as_they_are():
    layer = learned((3,), [[1, 2], [3, 4], [5, 6]])
    added = array(layer(np.ones((2, 3, 2), "float32")))
    np.testing.assert_array_equal(added, [[[2, 3], [4, 5], [6, 7]]] * 2)


def test_learned_positions_start_small_and_different():
    layer = PositionEmbedding((8, 8), "learned")
    layer.build((None, 64, 32))
    positions = array(layer.positions)
    assert positions.shape == (64, 32)
    # A normal distribution cut at two deviations keeps 0.88 of its deviation, here 0.02 * 0.88 or
    # 0.02 where the library corrects for it; 2048 draws give it to a few percent.
    assert 0.016 < positions.std() < 0.022
    assert np.abs(positions).max() < 0.05


@pytest.mark.parametrize("kind", ["sincos", "learned"])
def test_indices_say_which_patch_a_token_stands_for(kind):
    layer = PositionEmbedding((2, 3), kind)
    everything = array(layer(np.zeros((1, 6, 8), "float32")))[0]
    indices = np.array([[5, 0], [2, 2]])
    some = array(layer(np.zeros((2, 2, 8), "float32"), indices=indices))
    np.testing.assert_array_equal(some, everything[indices])


def test_fixed_positions_of_another_grid_are_computed_for_it():
    tokens = np.zeros((1, 20, 8), "float32")
    other = PositionEmbedding((2, 3))(tokens, grid=(4, 5))
    np.testing.assert_array_equal(array(other), array(PositionEmbedding((4, 5))(tokens)))


def test_learned_positions_of_another_grid_are_interpolated():
    # Cubic weights at a quarter of the way, a = -0.75: 0.2265625, and -0.10546875 beyond the end.
    layer = learned((2,), [[0, 2], [1, 2]])
    added = array(layer(np.zeros((1, 4, 2), "float32"), grid=(4,)))[0]
    np.testing.assert_allclose(
        added[:, 0], [-0.10546875, 0.2265625, 0.7734375, 1.10546875], atol=1e-6
    )
    np.testing.assert_allclose(added[:, 1], 2.0, atol=1e-6)


def test_indices_refer_to_the_other_grid():
    layer = learned((2,), [[0.0], [1.0]])
    some = layer(np.zeros((1, 1, 1), "float32"), indices=np.array([[3]]), grid=(4,))
    assert float(array(some)[0, 0, 0]) == pytest.approx(1.10546875)


@pytest.mark.parametrize("kind", ["sincos", "learned"])
def test_all_positions_differ(kind):
    added = array(PositionEmbedding((4, 4), kind)(np.zeros((1, 16, 8), "float32")))[0]
    apart = np.abs(added[:, None] - added[None]).max(axis=-1)
    assert apart[~np.eye(16, dtype=bool)].min() > 1e-3


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="`kind` must be 'sincos' or 'learned'.*kind='rotary'"):
        PositionEmbedding((2, 2), "rotary")


def test_a_width_too_small_for_the_axes_is_refused():
    with pytest.raises(ValueError, match="`hidden_dim` must be at least 4 to encode 2 axes"):
        PositionEmbedding((2, 2))(np.zeros((1, 4, 3)))
