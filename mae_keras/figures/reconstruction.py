"""Originals beside what a masked autoencoder predicts, and masks side by side.

Imports matplotlib and NumPy only.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from mae_keras.arguments import check_choice, check_int, check_ints, check_number
from mae_keras.figures.inputs import check_mapping, check_value_range, read_mask
from mae_keras.figures.sheet import (
    BLANK,
    BLUE,
    HIDDEN,
    INK,
    LITERAL,
    MUTED,
    NORMAL,
    SMALL,
    STRIPES,
    VISIBLE,
    Note,
    Sheet,
    channel_note,
    draw_signals,
    label_time,
    middle_slice,
    one_line,
    read_prediction,
    text_width,
    to_pictures,
)

HEADINGS = ("Original", "Visible", "Predicted", "Composite")
STATISTICS = {
    None: None,
    "original": "Targets were standardized. Patch mean and variance are taken from the original "
    "image: the brightness of hidden patches is given away.",
    "visible": "Targets were standardized. Patch mean and variance of hidden patches are "
    "estimated from visible patches only.",
}


def reconstruction_figure(
    images: Any,
    patch_mask: Any,
    prediction: Any,
    *,
    patch_size: int | Sequence[int],
    pasted: Any = None,
    value_range: tuple[float, float] = (0, 255),
    statistics: str | None = None,
    max_rows: int = 8,
    time_step: float | None = None,
    time_unit: str = "seconds",
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Draw each original, what the model saw of it, what it predicted, and both put together.

    Visible places of the prediction are blank: the loss ignores them, so what a model predicts
    there is noise. The composite keeps visible pixels and takes hidden ones from the prediction.

    Signals are drawn as lines, volumes by their middle slice. One channel is shown in gray, three
    in color; the legend says what is shown of other counts, and all else needed to read the
    picture. Missing (NaN) pixels have a color of their own.

    Args:
        images: array `(batch, *spatial, channels)` with one to three spatial axes.
        patch_mask: bool array `(batch, num_patches)`, `True` = hidden.
        prediction: array of the shape of `images`, in the same range.
        patch_size: int or one int per spatial axis, in pixels.
        pasted: array of the shape of `images`; defaults to the images with the prediction in
            their hidden patches.
        value_range: two floats, pixel values that mean black and white.
        statistics: `"original"` or `"visible"`, whose mean and variance made pixels of
            standardized predictions; `None` if the model predicts pixels.
        max_rows: int, images drawn at most, the first ones.
        time_step: float, of signals, from one value to the next; `None`: steps are counted.
        time_unit: str, what `time_step` is in. Defaults to `"seconds"`.
        title: str or `None`.
        note: str, one more sentence for the legend, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: naming the argument that does not fit.

    Example:
    >>> images = np.zeros((2, 8, 8, 1), "uint8")
    >>> mask = np.arange(32).reshape(2, 16) % 4 > 0
    >>> figure = reconstruction_figure(images, mask, images, patch_size=2)
    >>> len(figure.axes)
    8
    """
    check_value_range(value_range)
    check_choice("statistics", statistics, STATISTICS)
    max_rows = check_int("max_rows", max_rows, 1)
    check_number("time_step", time_step, 0, above=True, optional=True)
    images, hidden, prediction, pasted = read_prediction(
        "images", images, None, patch_mask, prediction, patch_size, pasted
    )
    panels = [images, images, prediction, pasted]
    panels = [middle_slice(panel[:max_rows]) for panel in panels]
    shown = middle_slice(hidden[:max_rows])
    notes = _notes(images[:max_rows], panels, hidden[:max_rows], statistics)
    notes += () if note is None else (Note(note),)
    signals = images.ndim == 3
    cell = _cell(panels[0].shape[1:3])
    if signals:  # taller for channels one above the other
        cell = (2.3, min(1.1 + 0.15 * (images.shape[-1] - 1), 2.5))
    sheet = Sheet(
        *(len(shown), 4, cell),
        headings=HEADINGS,
        title=title,
        notes=notes,
        below=0.34 if signals else 0.0,
    )
    figure, rows = sheet.draw()
    if signals:
        _fill_with_lines(rows, panels, shown)
        unit = "steps" if time_step is None else time_unit
        label_time(rows[-1], images.shape[1], time_step or 1.0, unit)
    else:
        _fill_with_pictures(rows, panels, shown, value_range)
        if np.max(patch_size) > 1:  # around single pixels there would be nothing but lines
            outline_hidden(rows, shown)
    return figure


