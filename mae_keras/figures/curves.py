"""Curves: of a training run, over layers, over labels, under corruption.

Imports matplotlib and NumPy only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    MultipleLocator,
    NullFormatter,
    NullLocator,
)

from mae_keras.arguments import check_number
from mae_keras.figures.inputs import check_mapping, read_numbers
from mae_keras.figures.sheet import (
    BLUE,
    INK,
    LINE,
    LITERAL,
    MUTED,
    NORMAL,
    ORANGE,
    SMALL,
    Page,
    text_width,
)
from mae_keras.figures.style import (
    MARGIN,
    OFFSET,
    Label,
    dress_accuracy_axis,
    framed_page,
    label_room,
    line_look,
    percent,
    read_accuracies,
    shortened,
    write_labels,
)

_WIDTH, _LEFT, _TOP, _BOTTOM = 7.2, 0.75, 0.2, 0.5  # inches, as below
_MAIN, _STRIP, _GAP = 3.1, 0.6, 0.16
_CURVES = {"loss": ("training", BLUE), "val_loss": ("validation", ORANGE)}
_STRIPS = {"mask_ratio": "mask ratio", "learning_rate": "learning rate"}
_MARKED_EPOCHS = 20  # up to so many, every epoch is marked by a dot


def loss_figure(
    history: Mapping[str, Sequence[float | None]],
    *,
    baselines: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the losses of a run over its epochs, with what needs no learning as dashed lines.

    The loss axis is logarithmic when the values span more than a factor of ten. Mask ratio and
    learning rate have strips of their own below, where they are given and change.

    Args:
        history: `loss` and, optionally, `val_loss`, `mask_ratio`, `learning_rate`, each with a
            value per epoch, `None` or NaN where there is none; others are ignored. What
            `History.history` holds.
        baselines: name to loss of a naive baseline.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no loss, or columns differ in length.

    Example:
    >>> figure = loss_figure({"loss": [1.0, 0.5]}, baselines={"mean_image": 0.8})
    >>> figure.axes[0].get_ylabel()
    'loss'
    """
    columns = _columns(history)
    baselines = {name: float(value) for name, value in (baselines or {}).items()}
    strips = [name for name in _STRIPS if name in columns and np.ptp(_known(columns[name])) > 0]
    labels = _labels(columns, baselines)
    names = [label.text for label in labels] + [_STRIPS[name] for name in strips]
    right = max((text_width(name, SMALL) for name in names), default=0.0) + OFFSET / 72 + 0.1
    page = Page(_WIDTH, _TOP + _MAIN + (_STRIP + _GAP) * len(strips) + _BOTTOM)
    width = _WIDTH - _LEFT - right
    all_axes = [page.axes(_LEFT, _TOP, width, _MAIN)]
    for number in range(len(strips)):
        y = _TOP + _MAIN + _GAP + number * (_STRIP + _GAP)
        all_axes.append(page.axes(_LEFT, y, width, _STRIP))
    _draw_losses(all_axes[0], columns, baselines)
    all_axes[0].autoscale_view()
    write_labels(all_axes[0], labels, _MAIN)
    for axes, name in zip(all_axes[1:], strips, strict=True):
        _draw_strip(axes, columns[name], _STRIPS[name])
    for axes in all_axes:
        _dress(axes, len(columns["loss"]))
    all_axes[-1].set_xlabel("epoch", size=NORMAL, color=INK)
    all_axes[-1].tick_params(labelbottom=True)
    return page.figure


def _columns(history: Mapping[str, Any]) -> dict[str, np.ndarray]:
    check_mapping("history", history, "`loss`")
    names = [name for name in (*_CURVES, *_STRIPS) if name in history]
    columns = {name: read_numbers(f"history[{name!r}]", history[name]) for name in names}
    if "loss" not in columns or not len(columns["loss"]):
        raise ValueError(
            f"`history` must have a `loss` with at least one epoch. Received: "
            f"{ {name: len(values) for name, values in history.items()} }"
        )
    for name, values in columns.items():
        if values.shape != columns["loss"].shape:
            raise ValueError(
                f"`history[{name!r}]` must have a value for each of the {len(columns['loss'])} "
                f"epochs, None where there is none. Received: {len(values)} values"
            )
        values[~np.isfinite(values)] = np.nan
    return columns


