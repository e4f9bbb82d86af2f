"""Building a model whose initial weights depend on a given seed alone."""

import contextlib
import random
from collections.abc import Iterator


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Make what is built inside a function of `seed`; leave all generators as they were.

    Keras draws the seeds of initializers, and this package those of dropped paths, from Python's
    `random`. `keras.utils.set_random_seed` would do more: reseed NumPy and the backend for good.

    Args:
        seed: int, or `None` to change nothing.

    Yields:
        Nothing.

    Example:
    >>> with seeded(3):
    ...     first = random.random()
    >>> with seeded(3):
    ...     first == random.random()
    True
    """
    if seed is None:
        yield
        return
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
