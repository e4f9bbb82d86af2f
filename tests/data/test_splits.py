"""Where images live, and how they are fetched."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mae_keras.data import (
    SelectedSplit,
    evaluation_batches,
    labeled_batches,
    steps_per_epoch,
    training_batches,
)
from mae_keras.data.image_files import with_channels
from mae_keras.data.splits import (
    ArraySplit,
    FolderSplit,
    MappedSplit,
    Split,
    StreamSplit,
)


def fetched(split, indices):
    dataset = tf.data.Dataset.from_tensors(np.array(indices, "int64")).map(split.fetch)
    images, labels = next(iter(dataset))
    return images.numpy(), None if labels is None else labels.numpy()


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def as_pillow_reads(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), int)


def photo():
    """Return a smooth color image, which JPEG keeps nearly unchanged."""
    return (np.add.outer(np.arange(20), np.arange(24))[..., None] * [5, 3, 1]).astype("uint8")


def test_array_split_fetches_rows_and_labels(random_images):
    images = random_images(6)
    found, labels = fetched(ArraySplit(images, np.arange(6) * 10), [4, 0, 4])
    np.testing.assert_array_equal(found, images[[4, 0, 4]])
    assert labels.tolist() == [40, 0, 40]


def test_split_without_labels_fetches_none(random_images):
    assert fetched(ArraySplit(random_images(3)), [1])[1] is None


def test_arrays_stops_at_the_limit(random_images):
    images, labels = ArraySplit(random_images(6), np.arange(6)).arrays(limit=4)
    assert images.shape == (4, 8, 8, 1) and labels.tolist() == [0, 1, 2, 3]


def test_mapped_split_fetches_rows_of_the_file(tmp_path, random_images):
    images = random_images(9)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    split = MappedSplit(mapped, [2, 5, 8])
    np.testing.assert_array_equal(fetched(split, [2, 0])[0], images[[8, 2]])
    np.testing.assert_array_equal(split.arrays()[0], images[[2, 5, 8]])


def test_mapped_split_resizes_when_fetched(tmp_path):
    np.save(tmp_path / "images.npy", np.full((3, 8, 8, 1), 7, "float64"))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    images, _ = MappedSplit(mapped, [0, 1], "float32", image_size=(4, 6)).arrays()
    assert images.shape == (2, 4, 6, 1) and images.dtype == np.float32
    np.testing.assert_allclose(images, 7, rtol=1e-6)  # float32 sums of filter weights


CASES = {
    "rgb.png": ("RGB", 0),
    "rgb.bmp": ("RGB", 0),
    "rgb.gif": ("RGB", 0),
    "rgb.jpg": ("RGB", 6),
    "gray.png": ("L", 0),
    "gray.bmp": ("L", 0),
    "gray.jpg": ("L", 2),
    "bits.png": ("1", 0),
    "alpha.png": ("RGBA", 0),
    "gray_alpha.png": ("LA", 0),
    "palette.png": ("P", 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_files_of_every_kind_decode_as_pillow_decodes_them(tmp_path, name):
    mode, tolerance = CASES[name]  # JPEG decoders may differ by a few levels
    Image.fromarray(photo()).convert(mode).save(tmp_path / name)
    expected = as_pillow_reads(tmp_path / name)
    images, _ = FolderSplit([str(tmp_path / name)], (20, 24, 3)).arrays()
    assert np.abs(images[0] - expected).max() <= tolerance


@pytest.mark.parametrize("mode", ["1", "P", "RGBA"])
def test_unusual_bitmaps_are_read_by_pillow(tmp_path, mode):
    path = tmp_path / "image.bmp"
    Image.fromarray(photo()).convert(mode).save(path)
    images, _ = FolderSplit([str(path)], (20, 24, 3)).arrays()
    np.testing.assert_array_equal(images[0], as_pillow_reads(path))


def test_an_animation_gives_its_first_frame(tmp_path):
    first = Image.fromarray(photo())
    path = tmp_path / "two.gif"
    first.save(path, save_all=True, append_images=[Image.fromarray(255 - photo())])
    images, _ = FolderSplit([str(path)], (20, 24, 3)).arrays()
    np.testing.assert_array_equal(images[0], as_pillow_reads(path))


def test_folder_split_resizes_to_rounded_bytes(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.array([[10, 11], [10, 12]], "uint8").repeat(4, 0).repeat(4, 1)).save(path)
    images, _ = FolderSplit([str(path)], (1, 1, 1)).arrays()
    assert images.dtype == np.uint8
    assert images.reshape(-1).tolist() == [11]  # 10.75, rounded and not truncated


def test_folder_split_holds_no_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype("uint8")
    paths = [str(tmp_path / f"{index}.png") for index in range(3)]
    for path in paths:
        Image.fromarray(pixels).save(path)
    split = FolderSplit(paths, (256, 256, 3), np.arange(3))
    fetched(split, [0, 1, 2])
    held = [np.asarray(value) for value in vars(split).values()]
    assert sum(array.nbytes for array in held) < 2000  # against 590 000 bytes of pixels


def test_stream_split_reads_in_order(random_images):
    images = random_images(5)
    encoded = [png(image[..., 0]) for image in images]
    split = StreamSplit(
        lambda: tf.data.Dataset.from_tensor_slices((encoded, np.arange(5, dtype="int64"))),
        lambda content: tf.io.decode_png(content, channels=1),
        (8, 8, 1),
        5,
        has_labels=True,
    )
    found, labels = split.arrays(limit=3)
    np.testing.assert_array_equal(found, images[:3])
    assert labels.tolist() == [0, 1, 2]


def test_stream_split_refuses_random_access():
    split = StreamSplit(None, None, (8, 8, 1), 5, has_labels=False)
    with pytest.raises(TypeError, match="random access. Received: a stream"):
        split.fetch([0])


def test_only_streams_call_themselves_streams():
    assert StreamSplit.stream and not Split.stream


def test_labels_that_are_no_class_numbers_are_refused():
    images = np.zeros((3, 2, 2, 1), "uint8")
    with pytest.raises(TypeError, match="`labels` must be an array of integers.*=float64"):
        ArraySplit(images, [0.5, 1.9, 2.2])
    for labels in (np.arange(2), np.zeros((3, 1), int)):
        with pytest.raises(ValueError, match=r"must have shape \(3,\), one for each image"):
            ArraySplit(images, labels)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([np.zeros((2, 2, 1)), np.zeros((3, 2, 1))], ValueError, "`images` must be one array"),
        (None, TypeError, "`images` must be an array of real numbers. Received: NoneType"),
        (np.zeros((3, 2), "uint8"), ValueError, r"`images` must have shape .*\(3, 2\)"),
        (np.zeros((3, 2, 2, 0), "uint8"), ValueError, "`images` must have shape"),
        (np.full((3, 2, 2, 1), "a"), TypeError, "`images` must be an array of real numbers"),
    ],
)
def test_what_is_no_array_of_images_is_refused(images, error, message):
    with pytest.raises(error, match=message):
        ArraySplit(images)


@pytest.mark.parametrize(
    "use",
    [
        lambda split: SelectedSplit(split, [0]),
        lambda split: steps_per_epoch(split, 1),
        lambda split: training_batches(split, 1, seed=0),
        lambda split: evaluation_batches(split, 1),
        lambda split: labeled_batches(split, 1, 2, seed=0),
    ],
)
def test_what_is_no_split_is_refused(use):
    with pytest.raises(TypeError, match="`split` must be a Split.*Received: ndarray"):
        use(np.zeros((3, 2, 2, 1), "uint8"))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_channels_becomes_color(channels):
    image = np.arange(2 * 2 * channels, dtype="uint8").reshape(2, 2, channels)
    expected = image[..., :3] if channels > 2 else np.repeat(image[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(with_channels(image, 3), expected)
