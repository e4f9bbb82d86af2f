import numpy as np
import pytest

from mae_keras.interop.torch_positions import read_positions
from mae_keras.interop.torch_reading import StoredTensor, numpy_dtype, stored_tensor
from mae_keras.ops import sincos_positions


def stored(grid, width=16, class_row=None):
    rows = sincos_positions(grid, width)
    return stored_tensor(
        rows[None] if class_row is None else np.concatenate([class_row, rows])[None]
    )


@pytest.mark.parametrize("grid", [(4, 4), (2, 8), (8, 2), (1, 16)], ids=str)
def test_a_fixed_table_tells_its_grid(grid):
    found = read_positions(stored(grid, class_row=np.zeros((1, 16), "float32")), True, 2)
    assert (found.grid, found.fixed, found.shifts_class_token) == (grid, True, False)


def test_a_table_of_three_axes_tells_its_grid():
    assert read_positions(stored((2, 3, 4)), False, 3).grid == (2, 3, 4)


def test_a_learned_table_is_taken_for_a_square():
    rows = np.random.default_rng(0).normal(size=(1, 10, 16)).astype("float32")
    found = read_positions(stored_tensor(rows), True, 2)
    assert (found.grid, found.fixed, found.shifts_class_token) == ((3, 3), False, True)
    np.testing.assert_array_equal(found.table, rows[0, 1:])


def test_a_learned_table_of_the_expected_size_is_of_the_expected_grid():
    rows = np.random.default_rng(0).normal(size=(1, 12, 16)).astype("float32")
    assert read_positions(stored_tensor(rows), False, 2, (2, 6)).grid == (2, 6)
    assert read_positions(stored_tensor(rows), False, 2).grid is None


def test_a_table_may_have_no_row_for_the_class_token():
    rows = np.random.default_rng(0).normal(size=(1, 9, 16)).astype("float32")
    found = read_positions(stored_tensor(rows), True, 2)
    assert found.class_row is None and found.grid == (3, 3)


@pytest.mark.parametrize("dtype, off", [("float32", 1e-4), ("float16", 1e-2)])
def test_a_table_that_was_trained_is_not_fixed(dtype, off):
    table = sincos_positions((4, 4), 16)
    table[3, 5] += off
    tensor = StoredTensor(table.shape, dtype, lambda: table)
    found = read_positions(tensor, False, 2)
    assert not found.fixed
    assert found.difference == pytest.approx(off, rel=0.01)


def test_a_table_of_half_precision_is_fixed():
    table = sincos_positions((4, 4), 16).astype("float16")
    assert read_positions(StoredTensor(table.shape, "float16", lambda: table), False, 2).fixed


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_table_that_was_rounded_before_it_was_stored_is_still_the_fixed_one(dtype):
    table = sincos_positions((4, 4), 16)
    rounded = table.astype(numpy_dtype(dtype)).astype("float32")
    assert np.abs(rounded - table).max() > 1e-5
    found = read_positions(stored_tensor(rounded[None]), False, 2)
    assert found.fixed
    assert found.grid == (4, 4)


def test_a_table_that_differs_as_much_but_was_not_rounded_is_another_one():
    table = sincos_positions((4, 4), 16)
    changed = table + np.random.default_rng(0).uniform(-3e-4, 3e-4, table.shape)
    assert not read_positions(stored_tensor(changed.astype("float32")[None]), False, 2).fixed
