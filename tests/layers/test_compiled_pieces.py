"""What pieces are made of, against NumPy and TensorFlow's own rounding."""

import keras
import numpy as np
import pytest

from mae_keras.runtime import cpu_kernels as compiled_norm
from mae_keras.runtime.cpu_kernels import (
    activated,
    compiled,
    compiled_pieces,
    narrow,
    normed,
    pieces_in_use,
    sum_of_rows,
)
from tests.layers.piece_checks import draw, needs_tensorflow

pytestmark = needs_tensorflow


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_narrowing_rounds_as_tensorflow_does(dtype):
    import tensorflow as tf

    even, odd = 1 + 2.0**-7, 1 + 2.0**-6
    between = [even + 2.0**-8, odd + 2.0**-8, -even - 2.0**-8, even + 2.0**-8 + 2.0**-20]
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3.4e38, -3.4e38, 1e-40, 65519.0]
    x = np.concatenate([between, special, draw(1000), 1e30 * draw(1000)]).astype("float32")
    made = compiled(narrow)(x, dtype)
    assert keras.backend.standardize_dtype(made.dtype) == dtype
    wanted = tf.cast(x, dtype)
    np.testing.assert_array_equal(tf.cast(made, "float64"), tf.cast(wanted, "float64"))
    np.testing.assert_array_equal(np.signbit(tf.cast(made, "float32")), np.signbit(x))


def test_sums_of_rows_leave_the_range_of_half_precision():
    rows = keras.ops.full((40, 2), 3e4, dtype="float16")
    np.testing.assert_allclose(sum_of_rows(rows, "float32"), [1.2e6, 1.2e6], rtol=1e-3)


def test_long_sums_in_bfloat16_do_not_stall():
    rows = keras.ops.ones((5000, 2), dtype="bfloat16")  # which cannot count further than 256 by 1
    np.testing.assert_allclose(sum_of_rows(rows, "float32"), [5000, 5000], rtol=0.01)


def test_layers_of_a_size_share_what_was_compiled():
    def traces_after(width):
        norm = keras.layers.LayerNormalization()
        norm.build((None, 3, width))
        with compiled_pieces(True):
            normed(norm, keras.ops.ones((2, 3, width)))
        return compiled(compiled_norm._norm).experimental_get_tracing_count()

    first = traces_after(22)
    assert traces_after(22) == first
    assert traces_after(23) == first + 1


def test_the_scope_ends_with_its_block():
    import tensorflow as tf

    dense = keras.layers.Dense(3)
    dense.build((None, 2, 3))

    def operations():
        spec = tf.TensorSpec((1, 2, 3))
        traced = tf.function(lambda x: activated(dense, x)).get_concrete_function(spec)
        return {operation.type for operation in traced.graph.get_operations()}

    with pytest.raises(RuntimeError, match="inside"), compiled_pieces(True):
        with compiled_pieces(False):
            assert "Erfc" in operations()
        assert pieces_in_use()
        assert "Erfc" not in operations()
        raise RuntimeError("inside")
    assert not pieces_in_use()
    assert "Erfc" in operations()
