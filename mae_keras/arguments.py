"""Checks of plain arguments, so that every refusal reads alike. Imports nothing of the package.

Each check returns the value in its plain Python type and raises an error that names the argument,
what it must be, and what was received.
"""

import difflib
import functools
import inspect
import math
import numbers
import warnings
from collections.abc import Callable, Iterable
from typing import Any

# Beyond what anybody trains here, and far below what would hang a machine.
LARGEST_WIDTH = 2**20
LARGEST_DEPTH = 1000
LARGEST_MODEL = 10**10
LARGEST_SEED = 2**31 - 1

# In masks for segmentation: a pixel whose class is not known.
UNLABELED = -1


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


def check_penalties(penalties: Any) -> tuple[float, ...]:
    """Refuse what is no sequence of ridge penalties.

    Args:
        penalties: what was given.

    Returns:
        Floats in (0, 1e12], at least one.

    Raises:
        ValueError: if it is something else.

    Example:
    >>> check_penalties([1, 100])
    (1.0, 100.0)
    """
    try:
        penalties = tuple(check_number("penalties", p, 0, 1e12, above=True) for p in penalties)
    except TypeError:
        raise ValueError(
            f"`penalties` must be a sequence of numbers above 0. Received: penalties={penalties!r}"
        ) from None
    if not penalties:
        raise ValueError("`penalties` must name at least one. Received: penalties=()")
    return penalties


def check_epsilon(name: str, value: Any) -> float:
    """Refuse what cannot be added to a variance: a number in (0, 1]; see `check_number`."""
    return check_number(name, value, 0, 1, above=True)


