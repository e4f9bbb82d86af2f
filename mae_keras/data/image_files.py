"""Image files: which are whole, how large, gray or not; and decoding, the same in every use.

Pillow (it comes with matplotlib) is imported on use, and so is TensorFlow.
"""

import contextlib
import dataclasses
import functools
import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mae_keras.data.division import content_key
from mae_keras.files import NotRegularError, open_regular

# Ways to resize to other proportions, and how notes describe them.
RESIZED = {
    "crop": "resized and center-cropped to",
    "pad": "resized and padded with black to",
    "stretch": "stretched to",
    "none": "cut or padded with black to",
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
    gray: bool = False,
) -> Any:
    """Decode one file inside tf.data, to `(height, width, channels)`.

    The result is float32 in [0, `high`], or uint8 if `high` is `None`. Fewer `readers`, and `gray`
    where all files are, cost less.
    """
    import tensorflow as tf

    def plain() -> Any:
        image = decode_image(content, 3 if channels == 3 else 0)
        image = image[..., :1] if gray and channels == 1 else with_channels(image, channels)
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


def decode_with_pillow(
    content: bytes, channels: int, high: int | None = None, page: int = 0
) -> np.ndarray:
    """Decode an image of a file, rotated by its EXIF tag, to `(height, width, channels)`.

    The result is uint8, or float32 in [0, `high`]; 16-bit files keep their values. Of a file with
    several images, `page` counts from 0.
    """
    from PIL import Image, ImageOps

    content = content.item() if isinstance(content, np.ndarray) else content
    with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
        warnings.simplefilter("ignore")  # about metadata, and palettes with transparency
        if page:
            image.seek(page)
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

    `how`: `"crop"` keeps proportions and cuts both sides, `"pad"` keeps them and adds black,
    `"stretch"` does not keep them, `"none"` cuts out the middle, or adds black, without resizing.
    """
    import tensorflow as tf

    image_size = tuple(image_size)
    if tuple(images.shape[1:3]) == image_size:
        return images
    if how == "none":
        return tf.image.resize_with_crop_or_pad(images, *image_size)
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


EARLIER_FORMATS = ("PNG", "JPEG", "BMP", "GIF")
FORMATS = (*EARLIER_FORMATS, "WEBP", "TIFF", "PPM", "MPO")  # MPO: a JPEG with further pictures
_GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_PADDING = 1 << 16  # more than one picture's row of blocks needs
_READ_AHEAD = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFile:
    """One file as found: either `defect` is a reason to skip it, or the rest describes it.

    There may be millions: slots, and a string for a path, keep each small.
    """

    path: str
    defect: str | None = None
    size: tuple[int, int] = (0, 0)
    gray: bool = False
    reader: int = PLAIN
    highest: int | None = None  # value of a file of 16 bits; `None` for one of 8
    key: int = 0
    stamp: tuple[int, int] = (0, 0)  # bytes, and time of last change: whether it is still this one


def inspect_files(paths: list[str], *, earlier: bool = False) -> list[ImageFile]:
    """Decode every file once, in a thread pool, and return what was found, in order."""
    inspected = []
    inspect = functools.partial(inspect_file, earlier=earlier)
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool, _without_warnings():
        # In pieces, so that a million files do not queue a million tasks at once.
        for start in range(0, len(paths), _READ_AHEAD):
            inspected += pool.map(inspect, paths[start : start + _READ_AHEAD])
    return inspected


def inspect_file(path: str, *, earlier: bool = False) -> ImageFile:
    """Describe one file; whatever is wrong with it becomes its `defect`.

    With `earlier`, formats, depths and orientations count as they did in runs of earlier versions.
    """
    from PIL import UnidentifiedImageError

    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            content = file.read()
        if not content:
            return ImageFile(path, "empty file")
        facts = _decoded(content, earlier)
    except NotRegularError as error:
        return ImageFile(path, str(error).rsplit("Received: ", 1)[-1])
    except UnidentifiedImageError:
        return ImageFile(path, "not an image that can be read")
    except Exception as error:  # Pillow raises a dozen types, SyntaxError among them.
        return ImageFile(
            path, f"{type(error).__name__}: {error}".replace(path, os.path.basename(path))
        )
    stamp = (status.st_size, status.st_mtime_ns)
    return ImageFile(path, key=content_key(content), stamp=stamp, **facts)


def _decoded(content, earlier):
    """Decode the first picture, as a broken file often looks whole until then."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        file_format, mode = image.format, image.mode
        formats = EARLIER_FORMATS if earlier else FORMATS
        if file_format not in formats:
            return {"defect": f"{file_format} inside, expected {', '.join(formats)}"}
        if file_format == "PNG":
            image.verify()  # of all checksums
    if file_format == "GIF" and not content.rstrip(b"\0").endswith(b"\x3b"):
        return {"defect": "truncated: the GIF trailer is missing"}
    with Image.open(io.BytesIO(content)) as image:
        gray = mode in _GRAY_MODES or _has_gray_palette(image)
        try:
            image.load()
        except OSError as error:
            return {"defect": _truncation(content, file_format) or f"damaged: {error}"}
        size = image.size[::-1]  # TIFFs are turned by now
        orientation = 1 if earlier else orientation_of(image)
        if file_format in ("JPEG", "MPO") and _runs_out_of_data(content, image):
            return {"defect": "truncated: the JPEG data ends before the image does"}
        highest = None
        if not earlier:
            highest, defect = _highest(content, image, file_format)
            if defect:
                return {"defect": defect}
    plain = file_format == "PNG" or (file_format in ("JPEG", "MPO") and mode in ("L", "RGB"))
    if earlier:
        plain = file_format in ("PNG", "JPEG")
    reader = PLAIN if plain and orientation == 1 else BY_PILLOW
    if file_format == "PNG" and highest is not None:
        # Pillow reads 16 bits of gray only.
        if orientation != 1 and not gray:
            return {"defect": "16 bits of color that are to be turned: save them upright"}
        reader = DEEP_PNG if orientation == 1 else BY_PILLOW
    if reader == PLAIN and not _is_read_by_tensorflow(content):
        return {"defect": f"damaged: no valid {file_format} data"}
    turned = size[::-1] if orientation > 4 else size
    return {"size": turned, "gray": gray, "reader": reader, "highest": highest}


