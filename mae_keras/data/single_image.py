"""Reads one image file to the shape a model takes, by the decoder that training uses."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae_keras.arguments import check_choice
from mae_keras.data.decoding import DEEPEST, RESIZE
from mae_keras.data.host import stay_on_host
from mae_keras.data.image_files import inspect_file
from mae_keras.data.splits import FolderSplit


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
            black, `"stretch"` does not keep proportions. Defaults to `"crop"`.
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