def _fill_with_pictures(
    rows: list, panels: list[np.ndarray], hidden: np.ndarray, value_range: tuple[float, float]
) -> None:
    # Where some channels of a pixel are hidden, those not to be shown are halfway between black
    # and white.
    middle = sum(value_range) / 2
    seen = np.where(hidden, middle, panels[1])
    predicted = np.where(hidden, panels[2], middle)
    shown = (panels[0], seen, predicted, panels[3])
    pictures = [to_pictures(panel, value_range) for panel in shown]
    # Pixels hidden altogether are transparent: the stripes behind them show.
    visible = ~hidden.all(axis=-1, keepdims=True)
    pictures[1] = np.concatenate([pictures[1], visible], axis=-1)
    pictures[2] = np.concatenate([pictures[2], hidden.any(axis=-1, keepdims=True)], axis=-1)
    for number, row in enumerate(rows):
        row[1].patch.set(**STRIPES)
        row[2].patch.set(facecolor=BLANK)
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture[number], interpolation="nearest")


def outline_hidden(rows: list, hidden: np.ndarray) -> None:
    """Draw the edges between hidden and visible places on the predictions, third in each row."""
    for row, mask in zip(rows, hidden.all(axis=-1), strict=True):
        y, x = np.nonzero(mask[:, 1:] != mask[:, :-1])
        upright = np.stack([x + 0.5, y - 0.5, x + 0.5, y + 0.5], axis=-1)
        y, x = np.nonzero(mask[1:] != mask[:-1])
        level = np.stack([x - 0.5, y + 0.5, x + 0.5, y + 0.5], axis=-1)
        edges = np.concatenate([upright, level]).reshape(-1, 2, 2)
        row[2].add_collection(LineCollection(edges, color=BLUE, linewidth=0.9), autolim=False)


def _fill_with_lines(rows: list, panels: list[np.ndarray], hidden: np.ndarray) -> None:
    visible = np.where(hidden, np.nan, panels[1])
    predicted = np.where(hidden, panels[2], np.nan)
    lines = (panels[0], visible, predicted, panels[3])
    # Gaps in lines are not missing data: what is blanked here is not asked.
    asked = (True, ~hidden, hidden, True)
    missing = [
        (np.isnan(panel) & where).any(axis=-1) for panel, where in zip(panels, asked, strict=True)
    ]
    for number, row in enumerate(rows):
        draw_signals(
            row,
            [panel[number] for panel in lines],
            hidden[number].all(axis=-1),
            [steps[number] for steps in missing],
            [False, True, False, False],
        )


def _cell(shape: tuple[int, int]) -> tuple[float, float]:
    """Width and height in inches: images keep their shape, unless it is extreme."""
    return 1.4, 1.4 * float(np.clip(shape[0] / shape[1], 0.3, 2.0))


def _notes(
    images: np.ndarray, panels: list[np.ndarray], hidden: np.ndarray, statistics: str | None
) -> tuple[Note, ...]:
    notes = [Note(hidden_note(hidden), "hidden")]
    if any(np.isnan(panel).any() for panel in panels):
        notes.append(Note("Missing data (NaN).", "missing"))
    if images.ndim == 5:
        depth = images.shape[1]
        notes.append(Note(f"Shown is slice {depth // 2 + 1} of {depth}, along the first axis."))
    if images.ndim == 3 and images.shape[-1] > 1:
        notes.append(Note("Channels are drawn one above the other, each on a scale of its own."))
    if images.ndim > 3 and channel_note(images.shape[-1]):
        notes.append(Note(channel_note(images.shape[-1])))
    if statistics is not None:
        notes.append(Note(STATISTICS[statistics]))
    return tuple(notes)