def _is_read_by_tensorflow(content):
    """Try the decoder of training, which refuses some damage that Pillow passes over."""
    import tensorflow as tf

    try:
        with tf.device("CPU:0"):
            tf.raw_ops.DecodeImage(contents=content, expand_animations=False)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _truncation(content, file_format):
    if file_format in ("JPEG", "MPO") and not content.rstrip(b"\0").endswith(b"\xff\xd9"):
        return "truncated: the JPEG end marker is missing"
    if file_format == "BMP":
        return "truncated: fewer bytes than the BMP header says"
    return None


def _highest(content, image, file_format):
    """Return the largest value of a file of 16 bits, or `None`; and why it cannot be used."""
    if file_format == "PNG" and content[24] == 16:
        import tensorflow as tf

        # Not by Pillow, which drops half of the bits of color.
        return int(tf.reduce_max(tf.cast(tf.io.decode_png(content, dtype="uint16"), "int32"))), None
    if image.mode == "F":
        return None, "floating-point pixels: store them in a .npy or .npz file"
    if image.mode[0] == "I":
        low, high = (int(value) for value in image.getextrema())
        if low < 0 or high > DEEPEST:
            return None, f"values from {low} to {high}, expected 0 to {DEEPEST}"
        return high, None
    bits = image.tag_v2.get(258, (8,)) if file_format == "TIFF" else (8,)
    if max(bits) > 8:
        return None, f"{max(bits)} bits of color in a TIFF: save it as PNG"
    return None, None


def _runs_out_of_data(content, image):
    """Tell whether a JPEG's data ends early, with an end marker all the same."""
    # Decoders fill the rest with mid-gray and say nothing. Bytes put before the end marker change
    # the picture then, and are ignored otherwise.
    from PIL import Image

    if image.format != "JPEG":  # MPO: where its first picture ends is not said
        return False
    width, height = image.size
    corner = image.crop((max(0, width - 4), max(0, height - 4), width, height))
    extrema = corner.getextrema()
    extrema = extrema if isinstance(extrema[0], tuple) else (extrema,)
    filled = all(low == high for low, high in extrema) and extrema[0][0] in (127, 128)
    if not filled and not image.info.get("progressive"):
        return False
    end = content.rfind(b"\xff\xd9")
    padded = content[:end] + b"\x55" * _PADDING + content[end:]
    try:
        with Image.open(io.BytesIO(padded)) as other:
            other.load()
            return other.tobytes() != image.tobytes()
    except OSError:
        return True


@contextlib.contextmanager
def _without_warnings():
    """Keep what Pillow says of odd metadata and large pictures out of the way of training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _has_gray_palette(image):
    if image.mode != "P" or image.palette is None or image.palette.rawmode not in (None, "RGB"):
        return False
    colors = bytes(image.palette.palette)
    return colors[0::3] == colors[1::3] == colors[2::3]
