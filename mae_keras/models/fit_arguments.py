"""Numbers that `fit` and `evaluate` would pass on to Keras, which takes nonsense silently."""

from collections.abc import Mapping
from typing import Any

from mae_keras.arguments import LARGEST_SEED, check_int, check_number


def check_fit_arguments(options: Mapping[str, Any]) -> None:
    """Refuse numbers out of their range.

    Args:
        options: arguments of `keras.Model.fit` by name, some or all.

    Raises:
        ValueError: naming the argument.

    Example:
    >>> check_fit_arguments({"batch_size": 32, "epochs": 10})
    """
    for name in (
        "batch_size",
        "steps_per_epoch",
        "steps",
        "validation_batch_size",
        "validation_steps",
    ):
        check_int(name, options.get(name), 1, LARGEST_SEED, optional=True)
    for name in ("epochs", "initial_epoch"):
        check_int(name, options.get(name, 0), 0, LARGEST_SEED)
    split = options.get("validation_split") or 0.0
    check_number("validation_split", split, 0, 1, below=True)
