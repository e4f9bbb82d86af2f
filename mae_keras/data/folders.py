"""Data sets from a folder of image files, which stay on disk; one image as a model takes it."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.arguments import check_choice
from mae_keras.data.division import Division
from mae_keras.data.file_tree import (
    IMAGES,
    counted,
    labels_of,
    list_places,
    rows_of_splits,
    usable_files,
)
from mae_keras.data.image_crops import ImageCropSplit, notes_on_crops
from mae_keras.data.image_files import (
    DEEPEST,
    RESIZE,
    RESIZED,
    inspect_file,
    inspect_files,
)
from mae_keras.data.splits import FolderSplit, ImageData
from mae_keras.runtime.tf_data import stay_on_host

LARGEST_DEFAULT_SIZE = 224
_DEPTHS = (8, 10, 12, 14, 16)
_logger = logging.getLogger(__name__)


def load_folder(
    folders: Mapping[str, Path],
    *,
    division: Division,
    groups: Any = None,
    labels_from: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    labels: bool = True,
    strict: bool = False,
    resize: str = "crop",
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> ImageData:
    """Load folders of images as `ImageData`; see `mae_keras.data.load`.

    Folders named train and test or val inside a single one are its splits, but not where images
    are divided by order: versions that did so took them for classes.
    """
    name = " + ".join(str(folder) for folder in folders.values())
    earlier = division.by == "order"
    places, others = list_places(folders, IMAGES, earlier)
    _logger.info("Checking %d image files in %s.", len(places), name)
    files = inspect_files([place.path for place in places], earlier=earlier)
    files, places, notes = usable_files(
        name, folders, files, places, others, strict, IMAGES, earlier
    )
    if resize == "none":
        image_size = image_size or _usual_size(files)
        notes += notes_on_crops([file.size for file in files], image_size)
    else:
        image_size = _size(files, image_size, resize, notes)
    channels = common_channels(files, channels, notes)
    high, value_range, scaled_to = common_range(files, value_range, notes)
    targets, class_names = None, None
    if labels:
        targets, class_names = labels_of(places, notes, IMAGES, labels_from, earlier)
    image_shape = (*image_size, channels)
    keys = np.array([file.key for file in files], "uint64")
    rows, notes_on_split = rows_of_splits(
        name, keys, places, targets, division, groups, notes, IMAGES
    )
    splits: dict[str, Any] = {}
    for split, chosen in rows.items():
        own = [files[row] for row in chosen]
        labels_of_own = None if targets is None else targets[chosen]
        scale = {"high": high, "scaled_to": scaled_to}
        if resize == "none":
            splits[split] = ImageCropSplit(own, image_shape, labels_of_own, **scale)
        else:
            paths = [file.path for file in own]
            splits[split] = FolderSplit(
                paths, image_shape, labels_of_own, files=own, resize=resize, **scale
            )
    return ImageData(
        name=name,
        image_shape=image_shape,
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        value_range=value_range,
        notes=(*notes, *notes_on_split),
        **splits,
    )


def _size(files, image_size, resize, notes):
    """Return one size for all files, and note if it is not simply theirs."""
    sizes = {file.size for file in files}
    if len(sizes) == 1 and image_size is None:
        return sizes.pop()
    chosen = image_size is None
    image_size = image_size or _usual_size(files)
    height, width = image_size
    odd = sum(own[0] * width != own[1] * height for own in sizes)
    how = RESIZED[resize] if odd else "resized to"
    if not chosen and not odd:
        return image_size
    many = f"images come in {len(sizes)} sizes; all are" if len(sizes) > 1 else "images are"
    settings = [*(["image_size"] if chosen else []), *(["resize"] if odd else [])]
    options = ", ".join(f"--{setting.replace('_', '-')}" for setting in settings)
    notes.append(
        f"{many} {how} {height} x {width} pixels (change with {', '.join(settings)} / "
        f"pretrain {options})."
    )
    return image_size


def _usual_size(files):
    """The median shorter side in steps of 16, which is not too large, as both sides."""
    shorter = int(np.median([min(file.size) for file in files]))
    side = min(max(shorter // 16 * 16, 16), LARGEST_DEFAULT_SIZE)
    return (side, side)


def common_channels(files: Sequence[Any], wanted: int | None, notes: list[str]) -> int:
    """Return 1 for gray and 3 for color, and note what is converted to what is wanted."""
    if wanted is None:
        return 1 if all(file.gray for file in files) else 3
    own, target = ("color", "gray") if wanted == 1 else ("gray", "color")
    count = sum(file.gray == (wanted == 3) for file in files)
    if count:
        notes.append(f"{_of(count, files)} {own}: converted to {target}.")
    return wanted


def common_range(files: Sequence[Any], wanted: Any, notes: list[str]) -> tuple[Any, Any, Any]:
    """Return the value of white in decoded files, the pixel range, and the range to scale to."""
    # White is `None` for uint8 pixels; the range to scale to is `None` if pixels stay as decoded.
    deep = [file.highest for file in files if file.highest is not None]
    low, high = (0, 0) if wanted is None else wanted
    # In a range of 16 bits, pixels of 16 bits are values of their own: too large ones do not fit.
    if wanted is None or (high > 255 and (low != 0 or high % 1 or max(deep, default=0) > high)):
        white = _white(files, notes)
        return white, (0, white or 255), None
    bytes_wanted = (low, high) == (0, 255)
    odd = len(files) - len(deep) if high > 255 else len(deep)
    if odd and high > 255:
        notes.append(f"{_of(odd, files)} 8-bit: scaled to [0, {high:g}].")
    elif odd:
        # As in `read_image`, which cannot know what white is in one file.
        dark = f" (largest value: {max(deep)})" if max(deep) <= DEEPEST // 4 else ""
        notes.append(
            f"{_of(odd, files)} 16-bit{dark}: scaled from [0, {DEEPEST}] to [{low:g}, {high:g}]."
        )
    if high > 255:
        return int(high), (0, int(high)), None
    if bytes_wanted:
        return None, (0, 255), None
    return (DEEPEST if deep else 255), wanted, wanted


def _of(count, files):
    return f"{count} of {counted(len(files), 'image', 'images')} {'is' if count == 1 else 'are'}"


def _white(files, notes):
    """Return what white is where files have 16 bits, or `None`; smaller depths are told apart."""
    deep = [file.highest for file in files if file.highest is not None]
    if not deep:
        return None
    highest = max(deep)
    white = next(2**bits - 1 for bits in _DEPTHS if highest < 2**bits)
    notes.append(
        f"{counted(len(deep), 'image has', 'images have')} 16 bits, with values up to {highest}: "
        f"pixels are float32 in [0, {white}]."
    )
    if len(deep) < len(files):
        others = counted(len(files) - len(deep), "image of 8 bits is", "images of 8 bits are")
        notes.append(f"{others} scaled to the same range.")
    return white


def read_image(
    path: str | os.PathLike[str],
    image_shape: Sequence[int],
    *,
    resize: str = "crop",
    value_range: Sequence[float] | None = None,
) -> np.ndarray:
    """Read an image file, turned upright, converted to gray or color and resized.

    Args:
        path: image file of a format that `mae_keras.data.load` takes (its first picture).
        image_shape: ints `(height, width, channels)` to make; 1 or 3 channels.
        resize: how to bring other proportions to that shape: `"crop"` resizes the shorter side and
            cuts off what is too much on both sides, `"pad"` resizes the longer side and adds
            black, `"stretch"` does not keep proportions, `"none"` cuts out the middle, or adds
            black, without resizing. Defaults to `"crop"`.
        value_range: `(low, high)` of the pixels wanted, such as a model's `value_range`. By default
            pixels are as stored: in [0, 255], or in [0, 65535] if the file has 16 bits. Pixels of
            8 bits are scaled to the range; those of 16 bits only if it ends at or below 255.

    Returns:
        NumPy array of that shape: uint8 in [0, 255], or float32.

    Raises:
        ValueError: if the file is not there, not a whole image, or the shape is not that of an
            image file.

    Example:
    >>> read_image("nowhere.png", (8, 8, 1))
    Traceback (most recent call last):
    ValueError: `path` must be an image file. Received: 'nowhere.png', not found.
    """
    check_choice("resize", resize, RESIZE)
    if len(image_shape) != 3 or image_shape[-1] not in (1, 3):
        raise ValueError(
            f"`image_shape` must be (height, width, 1 or 3) to read image files. "
            f"Received: image_shape={tuple(image_shape)}."
        )
    path = Path(path)
    if not path.exists():
        raise ValueError(f"`path` must be an image file. Received: {str(path)!r}, not found.")
    stay_on_host()
    file = inspect_file(str(path))
    if file.defect:
        raise ValueError(
            f"`path` must be a whole image file. Received: {str(path)!r}: {file.defect}."
        )
    low, high = (None, None) if value_range is None else (float(end) for end in value_range)
    deep = file.highest is not None
    if not deep and (high is None or (low, high) == (0, 255)):
        white = None
    else:
        white = 255 if not deep else DEEPEST
    split = FolderSplit([str(path)], image_shape, files=[file], resize=resize, high=white)
    image = split.arrays()[0][0]
    if white is None or high is None or (deep and high > 255):
        return image
    return (low + image * ((high - low) / white)).astype("float32")
