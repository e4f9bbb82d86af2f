"""Checks of what turns raw samples into rows, one for every token."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mae_keras.testing.checking import CheckError, array_of, close, compiled, require


def check_inputs(inputs: Any, samples: Any) -> None:
    """Check that raw samples become what a model can train on.

    `inputs` has one method that takes a batch of raw samples and returns `(rows, missing)`. It is
    called `to_patches`, as of `MaskedModel` and `ViTEncoder`, or `rows`. These properties are
    checked:

    - rows are float32, `(batch, num_tokens, row_dim)`, finite: NaN became 0;
    - `missing` is boolean, `(batch, num_tokens)`, or `None`, which is for samples without NaN;
    - rows are the same every time, whatever the other samples of the batch, and in compiled code;
    - a missing value marks a token of its own sample as missing, and changes no other sample;
    - integers are told apart: two that differ give rows that differ.

    Args:
        inputs: object with `to_patches(samples)` or `rows(samples)`.
        samples: array `(batch, ...)` of at least 2 raw samples, as a model would be given.

    Raises:
        CheckError: naming the first property that does not hold.

    Example:
    >>> from mae_keras.models import ViTEncoder
    >>> encoder = ViTEncoder((8, 8, 1), 2, hidden_dim=16, num_layers=1, num_heads=2)
    >>> check_inputs(encoder, np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), "uint8"))
    """
    name, read = type(inputs).__name__, reader_of(inputs)
    samples = np.asarray(samples)
    require(len(samples) >= 2, "`samples` must be at least 2, to compare with each other.")
    rows, missing = _read(name, read, samples)
    again, missing_again = _read(name, read, samples)
    require(
        np.array_equal(rows, again) and np.array_equal(missing, missing_again),
        f"{name} must give the same rows for the same samples every time.",
    )
    alone, missing_alone = _read(name, read, samples[1:2])
    require(
        close(alone, rows[1:2], 1e-6) and np.array_equal(missing_alone, missing[1:2]),
        f"The rows of a sample must not depend on the other samples of the batch; those of {name} "
        "do.",
    )
    for jit_compile in (False, True):
        graph = compiled(lambda batch: read(batch)[0], samples, jit_compile)
        require(
            close(array_of(graph), rows, 1e-5),
            f"The rows of {name} must be the same in compiled code; with jit_compile={jit_compile} "
            "they differ.",
        )
    if samples.dtype.kind == "f":
        _check_nan(name, read, samples)
    elif samples.dtype.kind in "iu":
        _check_integers(name, read, samples)


def reader_of(inputs: Any) -> Callable[[Any], tuple[Any, Any]]:
    """The method that turns samples into rows."""
    for method in ("to_patches", "rows"):
        if callable(getattr(inputs, method, None)):
            return getattr(inputs, method)
    raise CheckError(f"{type(inputs).__name__} must have a method `to_patches` or `rows`.")


def _read(
    name: str, read: Callable[[Any], tuple[Any, Any]], samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    result = read(keras.ops.convert_to_tensor(samples))
    require(
        isinstance(result, tuple) and len(result) == 2,
        f"{name} must return a pair (rows, missing). Received: {type(result).__name__}",
    )
    rows, missing = result
    dtype = keras.backend.standardize_dtype(rows.dtype)
    require(dtype == "float32", f"The rows of {name} must be float32. Received: {dtype}")
    rows = array_of(rows)
    require(
        rows.ndim == 3 and len(rows) == len(samples),
        f"The rows of {name} must have shape (batch, num_tokens, row_dim). Received: {rows.shape} "
        f"for {len(samples)} samples",
    )
    require(
        np.isfinite(rows).all(),
        f"The rows of {name} must be finite: 0 stands in place of NaN, before any arithmetic.",
    )
    if missing is None:
        return rows, np.zeros(rows.shape[:2], bool)
    missing = array_of(missing)
    require(
        missing.dtype == bool and missing.shape == rows.shape[:2],
        f"`missing` of {name} must be boolean, {rows.shape[:2]}, or None. Received: "
        f"{missing.dtype}, {missing.shape}",
    )
    return rows, missing


def _check_nan(name: str, read: Callable[[Any], tuple[Any, Any]], samples: np.ndarray) -> None:
    rows, missing = _read(name, read, samples)
    holed = samples.copy()
    holed[0].flat[holed[0].size // 2] = np.nan
    holed_rows, holed_missing = _read(name, read, holed)
    require(
        holed_missing[0].sum() >= max(1, missing[0].sum()),
        f"A NaN in a sample must mark the token that holds it as missing; {name} marks none.",
    )
    require(
        np.array_equal(holed_rows[1:], rows[1:]) and np.array_equal(holed_missing[1:], missing[1:]),
        f"A NaN in one sample must not change the rows of another; with {name} it does.",
    )
    kept = ~holed_missing[0]
    require(
        kept.any() or rows.shape[1] == 1 or missing[0].sum() >= rows.shape[1] - 1,
        f"A NaN in one value must not make every token missing; with {name} it does: zero NaN "
        "before any arithmetic over the sample.",
    )
    require(
        close(holed_rows[0][kept], rows[0][kept], 1e-6),
        f"A NaN in one token must not change the rows of present tokens; with {name} it does.",
    )
    _, none_left = _read(name, read, np.full_like(samples, np.nan))
    require(none_left.all(), f"Samples of NaN alone must be missing in every token of {name}.")


def _check_integers(name: str, read: Callable[[Any], tuple[Any, Any]], samples: np.ndarray) -> None:
    values = np.unique(samples)
    if len(values) < 2:
        return
    # The closest, and the largest, at which half precision is coarsest
    for place in {int(np.argmin(np.diff(values.astype("int64")))), len(values) - 2}:
        pair = []
        for value in values[place : place + 2]:
            changed = samples.copy()
            changed[0].flat[0] = value
            pair.append(_read(name, read, changed)[0][0])
        require(
            not np.array_equal(*pair),
            f"Integers that differ must give rows that differ; {name} does not tell "
            f"{values[place]} from {values[place + 1]}. Half precision is too coarse for them.",
        )
