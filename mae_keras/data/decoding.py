"""Turns the bytes of image files into pixels, the same in training and inference.

TensorFlow reads plain PNG and JPEG files, fast; Pillow reads the rest. Both are imported on use.
"""

import io
import warnings
from typing import Any

import numpy as np

# Ways to resize to other proportions, and how notes describe them.
RESIZED = {
    "crop": "resized and center-cropped to",
    "pad": "resized and padded with black to",
    "stretch": "stretched to",
}
RESIZE = tuple(RESIZED)
# Who reads a file: TensorFlow, TensorFlow at 16 bits, or Pillow.
PLAIN, DEEP_PNG, BY_PILLOW = range(3)
DEEPEST = 65535
# ITU-R 601, as Pillow has it: in 65,536ths, which add up to one, so that gray stays what it is.
_LUMA = (19595, 38470, 7471)


def decode(
    content: Any,
    reader: Any,
    channels: int,
    high: int | None,
    readers: set[int],
    grey: bool = False,
) -> Any:
    """Decode one file inside tf.data.

    Args:
        content: string tensor, bytes of the file.
        reader: int tensor, who reads it.
        channels: int, 1 or 3.
        high: int, what white is in float32 images, or `None` for uint8 in [0, 255].
        readers: who may have to read; fewer cost less.
        grey: bool, whether all files are gray, which costs less too.

    Returns:
        `(height, width, channels)`, uint8 or float32.
    """
    import tensorflow as tf

    def plain() -> Any:
        image = decode_image(content, 3 if channels == 3 else 0)
        image = image[..., :1] if grey and channels == 1 else with_channels(image, channels)
        return image if high is None else tf.cast(image, tf.float32) * (high / 255)

    def deep_png() -> Any:
        image = tf.io.decode_png(content, dtype=tf.uint16)
        image = tf.cast(with_channels(tf.cast(image, tf.float32), channels), tf.float32)
        return image if high is not None else tf.cast(tf.round(image / 257), tf.uint8)

    def by_pillow() -> Any:
        dtype = np.uint8 if high is None else np.float32
        image = tf.numpy_function(
            lambda content: decode_with_pillow(content, channels, high).astype(dtype),
            [content],
            dtype,
        )
        return tf.ensure_shape(image, (None, None, channels))

    ways = {PLAIN: plain, DEEP_PNG: deep_png, BY_PILLOW: by_pillow}
    if len(readers) == 1:
        return ways[next(iter(readers))]()
    return tf.switch_case(reader, ways)


def decode_with_pillow(content: bytes, channels: int, high: int | None = None) -> np.ndarray:
    """Decode the first picture of a file as it is meant to be seen, turned by its EXIF tag.

    Returns:
        `(height, width, channels)`: uint8, or float32 in `[0, high]`, of which files of 16 bits
        keep their own values.
    """
    from PIL import Image, ImageOps

    content = content.item() if isinstance(content, np.ndarray) else content
    with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
        warnings.simplefilter("ignore")  # about metadata, and palettes with transparency
        image.load()
        if orientation_of(image) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode[0] == "I":
            pixels = np.asarray(image).astype("float32")[..., np.newaxis].repeat(channels, -1)
            return pixels if high is not None else np.rint(pixels / 257).astype("uint8")
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    pixels = pixels.reshape(*pixels.shape[:2], channels)
    return pixels if high is None else pixels * np.float32(high / 255)


def orientation_of(image: Any) -> int:
    """How a picture is to be turned, as EXIF counts: 1 is not at all, above 4 swaps the sides."""
    described = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
    if image.format not in ("TIFF", "WEBP") and not any(key in image.info for key in described):
        return 1
    orientation = image.getexif().get(0x0112, 1)
    return orientation if orientation in range(2, 9) else 1


def decode_image(encoded: Any, channels: int = 0) -> Any:
    """Decode a PNG or JPEG to uint8 `(height, width, channels)`.

    `channels` is 3, or 0 for those that the file has.
    """
    import tensorflow as tf

    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    return tf.ensure_shape(image, (None, None, None))


def with_channels(image: Any, channels: int) -> Any:
    """Turn gray, gray-alpha, RGB or RGBA into 1 or 3 channels, dropping alpha."""
    import tensorflow as tf

    own = tf.shape(image)[-1]
    if channels == 3:
        if image.shape[-1] == 3:
            return image
        # Gray three times, or the first three: by indices, which cost less than a condition.
        return tf.gather(image, tf.minimum(tf.range(3), tf.where(own < 3, 0, 2)), axis=-1)

    def luma() -> Any:
        weighted = tf.cast(image[..., :3], tf.float32) * tf.constant(_LUMA, tf.float32)
        total = tf.reduce_sum(weighted, axis=-1, keepdims=True) / 65536
        return total if image.dtype.is_floating else tf.cast(tf.floor(total + 0.5), image.dtype)

    return tf.ensure_shape(tf.cond(own < 3, lambda: image[..., :1], luma), (None, None, 1))


def resize(images: Any, image_size: tuple[int, int], how: str = "stretch") -> Any:
    """Resize `(batch, height, width, channels)` with antialiasing, keeping the dtype.

    Args:
        images: tensor.
        image_size: `(height, width)`.
        how: `"crop"` keeps proportions and cuts off what is too much on both sides, `"pad"` keeps
            them and adds black, `"stretch"` does not keep them.
    """
    import tensorflow as tf

    image_size = tuple(image_size)
    if tuple(images.shape[1:3]) == image_size:
        return images
    inner, before = image_size, None
    if how != "stretch":
        own = tf.shape(images)[1:3]
        ratio = tf.constant(image_size, tf.float64) / tf.cast(own, tf.float64)
        if how == "crop":
            kept = tf.constant(image_size, tf.float64) / tf.reduce_max(ratio)
            kept = tf.clip_by_value(tf.cast(tf.round(kept), tf.int32), 1, own)
            start = (own - kept) // 2
            images = images[:, start[0] : start[0] + kept[0], start[1] : start[1] + kept[1]]
        else:
            inner = tf.cast(own, tf.float64) * tf.reduce_min(ratio)
            inner = tf.clip_by_value(tf.cast(tf.round(inner), tf.int32), 1, image_size)
            before = (tf.constant(image_size) - inner) // 2
    resized = tf.image.resize(images, inner, antialias=True)
    if images.dtype == tf.uint8:
        resized = tf.clip_by_value(tf.round(resized), 0.0, 255.0)
    resized = tf.cast(resized, images.dtype)
    if before is not None:
        after = tf.constant(image_size) - inner - before
        edges = tf.stack([[0, 0], [before[0], after[0]], [before[1], after[1]], [0, 0]])
        resized = tf.pad(resized, edges)
    return tf.ensure_shape(resized, (images.shape[0], *image_size, images.shape[3]))
