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
def test_it_says_how_to_make_nearly_the_same_update_in_smaller_steps(error):
    with pytest.raises(OutOfMemoryError) as raised, explaining_out_of_memory(100, 3):
        raise error
    assert "--batch-size 50 --gradient-accumulation-steps 6" in str(raised.value)
    assert raised.value.__cause__ is error


def test_it_is_found_below_what_failed_because_of_it():
    """On JAX the step that failed has used up the weights that `fit` then wants to keep."""
    with pytest.raises(OutOfMemoryError, match="--batch-size 4"), explaining_out_of_memory(8):
        try:
            raise XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
        finally:
            raise RuntimeError("Array has been deleted")


def test_memory_that_saving_lacks_is_no_matter_of_the_batch():
    with pytest.raises(OSError, match="could not be written"), explaining_out_of_memory(8):
        raise OSError("The checkpoint could not be written") from MemoryError()


def test_what_was_dealt_with_is_not_found_again():
    with pytest.raises(ValueError, match="another"), explaining_out_of_memory(8):
        try:
            raise MemoryError
        except MemoryError:
            raise ValueError("another") from None


def test_it_is_said_that_resuming_takes_no_other_batch():
    with pytest.raises(OutOfMemoryError, match="--resume takes no other.* --init-from"):
        with explaining_out_of_memory(255):
            raise MemoryError


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
