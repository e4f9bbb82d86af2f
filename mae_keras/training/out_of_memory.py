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
    memory than there is. Nearly the same update in smaller steps: --batch-size 128
    --gradient-accumulation-steps 2, in a new run: --resume takes no other settings, --init-from
    takes the weights of a run that has a checkpoint
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        if batch_size > 1:
            half, steps = -(-batch_size // 2), 2 * gradient_accumulation_steps
            advice = (  # nearly: other masks, an odd batch rounded up
                f"Nearly the same update in smaller steps: --batch-size {half} "
                f"--gradient-accumulation-steps {steps}"
            )
        else:
            advice = "Try a smaller --preset, larger patches or a smaller --image-size"
        raise OutOfMemoryError(
            f"A training step of {batch_size} images needs more memory than there is. {advice}, in "
            f"a new run: --resume takes no other settings, --init-from takes the weights of a run "
            f"that has a checkpoint"
        ) from error


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether it is, or covers one: leaving `fit` after it, Keras can fail on JAX's lost arrays."""
    while error is not None and not isinstance(error, OSError):  # what cannot be saved says so
        if isinstance(error, MemoryError) or type(error).__name__ in _TYPES:
            return True
        if any(sign in str(error) for sign in _SIGNS):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False
