"""Checks of plain arguments, so that every refusal reads alike. Imports nothing of the package.

Each check returns the value in its plain Python type and raises an error that names the argument,
what it must be, and what was received.
"""

import difflib
import math
import numbers
from collections.abc import Iterable
from typing import Any


def check_int(
    name: str,
    value: Any,
    minimum: int | None = None,
    maximum: int | None = None,
    *,
    optional: bool = False,
) -> Any:
    """Refuse what is not an integer in a range.

    NumPy integers and floats without a fraction (`8.0`) count as integers; booleans do not.

    Args:
        name: str, the argument as the caller wrote it.
        value: what was given.
        minimum: int, smallest value allowed, or `None`: no limit.
        maximum: int, largest value allowed, or `None`: no limit.
        optional: bool, whether `None` is allowed.

    Returns:
        int, or `None`.

    Raises:
        ValueError: if it is something else.

    Example:
    >>> check_int("num_layers", -3, 1)
    Traceback (most recent call last):
    ValueError: `num_layers` must be an int of at least 1. Received: num_layers=-3
    """
    if value is None and optional:
        return None
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        whole = math.isfinite(value) and float(value).is_integer()
    if whole and (minimum is None or value >= minimum) and (maximum is None or value <= maximum):
        return int(value)
    limits = {
        (False, False): "",
        (True, False): f" of at least {minimum}",
        (False, True): f" of at most {maximum}",
        (True, True): f" from {minimum} to {maximum}",
    }[minimum is not None, maximum is not None]
    _refuse(name, value, f"an int{limits}{' or None' if optional else ''}")


def check_number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    optional: bool = False,
) -> Any:
    """Refuse what is not a finite number in a range.

    Args:
        name: str, the argument as the caller wrote it.
        value: what was given.
        low: float, smallest value allowed.
        high: float, largest value allowed.
        above: bool, whether `low` itself is refused.
        below: bool, whether `high` itself is refused.
        optional: bool, whether `None` is allowed.

    Returns:
        float, or `None`.

    Raises:
        ValueError: if it is something else, NaN and infinity included.

    Example:
    >>> check_number("drop_path_rate", 7, 0, 1, below=True)
    Traceback (most recent call last):
    ValueError: `drop_path_rate` must be a number in [0, 1). Received: drop_path_rate=7
    """
    if value is None and optional:
        return None
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if real and math.isfinite(value):
        over = value > low if above else value >= low
        under = value < high if below else value <= high
        if over and under:
            return float(value)
    if math.isinf(low) and math.isinf(high):
        wanted = "a finite number"
    elif math.isinf(high):
        wanted = f"a finite number {'above' if above else 'of at least'} {low:g}"
    else:
        wanted = f"a number in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"
    _refuse(name, value, f"{wanted}{' or None' if optional else ''}")


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """Refuse what is not one of several values; the error suggests the nearest spelling.

    Args:
        name: str, the argument as the caller wrote it.
        value: what was given.
        choices: the values allowed.

    Returns:
        `value`.

    Raises:
        ValueError: if it is something else.

    Example:
    >>> check_choice("pooling", "maen", ["mean", "token"])
    Traceback (most recent call last):
    ValueError: `pooling` must be 'mean' or 'token'; did you mean 'mean'? Received: pooling='maen'
    """
    choices = list(choices)
    if any(
        value is choice or (type(value) is type(choice) and value == choice) for choice in choices
    ):
        return value
    *most, last = map(repr, choices)
    listed = f"{', '.join(most)} or {last}" if most else last
    near = difflib.get_close_matches(str(value), [c for c in choices if isinstance(c, str)], 1)
    _refuse(name, value, f"{listed}{f'; did you mean {near[0]!r}?' if near else ''}")


def _refuse(name: str, value: Any, wanted: str) -> None:
    received = repr(value)
    if len(received) > 200:
        received = f"{received[:200]}..."
    stop = "" if wanted.endswith("?") else "."
    raise ValueError(f"`{name}` must be {wanted}{stop} Received: {name}={received}")
