"""Probe accuracy from block to block. Imports matplotlib and NumPy only."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from mae_keras.figures.accuracy_axis import dress_accuracy_axis, percent, read_accuracies
from mae_keras.figures.frame import framed_page
from mae_keras.figures.inputs import check_mapping
from mae_keras.figures.line_labels import Label, label_room, write_labels
from mae_keras.figures.palette import line_look
from mae_keras.figures.sheet import INK, MUTED, NORMAL

_WIDTH, _LEFT, _HEIGHT, _BELOW = 7.2, 0.75, 3.1, 0.45  # inches


def layer_curve_figure(
    accuracies: Mapping[str, Sequence[float | None]],
    *,
    chosen: int | Mapping[str, int] | None = None,
    baselines: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the accuracy of a probe on the features of each block of one or more encoders.

    The accuracy beside the name of a curve is that of its last block.

    Args:
        accuracies: name of an encoder to accuracies in [0, 1], one per block, the first of them
            that of the patch embedding (block 0); `None` or NaN where there is none. Encoders may
            differ in depth.
        chosen: int, the block that validation chose for the first encoder, or name to block.
        baselines: name to accuracy of what has no blocks, such as pixels and PCA: dashed lines.
        title: str or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no curve, a value is outside [0, 1], or a chosen block does not
            exist.

    Example:
    >>> curves = {"trained": [0.62, 0.71, 0.76], "untrained": [0.6, 0.58, 0.55]}
    >>> figure = layer_curve_figure(curves, chosen=2, baselines={"pixels": 0.66})
    >>> figure.axes[0].get_xlabel()
    'block (0: patch embedding)'
    """
    curves = _curves(accuracies)
    levels = {
        name: float(read_accuracies([value], f"baselines[{name!r}]")[0])
        for name, value in (baselines or {}).items()
    }
    chosen = _chosen(chosen, curves)
    labels = _labels(curves, levels)
    page, top = framed_page(_WIDTH, _HEIGHT + _BELOW, title=title, notes=_notes(curves, chosen))
    axes = page.axes(_LEFT, top, _WIDTH - _LEFT - label_room(labels), _HEIGHT)
    for number, values in enumerate(curves.values()):
        axes.plot(np.arange(len(values)), values, **line_look(number), clip_on=False, zorder=3)
    for level in levels.values():
        axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    _ring(axes, curves, chosen)
    dress_accuracy_axis(axes, np.concatenate([*curves.values(), list(levels.values())]))
    _dress_blocks(axes, max(map(len, curves.values())) - 1)
    write_labels(axes, labels, _HEIGHT)
    return page.figure


def _curves(accuracies: Mapping[str, Sequence[float | None]]) -> dict[str, np.ndarray]:
    curves = {
        name: read_accuracies(values, f"accuracies[{name!r}]")
        for name, values in check_mapping("accuracies", accuracies, "curve").items()
    }
    empty = [name for name, values in curves.items() if not len(values)]
    if empty:
        raise ValueError(
            "`accuracies` must hold at least one curve, and each at least one value. Received: "
            f"{ {name: len(values) for name, values in curves.items()} }"
        )
    return curves


def _chosen(
    chosen: int | Mapping[str, int] | None, curves: dict[str, np.ndarray]
) -> dict[str, int]:
    if chosen is None:
        return {}
    blocks = dict(chosen) if isinstance(chosen, Mapping) else {next(iter(curves)): chosen}
    for name, block in blocks.items():
        known = name in curves and hasattr(block, "__index__")
        if not known or not 0 <= block < len(curves[name]):
            depths = {curve: len(values) - 1 for curve, values in curves.items()}
            raise ValueError(
                f"`chosen` must be a block of a curve, from 0 to its last: {depths}. "
                f"Received: chosen={chosen!r}"
            )
    return blocks


def _labels(curves: dict[str, np.ndarray], levels: dict[str, float]) -> list[Label]:
    """Names with the last known accuracy of each curve."""
    labels = []
    for number, (name, values) in enumerate(curves.items()):
        known = values[np.isfinite(values)]
        if len(known):
            text = f"{name}  {percent(known[-1])}"
            labels.append(Label(float(known[-1]), text, line_look(number)["color"]))
    known_levels = {name: level for name, level in levels.items() if np.isfinite(level)}
    return labels + [
        Label(level, f"{name}  {percent(level)}", MUTED) for name, level in known_levels.items()
    ]


def _notes(curves: dict[str, np.ndarray], chosen: dict[str, int]) -> list[str]:
    unknown = [name for name, values in curves.items() if not np.isfinite(values).any()]
    notes = [f"Without a value: {', '.join(unknown)}."] if unknown else []
    if not chosen:
        return notes
    texts = [
        f"{name}: block {block}, {percent(curves[name][block])}"
        if np.isfinite(curves[name][block])
        else f"{name}: block {block}"
        for name, block in chosen.items()
    ]
    return [*notes, f"Ringed: the block chosen on validation data ({'; '.join(texts)})."]


def _ring(axes: Axes, curves: dict[str, np.ndarray], chosen: dict[str, int]) -> None:
    ring = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.4}
    for name, block in chosen.items():
        if np.isfinite(curves[name][block]):
            place = [block], [curves[name][block]]
            axes.plot(*place, markeredgecolor=INK, zorder=4, clip_on=False, **ring)


def _dress_blocks(axes: Axes, last: int) -> None:
    margin = 0.03 * max(last, 4)
    axes.set_xlim(-margin, max(last, 1) + margin)
    axes.xaxis.set_major_locator(MultipleLocator(1 if last <= 14 else 2 if last <= 28 else 4))
    axes.set_xlabel("block (0: patch embedding)", size=NORMAL, color=INK)
