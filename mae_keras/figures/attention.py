"""Where an encoder looks: attention laid over images. Imports matplotlib and NumPy only."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mae_keras.arguments import check_array, check_int, check_ints
from mae_keras.figures.inputs import check_value_range, read_images
from mae_keras.figures.sheet import (
    BLUE,
    MUTED,
    SMALL,
    Note,
    Sheet,
    channel_note,
    in_lanes,
    middle_slice,
    to_pictures,
)

_HEAT = "#e0331b"
# Black and white of a picture where nothing, and where most is attended to. Black stays darker
# than white under any weight, so that the picture shows through.
_COLD, _HOT = ("#3a3f45", "#ffffff"), ("#7a1205", "#ff8f70")
_LEAST_FULL = 2.0  # times even attention: less is never full red, or noise would look like a find
_CAPTION = 0.17  # inches below each picture


def attention_figure(
    images: Any,
    attention: Any,
    grid: Sequence[int],
    *,
    value_range: tuple[float, float] = (0, 255),
    max_rows: int = 4,
    max_heads: int = 6,
    title: str | None = None,
) -> Figure:
    """Draw images, and over each of them the attention of all heads together and of each head.

    The redder a patch, the more it is attended to: gray is none, full red the largest weight of
    the picture, at least twice even attention. The largest weight is written below the picture as
    a multiple of even attention. The image shows through in light and dark.

    Args:
        images: array `(batch, *spatial, channels)` with one to three spatial axes. Of volumes the
            middle slice is drawn, signals are drawn as lines.
        attention: float array `(batch, num_heads, num_patches)` of weights, none negative, such as
            `mae_keras.models.attention_maps` gives.
        grid: ints, patches per axis; must divide the images.
        value_range: two floats, pixel values that mean black and white.
        max_rows: int, images drawn at most, the first ones.
        max_heads: int, heads drawn at most, the first ones. The mean is of all heads.
        title: str or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: naming the argument that does not fit.

    Example:
    >>> attention = np.full((1, 2, 16), 1 / 16)
    >>> figure = attention_figure(np.zeros((1, 8, 8, 1), "uint8"), attention, (4, 4))
    >>> len(figure.axes)
    4
    """
    images = read_images("images", images)
    attention = check_array("attention", attention, empty=True).astype("float64")
    grid = check_ints("grid", grid, 1)
    check_value_range(value_range)
    max_rows, max_heads = check_int("max_rows", max_rows, 1), check_int("max_heads", max_heads, 1)
    _check(images, attention, grid)
    images, attention = images[:max_rows], attention[:max_rows]
    num_heads = attention.shape[1]
    heat = np.concatenate([attention.mean(axis=1, keepdims=True), attention[:, :max_heads]], axis=1)
    heat = _middle(heat.reshape(*heat.shape[:2], *grid)) * math.prod(grid)
    sample = "Signal" if images.ndim == 3 else "Image"
    headings = (sample, "Mean of heads", *(f"Head {n + 1}" for n in range(heat.shape[1] - 1)))
    headings = headings if num_heads > 1 else (sample, "Attention")
    heat = heat if num_heads > 1 else heat[:, :1]
    shape = middle_slice(images).shape[1:3]
    ratio = 0.5 if images.ndim == 3 else float(np.clip(shape[0] / shape[1], 0.3, 2.0))
    width = 1.8 if images.ndim == 3 else 1.2
    sheet = Sheet(
        len(images),
        len(headings),
        (width, width * ratio + _CAPTION),
        headings=headings,
        title=title,
        notes=_notes(images, grid, num_heads, max_heads),
    )
    figure, rows = sheet.draw()
    for row, image, maps in zip(rows, middle_slice(images), heat, strict=True):
        _draw_row(row, image, maps, value_range, ratio)
    return figure


def _draw_row(
    row: list[Axes],
    image: np.ndarray,
    maps: np.ndarray,
    value_range: tuple[float, float],
    ratio: float,
) -> None:
    for axes in row:
        axes.set_box_aspect(ratio)
        axes.set_anchor("N")  # the caption stands below, within the cell
    if image.ndim == 2:
        image = in_lanes([image])[0] if image.shape[-1] > 1 else image
        for axes, weights in zip(row, [None, *maps], strict=True):
            _draw_signal(axes, image, weights)
    else:
        picture = to_pictures(image[None], value_range)[0]
        row[0].imshow(picture, interpolation="nearest", aspect="auto")
        for axes, weights in zip(row[1:], maps, strict=True):
            tinted = _tinted(picture.mean(axis=-1, keepdims=True), weights)
            tinted = np.where(np.isnan(image).any(axis=-1, keepdims=True), picture, tinted)
            axes.imshow(tinted, interpolation="nearest", aspect="auto")
    for axes, weights in zip(row[1:], maps, strict=True):
        look = {"xycoords": "axes fraction", "textcoords": "offset points", "size": SMALL}
        text = f"up to {weights.max():.1f}×"
        axes.annotate(text, (0.5, 0), (0, -2), ha="center", va="top", color=MUTED, **look)


def _tinted(gray: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A picture in shades that go from gray to red with the weight of the patch."""
    rows, columns = gray.shape[0] // weights.shape[0], gray.shape[1] // weights.shape[1]
    share = _relative(weights).repeat(rows, axis=0).repeat(columns, axis=1)[..., None]
    cold, hot = (
        np.array(to_rgb(black)) * (1 - gray) + np.array(to_rgb(white)) * gray
        for black, white in (_COLD, _HOT)
    )
    return cold * (1 - share) + hot * share


