"""How well gaps in signals are filled: a model beside fillers that learn nothing.

A gap is a function of (seed, number of the signal) alone. Imports NumPy.
"""

from typing import Any, NamedTuple

import numpy as np

from mae_keras.arguments import check_array, check_int, check_number


class ImputationScore(NamedTuple):
    """How far filled values are from what was there, in standard deviations of their channel.

    Attributes:
        mse: float, mean squared error over the values that were hidden.
        mae: float, mean absolute error.

    Example:
    >>> ImputationScore(mse=0.25, mae=0.5).mae
    0.5
    """

    mse: float
    mae: float


def random_gaps(signals: Any, fraction: float = 0.2, seed: int = 0) -> np.ndarray:
    """One gap in each signal, anywhere between its first and its last known step.

    Args:
        signals: float array `(batch, length, channels)`; NaN is missing already.
        fraction: float in (0, 1), share of those steps that the gap covers, at least one step.
        seed: int.

    Returns:
        bool array `(batch, length)`, `True` = missing.

    Raises:
        ValueError: if `fraction` is not in (0, 1), or `signals` have another rank.

    Example:
    >>> random_gaps(np.zeros((2, 10, 1)), fraction=0.3).sum(axis=1).tolist()
    [3, 3]
    """
    signals = _checked(signals)
    check_number("fraction", fraction, 0, 1, above=True, below=True)
    check_int("seed", seed, 0)
    missing = np.zeros(signals.shape[:2], bool)
    for number, known in enumerate(~np.isnan(signals).all(axis=2)):
        steps = np.flatnonzero(known)
        if not len(steps):
            continue
        first, last = steps[0], steps[-1]
        size = max(1, round(fraction * (last - first + 1)))
        start = np.random.default_rng([seed, number]).integers(first, last - size + 2)
        missing[number, start : start + size] = True
    return missing


def naive_imputations(signals: Any) -> dict[str, np.ndarray]:
    """Fill what is missing without training, each channel of each signal by itself.

    Args:
        signals: float array `(batch, length, channels)`; NaN is missing.

    Returns:
        `{"mean", "last_value", "linear"}` to float32 arrays of that shape: the mean of what is
        known; the value before the gap (at the start the one after it); the straight line from the
        value before to the value after (at the ends as `last_value`). A channel without any value
        stays missing.

    Raises:
        ValueError: if `signals` have another rank or are no numbers.

    Example:
    >>> filled = naive_imputations([[[0.0], [np.nan], [4.0]]])
    >>> {name: float(values[0, 1, 0]) for name, values in filled.items()}
    {'mean': 2.0, 'last_value': 0.0, 'linear': 2.0}
    """
    signals = _checked(signals).astype("float32")
    filled = {name: signals.copy() for name in ("mean", "last_value", "linear")}
    for row, channel in np.ndindex(signals.shape[0], signals.shape[2]):
        values = signals[row, :, channel]
        gaps, known = np.flatnonzero(np.isnan(values)), np.flatnonzero(~np.isnan(values))
        if not len(gaps) or not len(known):
            continue
        before = np.maximum(np.searchsorted(known, gaps) - 1, 0)
        for name, found in (
            ("mean", values[known].mean()),
            ("last_value", values[known[before]]),
            ("linear", np.interp(gaps, known, values[known])),
        ):
            filled[name][row, gaps, channel] = found
    return filled


def imputation_scores(
    model: Any, signals: Any, missing: Any, batch_size: int = 32
) -> dict[str, ImputationScore]:
    """Fill gaps with a model and without one, and compare with what was there.

    Args:
        model: masked autoencoder of signals that predicts values, not statistics of them.
        signals: float array `(batch, length, channels)` of held-out signals. What is NaN is
            missing for every filler and not counted.
        missing: bool array `(batch, length)` or `(batch, length, channels)`, `True` = hide, such as
            from `random_gaps`.
        batch_size: int.

    Returns:
        `{"mean", "last_value", "linear", "model"}` to `ImputationScore`.

    Raises:
        TypeError: if `missing` is not boolean.
        ValueError: if shapes do not fit, nothing known is hidden, a channel of a signal is hidden
            altogether, or a gap leaves no patch of a signal whole, which `model.impute` refuses.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (16, 1), (4,), value_range=None)
    >>> signals = np.random.default_rng(0).normal(size=(3, 16, 1))
    >>> sorted(imputation_scores(model, signals, random_gaps(signals)))
    ['last_value', 'linear', 'mean', 'model']
    """
    signals = _checked(signals).astype("float32")
    shape = tuple(getattr(model, "image_shape", signals.shape[1:]))
    if signals.shape[1:] != shape:
        raise ValueError(
            f"`signals` must have the shape the model was made for, {('batch', *shape)}. "
            f"Received: signals.shape={signals.shape}"
        )
    missing = check_array("missing", missing, kinds="buif")
    if missing.dtype != bool:
        raise TypeError(f"`missing` must be boolean. Received: dtype {missing.dtype}")
    if missing.shape not in (signals.shape[:2], signals.shape):
        raise ValueError(
            f"`missing` must have shape {signals.shape[:2]} or {signals.shape}. "
            f"Received: missing.shape={missing.shape}"
        )
    missing = np.broadcast_to(missing.reshape(*signals.shape[:2], -1), signals.shape)
    counted = missing & ~np.isnan(signals)
    if not counted.any():
        raise ValueError("`missing` must hide something that is known. Received: nothing")
    gappy = np.where(missing, np.nan, signals)
    filled = naive_imputations(gappy)
    blind = (np.isnan(filled["linear"]) & counted).any(axis=(1, 2))
    if blind.any():
        raise ValueError(
            "`missing` must leave a value of every channel. Received: a channel hidden altogether "
            f"in {int(blind.sum())} of {len(signals)} signals, the first is {blind.argmax()}"
        )
    filled["model"] = model.impute(gappy, batch_size)
    spread = np.nanstd(signals, axis=(0, 1), dtype="float64")
    spread = np.where(spread > 0, spread, 1)
    scores = {}
    for name, values in filled.items():
        error = ((values.astype("float64") - signals) / spread)[counted]
        scores[name] = ImputationScore(float(np.mean(error**2)), float(np.mean(np.abs(error))))
    return scores


def _checked(signals: Any) -> np.ndarray:
    signals = check_array("signals", signals, 3)
    if np.isinf(signals).any():
        raise ValueError(
            "`signals` must be finite, or NaN where a value is missing. Received: "
            f"{int(np.isinf(signals).sum())} infinite values"
        )
    return signals
