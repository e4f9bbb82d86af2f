"""Every backend's way to run out of memory ends in the same advice."""

import pytest

from mae_keras.training import OutOfMemoryError, explaining_out_of_memory


class ResourceExhaustedError(Exception):
    """As TensorFlow's."""


class XlaRuntimeError(RuntimeError):
    """As JAX's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ResourceExhaustedError("failed to allocate memory"),
        XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_it_says_how_to_make_the_same_update_in_smaller_steps(error):
    with pytest.raises(OutOfMemoryError) as raised, explaining_out_of_memory(100, 3):
        raise error
    assert "--batch-size 50 --gradient-accumulation-steps 6" in str(raised.value)
    assert raised.value.__cause__ is error


def test_tensorflows_own_error_is_known():
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(OutOfMemoryError), explaining_out_of_memory(8):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_one_image_cannot_be_halved():
    with pytest.raises(OutOfMemoryError, match="smaller --preset"), explaining_out_of_memory(1):
        raise MemoryError


def test_other_errors_pass():
    with pytest.raises(ValueError, match="shapes"), explaining_out_of_memory(8):
        raise ValueError("shapes do not match")
