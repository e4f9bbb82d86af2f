"""Drawing rank-1 data as lines. Imports matplotlib and NumPy only."""

import numpy as np
from matplotlib.axes import Axes

from mae_keras.figures.sheet import BLUE, HIDDEN, INK, MISSING, ORANGE, STRIPES

_COLOURS = (BLUE, ORANGE, "#4f8a5b", "#7a5ea8", INK)


def draw_signals(
    row: list[Axes], panels: list[np.ndarray], hidden: np.ndarray, hatched: list[bool]
) -> None:
    """Draw one signal's panels side by side, on the same scale.

    Args:
        row: axes, one per panel.
        panels: float arrays `(length, channels)`; NaN leaves a gap.
        hidden: bool array `(length,)`, shaded in every panel.
        hatched: for each panel, whether hidden spans are hatched, too.
    """
    finite = np.concatenate([panel[np.isfinite(panel)] for panel in panels])
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.5
    for axes, panel, hatch in zip(row, panels, hatched, strict=True):
        axes.set(xlim=(-0.5, len(hidden) - 0.5), ylim=(low - margin, high + margin))
        look = STRIPES if hatch else {"facecolor": HIDDEN}
        for start, end in _spans(hidden):
            axes.axvspan(start, end, linewidth=0, **look)
        if not hatch:
            for start, end in _spans(np.isnan(panel).any(axis=-1)):
                axes.axvspan(start, end, facecolor=MISSING, alpha=0.5, linewidth=0)
        for channel in range(panel.shape[-1]):
            colour = _COLOURS[channel % len(_COLOURS)]
            axes.plot(panel[:, channel], color=colour, linewidth=1.1, solid_capstyle="round")


def _spans(marked: np.ndarray) -> list[tuple[float, float]]:
    """Runs of `True`, each from half a step before its first to half a step after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
    return [(start - 0.5, end - 0.5) for start, end in edges.reshape(-1, 2)]
