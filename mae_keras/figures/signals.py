"""Drawing rank-1 data as lines. Imports matplotlib and NumPy only."""

import numpy as np
from matplotlib.axes import Axes

from mae_keras.figures.sheet import BLUE, HIDDEN, INK, MISSING, ORANGE, STRIPES

_COLOURS = (INK, ORANGE, "#4f8a5b", "#7a5ea8", BLUE)


def draw_signals(
    row: list[Axes],
    panels: list[np.ndarray],
    hidden: np.ndarray,
    hatched: list[bool],
    faded: list[bool] | None = None,
) -> None:
    """Draw one signal's panels side by side, on the same scale.

    Args:
        row: axes, one per panel.
        panels: float arrays `(length, channels)`; NaN leaves a gap.
        hidden: bool array `(length,)`, shaded in every panel.
        hatched: for each panel, whether hidden spans are hatched, too.
        faded: for each panel, whether lines are faded where they are not hidden; none by default.
    """
    finite = np.concatenate([panel[np.isfinite(panel)] for panel in panels])
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.5
    faded = faded or [False] * len(row)
    for axes, panel, hatch, fade in zip(row, panels, hatched, faded, strict=True):
        axes.set(xlim=(-0.5, len(hidden) - 0.5), ylim=(low - margin, high + margin))
        look = STRIPES if hatch else {"facecolor": HIDDEN, "alpha": 0.5}
        for start, end in _spans(hidden):
            axes.axvspan(start, end, linewidth=0, **look)
        if not hatch:
            for start, end in _spans(np.isnan(panel).any(axis=-1)):
                axes.axvspan(start, end, facecolor=MISSING, alpha=0.5, linewidth=0)
        for channel in range(panel.shape[-1]):
            colour = _COLOURS[channel % len(_COLOURS)]
            look = {"color": colour, "linewidth": 1.1, "solid_capstyle": "round"}
            axes.plot(panel[:, channel], **look, alpha=0.25 if fade else 1)
            if fade:
                axes.plot(np.where(hidden, panel[:, channel], np.nan), **look)


def _spans(marked: np.ndarray) -> list[tuple[float, float]]:
    """Runs of `True`, each from half a step before its first to half a step after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
    return [(start - 0.5, end - 0.5) for start, end in edges.reshape(-1, 2)]