def _draw_signal(axes: Axes, signal: np.ndarray, weights: np.ndarray | None) -> None:
    length = len(signal)
    axes.set_xlim(-0.5, length - 0.5)
    if weights is not None:
        span = length / len(weights)
        for number, share in enumerate(_relative(weights)):
            start = number * span - 0.5
            axes.axvspan(start, start + span, color=_HEAT, alpha=0.85 * share, linewidth=0)
    color = BLUE if weights is None else "#22303c"
    axes.plot(signal, color=color, linewidth=0.9)


def _relative(weights: np.ndarray) -> np.ndarray:
    return weights / max(weights.max(), _LEAST_FULL)


def _check(
    images: np.ndarray,
    attention: np.ndarray,
    grid: tuple[int, ...],
) -> None:
    spatial = images.shape[1:-1]
    if len(grid) != len(spatial) or any(size % n for size, n in zip(spatial, grid, strict=True)):
        raise ValueError(
            f"`grid` must have a number of patches for each of the axes {spatial} that divides "
            f"it. Received: grid={grid}"
        )
    expected = (len(images), math.prod(grid))
    if attention.ndim != 3 or attention.shape[::2] != expected or not attention.shape[1]:
        raise ValueError(
            f"`attention` must have shape ({expected[0]}, num_heads, {expected[1]}), for "
            f"{expected[0]} images of {grid} patches. Received: attention.shape={attention.shape}"
        )
    if not np.isfinite(attention).all() or (attention < 0).any():
        raise ValueError("`attention` must be finite and not negative. Received: other weights")


def _middle(heat: np.ndarray) -> np.ndarray:
    """The patches of the slice that `middle_slice` shows of a volume; others as they are."""
    return heat[:, :, heat.shape[2] // 2] if heat.ndim == 5 else heat


def _notes(
    images: np.ndarray, grid: tuple[int, ...], num_heads: int, max_heads: int
) -> tuple[Note, ...]:
    texts = [
        "Red: attended to; full red: the largest weight, at least 2×. Below: the largest weight, "
        f"1× being even attention, 1/{math.prod(grid)} for each patch."
    ]
    if num_heads > max_heads:
        texts.append(f"Shown are {max_heads} of {num_heads} heads; the mean is of all.")
    if images.ndim == 5:
        depth = images.shape[1]
        texts.append(f"Shown is slice {depth // 2 + 1} of {depth}, along the first axis.")
    if images.ndim > 3 and channel_note(images.shape[-1]):
        texts.append(channel_note(images.shape[-1]))
    notes = tuple(map(Note, texts))
    missing = images.ndim > 3 and np.isnan(images).any()
    return (*notes, Note("Missing data (NaN).", "missing")) if missing else notes
