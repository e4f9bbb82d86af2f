"""Spectrograms beside what a masked autoencoder predicts: time to the right, frequency upward.

Imports matplotlib and NumPy only.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mae_keras.arguments import check_array, check_choice, check_int, check_number
from mae_keras.figures.reconstruction import HEADINGS, STATISTICS, outline_hidden
from mae_keras.figures.sheet import (
    BLANK,
    LINE,
    MUTED,
    SMALL,
    STRIPES,
    Note,
    Sheet,
    label_time,
    read_prediction,
)

_COLORS = "magma"
_TICKS = np.outer(10.0 ** np.arange(1, 6), [1, 2, 5]).reshape(-1)
_LEAST_DISTANCE = 0.12  # between ticks, of the height of a panel


def spectrogram_figure(
    spectrograms: Any,
    patch_mask: Any,
    prediction: Any,
    *,
    patch_size: int | Sequence[int],
    seconds_per_frame: float,
    frequencies: Any,
    pasted: Any = None,
    statistics: str | None = None,
    max_rows: int = 8,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Draw each spectrogram, what the model saw of it, what it predicted, and both put together.

    What the model does not see because it is missing is blank: frames of NaN, which stand after
    the end of a recording, and the other frames of a patch that holds one.

    Args:
        spectrograms: array `(batch, frames, bands, 1)` in decibels.
        patch_mask: bool array `(batch, num_patches)`, `True` = hidden.
        prediction: array of the shape of `spectrograms`.
        patch_size: int or two ints, frames and bands.
        seconds_per_frame: float, from one frame to the next.
        frequencies: floats `(bands,)`, ascending centers of the bands in hertz.
        pasted: array of the shape of `spectrograms`; defaults to them with the prediction in
            their hidden patches.
        statistics: `"original"`, `"visible"` or `None`, as in `reconstruction_figure`.
        max_rows: int, spectrograms drawn at most, the first ones.
        title: str or `None`.
        note: str, one more sentence for the legend, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: naming the argument that does not fit.

    Example:
    >>> sound = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
    >>> mask = np.arange(32).reshape(2, 16) % 4 > 0
    >>> settings = {"seconds_per_frame": 0.01, "frequencies": np.linspace(100, 4000, 8)}
    >>> len(spectrogram_figure(sound, mask, sound, patch_size=2, **settings).axes)
    8
    """
    check_choice("statistics", statistics, STATISTICS)
    max_rows = check_int("max_rows", max_rows, 1)
    check_number("seconds_per_frame", seconds_per_frame, 0, above=True)
    axes = ("batch", "frames", "bands", 1)
    original, hidden, prediction, pasted = read_prediction(
        "spectrograms", spectrograms, axes, patch_mask, prediction, patch_size, pasted
    )
    absent = _touched(np.isnan(original), patch_size)
    panels = [original, prediction, pasted, hidden, absent]
    # Upright: bands are rows.
    panels = [np.swapaxes(panel[:max_rows, ..., 0], 1, 2) for panel in panels]
    hidden, absent = panels[3] & ~panels[4], panels[4]
    low, high = _range(panels[0])
    notes = _notes(hidden, absent, (low, high), statistics)
    notes += () if note is None else (Note(note),)
    sheet = Sheet(
        len(hidden),
        4,
        (2.3, 1.2),
        headings=HEADINGS,
        title=title,
        notes=notes,
        left=0.45,
        below=0.36,
    )
    figure, rows = sheet.draw()
    colored = [_colors(panel, low, high) for panel in panels[:3]]
    for number, row in enumerate(rows):
        _fill(row, [picture[number] for picture in colored], hidden[number], absent[number])
        _dress(row, seconds_per_frame, frequencies, hidden.shape[1:], number == len(rows) - 1)
    outline_hidden(rows, hidden[..., np.newaxis])
    return figure


