"""Saying what to do when memory does not suffice."""

import contextlib
from collections.abc import Iterator

_SIGNS = ("RESOURCE_EXHAUSTED", "out of memory", "OOM when allocating")
_TYPES = ("ResourceExhaustedError", "OutOfMemoryError")


class OutOfMemoryError(MemoryError):
    """A training step needs more memory than there is."""


@contextlib.contextmanager
def explaining_out_of_memory(
    batch_size: int, gradient_accumulation_steps: int = 1
) -> Iterator[None]:
    """Turn the backends' various errors into one that says what to change.

    Args:
        batch_size: int, images per step.
        gradient_accumulation_steps: int, steps per update.

    Raises:
        OutOfMemoryError: in place of the backend's error.

    Example:
    >>> with explaining_out_of_memory(256):
    ...     raise MemoryError()
    Traceback (most recent call last):
    mae_keras.training.out_of_memory.OutOfMemoryError: A training step of 256 images needs more
    memory than there is. The same update in smaller steps: --batch-size 128
    --gradient-accumulation-steps 2
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        if batch_size > 1:
            half, steps = -(-batch_size // 2), 2 * gradient_accumulation_steps
            advice = (
                f"The same update in smaller steps: --batch-size {half} "
                f"--gradient-accumulation-steps {steps}"
            )
        else:
            advice = "Try a smaller --preset, larger patches or a smaller --image-size"
        raise OutOfMemoryError(
            f"A training step of {batch_size} images needs more memory than there is. {advice}"
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in _TYPES:
        return True
    return any(sign in str(error) for sign in _SIGNS)
