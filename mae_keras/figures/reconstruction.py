"""Originals beside what a masked autoencoder predicts. Imports matplotlib and NumPy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from mae_keras.arguments import check_choice, check_int
from mae_keras.figures.inputs import check_value_range, read_images
from mae_keras.figures.pixels import (
    channel_note,
    hidden_values,
    middle_slice,
    to_pictures,
)
from mae_keras.figures.sheet import BLUE, STRIPES, Note, Sheet
from mae_keras.figures.signals import draw_signals

_HEADINGS = ("Original", "Masked", "Prediction", "Composite")
_FADE = 0.93  # how far predictions at visible places go towards white
_STATISTICS = {
    None: None,
    "original": "Targets were standardised. Patch mean and variance are taken from the original "
    "image: the brightness of hidden patches is given away.",
    "visible": "Targets were standardised. Patch mean and variance of hidden patches are "
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
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Draw original, masked, predicted and composite images, a row for each image.

    Predictions at visible places are faded: they are not what the model is asked for. The
    composite keeps visible pixels and takes hidden ones from the prediction.

    Signals are drawn as lines, volumes by their middle slice. One channel is shown in grey, three
    in colour; the legend says what is shown of other counts, and all else needed to read the
    picture. Missing (NaN) pixels have a colour of their own.

    Args:
        images: array `(batch, *spatial, channels)` with one to three spatial axes.
        patch_mask: bool array `(batch, num_patches)`, `True` = hidden.
        prediction: array of the shape of `images`, in the same range.
        patch_size: int or one int per spatial axis, in pixels.
        pasted: array of the shape of `images`; defaults to the images with the prediction in
            their hidden patches.
        value_range: two floats, pixel values that mean black and white.
        statistics: `"original"` or `"visible"`, whose mean and variance made pixels of
            standardised predictions; `None` if the model predicts pixels.
        max_rows: int, images drawn at most, the first ones.
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
    check_choice("statistics", statistics, _STATISTICS)
    max_rows = check_int("max_rows", max_rows, 1)
    images = read_images("images", images)
    prediction = read_images("prediction", prediction, images.shape)
    hidden = hidden_values(patch_mask, images.shape, patch_size)
    if pasted is None:
        pasted = np.where(hidden, prediction, images)
    panels = [images, images, prediction, read_images("pasted", pasted, images.shape)]
    panels = [middle_slice(panel[:max_rows]) for panel in panels]
    shown = middle_slice(hidden[:max_rows])
    notes = _notes(images[:max_rows], panels, hidden[:max_rows], statistics)
    notes += () if note is None else (Note(note),)
    signals = images.ndim == 3
    cell = (2.3, 1.1) if signals else _cell(panels[0].shape[1:3])
    sheet = Sheet(len(shown), 4, cell, headings=_HEADINGS, title=title, notes=notes)
    figure, rows = sheet.draw()
    if signals:
        _fill_with_lines(rows, panels, shown)
    else:
        _fill_with_pictures(rows, panels, shown, value_range)
        if np.max(patch_size) > 1:  # around single pixels there would be nothing but lines
            _outline(rows, shown)
    return figure


def _fill_with_pictures(
    rows: list, panels: list[np.ndarray], hidden: np.ndarray, value_range: tuple[float, float]
) -> None:
    # Hidden single values of otherwise visible pixels are shown halfway between black and white.
    masked = np.where(hidden, sum(value_range) / 2, panels[1])
    pictures = [to_pictures(panel, value_range) for panel in (panels[0], masked, *panels[2:])]
    # Pixels hidden altogether are transparent: the stripes behind them show.
    visible = ~hidden.all(axis=-1, keepdims=True)
    pictures[1] = np.concatenate([pictures[1], visible], axis=-1)
    pictures[2] = np.where(hidden.any(axis=-1, keepdims=True), pictures[2], _faded(pictures[2]))
    for number, row in enumerate(rows):
        row[1].patch.set(**STRIPES)
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture[number], interpolation="nearest")


def _outline(rows: list, hidden: np.ndarray) -> None:
    """Draw the edges between hidden and visible places on the predictions."""
    for row, mask in zip(rows, hidden.all(axis=-1), strict=True):
        y, x = np.nonzero(mask[:, 1:] != mask[:, :-1])
        upright = np.stack([x + 0.5, y - 0.5, x + 0.5, y + 0.5], axis=-1)
        y, x = np.nonzero(mask[1:] != mask[:-1])
        level = np.stack([x - 0.5, y + 0.5, x + 0.5, y + 0.5], axis=-1)
        edges = np.concatenate([upright, level]).reshape(-1, 2, 2)
        row[2].add_collection(LineCollection(edges, color=BLUE, linewidth=0.9), autolim=False)


def _faded(pictures: np.ndarray) -> np.ndarray:
    return pictures + _FADE * (1 - pictures)


def _fill_with_lines(rows: list, panels: list[np.ndarray], hidden: np.ndarray) -> None:
    masked = np.where(hidden, np.nan, panels[1])
    for number, row in enumerate(rows):
        shown = [panel[number] for panel in (panels[0], masked, *panels[2:])]
        faded = [False, False, True, False]
        draw_signals(row, shown, hidden[number].all(axis=-1), [False, True, False, False], faded)


def _cell(shape: tuple[int, int]) -> tuple[float, float]:
    """Width and height in inches: images keep their shape, unless it is extreme."""
    return 1.4, 1.4 * float(np.clip(shape[0] / shape[1], 0.3, 2.0))


def _notes(
    images: np.ndarray, panels: list[np.ndarray], hidden: np.ndarray, statistics: str | None
) -> tuple[Note, ...]:
    notes = [Note(_hidden_note(hidden), "hidden")]
    if any(np.isnan(panel).any() for panel in panels):
        notes.append(Note("Missing data (NaN).", "missing"))
    if images.ndim == 5:
        depth = images.shape[1]
        notes.append(Note(f"Shown is slice {depth // 2 + 1} of {depth}, along the first axis."))
    if images.ndim == 3 and images.shape[-1] > 1:
        notes.append(Note("One line for each channel."))
    if images.ndim > 3 and channel_note(images.shape[-1]):
        notes.append(Note(channel_note(images.shape[-1])))
    if statistics is not None:
        notes.append(Note(_STATISTICS[statistics]))
    return tuple(notes)


def _hidden_note(hidden: np.ndarray) -> str:
    ratios = hidden.reshape(len(hidden), -1).mean(axis=1)
    low, high = (f"{100 * ratio:.3g}" for ratio in (ratios.min(), ratios.max()))
    ratio = f"{low}%" if low == high else f"{low} to {high}%"
    if (hidden == hidden[..., :1]).all():
        what, look = "patches", "are light blue"
    else:
        what, look = "values", "are at middle brightness, light blue where all channels are hidden"
    return (
        f"Hidden {what} ({ratio}) {look}. Composite: visible pixels kept, hidden {what} predicted. "
        "Faded in the prediction: what the model saw."
    )