def hidden_note(hidden: np.ndarray) -> str:
    """What the looks of hidden values mean."""
    ratios = hidden.reshape(len(hidden), -1).mean(axis=1)
    low, high = (f"{100 * ratio:.3g}" for ratio in (ratios.min(), ratios.max()))
    ratio = f"{low}%" if low == high else f"{low} to {high}%"
    if (hidden == hidden[..., :1]).all():
        kept = {3: "values", 5: "voxels"}.get(hidden.ndim, "pixels")
        return (
            f"Hidden patches ({ratio}) are light blue. Composite: visible {kept} kept, hidden "
            "patches predicted. Blank in the prediction: what the model saw."
        )
    look = "have no line" if hidden.ndim == 3 else "are at middle brightness"
    return (
        f"Hidden values ({ratio}) {look}, light blue where all channels are hidden. Composite: "
        f"visible values kept, hidden values predicted. In the prediction, values that the model "
        f"saw {look}, blank where it saw all channels."
    )


def mask_gallery(
    masks: Mapping[str, Any], grid: Sequence[int], *, titles: Sequence[str] | None = None
) -> Figure:
    """Draw masks in a grid: a row for each kind, a column for each draw.

    Args:
        masks: name of the kind to bool array `(num_masks, num_patches)`, `True` = hidden.
        grid: ints, patches per axis, one to three; of volumes the middle slice is drawn.
        titles: str for each kind, in place of the names.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no masks, or they do not fit the grid or the titles.

    Example:
    >>> figure = mask_gallery({"random": np.eye(2, 16, dtype=bool)}, (4, 4))
    >>> len(figure.axes)
    2
    """
    grid = check_ints("grid", grid, 1)
    masks = check_mapping("masks", masks, "kind")
    kinds = {name: _checked(name, mask, grid) for name, mask in masks.items()}
    titles = tuple(kinds if titles is None else titles)
    if len(titles) != len(kinds):
        raise ValueError(
            f"`titles` must have one entry for each of the {len(kinds)} kinds. "
            f"Received: titles={titles!r}"
        )
    rows, columns = (1, grid[0]) if len(grid) == 1 else grid[-2:]
    cell = (1.3, 1.3 * float(np.clip(rows / columns, 0.2, 2.0)))
    sheet = Sheet(
        len(kinds),
        max(map(len, kinds.values())),
        cell,
        gap=0.12,
        notes=_mask_notes(grid),
        left=max(0.75, *(text_width(title, NORMAL) for title in titles)) + 0.15,
    )
    figure, axes = sheet.draw()
    for row, title, kind in zip(axes, titles, kinds.values(), strict=True):
        _label(row[0], title, kind)
        for place, mask in zip(row, kind, strict=False):
            _draw_mask(
                place, mask[mask.shape[0] // 2] if len(grid) == 3 else mask.reshape(rows, -1)
            )
        for unused in row[len(kind) :]:
            figure.delaxes(unused)
    return figure


def _draw_mask(axes: Axes, mask: np.ndarray) -> None:
    rows, columns = mask.shape
    axes.pcolormesh(
        ~mask,
        cmap=ListedColormap([HIDDEN, VISIBLE]),
        vmin=0,
        vmax=1,
        edgecolors="white",
        linewidth=min(1.2, 12 / max(rows, columns)),
    )
    axes.invert_yaxis()
    axes.set_frame_on(False)


def _label(axes: Axes, title: str, kind: np.ndarray) -> None:
    ratio = f"{100 * kind.mean():.3g}% hidden"
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"} | LITERAL
    axes.annotate(one_line(title), (0, 0.5), (-9, 2), va="bottom", size=NORMAL, color=INK, **place)
    axes.annotate(ratio, (0, 0.5), (-9, -2), va="top", size=SMALL, color=MUTED, **place)


def _mask_notes(grid: tuple[int, ...]) -> tuple[Note, ...]:
    text = "Light blue patches are hidden, dark gray ones stay visible."
    if len(grid) == 3:
        text += f" Shown is slice {grid[0] // 2 + 1} of {grid[0]}, along the first axis."
    return (Note(text),)


def _checked(name: str, mask: Any, grid: tuple[int, ...]) -> np.ndarray:
    mask = read_mask(f"masks[{name!r}]", mask)
    if not 1 <= len(grid) <= 3:
        raise ValueError(f"`grid` must have one to three axes. Received: grid={grid}")
    if mask.ndim != 2 or not len(mask) or mask.shape[1] != math.prod(grid):
        raise ValueError(
            f"`masks[{name!r}]` must have shape (num_masks, {math.prod(grid)}), for a grid of "
            f"{grid}. Received: shape {mask.shape}"
        )
    return mask.reshape(len(mask), *grid)
