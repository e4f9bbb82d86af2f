import numpy as np
import pytest

from mae_keras.interop.torch_reading import StoredTensor, joined, numpy_dtype, stored_tensor


def test_numbers_are_read_on_demand_and_as_float32():
    read = []

    def load():
        read.append(True)
        return np.array([1, 2], "float64")

    tensor = StoredTensor((2,), "float64", load)
    assert (tensor.num_bytes, read) == (8, [])
    assert tensor.numpy().dtype == "float32" and read


def test_joining_goes_along_the_first_axis():
    whole = joined(
        [stored_tensor(np.zeros((2, 3), "float32")), stored_tensor(np.ones((1, 3), "float32"))]
    )
    assert whole.shape == (3, 3)
    np.testing.assert_array_equal(whole.numpy()[:, 0], [0, 0, 1])


def test_bfloat16_is_known():
    assert numpy_dtype("bfloat16").itemsize == 2


def test_other_numbers_are_refused():
    with pytest.raises(ValueError, match="complex64"):
        numpy_dtype("complex64")
