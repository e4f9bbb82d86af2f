"""Clips beside what a masked autoencoder predicts: strips of frames, and animations.

Imports matplotlib and NumPy; Pillow (it comes with matplotlib) when an animation is written.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mae_keras.arguments import check_array, check_choice, check_int, check_number
from mae_keras.figures.inputs import check_value_range
from mae_keras.figures.reconstruction import STATISTICS, outline_hidden
from mae_keras.figures.sheet import (
    HIDDEN,
    INK,
    LITERAL,
    NORMAL,
    STRIPES,
    Note,
    Sheet,
    channel_note,
    read_prediction,
    to_pictures,
)
from mae_keras.files import replacing

ROWS = ("Seen", "Predicted", "True")
_LEAST_PIXELS, _GAP = 96, 6
_LONGEST_FRAME = 10.0  # seconds


def video_figure(
    clips: Any,
    patch_mask: Any,
    prediction: Any,
    *,
    patch_size: int | Sequence[int],
    pasted: Any = None,
    value_range: tuple[float, float] = (0, 255),
    seconds_per_frame: float | None = None,
    statistics: str | None = None,
    max_rows: int = 4,
    max_frames: int = 8,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Draw frames of each clip in three strips: what the model saw, what it predicted, the truth.

    In the prediction visible pixels are kept. Missing (NaN) frames have a color of their own.

    Args:
        clips: array `(batch, frames, height, width, channels)`.
        patch_mask: bool array `(batch, num_patches)`, `True` = hidden.
        prediction: array of the shape of `clips`, in the same range.
        patch_size: int or three ints: frames, and pixels of height and width.
        pasted: array of the shape of `clips`; defaults to them with the prediction in their hidden
            patches.
        value_range: two floats, pixel values that mean black and white.
        seconds_per_frame: float, from one frame to the next; `None`: frames are counted.
        statistics: `"original"`, `"visible"` or `None`, as in `reconstruction_figure`.
        max_rows: int, clips drawn at most, the first ones.
        max_frames: int, frames drawn at most, evenly spaced.
        title: str or `None`.
        note: str, one more sentence for the legend, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: naming the argument that does not fit.

    Example:
    >>> clips = np.zeros((2, 4, 8, 8, 1), "uint8")
    >>> mask = np.tile(np.arange(4) > 0, (2, 2))
    >>> figure = video_figure(clips, mask, clips, patch_size=(2, 4, 4))
    >>> len(figure.axes)
    24
    """
    check_choice("statistics", statistics, STATISTICS)
    max_rows = check_int("max_rows", max_rows, 1)
    max_frames = check_int("max_frames", max_frames, 1)
    check_number("seconds_per_frame", seconds_per_frame, 0, above=True, optional=True)
    original, hidden, pasted = _read(clips, patch_mask, prediction, patch_size, pasted, value_range)
    original, hidden, pasted = (panel[:max_rows] for panel in (original, hidden, pasted))
    num_clips, num_frames, height, width, channels = original.shape
    chosen = np.unique(np.linspace(0, num_frames - 1, min(max_frames, num_frames)).round())
    chosen = chosen.astype(int)
    sheet = Sheet(
        len(ROWS) * num_clips,
        len(chosen),
        (0.95, 0.95 * float(np.clip(height / width, 0.3, 2.0))),
        gap=0.05,
        headings=tuple(_heading(frame, seconds_per_frame) for frame in chosen),
        title=title,
        notes=_notes(original, hidden, chosen, statistics, note),
        left=0.75,
        group=len(ROWS),
    )
    figure, rows = sheet.draw()
    masks = hidden.all(axis=-1)
    for number, row in enumerate(rows):
        clip, kind = divmod(number, len(ROWS))
        panel = pasted if ROWS[kind] == "Predicted" else original
        pictures = to_pictures(panel[clip, chosen], value_range)
        if ROWS[kind] == "Seen":  # the stripes behind them show
            pictures = np.concatenate([pictures, ~masks[clip, chosen][..., None]], axis=-1)
        for axes, picture in zip(row, pictures, strict=True):
            axes.patch.set(**STRIPES) if ROWS[kind] == "Seen" else None
            axes.imshow(picture, interpolation="nearest")
        place = {"xycoords": "axes fraction", "textcoords": "offset points"} | LITERAL
        row[0].annotate(
            ROWS[kind], (0, 0.5), (-6, 0), ha="right", va="center", size=NORMAL, color=INK, **place
        )
    for clip in range(num_clips):
        frames = hidden[clip, chosen].all(axis=-1)[..., None]
        outline_hidden([[None, None, axes] for axes in rows[len(ROWS) * clip + 1]], frames)
    return figure


def _heading(frame: int, seconds: float | None) -> str:
    return f"frame {frame + 1}" if seconds is None else f"{frame * seconds:.2f} s"