def _known(values: np.ndarray) -> np.ndarray:
    known = values[np.isfinite(values)]
    return known if known.size else np.zeros(1)


def _labels(columns: dict[str, np.ndarray], baselines: dict[str, float]) -> list[Label]:
    labels = [
        Label(_known(columns[name])[-1], text, color)
        for name, (text, color) in _CURVES.items()
        if name in columns and np.isfinite(columns[name]).any()
    ]
    labels += [Label(value, name.replace("_", " "), MUTED) for name, value in baselines.items()]
    return [
        label._replace(text=f"{label.text}  {_three_digits(label.height)}")
        for label in sorted(labels, key=lambda label: label.height)
        if np.isfinite(label.height)
    ]


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if 1e3 <= value < 1e6 else f"{value:#.3g}".rstrip(".")


def _draw_losses(axes: Axes, columns: dict[str, np.ndarray], baselines: dict[str, float]) -> None:
    values = np.array([*baselines.values()])
    for name, (_, color) in _CURVES.items():
        if name in columns:
            _line(axes, columns[name], color, linewidth=1.8)
            values = np.concatenate([values, columns[name]])
    for value in baselines.values():
        axes.axhline(value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
    axes.set_ylabel("loss", size=NORMAL, color=INK)


def _line(axes: Axes, values: np.ndarray, color: str, **style: Any) -> None:
    marker = "o" if len(values) <= _MARKED_EPOCHS else None
    epochs = np.arange(1, len(values) + 1)
    axes.plot(epochs, values, color=color, marker=marker, markersize=3.5, **style)


def _draw_strip(axes: Axes, values: np.ndarray, name: str) -> None:
    _line(axes, values, MUTED, linewidth=1.2)
    axes.margins(y=0.15)
    ends = np.min(_known(values)), np.max(_known(values))
    axes.set_yticks(ends, [f"{end:.3g}" for end in ends])
    axes.annotate(
        name,
        (1, 0.5),
        (OFFSET, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        va="center",
        size=SMALL,
        color=MUTED,
    )


def epoch_ticks(epochs: int) -> list[int]:
    """Round numbers of epochs to write on an axis, at most ten or so, the first always."""
    steps = (step * 10**power for power in range(9) for step in (1, 2, 5))
    step = next(step for step in steps if epochs <= 10 * step)
    return [1, *range(step, epochs + 1, step)] if step > 2 else [*range(1, epochs + 1, step)]


def _dress(axes: Axes, epochs: int) -> None:
    margin = 0.03 * max(epochs - 1, 10)
    axes.set_xlim(1 - margin, epochs + margin)
    axes.set_xticks(epoch_ticks(epochs))
    axes.tick_params(which="both", labelsize=SMALL, colors=MUTED, length=0, labelbottom=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=LINE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    if axes.get_yscale() == "log":
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif axes.get_ylabel():
        axes.yaxis.set_major_locator(MaxNLocator(6))


_AXES_WIDTH, _AXES_LEFT, _AXES_HEIGHT, _AXES_BELOW = 7.2, 0.75, 3.1, 0.45  # inches
_DODGE = 5.0  # points between the bars of neighboring methods


def label_fraction_figure(
    results: Mapping[str, Mapping[float, Sequence[float | None]]],
    *,
    title: str | None = None,
    note: str | None = "Points: means over seeds. Bars: 95% intervals of the mean.",
) -> Figure:
    """Draw accuracy against the share of labeled training images, a line for each method.

    The horizontal axis is logarithmic. Methods are drawn side by side at each fraction, so that
    their intervals do not cover each other.

    Args:
        results: name of a method to fraction of the labels, in (0, 1], to `(mean, low, high)`:
            accuracy and the ends of its interval, in [0, 1]. A mean that is `None` or NaN leaves
            a gap; an interval that is, no bar.
        title: str or `None`.
        note: str below, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no results, a fraction is outside (0, 1], or an interval does not
            hold its mean.

    Example:
    >>> results = {"fine-tuned": {0.01: (0.7, 0.66, 0.74), 1.0: (0.97, 0.96, 0.98)}}
    >>> figure = label_fraction_figure(results)
    >>> figure.axes[0].get_xscale()
    'log'
    """
    results = check_mapping("results", results, "method")
    lines = {name: _fraction_line(name, values) for name, values in results.items()}
    labels = _fraction_labels(lines)
    page, top = framed_page(
        _AXES_WIDTH, _AXES_HEIGHT + _AXES_BELOW, title=title, notes=_fraction_notes(lines, note)
    )
    width = _AXES_WIDTH - _AXES_LEFT - label_room(labels)
    axes = page.axes(_AXES_LEFT, top, width, _AXES_HEIGHT)
    values = np.concatenate(list(lines.values()))
    _dress_fractions(axes, np.unique(values[:, 0]), width, len(lines))
    dress_accuracy_axis(axes, values[:, 1:])
    for number, line in enumerate(lines.values()):
        _draw_fractions(axes, line, number, len(lines), width)
    write_labels(axes, labels, _AXES_HEIGHT)
    return page.figure


def _fraction_line(name: str, values: Mapping[float, Sequence[float | None]]) -> np.ndarray:
    """Rows of fraction, mean, low and high, by ascending fraction."""
    where = f"results[{name!r}]"
    check_mapping(where, values, "fraction")
    rows = []
    for fraction, entry in sorted(values.items()):
        if not 0 < fraction <= 1:
            raise ValueError(
                f"`{where}` must have fractions of the labels in (0, 1]. Received: {fraction!r}"
            )
        if np.shape(entry) != (3,):
            raise ValueError(
                f"`{where}[{fraction!r}]` must be (mean, low, high). Received: {entry!r}"
            )
        mean, low, high = read_accuracies(entry, f"{where}[{fraction!r}]")
        if mean < low - 1e-9 or mean > high + 1e-9:
            raise ValueError(
                f"`{where}[{fraction!r}]` must be (mean, low, high) with low <= mean <= high. "
                f"Received: {tuple(entry)!r}"
            )
        rows.append((fraction, mean, low, high))
    return np.array(rows, dtype="float64")


def _fraction_notes(lines: dict[str, np.ndarray], note: str | None) -> list[str]:
    unknown = [name for name, values in lines.items() if not np.isfinite(values[:, 1]).any()]
    return [note or "", f"Without a value: {', '.join(unknown)}." if unknown else ""]


def _fraction_labels(lines: dict[str, np.ndarray]) -> list[Label]:
    """Names with the accuracy at the largest fraction that has one."""
    labels = []
    for number, (name, values) in enumerate(lines.items()):
        known = values[np.isfinite(values[:, 1]), 1]
        if len(known):
            text = f"{name}  {percent(known[-1])}"
            labels.append(Label(float(known[-1]), text, line_look(number)["color"]))
    return labels


def _draw_fractions(axes: Axes, line: np.ndarray, number: int, count: int, width: float) -> None:
    look = line_look(number)
    low, high = np.log(axes.get_xlim())
    shift = (number - (count - 1) / 2) * _DODGE * (high - low) / (72 * width)
    fractions, means = line[:, 0] * np.exp(shift), line[:, 1]
    axes.plot(fractions, means, **look, clip_on=False, zorder=3)
    axes.vlines(fractions, line[:, 2], line[:, 3], color=look["color"], linewidth=1.4, zorder=2)
    ends = {"marker": "_", "s": 36, "color": look["color"], "linewidth": 1.4, "clip_on": False}
    for column in (2, 3):
        axes.scatter(fractions, np.where(np.isfinite(means), line[:, column], np.nan), **ends)


def _dress_fractions(axes: Axes, fractions: np.ndarray, width: float, count: int) -> None:
    axes.set_xscale("log")
    # Room for the outermost of the methods drawn side by side, and half a bar.
    inset = (count - 1) / 2 * _DODGE + 10
    span = max(np.log(fractions[-1] / fractions[0]), np.log(4))
    margin = span * inset / (72 * width - 2 * inset)
    middle = np.log(fractions[0] * fractions[-1]) / 2
    axes.set_xlim(*np.exp([middle - span / 2 - margin, middle + span / 2 + margin]))
    ticks = _fractions_apart(fractions, 72 * width / (span + 2 * margin))
    axes.set_xticks(ticks, [_percent_of_labels(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the training labels", size=NORMAL, color=INK)


def _fractions_apart(fractions: np.ndarray, points: float) -> list[float]:
    """Fractions from the largest down whose names do not meet, `points` being one e-fold."""
    kept: list[float] = []
    for fraction in fractions[::-1]:
        needed = 72 * text_width(_percent_of_labels(fraction), SMALL) + 8
        if not kept or np.log(kept[-1] / fraction) * points >= needed:
            kept.append(float(fraction))
    return kept[::-1]


def _percent_of_labels(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"


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
    curves = _layer_curves(accuracies)
    levels = {
        name: float(read_accuracies([value], f"baselines[{name!r}]")[0])
        for name, value in (baselines or {}).items()
    }
    chosen = _chosen(chosen, curves)
    labels = _layer_labels(curves, levels)
    page, top = framed_page(
        _AXES_WIDTH, _AXES_HEIGHT + _AXES_BELOW, title=title, notes=_layer_notes(curves, chosen)
    )
    axes = page.axes(_AXES_LEFT, top, _AXES_WIDTH - _AXES_LEFT - label_room(labels), _AXES_HEIGHT)
    for number, values in enumerate(curves.values()):
        axes.plot(np.arange(len(values)), values, **line_look(number), clip_on=False, zorder=3)
    for level in levels.values():
        axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    _ring(axes, curves, chosen)
    dress_accuracy_axis(axes, np.concatenate([*curves.values(), list(levels.values())]))
    _dress_blocks(axes, max(map(len, curves.values())) - 1)
    write_labels(axes, labels, _AXES_HEIGHT)
    return page.figure


def _layer_curves(accuracies: Mapping[str, Sequence[float | None]]) -> dict[str, np.ndarray]:
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


def _layer_labels(curves: dict[str, np.ndarray], levels: dict[str, float]) -> list[Label]:
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


def _layer_notes(curves: dict[str, np.ndarray], chosen: dict[str, int]) -> list[str]:
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


_PANEL, _PANEL_GAP, _ROW_GAP, _PANEL_LEFT, _PANEL_BELOW = (
    (2.1, 1.7),
    0.2,
    0.6,
    0.7,
    0.45,
)  # inches, as below
_LEGEND_LINE, _LEGEND_GAP, _MARK, _HEADING = 0.2, 0.25, 0.35, 0.22
_MOST_COLUMNS = 4


def robustness_figure(
    results: Mapping[str, Mapping[str, Mapping[float, float | None]]],
    *,
    chance: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw accuracy against the strength of corruption, a panel for each kind, a line per model.

    All panels share the vertical axis.

    Args:
        results: name of a model to kind of corruption to strength, 0 or more (0 = clean images),
            to accuracy in [0, 1]; `None` or NaN where there is none. Models may lack kinds.
        chance: float, accuracy of guessing, drawn as a dashed line; or `None`.
        title: str or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no results, or a strength or an accuracy is out of range.

    Example:
    >>> results = {"pretrained": {"noise": {0: 0.9, 0.1: 0.8}, "blur": {0: 0.9, 2: 0.7}}}
    >>> figure = robustness_figure(results)
    >>> [axes.get_title() for axes in figure.axes]
    ['noise', 'blur']
    """
    results = check_mapping("results", results, "model and kind")
    curves = {name: _corruption_curves(name, kinds) for name, kinds in results.items()}
    kinds = list(dict.fromkeys(kind for lines in curves.values() for kind in lines))
    if not kinds:
        raise ValueError("`results` must hold at least one model and kind. Received: none")
    chance = check_number("chance", chance, 0, 1, optional=True)
    rows = -(-len(kinds) // _MOST_COLUMNS)
    columns = -(-len(kinds) // rows)
    width = _PANEL_LEFT + columns * (_PANEL[0] + _PANEL_GAP) - _PANEL_GAP + MARGIN
    legend = _legend(list(curves), width - 2 * MARGIN)
    head = _LEGEND_LINE * len(legend) + _HEADING + 0.05
    height = head + rows * (_PANEL[1] + _ROW_GAP) - _ROW_GAP + _PANEL_BELOW
    notes = [] if chance is None else ["Dashed: the accuracy of guessing."]
    page, top = framed_page(width, height, title=title, notes=notes)
    _draw_legend(page, legend, top)
    everything = [line[1] for lines in curves.values() for line in lines.values()]
    everything.append(np.array([] if chance is None else [chance], dtype="float64"))
    for number, kind in enumerate(kinds):
        row, column = divmod(number, columns)
        x = _PANEL_LEFT + column * (_PANEL[0] + _PANEL_GAP)
        axes = page.axes(x, top + head + row * (_PANEL[1] + _ROW_GAP), *_PANEL)
        _draw_corruption(axes, [lines.get(kind) for lines in curves.values()], chance)
        label = "accuracy" if column == 0 else None
        dress_accuracy_axis(axes, np.concatenate(everything), label)
        axes.tick_params(labelleft=column == 0)
        axes.set_title(shortened(kind, _PANEL[0], NORMAL), size=NORMAL, color=INK, pad=5, **LITERAL)
        if number + columns >= len(kinds):
            axes.set_xlabel("strength (0: clean)", size=SMALL, color=MUTED)
    return page.figure


def _corruption_curves(
    name: str, kinds: Mapping[str, Mapping[float, float | None]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kind to ascending strengths and their accuracies."""
    curves = {}
    for kind, values in kinds.items():
        where = f"results[{name!r}][{kind!r}]"
        strengths = np.array(sorted(values), dtype="float64")
        if not len(strengths) or not np.isfinite(strengths).all() or strengths[0] < 0:
            raise ValueError(
                f"`{where}` must have strengths of 0 or more, at least one. "
                f"Received: {list(values)}"
            )
        curves[kind] = strengths, read_accuracies([values[s] for s in sorted(values)], where)
    return curves


def _draw_corruption(
    axes: Axes, lines: list[tuple[np.ndarray, np.ndarray] | None], chance: float | None
) -> None:
    for number, line in enumerate(lines):
        if line is not None:
            axes.plot(*line, **line_look(number), clip_on=False, zorder=3)
    if chance is not None:
        axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    strengths = np.unique(np.concatenate([line[0] for line in lines if line is not None]))
    last = strengths[-1] or 1.0
    axes.set_xlim(-0.05 * last, 1.05 * last)
    ticks = _strengths_apart(strengths, 72 * _PANEL[0] / (1.1 * last))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def _strengths_apart(strengths: np.ndarray, points: float) -> list[float]:
    """Strengths from the largest down whose numbers do not meet, `points` being one unit."""
    kept: list[float] = []
    for strength in map(float, strengths[::-1]):
        needed = 72 * text_width(f"{strength:g}", SMALL) + 6
        if not kept or (kept[-1] - strength) * points >= needed:
            kept.append(strength)
    return kept[::-1]


def _legend(names: list[str], width: float) -> list[list[tuple[int, str, float]]]:
    """Lines of entries: number of the model, its name, and where it starts in inches."""
    lines: list[list[tuple[int, str, float]]] = [[]]
    x = 0.0
    for number, name in enumerate(names):
        name = shortened(name, width - _MARK, NORMAL)
        needed = _MARK + text_width(name, NORMAL)
        if lines[-1] and x + needed > width:
            lines.append([])
            x = 0.0
        lines[-1].append((number, name, x))
        x += needed + _LEGEND_GAP
    return lines


def _draw_legend(page: Page, lines: list[list[tuple[int, str, float]]], top: float) -> None:
    width, height = page.size
    for row, entries in enumerate(lines):
        y = top + _LEGEND_LINE * (row + 0.5)
        for number, name, x in entries:
            ends = np.array([0.0, 0.14, 0.28]) + MARGIN + x
            look = {**line_look(number), "transform": page.figure.transFigure, "markevery": [1]}
            page.figure.add_artist(Line2D(ends / width, [1 - y / height] * 3, **look))
            page.text(MARGIN + x + _MARK, y, name)
