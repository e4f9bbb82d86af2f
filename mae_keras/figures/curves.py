"""Curves of a training run. Imports matplotlib and NumPy only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mae_keras.figures.inputs import check_mapping, read_numbers
from mae_keras.figures.line_labels import OFFSET, Label, write_labels
from mae_keras.figures.sheet import BLUE, INK, LINE, MUTED, NORMAL, ORANGE, SMALL, Page, text_width

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
        baselines: name to loss of a trivial predictor.

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
        Label(_known(columns[name])[-1], text, colour)
        for name, (text, colour) in _CURVES.items()
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
    for name, (_, colour) in _CURVES.items():
        if name in columns:
            _line(axes, columns[name], colour, linewidth=1.8)
            values = np.concatenate([values, columns[name]])
    for value in baselines.values():
        axes.axhline(value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
    axes.set_ylabel("loss", size=NORMAL, color=INK)


def _line(axes: Axes, values: np.ndarray, colour: str, **style: Any) -> None:
    marker = "o" if len(values) <= _MARKED_EPOCHS else None
    epochs = np.arange(1, len(values) + 1)
    axes.plot(epochs, values, color=colour, marker=marker, markersize=3.5, **style)


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
    """Round numbers of epochs to write on an axis, at most ten or so, the first always.

    Args:
        epochs: int, the last epoch.

    Returns:
        Ascending ints.

    Example:
    >>> epoch_ticks(5), epoch_ticks(40)
    ([1, 2, 3, 4, 5], [1, 5, 10, 15, 20, 25, 30, 35, 40])
    """
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
