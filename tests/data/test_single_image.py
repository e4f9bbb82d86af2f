"""One image file becomes one array of the model's shape, or a refusal in words."""

import numpy as np
import pytest
from PIL import Image

from mae_keras.data import FolderSplit, read_image


def write(path, pixels):
    Image.fromarray(np.asarray(pixels, "uint8")).save(path)
    return path


def test_color_is_read_as_stored(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3))
    made = read_image(write(tmp_path / "a.png", pixels), (6, 5, 3))
    np.testing.assert_array_equal(made, pixels)
    assert made.dtype == np.uint8


def test_gray_becomes_color_and_color_gray(tmp_path):
    gray = write(tmp_path / "gray.png", np.full((4, 4), 100))
    np.testing.assert_array_equal(read_image(gray, (4, 4, 3)), 100)
    red = write(tmp_path / "red.png", np.broadcast_to([255, 0, 0], (4, 4, 3)))
    # Luma of pure red by ITU-R 601: 0.299.
    np.testing.assert_array_equal(read_image(red, (4, 4, 1)), round(0.299 * 255))


def test_other_sizes_are_resized(tmp_path):
    halves = np.repeat([[0, 200]], 8, axis=0).repeat(8, axis=1)
    made = read_image(write(tmp_path / "a.png", halves), (4, 8, 1))
    assert made.shape == (4, 8, 1)
    assert made[0, 0, 0] == 0 and made[0, -1, 0] == 200


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif"])
def test_every_format_is_read(tmp_path, suffix):
    made = read_image(write(tmp_path / f"a.{suffix}", np.full((8, 8), 128)), (8, 8, 1))
    np.testing.assert_allclose(made, 128, atol=1)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="`path` must be an image file. Received: .*gone.png"):
        read_image(tmp_path / "gone.png", (8, 8, 1))


def test_a_truncated_file_is_named(tmp_path):
    path = write(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 256, (64, 64)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="must be a whole image file. Received: .*cut.png"):
        read_image(path, (8, 8, 1))


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 2), (8, 8, 8, 1)])
def test_shapes_that_no_image_file_has_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="`image_shape` must be"):
        read_image(tmp_path / "a.png", shape)


FORMATS = {
    "rgb.png": ("RGB", {}),
    "gray.png": ("L", {}),
    "alpha.png": ("RGBA", {}),
    "gray_alpha.png": ("LA", {}),
    "palette.png": ("P", {}),
    "bit.png": ("1", {}),
    "color.jpg": ("RGB", {}),
    "gray.jpe": ("L", {}),
    "cmyk.jfif": ("CMYK", {"format": "JPEG"}),
    "color.bmp": ("RGB", {}),
    "palette.bmp": ("P", {}),
    "bit.bmp": ("1", {}),
    "color.gif": ("RGB", {}),
    "color.webp": ("RGB", {"lossless": True}),
    "alpha.webp": ("RGBA", {"lossless": True}),
    "color.tif": ("RGB", {}),
    "gray.tiff": ("L", {}),
    "cmyk.tif": ("CMYK", {}),
    "gray.pgm": ("L", {}),
    "color.ppm": ("RGB", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_training_and_inference_read_the_same_pixels_as_pillow(tmp_path, name, channels):
    mode, options = FORMATS[name]
    rows, columns = np.mgrid[:20, :24]
    smooth = np.stack([5 * rows, 7 * columns, 3 * (rows + columns)], -1).astype("uint8")
    path = tmp_path / name
    Image.fromarray(smooth).convert(mode).save(path, **options)
    made = read_image(path, (20, 24, channels))
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB").convert("L" if channels == 1 else "RGB"), int)
    tolerance = 6 if "JPEG" in str(options) or name.endswith(("jpg", "jpe")) else 0
    assert np.abs(made - expected.reshape(made.shape)).max() <= tolerance
    other = tmp_path / "other.png"  # a folder of several kinds
    Image.fromarray(smooth).save(other)
    trained, _ = FolderSplit([str(path), str(other)], (20, 24, channels)).arrays()
    np.testing.assert_array_equal(made, trained[0])


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1), (0, 65535)])
def test_pixels_come_in_the_range_of_the_model(tmp_path, value_range):
    path = write(tmp_path / "a.png", [[0, 51], [255, 102]])
    made = read_image(path, (2, 2, 1), value_range=value_range)
    low, high = value_range
    np.testing.assert_allclose(
        made[..., 0], low + np.array([[0, 0.2], [1, 0.4]]) * (high - low), rtol=1e-6, atol=1e-6
    )


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), "float32")).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="floating-point pixels: store them in a .npy"):
        read_image(tmp_path / "a.tif", (4, 4, 1))