def check_choice(name: str, value: Any, choices: Iterable[Any], *, other: str = "") -> Any:
    """Refuse what is not one of several values; the error suggests the nearest spelling.

    Args:
        name: str, the argument as the caller wrote it.
        value: what was given.
        choices: the values allowed.
        other: str, what else is allowed and not checked here, for the message.

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
    *most, last = [*map(repr, choices), *([other] if other else [])]
    listed = f"{', '.join(most)} or {last}" if most else last
    near = difflib.get_close_matches(str(value), [c for c in choices if isinstance(c, str)], 1)
    _refuse(name, value, f"{listed}{f'; did you mean {near[0]!r}?' if near else ''}")


def check_pooling(pooling: Any, optional: bool = False) -> str | tuple[str, int] | None:
    """Refuse what is no way to pool tokens.

    Args:
        pooling: `"mean"`, `"token"`, `"flatten"` or `("mean", axis)`, which files write as
            `["mean", axis]` and the command line as `"mean:axis"`.
        optional: bool, whether `None`, all tokens, is allowed. Defaults to `False`.

    Returns:
        `pooling`; a mean over an axis as `("mean", axis)`.

    Raises:
        ValueError: if it is something else.

    Example:
    >>> check_pooling("mean:0")
    ('mean', 0)
    """
    parts = pooling.split(":") if isinstance(pooling, str) else pooling
    if isinstance(parts, (list, tuple)) and len(parts) == 2 and parts[0] == "mean":
        axis = parts[1]
        if isinstance(axis, str) and axis.isdecimal():
            axis = int(axis)
        if isinstance(axis, int) and not isinstance(axis, bool) and axis >= 0:
            return "mean", axis
    choices = ("mean", "token", "flatten", *((None,) if optional else ()))
    return check_choice("pooling", pooling, choices, other="('mean', axis)")


def check_ints(
    name: str,
    values: Any,
    minimum: int | None = None,
    maximum: int | None = None,
    *,
    length: int | None = None,
) -> tuple[int, ...]:
    """Refuse what is not a sequence of integers in a range; see `check_int`.

    Args:
        name: str, the argument as the caller wrote it.
        values: what was given.
        minimum: int, smallest value allowed, or `None`: no limit.
        maximum: int, largest value allowed, or `None`: no limit.
        length: int, how many, or `None`: at least one.

    Returns:
        Tuple of ints.

    Raises:
        ValueError: if it is something else.

    Example:
    >>> check_ints("grid", [2, 3], 1)
    (2, 3)
    """
    try:
        items = () if isinstance(values, (str, bytes, dict)) else tuple(values)
        if items and len(items) == (length or len(items)):
            return tuple(check_int(name, item, minimum, maximum) for item in items)
    except (TypeError, ValueError):
        pass
    bounds = [f"at least {minimum}"] if minimum is not None else []
    bounds += [f"at most {maximum}"] if maximum is not None else []
    many = f"{length} ints" if length else "a sequence of ints"
    _refuse(name, values, f"{many}{', each ' + ' and '.join(bounds) if bounds else ''}")
    return ()


def check_range(name: str, value: Any) -> tuple[float, float]:
    """Refuse what is not a pair of finite numbers, the first smaller than the second.

    Args:
        name: str, the argument as the caller wrote it.
        value: what was given.

    Returns:
        Two floats.

    Raises:
        ValueError: if it is something else.

    Example:
    >>> check_range("value_range", (0, 255))
    (0.0, 255.0)
    """
    try:
        low, high = (check_number(name, end) for end in value)
        if low < high:
            return low, high
    except (TypeError, ValueError):
        pass
    _refuse(name, value, "(low, high) with low < high, such as (0, 255)")
    return 0.0, 0.0


def check_array(
    name: str,
    value: Any,
    rank: int | None = None,
    *,
    kinds: str = "buif",
    finite: bool = False,
    empty: bool = False,
) -> Any:
    """Refuse what is not a NumPy array, or does not become one, of numbers.

    Args:
        name: str, the argument as the caller wrote it.
        value: array, or nested lists.
        rank: int, number of axes, or `None`: any.
        kinds: str, kinds of dtype allowed, as in `numpy.dtype.kind`.
        finite: bool, whether NaN and infinity are refused.
        empty: bool, whether an array without values is allowed.

    Returns:
        NumPy array.

    Raises:
        TypeError: if it does not hold numbers of these kinds.
        ValueError: if rank, size or values do not fit.

    Example:
    >>> check_array("features", [[1.0, 2.0]], 2).shape
    (1, 2)
    """
    import numpy as np  # not needed by the command line's help

    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must be one array: {error}") from None
    kind = "f" if str(array.dtype) == "bfloat16" else array.dtype.kind
    if kind not in kinds:
        names = {"b": "booleans", "i": "integers", "f": "real numbers"}
        wanted = next(names[k] for k in "fib" if k in kinds)
        shown = type(value).__name__ if array.dtype == object else f"{name}.dtype={array.dtype}"
        raise TypeError(f"`{name}` must be an array of {wanted}. Received: {shown}")
    if rank is not None and array.ndim != rank:
        raise ValueError(
            f"`{name}` must have {rank} {'axis' if rank == 1 else 'axes'}. "
            f"Received: {name}.shape={array.shape}"
        )
    if not array.size and not empty:
        raise ValueError(f"`{name}` must not be empty. Received: {name}.shape={array.shape}")
    if finite and kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite numbers. Received: NaN or infinity")
    return array


def check_tensor(name: str, value: Any, rank: int | None = None, *, kinds: str = "buif") -> None:
    """Refuse what is not a tensor or array of numbers, by what is known before it is computed.

    Args:
        name: str, the argument as the caller wrote it.
        value: tensor of any backend, or NumPy array.
        rank: int, number of axes, or `None`: any.
        kinds: str, kinds of dtype allowed, as in `numpy.dtype.kind`.

    Raises:
        TypeError: if it is no tensor, or of another kind.
        ValueError: if the rank differs.

    Example:
    >>> check_tensor("indices", [1, 2])
    Traceback (most recent call last):
    TypeError: `indices` must be a tensor or an array. Received: list
    """
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise TypeError(f"`{name}` must be a tensor or an array. Received: {type(value).__name__}")
    dtype = str(getattr(value.dtype, "name", value.dtype)).removeprefix("torch.")
    kind = {"bf": "f", "st": "U", "bo": "b"}.get(dtype[:2], dtype[:1])
    if kind not in kinds:
        wanted = {"b": "booleans", "ui": "integers"}.get(kinds, "real numbers")
        raise TypeError(f"`{name}` must hold {wanted}. Received: {name}.dtype={dtype}")
    if rank is not None and len(value.shape) != rank:
        raise ValueError(
            f"`{name}` must have {rank} {'axis' if rank == 1 else 'axes'}. "
            f"Received: {name}.shape={tuple(value.shape)}"
        )


def check_parameters(count: int, **sizes: Any) -> None:
    """Refuse a model that no machine could hold, before it is built.

    Args:
        count: int, about how many weights it would have.
        **sizes: the arguments that make it so large.

    Raises:
        ValueError: naming the arguments and the memory it would take.

    Example:
    >>> check_parameters(10**12, hidden_dim=2**20)
    Traceback (most recent call last):
    ValueError: `hidden_dim` must make a smaller model: it would have about 1e+12 weights, 3.7e+03
    GiB in float32. Received: hidden_dim=1048576
    """
    if count > LARGEST_MODEL:
        names = ", ".join(f"`{name}`" for name in sizes)
        received = ", ".join(f"{name}={value}" for name, value in sizes.items())
        raise ValueError(
            f"{names} must make a smaller model: it would have about {count:.2g} weights, "
            f"{count * 4 / 2**30:.2g} GiB in float32. Received: {received}"
        )


def _refuse(name: str, value: Any, wanted: str) -> None:
    received = repr(value)
    if len(received) > 200:
        received = f"{received[:200]}..."
    stop = "" if wanted.endswith("?") else "."
    raise ValueError(f"`{name}` must be {wanted}{stop} Received: {name}={received}")


def config_without_arguments(value: Any) -> dict[str, Any]:
    """The config of an object without arguments; an object with some has to give its own.

    Example:
    >>> class Scale:
    ...     def __init__(self, factor):
    ...         self.factor = factor
    >>> config_without_arguments(Scale(2.0))
    Traceback (most recent call last):
    NotImplementedError: `Scale.get_config` must return the arguments of `__init__`: factor
    """
    cls = type(value)
    own = cls.__init__ is not object.__init__
    names = list(inspect.signature(cls.__init__).parameters)[1:] if own else []
    if names:
        raise NotImplementedError(
            f"`{cls.__name__}.get_config` must return the arguments of `__init__`: "
            f"{', '.join(names)}"
        )
    return {}


def renamed_argument(old: str, new: str) -> Callable[[Callable], Callable]:
    """Let callers pass an argument by its earlier name, with a `DeprecationWarning`.

    Args:
        old: str, the earlier name.
        new: str, the name in the signature.

    Returns:
        A decorator of functions.

    Example:
    >>> @renamed_argument("colour", "color")
    ... def paint(color):
    ...     return color
    >>> paint(color="red")
    'red'
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(f"`{old}` is the earlier name of `{new}`: pass one of them.")
                warnings.warn(
                    f"`{old}` is deprecated: use `{new}`", DeprecationWarning, stacklevel=2
                )
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate
