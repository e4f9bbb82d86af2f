"""Checks of what turns samples into rows, one for every token, and of what is predicted."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.losses import MaskedReconstructionLoss
from mae_keras.ops import gather_patches
from mae_keras.testing.masking import CheckError, array_of, close, compiled, require


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


def check_target(target: Any, samples: Any) -> None:
    """Check that the rows of samples become targets that a loss can compare with.

    `target` is a masked model, whose `to_patches` and `to_targets` are used, or any object with
    `encode(rows)`. Such an object may have `dim`, the width of its targets, `loss(targets,
    predictions)`, one value per token, `encode(rows, indices=...)`, where the rows are a gathered
    part, and `per_token = False`, if the target of a token depends on other tokens. These
    properties are checked:

    - targets are float32, `(batch, num_tokens, dim)`, finite, also for rows of one value;
    - they are the same every time and whatever the other samples of the batch;
    - the target of a token depends on that token alone, and a gathered part gives the same;
    - the loss of a token depends on that token alone, and hidden tokens alone are in a model's
      loss (with `loss_on="hidden"`): it is blind to the targets of visible ones.

    Args:
        target: masked model, or object with `encode`.
        samples: array `(batch, ...)` of at least 2 raw samples for a model, else of rows
            `(batch, num_tokens, row_dim)`.

    Raises:
        CheckError: naming the first property that does not hold.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> check_target(model, np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1), "uint8"))
    """
    name, of_model = type(target).__name__, hasattr(target, "to_targets")
    samples = np.asarray(samples)
    require(len(samples) >= 2, "`samples` must be at least 2, to compare with each other.")
    if of_model:
        rows = array_of(reader_of(target)(ops.convert_to_tensor(samples))[0])
    else:
        require(callable(getattr(target, "encode", None)), f"{name} must have a method `encode`.")
        rows = samples.astype("float32")
    encode = _encoder_of(target)
    dim = getattr(target, "encoded_dim", getattr(target, "dim", None))
    targets = _encoded(name, encode, rows, dim)
    require(
        np.array_equal(_encoded(name, encode, rows), targets),
        f"{name} must give the same targets for the same rows every time.",
    )
    require(
        close(_encoded(name, encode, rows[1:]), targets[1:], 1e-5),
        f"The targets of a sample must not depend on the other samples of the batch; those of "
        f"{name} do.",
    )
    for value in (0.0, 0.5):
        _encoded(name, encode, np.full_like(rows, value))
    if getattr(getattr(target, "target", target), "per_token", True):
        _check_tokens(name, encode, rows, targets)
    if of_model:
        _check_model_loss(target, samples)
    elif callable(getattr(target, "loss", None)):
        _check_loss(name, target.loss, targets, getattr(target, "dim", None))


def _encoder_of(target: Any) -> Callable[..., Any]:
    encode = getattr(target, "to_targets", None) or target.encode
    if "indices" in inspect.signature(encode).parameters:
        return encode
    return lambda rows, indices=None: encode(rows)


def _encoded(
    name: str, encode: Callable[..., Any], rows: np.ndarray, dim: int | None = None, **options: Any
) -> np.ndarray:
    targets = encode(ops.convert_to_tensor(rows), **options)
    dtype = keras.backend.standardize_dtype(targets.dtype)
    require(dtype == "float32", f"The targets of {name} must be float32. Received: {dtype}")
    targets = array_of(targets)
    expected = (*rows.shape[:2], targets.shape[-1] if dim is None else dim)
    require(
        targets.shape == expected,
        f"The targets of {name} must have shape (batch, num_tokens, dim), here {expected}. "
        f"Received: {targets.shape}",
    )
    require(
        np.isfinite(targets).all(),
        f"The targets of {name} must be finite, also for rows that hold one value throughout.",
    )
    return targets


def _check_tokens(
    name: str, encode: Callable[..., Any], rows: np.ndarray, targets: np.ndarray
) -> None:
    changed = rows.copy()
    changed[:, 0] = changed[:, 0, ::-1] * 0.5 + 0.1
    require(
        close(_encoded(name, encode, changed)[:, 1:], targets[:, 1:], 1e-5),
        f"The target of a token must depend on that token alone; with {name} another one changes "
        "it. Set `per_token = False` if that is meant.",
    )
    num_tokens = rows.shape[1]
    indices = np.stack([np.arange(num_tokens)[::-1][: (num_tokens + 1) // 2]] * len(rows))
    indices = indices.astype("int32")
    part = np.take_along_axis(rows, indices[..., None], axis=1)
    require(
        close(
            _encoded(name, encode, part, indices=indices),
            np.take_along_axis(targets, indices[..., None], axis=1),
            1e-5,
        ),
        f"The targets of gathered rows must be those that the same rows have among all; those of "
        f"{name} are not.",
    )


def _check_loss(
    name: str, loss: Callable[[Any, Any], Any], targets: np.ndarray, dim: int | None
) -> None:
    shape = (*targets.shape[:2], dim or targets.shape[-1])
    predictions = np.random.default_rng(0).normal(size=shape).astype("float32")
    losses = array_of(loss(ops.convert_to_tensor(targets), ops.convert_to_tensor(predictions)))
    require(
        losses.shape == targets.shape[:2] and np.isfinite(losses).all(),
        f"The loss of {name} must be one finite value per token, {targets.shape[:2]}. Received: "
        f"shape {losses.shape}",
    )
    changed = targets.copy()
    changed[:, 0] = targets[:, 1]
    other = array_of(loss(ops.convert_to_tensor(changed), ops.convert_to_tensor(predictions)))
    require(
        close(other[:, 1:], losses[:, 1:], 1e-5),
        f"The loss of a token must depend on that token alone; with {name} the target of another "
        "one changes it.",
    )


def _check_model_loss(model: Any, samples: np.ndarray) -> None:
    name = type(model).__name__
    x, targets, weights = model._masked_batch((ops.convert_to_tensor(samples),), 1)
    counted = x["patch_mask"] if model.loss_on == "hidden" else ops.ones_like(x["patch_mask"])
    if "missing" in x:
        counted = ops.logical_and(counted, ops.logical_not(x["missing"]))
    if "decoded_indices" in x:
        counted = gather_patches(counted[..., None], x["decoded_indices"])[..., 0]
    targets, weights, counted = map(array_of, (targets, weights, counted))
    require(
        np.isfinite(targets).all() and not weights[~counted].any(),
        f"Tokens that are visible or missing must have no weight in the loss of {name}.",
    )
    loss = model.loss if isinstance(getattr(model, "loss", None), keras.losses.Loss) else None
    if loss is None:
        default = getattr(model, "loss_for", lambda loss: MaskedReconstructionLoss())
        loss = default(None)
    shape = (*targets.shape[:2], getattr(model.target, "dim", 0) or targets.shape[-1])
    predictions = np.random.default_rng(0).normal(size=shape).astype("float32")
    changed = np.where(weights[..., None] == 0, targets + 3.0, targets).astype("float32")
    values = [float(array_of(loss(y, predictions, weights))) for y in (targets, changed)]
    require(
        np.isfinite(values).all() and values[0] == values[1],
        f"The loss of {name} must be blind to targets that have no weight, those of visible "
        f"tokens. Received: {values[0]} and, with other targets there, {values[1]}",
    )