def _notes(
    original: np.ndarray,
    hidden: np.ndarray,
    chosen: np.ndarray,
    statistics: str | None,
    note: str | None,
) -> tuple[Note, ...]:
    ratios = hidden.reshape(len(hidden), -1).mean(axis=1)
    low, high = (f"{100 * ratio:.3g}" for ratio in (ratios.min(), ratios.max()))
    ratio = f"{low}%" if low == high else f"{low} to {high}%"
    notes = [
        Note(
            f"Hidden patches ({ratio}) are light blue. Predicted: visible patches kept, hidden "
            "ones predicted (outlined).",
            "hidden",
        )
    ]
    if np.isnan(original[:, chosen]).any():
        notes.append(Note("Missing: after the end of a video.", "missing"))
    if len(chosen) < original.shape[1]:
        notes.append(Note(f"Shown are {len(chosen)} of {original.shape[1]} frames."))
    if channel_note(original.shape[-1]):
        notes.append(Note(channel_note(original.shape[-1])))
    notes += [Note(text) for text in (STATISTICS[statistics], note) if text]
    return tuple(notes)


def video_frames(
    clips: Any,
    patch_mask: Any,
    prediction: Any,
    *,
    patch_size: int | Sequence[int],
    pasted: Any = None,
    value_range: tuple[float, float] = (0, 255),
    max_rows: int = 4,
) -> np.ndarray:
    """The pictures of an animation: what a model saw of clips, what it predicted, and the truth.

    Args:
        clips: array `(batch, frames, height, width, channels)`.
        patch_mask: as for `video_figure`.
        prediction: array of the shape of `clips`, in the same range.
        patch_size: as for `video_figure`.
        pasted: as for `video_figure`.
        value_range: two floats, pixel values that mean black and white.
        max_rows: int, clips drawn at most, the first ones, one below the other.

    Returns:
        uint8 array `(frames, rows, columns, 3)`.

    Raises:
        ValueError: naming the argument that does not fit.

    Example:
    >>> clips = np.zeros((2, 4, 8, 8, 1), "uint8")
    >>> mask = np.tile(np.arange(4) > 0, (2, 2))
    >>> video_frames(clips, mask, clips, patch_size=(2, 4, 4)).shape
    (4, 210, 312, 3)
    """
    max_rows = check_int("max_rows", max_rows, 1)
    original, hidden, pasted = _read(clips, patch_mask, prediction, patch_size, pasted, value_range)
    original, hidden, pasted = (panel[:max_rows] for panel in (original, hidden, pasted))
    masks = hidden.all(axis=-1, keepdims=True)
    panels = [
        to_pictures(panel.reshape(-1, *panel.shape[2:]), value_range)
        for panel in (original, pasted)
    ]
    panels = [panel.reshape(*original.shape[:-1], 3) for panel in panels]
    seen = np.where(masks, np.array(to_rgb(HIDDEN)), panels[0])
    # (clips, panels, frames, height, width, 3)
    cells = np.stack([seen, panels[1], panels[0]], axis=1)
    enlarged = -(-_LEAST_PIXELS // min(cells.shape[3:5]))
    cells = cells.repeat(enlarged, axis=3).repeat(enlarged, axis=4)
    gaps = [(0, 0), (0, 0), (0, 0), (_GAP, 0), (_GAP, 0), (0, 0)]
    cells = np.pad(cells, gaps, constant_values=1.0)
    rows = [np.concatenate(list(clip), axis=2) for clip in cells]
    sheet = np.pad(np.concatenate(rows, axis=1), [(0, 0), (0, _GAP), (0, _GAP), (0, 0)],
                   constant_values=1.0)  # fmt: skip
    return np.round(255 * sheet).astype("uint8")


def save_animation(
    frames: Any, path: str | os.PathLike[str], seconds_per_frame: float = 0.1
) -> None:
    """Write frames as an animated GIF that repeats, so that a crash never costs an earlier one.

    Args:
        frames: uint8 array `(frames, rows, columns, 3)`, such as `video_frames` makes.
        path: file to write or replace, which ends in `.gif`; parents are created.
        seconds_per_frame: float, how long a frame is shown; GIF counts hundredths of a second.

    Raises:
        ValueError: if `path` does not end in `.gif`, or `frames` are not such an array.

    Example:
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "clip.gif"
    >>> save_animation(np.zeros((3, 8, 8, 3), "uint8"), path)
    >>> path.exists()
    True
    """
    from PIL import Image

    path = pathlib.Path(path).expanduser()
    if path.suffix.lower() != ".gif" or path.is_dir():
        raise ValueError(f"`path` must end in .gif. Received: path={str(path)!r}")
    frames = check_array("frames", frames, kinds="ui")
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            "`frames` must be uint8 of shape (frames, rows, columns, 3). Received: "
            f"frames.shape={frames.shape}, dtype {frames.dtype}"
        )
    check_number("seconds_per_frame", seconds_per_frame, 0, _LONGEST_FRAME, above=True)
    # Browsers slow down what is faster than 50 frames a second.
    duration = max(20, 10 * round(100 * seconds_per_frame))
    first, *others = (Image.fromarray(frame) for frame in frames)
    with replacing(path) as aside:
        first.save(
            aside, format="GIF", save_all=True, append_images=others, duration=duration, loop=0
        )


def _read(
    clips: Any,
    patch_mask: Any,
    prediction: Any,
    patch_size: int | Sequence[int],
    pasted: Any,
    value_range: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips, which of their values are hidden, and clips with the predictions in these."""
    check_value_range(value_range)
    axes = ("batch", "frames", "height", "width", "channels")
    original, hidden, _, pasted = read_prediction(
        "clips", clips, axes, patch_mask, prediction, patch_size, pasted
    )
    return original, hidden, pasted