def _fill(row: list[Axes], pictures: list[np.ndarray], hidden: np.ndarray, absent: np.ndarray):
    original, predicted, composite = pictures
    white = np.ones(4)
    visible = np.where(absent[..., None], white, original)
    visible[..., 3] = ~hidden  # the stripes behind them show
    predicted = np.where(absent[..., None], white, predicted)
    predicted[..., 3] = hidden | absent
    composite = np.where(absent[..., None], white, composite)
    row[1].patch.set(**STRIPES)
    row[2].patch.set(facecolor=BLANK)
    for axes, picture in zip(row, (original, visible, predicted, composite), strict=True):
        axes.imshow(picture, origin="lower", aspect="auto", interpolation="nearest")


def _dress(
    row: list[Axes], seconds: float, frequencies: Any, shape: tuple[int, int], last: bool
) -> None:
    """Seconds below the last row, hertz left of the first column."""
    bands, frames = shape
    frequencies = check_array("frequencies", frequencies, 1, finite=True).astype("float64")
    if len(frequencies) != bands or not (np.diff(frequencies) > 0).all():
        raise ValueError(
            f"`frequencies` must be {bands} ascending numbers, one for each band. Received: "
            f"{len(frequencies)}"
        )
    known = _TICKS[(_TICKS >= frequencies[0]) & (_TICKS <= frequencies[-1])]
    places = np.interp(known, frequencies, np.arange(bands))
    kept: list[int] = []
    for number, place in enumerate(places):
        if not kept or place - places[kept[-1]] >= _LEAST_DISTANCE * bands:
            kept.append(number)
    look = {"labelsize": SMALL, "colors": MUTED, "length": 2.5, "color": LINE, "pad": 2}
    row[0].set_yticks(places[kept], [f"{known[number]:,.0f}" for number in kept])
    row[0].set_ylabel("Hz", size=SMALL, color=MUTED, labelpad=2)
    row[0].tick_params(axis="y", **look)
    if not last:
        return
    label_time(row, frames, seconds, "seconds", start=-0.5)


def _touched(missing: np.ndarray, patch_size: int | Sequence[int]) -> np.ndarray:
    """The values of patches that hold a missing one."""
    batch, *spatial, channels = missing.shape
    sizes = np.broadcast_to(np.asarray(patch_size), len(spatial))
    for axis, size in enumerate(sizes, start=1):
        shape = missing.shape
        split = missing.reshape(*shape[:axis], shape[axis] // size, size, *shape[axis + 1 :])
        missing = split.any(axis=axis + 1).repeat(size, axis=axis)
    return missing


def _range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _colors(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Colors of decibels, `(batch, bands, frames, 4)`; NaN is transparent."""
    scaled = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    colors = matplotlib.colormaps[_COLORS](np.nan_to_num(scaled))
    colors[..., 3] = np.isfinite(values)
    return colors


def _notes(
    hidden: np.ndarray, absent: np.ndarray, decibels: tuple[float, float], statistics: str | None
) -> tuple[Note, ...]:
    present = np.maximum((~absent).sum(axis=(1, 2)), 1)
    ratios = hidden.sum(axis=(1, 2)) / present
    low, high = (f"{100 * ratio:.3g}" for ratio in (ratios.min(), ratios.max()))
    ratio = f"{low}%" if low == high else f"{low} to {high}%"
    ratio += " of those that are not missing" if absent.any() else ""
    notes = [
        Note(
            f"Hidden patches ({ratio}) are light blue. Composite: visible patches kept, hidden "
            "ones predicted. Gray in the prediction: what the model saw.",
            "hidden",
        ),
        Note(f"Dark to light: {decibels[0]:.0f} to {decibels[1]:.0f} dB in a mel band."),
    ]
    if absent.any():
        notes.append(Note("White: after the end of a recording (missing), in whole patches."))
    if statistics is not None:
        notes.append(Note(STATISTICS[statistics]))
    return tuple(notes)
