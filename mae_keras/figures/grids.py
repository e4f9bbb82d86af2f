"""Named rows of images, and matrices of numbers. Imports matplotlib and NumPy only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure

from mae_keras.arguments import check_array
from mae_keras.figures.inputs import (
    check_mapping,
    check_names,
    check_value_range,
    read_images,
    read_mask,
)
from mae_keras.figures.sheet import (
    BLANK,
    INK,
    LITERAL,
    MUTED,
    NORMAL,
    ORANGE,
    SMALL,
    STRIPES,
    Note,
    Sheet,
    hidden_values,
    one_line,
    text_width,
    to_pictures,
)
from mae_keras.figures.style import MARGIN, framed_page, widest

_WIDTH = 7.4  # inches that a row of images fills at most, as below
_LARGEST, _SMALLEST = 1.15, 0.62
_PLAIN = {"facecolor": STRIPES["facecolor"]}
_MOST_NUMBERS = 150  # cells of a matrix: with more, numbers would not be legible


def image_grid(
    rows: Mapping[str, Any],
    *,
    hidden: Mapping[str, Any] | None = None,
    blank: Mapping[str, Any] | None = None,
    patch_size: int | Sequence[int] = 1,
    outlines: bool = False,
    maps: Sequence[str] = (),
    titles: Sequence[str] = (),
    value_range: tuple[float, float] = (0, 255),
    title: str | None = None,
) -> Figure:
    """Draw rows of images under each other, each with its name.

    What is hidden is striped, as in `reconstruction_figure`. One channel is gray, three are
    colors. Maps are drawn from white (0) to dark orange (the largest value of the row).

    Args:
        rows: name to images `(num_images, height, width, channels)`; rows may differ in length.
        hidden: name of a row to what is hidden in it, `True` = hidden: a patch mask
            `(num_images, num_patches)`, or a mask of pixels, `(num_images, height, width)`.
        blank: likewise, what is not drawn, such as predictions at visible places.
        patch_size: int or two ints, pixels, for patch masks and outlines.
        outlines: bool, draw the edges of patches.
        maps: names of rows that hold values of 0 or more, not gray levels.
        titles: str for each column, or none.
        value_range: two floats, pixel values that mean black and white.
        title: str or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no rows, or images, masks and names do not fit each other.

    Example:
    >>> images = np.zeros((3, 8, 8, 1), "uint8")
    >>> mask = np.arange(48).reshape(3, 16) % 4 > 0
    >>> figure = image_grid({"original": images, "masked": images}, hidden={"masked": mask},
    ...                     patch_size=2)
    >>> len(figure.axes)
    6
    """
    check_value_range(value_range)
    check_names("titles", titles)
    check_names("maps", maps)
    images = {
        name: _read_row(name, row) for name, row in check_mapping("rows", rows, "row").items()
    }
    for argument, names in (("hidden", hidden or {}), ("blank", blank or {}), ("maps", maps)):
        unknown = [name for name in names if name not in images]
        if unknown:
            raise ValueError(
                f"`{argument}` must name rows, which are {list(images)}. Received: {unknown}"
            )
    covered, left_out = (
        {
            name: _pixels(name, mask, images[name], patch_size)
            for name, mask in (masks or {}).items()
        }
        for masks in (hidden, blank)
    )
    # Between single pixels stripes would be a mess.
    fine = {name for name, mask in (hidden or {}).items() if np.ndim(mask) == 2 and patch_size == 1}
    columns = max(map(len, images.values()))
    left = max(text_width(name, NORMAL) for name in images) + 0.12
    side = float(np.clip((_WIDTH - left) / columns, _SMALLEST, _LARGEST))
    height, width = next(iter(images.values())).shape[1:3]
    cell = (side, side * float(np.clip(height / width, 0.3, 2.0)))
    headings = tuple(map(str, titles)) + ("",) * (columns - len(titles)) if titles else ()
    notes = (Note("Hidden.", "hidden"),) if covered else ()
    sheet = Sheet(
        len(images), columns, cell, gap=0.05, headings=headings, title=title, notes=notes, left=left
    )
    figure, grid = sheet.draw()
    for axes, (name, row) in zip(grid, images.items(), strict=True):
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"}
        look = {"va": "center", "size": NORMAL, "color": INK} | LITERAL
        axes[0].annotate(one_line(name), (0, 0.5), (-6, 0), **place, **look)
        if name in maps:
            pictures = _as_map(row)
        else:
            pictures = to_pictures(row, value_range)
        if name in left_out:
            pictures = np.where(left_out[name][..., None], np.array(to_rgb(BLANK)), pictures)
        if name in covered:
            pictures = np.concatenate([pictures, ~covered[name][..., None]], axis=-1)
        for image, place_ in zip(pictures, axes, strict=False):
            if name in covered:
                place_.patch.set(**(_PLAIN if name in fine else STRIPES))
            place_.imshow(image, interpolation="nearest")
            if outlines:
                _draw_outlines(place_, image.shape[:2], patch_size)
        for unused in axes[len(row) :]:
            figure.delaxes(unused)
    return figure


def _read_row(name: str, row: Any) -> np.ndarray:
    images = read_images(f"rows[{name!r}]", row)
    if images.ndim != 4:
        raise ValueError(
            f"`rows[{name!r}]` must have shape (num_images, height, width, channels). "
            f"Received: shape {images.shape}"
        )
    return images


def _pixels(
    name: str, mask: Any, images: np.ndarray, patch_size: int | Sequence[int]
) -> np.ndarray:
    """A mask of patches or of pixels as one of pixels `(num_images, height, width)`."""
    mask = read_mask(f"hidden[{name!r}]", mask)
    if mask.shape[:3] == images.shape[:3] and mask.ndim in (3, 4):
        return mask.reshape(*mask.shape[:3], -1).all(axis=-1)
    if mask.ndim != 2:
        raise ValueError(
            f"`hidden[{name!r}]` must be a mask of patches (num_images, num_patches), or of "
            f"pixels {images.shape[:3]}. Received: shape {mask.shape}"
        )
    return hidden_values(mask, images.shape, patch_size).all(axis=-1)


def _as_map(values: np.ndarray) -> np.ndarray:
    values = values.mean(axis=-1)
    largest = float(np.nanmax(values)) or 1.0
    return colormaps["Oranges"](values / largest)[..., :3]


def _draw_outlines(axes: Axes, shape: tuple[int, int], patch_size: int | Sequence[int]) -> None:
    rows, columns = np.broadcast_to(patch_size, 2)
    look = {"color": ORANGE, "linewidth": 0.8}
    for y in range(int(rows), shape[0], int(rows)):
        axes.axhline(y - 0.5, **look)
    for x in range(int(columns), shape[1], int(columns)):
        axes.axvline(x - 0.5, **look)


def matrix_figure(
    values: Any,
    *,
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    bold: Any = None,
    title: str | None = None,
) -> Figure:
    """Draw a matrix in shades, with its numbers where they can be read.

    Values of both signs go from red (negative) over white to blue (positive), others from white
    to orange.

    Args:
        values: array `(rows, columns)` of finite numbers.
        row_names: str for each row; by default their numbers, where there are few.
        column_names: str for each column, likewise.
        xlabel: str below the columns, or `None`.
        ylabel: str beside the rows, or `None`.
        bold: bool array of the shape of `values`, numbers to emphasize, or `None`.
        title: str or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if `values` is no matrix, or names and `bold` do not fit it.

    Example:
    >>> figure = matrix_figure([[0.1, 0.2], [0.3, 0.4]], row_names=["a", "b"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.10', '0.20', '0.30', '0.40']
    """
    array = check_array("values", values, 2, finite=True).astype("float64")
    if bold is not None:
        bold = read_mask("bold", bold)
        if bold.shape != array.shape:
            raise ValueError(
                f"`bold` must have the shape of `values`, {array.shape}. Received: {bold.shape}"
            )
    rows = _names("row_names", row_names, len(array))
    columns = _names("column_names", column_names, array.shape[1])
    numbers = array.size <= _MOST_NUMBERS
    left = MARGIN + 0.1 + widest([text for text in rows if text], SMALL) + 0.22 * bool(ylabel)
    wide = widest([text for text in columns if text], SMALL) + 0.1
    cell_width = max(0.45, wide) if numbers else (_WIDTH - left - 0.9) / array.shape[1]
    cell_height = 0.4 if numbers else max(0.11, min(0.3, 2.6 / len(array)))
    size = cell_width * array.shape[1], cell_height * len(array)
    right = MARGIN if numbers else 0.75
    below = 0.22 + 0.22 * bool(xlabel)
    page, top = framed_page(left + size[0] + right, size[1] + below, title=title)
    axes = page.axes(left, top, *size)
    largest = float(np.abs(array).max()) or 1.0
    colors, low = ("RdBu", -largest) if array.min() < 0 else ("Oranges", 0.0)
    norm = Normalize(low, largest)
    picture = axes.imshow(array, cmap=colors, norm=norm, aspect="auto", interpolation="nearest")
    axes.set_xticks([n for n, name in enumerate(columns) if name], [t for t in columns if t])
    axes.set_yticks([n for n, name in enumerate(rows) if name], [t for t in rows if t])
    axes.tick_params(labelsize=SMALL, colors=MUTED, length=0)
    if xlabel:
        axes.set_xlabel(xlabel, size=NORMAL, color=INK)
    if ylabel:
        page.text(MARGIN + 0.06, top + size[1] / 2, ylabel, ha="center", rotation=90)
    if numbers:
        _write_matrix(axes, array, norm, bold)
    else:
        bar = page.axes(left + size[0] + 0.12, top, 0.13, size[1])
        page.figure.colorbar(picture, cax=bar)
        bar.tick_params(labelsize=SMALL, colors=MUTED, length=2)
    return page.figure


def _names(argument: str, names: Sequence[str] | None, count: int) -> list[str]:
    """Names of rows or columns; of many, round numbers only, the rest empty."""
    if names is None:
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 10**9) if count <= 16 * step)
        return [str(number) if number % step == 0 else "" for number in range(count)]
    check_names(argument, names)
    if len(names) != count:
        raise ValueError(f"`{argument}` must have {count} names. Received: {len(names)}")
    return [one_line(str(name)) for name in names]


def _write_matrix(axes: Axes, array: np.ndarray, norm: Normalize, bold: np.ndarray | None) -> None:
    for (row, column), value in np.ndenumerate(array):
        strong = norm(value) > 0.65 if norm.vmin == 0 else abs(norm(value) - 0.5) > 0.35
        weight = "bold" if bold is not None and bold[row, column] else "normal"
        look = {"size": SMALL, "ha": "center", "va": "center", "weight": weight}
        axes.text(column, row, f"{value:.2f}", color="white" if strong else INK, **look)
