"""Filling gaps in signals, beside fillers that learned nothing."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mae_keras.runs.protocols import EvaluationOptions, register_protocol

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison

_SIGNALS = 512
_GAP = 0.2


def _method_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    for method, scores in entry.get("methods", {}).items():
        name = method.replace("_", " ")
        yield f"{name}: MSE {scores['mse']:.3f}, MAE {scores['mae']:.3f} in the gap"


@register_protocol(
    "imputation",
    "for signals: a gap of a fifth of the steps filled in, in 512 test signals, beside the mean, "
    "the last value and a straight line: MSE, MAE in standard deviations of the channel",
    needs_labels=False,
    needs_reconstruction=True,
    needs_signals=True,
    lines=_method_lines,
)
def imputation(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """MSE and MAE of each filler, in standard deviations of the channel, under `methods`.

    Signals of which the gap touches every patch are left out and counted in `notes`. Raises if no
    signal remains.
    """
    import numpy as np

    from mae_keras import evaluation
    from mae_keras.models.checks import touched_patches

    signals, _ = comparison.images.test.arrays(limit=_SIGNALS)
    missing = evaluation.random_gaps(signals, _GAP, options.seed)
    unseen = missing[..., np.newaxis] | np.isnan(signals)
    fit = ~touched_patches(unseen, comparison.model.grid).all(axis=1)
    fit &= ~unseen.all(axis=1).any(axis=1)
    notes = []
    if not fit.all():
        notes.append(
            f"{int((~fit).sum())} of {len(fit)} signals were left out: the gap leaves no patch "
            "whole, or no value of a channel."
        )
    if not fit.any():
        raise ValueError(f"no test signal can be used. {notes[0]}")
    scores = evaluation.imputation_scores(comparison.model, signals[fit], missing[fit])
    return {
        "methods": {name: score._asdict() for name, score in scores.items()},
        "gap": f"{100 * _GAP:.0f} % of the known steps",
        "num_test": int(fit.sum()),
        "notes": notes,
    }
