"""Pictures made up for measuring how they are read: folders of files, and a stream."""

import io
import os
import pathlib

import numpy as np
from PIL import Image

from mae_keras.data import StreamSplit

DISTINCT = 64  # ext4 allows 65,000 hard links to one file: enough for four million
PER_FOLDER = 1000


def picture(shape: tuple[int, int, int], seed: int) -> bytes:
    """A smooth picture as PNG: noise would be larger than any photograph."""
    height, width, channels = shape
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, channels)).astype("uint8")
    pixels = Image.fromarray(coarse.squeeze()).resize((width, height), Image.Resampling.BICUBIC)
    fine = np.asarray(pixels, "int16") + rng.integers(-4, 5, np.asarray(pixels).shape)
    encoded = io.BytesIO()
    Image.fromarray(np.clip(fine, 0, 255).astype("uint8")).save(encoded, "PNG")
    return encoded.getvalue()


def picture_folder(folder: str, shape: tuple[int, int, int], count: int) -> None:
    """Write that many different PNG files."""
    for number in range(count):
        pathlib.Path(folder, f"{number:07d}.png").write_bytes(picture(shape, number))


def linked_folder(folder: str, shape: tuple[int, int, int], count: int) -> None:
    """Write a few PNG files, and hard links to them until there are `count` names."""
    for number in range(count):
        parent = pathlib.Path(folder, f"{number // PER_FOLDER:04d}")
        if number % PER_FOLDER == 0:
            parent.mkdir()
        path = parent / f"{number:07d}.png"
        if number < DISTINCT:
            path.write_bytes(picture(shape, number))
        else:
            os.link(pathlib.Path(folder, "0000", f"{number % DISTINCT:07d}.png"), path)


def picture_stream(count: int, shape: tuple[int, int, int] = (16, 16, 3)) -> StreamSplit:
    """That many encoded pictures, one after the other, as a large data set is read."""
    import tensorflow as tf

    encoded = [picture(shape, number) for number in range(DISTINCT)]

    def source() -> tf.data.Dataset:
        table = tf.constant(encoded)
        numbers = tf.data.Dataset.range(count)
        return numbers.map(lambda number: (table[number % DISTINCT], number % 10))

    def decode(content: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_png(content, channels=shape[2])

    return StreamSplit(source, decode, shape, count, has_labels=True)
