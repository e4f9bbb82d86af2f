"""Reads one image file to the shape a model takes. Pillow is imported on use."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae_keras.data.image_files import inspect_file


def read_image(path: str | os.PathLike[str], image_shape: Sequence[int]) -> np.ndarray:
    """Read an image file, converted to grey or colour and resized.

    Args:
        path: a PNG, JPEG, BMP or GIF file (its first frame).
        image_shape: ints `(height, width, channels)` to make; 1 or 3 channels.

    Returns:
        NumPy uint8 array of that shape.

    Raises:
        ValueError: if the file is not there, not a whole image, or the shape is not that of an
            image file.

    Example:
    >>> read_image("nowhere.png", (8, 8, 1))
    Traceback (most recent call last):
    ValueError: `path` must be an image file. Received: 'nowhere.png', not found.
    """
    from PIL import Image

    if len(image_shape) != 3 or image_shape[-1] not in (1, 3):
        raise ValueError(
            f"`image_shape` must be (height, width, 1 or 3) to read image files. "
            f"Received: image_shape={tuple(image_shape)}."
        )
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"`path` must be an image file. Received: {str(path)!r}, not found.")
    defect = inspect_file(str(path)).defect
    if defect:
        raise ValueError(f"`path` must be a whole image file. Received: {str(path)!r}: {defect}.")
    height, width, channels = image_shape
    with Image.open(path) as image:
        converted = image.convert("L" if channels == 1 else "RGB")
        resized = converted.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, "uint8").reshape(height, width, channels)
