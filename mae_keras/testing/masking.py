"""Checks of a masking strategy, and what all checks here share."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.layers import PatchMasking
from mae_keras.ops import num_hidden, present_counts


class CheckError(AssertionError):
    """A property that this package relies on does not hold; the message names it.

    Example:
    >>> from mae_keras.layers import RandomMasking
    >>> from mae_keras.testing import check_masking
    >>> check_masking(RandomMasking(0.5, seed=0), fixed=True)
    Traceback (most recent call last):
    mae_keras.testing.masking.CheckError: The masks of RandomMasking must not change with the step
    if it is fixed.
    """


def require(holds: Any, message: str) -> None:
    """Raise `CheckError(message)` unless a property holds."""
    if not holds:
        raise CheckError(message)


def array_of(tensor: Any) -> np.ndarray:
    """A tensor as a NumPy array, half precision as float32."""
    if "float16" in keras.backend.standardize_dtype(tensor.dtype):
        tensor = keras.ops.cast(tensor, "float32")
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def close(one: np.ndarray, other: np.ndarray, tolerance: float = 1e-4) -> bool:
    """Whether arrays agree to within a share of their largest value."""
    if one.shape != other.shape:
        return False
    scale = max(float(np.abs(other).max(initial=0.0)), 1e-6)
    return bool(np.abs(one - other).max(initial=0.0) <= tolerance * scale)


class _Function(keras.Model):
    def __init__(self, function: Callable[[Any], Any]):
        super().__init__(name="compiled", autocast=False)
        self.function = function
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


def compiled(function: Callable[[Any], Any], inputs: Any, jit_compile: bool) -> Any:
    """What a function gives in a compiled graph, with or without XLA."""
    model = _Function(function)
    model.compile(jit_compile=jit_compile)
    return model.predict_on_batch(inputs)


_GRIDS = ((6,), (4, 4), (2, 3, 2))
_RATIOS = (0.25, 0.5, 0.75)
_BATCH = 8


def check_masking(strategy: PatchMasking, *, fixed: bool = False) -> None:
    """Check a masking strategy: a `PatchMasking` layer whose `scores` you wrote.

    These properties are checked, on grids of one to three axes and several mask ratios:

    - scores are floats without NaN that broadcast to `(batch, num_patches)`;
    - masks are boolean and hide exactly as many patches in every sample;
    - a mask is a function of (seed, step, number of the sample), and of the sample where the
      strategy looks at it, whatever the rest of the batch, its size and its order;
    - masks change with the step, the sample and the seed (unless `fixed`);
    - they have the same bits in eager and in compiled code (compare backends by `mask_digest`) and
      under every dtype policy;
    - with 0 to 100 % of the patches missing, counts are exact and a present patch is seen and
      another hidden;
    - the layer counts training steps, and comes back from its config.

    Args:
        strategy: `PatchMasking` layer, with a seed.
        fixed: bool, whether the strategy draws nothing at random: its masks must then be the same
            in every step.

    Raises:
        CheckError: naming the first property that does not hold.

    Example:
    >>> from mae_keras.layers import RandomMasking
    >>> check_masking(RandomMasking(0.75, seed=0))
    """
    name = type(strategy).__name__
    require(isinstance(strategy, PatchMasking), f"{name} must be a subclass of PatchMasking.")
    for grid in _GRIDS:
        _check_scores(strategy, grid)
        for ratio in _RATIOS:
            _check_counts(_copy(strategy, mask_ratio=ratio), grid)
        _check_function(strategy, grid)
        _check_missing(strategy, grid)
    _check_change(strategy, fixed)
    _check_serialization(strategy)
    _check_policies(strategy)
    _check_steps(strategy)
    _check_compiled(strategy)


def mask_digest(strategy: PatchMasking) -> str:
    """A hash of a strategy's masks, to compare between Keras backends and machines.

    Run the same script under `KERAS_BACKEND=tensorflow` and `KERAS_BACKEND=jax`: the digests must
    be equal, or a run cannot be resumed on the other backend with the masks it would have drawn.

    Args:
        strategy: `PatchMasking` layer, with a seed.

    Returns:
        str, 64 hexadecimal digits.

    Example:
    >>> from mae_keras.layers import RandomMasking
    >>> one, other = (mask_digest(RandomMasking(0.75, seed=seed)) for seed in (0, 1))
    >>> one == mask_digest(RandomMasking(0.75, seed=0)), one == other
    (True, False)
    """
    digest = hashlib.sha256()
    for grid in _GRIDS:
        missing = _some_missing(math.prod(grid))
        for step in range(3):
            for absent in (None, missing):
                digest.update(np.packbits(_draw(strategy, grid, step, missing=absent)).tobytes())
    return digest.hexdigest()


def _copy(strategy: PatchMasking, **changes: Any) -> PatchMasking:
    return _rebuilt(strategy, {**strategy.get_config(), "grid": None, **changes})


def _rebuilt(strategy: PatchMasking, config: dict[str, Any]) -> PatchMasking:
    try:
        return type(strategy).from_config(config)
    except (TypeError, ValueError) as error:
        raise CheckError(
            f"{type(strategy).__name__} must come back from its config: {error}"
        ) from error


def _patches(num_patches: int) -> np.ndarray:
    return np.random.default_rng(num_patches).random((_BATCH, num_patches, 3)).astype("float32")


def _some_missing(num_patches: int) -> np.ndarray:
    """From none to all missing over the samples of a batch."""
    noise = np.random.default_rng(0).random((_BATCH, num_patches)).argsort(axis=1)
    return noise < np.round(np.linspace(0, num_patches, _BATCH))[:, None]


def _draw(
    strategy: PatchMasking,
    grid: Sequence[int],
    step: Any,
    samples: Any = None,
    missing: Any = None,
    patches: Any = None,
) -> np.ndarray:
    samples = np.arange(_BATCH, dtype="int32") if samples is None else samples
    if patches is None:
        patches = _patches(math.prod(grid))[samples]
        if missing is not None:
            patches = np.where(missing[..., None], 0, patches).astype("float32")
    seen = {"patches": patches} if strategy.uses_patches else {}
    return array_of(strategy.draw(grid, step, samples, missing, **seen))


def _check_scores(strategy: PatchMasking, grid: Sequence[int]) -> None:
    name, num_patches = type(strategy).__name__, math.prod(grid)
    seen = {"patches": _patches(num_patches)} if strategy.uses_patches else {}
    samples = np.arange(_BATCH, dtype="int32")
    scores = keras.ops.convert_to_tensor(strategy.scores(grid, 1, samples, **seen))
    shape, expected = tuple(scores.shape), (_BATCH, num_patches)
    try:
        fits = np.broadcast_shapes(shape, expected) == expected
    except ValueError:
        fits = False
    require(
        fits,
        f"{name}.scores must broadcast to (batch, num_patches), here {expected} for the grid "
        f"{tuple(grid)}. Received: shape {shape}",
    )
    require(
        not np.isnan(array_of(scores)).any(),
        f"{name}.scores must hold no NaN: their order would depend on the backend.",
    )


def _check_counts(strategy: PatchMasking, grid: Sequence[int]) -> None:
    name, num_patches = type(strategy).__name__, math.prod(grid)
    expected = num_hidden(num_patches, strategy.mask_ratio)
    for step in (0, 1, 7):
        mask = _draw(strategy, grid, step)
        require(mask.dtype == bool, f"{name} must give boolean masks. Received: {mask.dtype}")
        require(
            mask.shape == (_BATCH, num_patches),
            f"{name} must give masks (batch, num_patches), {(_BATCH, num_patches)} for the grid "
            f"{tuple(grid)}. Received: shape {mask.shape}",
        )
        counts = sorted(set(mask.sum(axis=1).tolist()))
        require(
            counts == [expected],
            f"{name} must hide exactly {expected} of {num_patches} patches in every sample at "
            f"mask_ratio={strategy.mask_ratio}. Received: {counts}",
        )


def _check_function(strategy: PatchMasking, grid: Sequence[int]) -> None:
    name = type(strategy).__name__
    whole = _draw(strategy, grid, 3)
    require(
        np.array_equal(_draw(strategy, grid, 3), whole),
        f"The masks of {name} must be the same whenever the same step is drawn: draw from "
        "ops.counter_noise(seed, step, samples, n) only.",
    )
    order = np.random.default_rng(1).permutation(_BATCH).astype("int32")
    for rows in (order, order[:3], order[-1:]):
        require(
            np.array_equal(_draw(strategy, grid, 3, samples=rows), whole[rows]),
            f"The mask of a sample must not depend on its place in the batch, nor on the batch's "
            f"size, but on its number in `samples`; those of {name} do.",
        )
    if not strategy.uses_patches:
        return
    patches = _patches(math.prod(grid))
    patches[1:] = patches[1:, ::-1] * 5 - 2
    require(
        np.array_equal(_draw(strategy, grid, 3, patches=patches)[0], whole[0]),
        f"The mask of a sample must not depend on other samples of the batch; that of {name} does.",
    )


def _check_missing(strategy: PatchMasking, grid: Sequence[int]) -> None:
    name, num_patches = type(strategy).__name__, math.prod(grid)
    nothing = np.zeros((_BATCH, num_patches), bool)
    require(
        np.array_equal(_draw(strategy, grid, 2, missing=nothing), _draw(strategy, grid, 2)),
        f"With nothing missing, {name} must draw the same masks as without a mask of missing "
        f"patches.",
    )
    expected = num_hidden(num_patches, strategy.mask_ratio)
    counts = present_counts(num_patches, strategy.mask_ratio, strategy.missing)
    missing = _some_missing(num_patches)
    mask = _draw(strategy, grid, 2, missing=missing)
    for hidden, absent in zip(mask, missing, strict=True):
        present = int((~absent).sum())
        received = (int(hidden.sum()), int((hidden & ~absent).sum()))
        require(
            received == (expected, int(counts[present])),
            f"With {present} of {num_patches} patches present, {name} must hide {expected} patches "
            f"in all and {int(counts[present])} of the present ones. Received: {received[0]} and "
            f"{received[1]}",
        )


def _check_change(strategy: PatchMasking, fixed: bool) -> None:
    name, grid = type(strategy).__name__, (4, 4)
    strategy = _copy(strategy, mask_ratio=0.5)
    masks = [_draw(strategy, grid, step) for step in range(1, 5)]
    changing = any(not np.array_equal(mask, masks[0]) for mask in masks)
    if fixed:
        require(not changing, f"The masks of {name} must not change with the step if it is fixed.")
        return
    require(
        changing,
        f"The masks of {name} must change with the step, or every epoch hides the same patches. "
        "Pass fixed=True if that is meant.",
    )
    require(
        len(np.unique(masks[0], axis=0)) > 1,
        f"The masks of {name} must differ between samples. Pass fixed=True if they are all meant "
        "to be the same.",
    )
    other = _copy(strategy, mask_ratio=0.5, seed=strategy.seed + 1)
    require(
        any(not np.array_equal(_draw(other, grid, n), mask) for n, mask in enumerate(masks, 1)),
        f"The masks of {name} must depend on its seed.",
    )


def _check_serialization(strategy: PatchMasking) -> None:
    name = type(strategy).__name__
    config = strategy.get_config()
    try:
        text = json.dumps(config)
    except TypeError as error:
        raise CheckError(f"The config of {name} must be made of plain values: {error}") from error
    again = _rebuilt(strategy, json.loads(text))
    require(
        np.array_equal(_draw(again, (4, 4), 5), _draw(strategy, (4, 4), 5)),
        f"{name} must draw the same masks after it comes back from its config: every argument of "
        "`__init__` belongs into `get_config`.",
    )


def _check_policies(strategy: PatchMasking) -> None:
    name, policy = type(strategy).__name__, keras.config.dtype_policy()
    grid = (16, 16)  # so many patches that rounded scores have ties
    expected = _draw(strategy, grid, 5)
    config = {key: value for key, value in strategy.get_config().items() if key != "dtype"}
    try:
        for other in ("mixed_bfloat16", "mixed_float16"):
            keras.config.set_dtype_policy(other)
            layer = _rebuilt(strategy, config)
            require(
                np.array_equal(_draw(layer, grid, 5), expected),
                f"The masks of {name} must not change with the dtype policy; under {other!r} they "
                "do. Compute scores in float32.",
            )
    finally:
        keras.config.set_dtype_policy(policy)


def _check_steps(strategy: PatchMasking) -> None:
    name, grid = type(strategy).__name__, (4, 4)
    layer = _copy(strategy, grid=grid)
    tokens = _patches(16)
    still = [array_of(layer(tokens)[1]) for _ in range(2)]
    moving = [array_of(layer(tokens, training=True)[1]) for _ in range(2)]
    require(
        int(array_of(layer.micro_step)) == 2,
        f"{name} must count training calls, and no others, in its weight `micro_step`.",
    )
    for step, mask in ((0, still[0]), (0, still[1]), (1, moving[0]), (2, moving[1])):
        require(
            np.array_equal(mask, _draw(strategy, grid, step)),
            f"{name} must use the masks of step 0 at inference and those of steps 1, 2, ... in "
            "training.",
        )


def _check_compiled(strategy: PatchMasking) -> None:
    name, grid = type(strategy).__name__, (4, 4)
    missing = _some_missing(16)
    inputs = {
        "step": np.full(_BATCH, 4, "int32"),
        "samples": np.arange(_BATCH, dtype="int32"),
        "missing": missing,
        "patches": np.where(missing[..., None], 0, _patches(16)).astype("float32"),
    }

    def draw(batch: dict[str, Any]) -> Any:
        seen = {"patches": batch["patches"]} if strategy.uses_patches else {}
        step = batch["step"][0]
        return strategy.draw(grid, step, batch["samples"], batch["missing"], **seen)

    expected = _draw(strategy, grid, 4, missing=missing)
    for jit_compile in (False, True):
        require(
            np.array_equal(compiled(draw, inputs, jit_compile), expected),
            f"The masks of {name} must have the same bits in eager and in compiled code; with "
            f"jit_compile={jit_compile} they differ.",
        )
