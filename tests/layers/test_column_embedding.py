"""Cells of tables to tokens, compared with a loop over columns."""

import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer

from mae_keras.layers import ColumnEmbedding

SIZES = (0, 3, 0, 2)
CELLS = np.array([[0.5, 2, -1.5, 0], [2.0, 0, 0.0, 1], [0.0, 3, 1.0, -1]], "float32")


def array(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.every_backend
@pytest.mark.parametrize(("sizes", "num_weights"), [(SIZES, 3), ((0, 0, 0, 0), 2)])
def test_contract(sizes, num_weights):
    init_kwargs = {"sizes": sizes, "hidden_dim": 8}
    check_layer(ColumnEmbedding, init_kwargs, CELLS[..., None], num_weights=num_weights)


@pytest.mark.every_backend
def test_tokens_are_those_of_a_loop_over_cells():
    layer = ColumnEmbedding(SIZES, 8)
    tokens = array(layer(CELLS[..., None]))
    vectors, biases, categories = map(array, layer.weights)
    starts = (None, 0, None, 3)
    for row, column in np.ndindex(CELLS.shape):
        cell, expected = CELLS[row, column], biases[column].copy()
        if SIZES[column] == 0:
            expected += cell * vectors[column]
        elif 0 <= cell < SIZES[column]:  # others are unknown
            expected += categories[starts[column] + int(cell)]
        np.testing.assert_allclose(tokens[row, column], expected, atol=1e-6)
    indices = np.array([[3, 0], [1, 2], [0, 1]], "int32")
    gathered = np.take_along_axis(CELLS, indices, axis=1)[..., None]
    expected = np.take_along_axis(tokens, indices[..., None], axis=1)
    np.testing.assert_allclose(array(layer(gathered, indices=indices)), expected, atol=1e-6)


@pytest.mark.every_backend
def test_categories_stay_apart_in_half_precision():
    layer = ColumnEmbedding((2000,), 4, dtype="bfloat16")
    first, second = array(ops.cast(layer(np.array([[[1000.0]], [[1001.0]]], "float32")), "float32"))
    assert np.abs(first - second).max() > 0.01


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="`sizes` must be"):
        ColumnEmbedding((3, -1), 8)
