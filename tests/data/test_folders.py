"""Folders of image files."""

import io
import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mae_keras.data import load, read_image, training_batches
from mae_keras.data.image_files import inspect_file
from mae_keras.data.splits import FolderSplit


def splits(data):
    return data.train, data.validation, data.test


def many(count, shape=(8, 8, 3), suffix="png"):
    return {f"{index:02}.{suffix}": shape for index in range(count)}


def encoded(image_format, shape=(32, 32, 3)):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(9).integers(0, 256, shape).astype("uint8")
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def test_files_at_any_depth_are_found_once(image_folder):
    files = {"0.png": (8, 8, 3), "a/1.JPG": (8, 8, 3), "a/b/2.bmp": (8, 8, 3), "c/3.gif": (8, 8, 3)}
    data = load(image_folder(files))
    paths = [path for split in splits(data) for path in split.paths]
    assert sorted(path.rsplit("/", 1)[1] for path in paths) == ["0.png", "1.JPG", "2.bmp", "3.gif"]
    assert all(isinstance(split, FolderSplit) for split in splits(data))


def test_files_that_are_no_images_are_counted_and_hidden_ones_ignored(image_folder):
    others = {"readme.txt": b"x", ".DS_Store": b"x", "__MACOSX/._00.png": b"x", "._0.png": b"x"}
    data = load(image_folder(many(4) | others))
    assert data.notes == ("ignored 1 file that is not an image.",)
    data = load(image_folder({"licence.txt": b"x"} | many(4) | others))
    assert data.notes == ("ignored 2 files that are not images.",)


@pytest.mark.slow
def test_copies_of_a_file_land_in_one_split(image_folder, random_images):
    images = random_images(8, (8, 8, 3))
    files = {f"{copy}/{index}.png": images[index] for copy in "abc" for index in range(8)}
    data = load(image_folder(files), labels=False)
    held = [{image.tobytes() for image in split.arrays()[0]} for split in splits(data)]
    assert sum(len(split) for split in splits(data)) == 24
    assert sum(len(pixels) for pixels in held) == len(set.union(*held)) == 8


def test_top_level_folders_are_classes(image_folder, random_images):
    files = {f"{name}/x/{index}.png": (8, 8) for name in ("dog", "cat") for index in range(6)}
    data = load(image_folder(files))
    assert data.class_names == ("cat", "dog") and data.num_classes == 2
    for split in splits(data):
        expected = [data.class_names.index(path.split("/")[-3]) for path in split.paths]
        assert split.labels.tolist() == expected


def test_the_first_images_are_of_every_class(image_folder):
    """Much looks at the first images of a split: statistics, scores, pictures."""
    folder = image_folder({f"{name}/{index}.png": (4, 4) for name in "abc" for index in range(30)})
    train = load(folder).train
    assert set(train.labels[:15]) == {0, 1, 2}
    assert train.paths == load(folder).train.paths
    assert train.paths != load(folder, seed=1).train.paths


def test_classes_are_not_made_when_unwanted_or_single(image_folder):
    folder = image_folder({f"{name}/{index}.png": (8, 8) for name in "ab" for index in range(4)})
    assert load(folder, labels=False).class_names is None
    assert load(folder / "a").class_names is None


def test_loose_files_beside_classes_drop_labels_and_say_so(image_folder):
    folder = image_folder(many(2) | {"a/0.png": (8, 8, 3), "b/0.png": (8, 8, 3)})
    data = load(folder)
    assert not data.train.has_labels
    assert data.notes == ("no labels: 2 images lie outside the 2 sub-folders.",)


def test_a_common_size_is_kept(image_folder):
    data = load(image_folder(many(4, (10, 14, 3))))
    assert data.image_shape == (10, 14, 3) and data.notes == ()


@pytest.mark.slow
def test_files_that_have_their_size_are_not_resized(image_folder, monkeypatch):
    monkeypatch.setattr("mae_keras.data.splits.resize", None)
    images, _ = load(image_folder(many(4, (10, 14, 3)))).train.arrays()
    assert images.shape[1:] == (10, 14, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["16 bits", "OS/2"])
def test_bitmaps_that_tensorflow_cannot_read_are_read(image_folder, kind):
    sizes = {"16 bits": (40, "<IiiHHIIiiII", (2, 2, 1, 16, 0, 0, 0, 0, 0, 0), bytes(8))}
    sizes["OS/2"] = (12, "<IHHHH", (2, 2, 1, 24), bytes(16))
    length, layout, fields, pixels = sizes[kind]
    header = struct.pack(layout, length, *fields)
    start = 14 + len(header)
    lead = struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
    folder = image_folder(many(4, (2, 2, 3)))
    (folder / "black.bmp").write_bytes(lead + header + pixels)
    found = np.concatenate([split.arrays()[0] for split in splits(load(folder))])
    assert len(found) == 5 and (found == 0).all(axis=(1, 2, 3)).any()


@pytest.mark.slow
def test_a_gif_whose_frame_does_not_fill_its_canvas_is_resized(image_folder):
    folder = image_folder(many(4, (20, 24, 3)))
    small = io.BytesIO()
    Image.new("RGB", (10, 8), "red").save(small, "GIF")
    content = bytearray(small.getvalue())
    content[6:10] = (24).to_bytes(2, "little") + (20).to_bytes(2, "little")  # canvas, not frame
    (folder / "small.gif").write_bytes(content)
    data = load(folder)
    assert data.image_shape == (20, 24, 3)
    assert sum(len(split.arrays()[0]) for split in splits(data)) == 5


@pytest.mark.slow
def test_mixed_sizes_become_the_median_shorter_side_in_steps_of_16(image_folder):
    sizes = [(40, 90, 3), (80, 53, 3), (53, 53, 3), (100, 70, 3)]
    data = load(image_folder({f"{index}.png": size for index, size in enumerate(sizes)}))
    assert data.image_shape == (48, 48, 3)
    assert data.notes[0] == (
        "images come in 4 sizes; all are resized and center-cropped to 48 x 48 pixels "
        "(change with image_size, resize / pretrain --image-size, --resize)."
    )
    assert data.train.arrays()[0].shape == (len(data.train), 48, 48, 3)


def test_the_default_size_of_mixed_files_has_bounds(image_folder):
    small = {"0.png": (4, 5), "1.png": (6, 7), "2.png": (6, 8)}
    assert load(image_folder(small)).image_shape == (16, 16, 1)
    large = {"0.png": (400, 500), "1.png": (600, 300), "2.png": (300, 301)}
    assert load(image_folder(large)).image_shape == (224, 224, 1)


@pytest.mark.parametrize(("image_size", "expected"), [(20, (20, 20, 3)), ((6, 9), (6, 9, 3))])
def test_image_size_overrides(image_folder, image_size, expected):
    data = load(image_folder(many(4)), image_size=image_size)
    assert data.image_shape == expected
    if image_size == 20:
        assert data.notes == ()
    else:
        how = "resized and center-cropped to 6 x 9 pixels (change with resize / pretrain --resize)"
        assert data.notes == (f"images are {how}.",)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
def test_proportions_are_kept_unless_stretched(image_folder, how):
    """A gray disc of 40 pixels in the middle of a wide black picture."""
    rows, columns = np.mgrid[:60, :120]
    disc = np.where((rows - 29.5) ** 2 + (columns - 59.5) ** 2 < 20**2, 200, 0).astype("uint8")
    folder = image_folder({f"{n}.png": disc + np.uint8(n) for n in range(3)})
    data = load(folder, image_size=30, resize=how)
    found = data.train.arrays()[0][0, ..., 0] > 100
    height, width = found.any(1).sum(), found.any(0).sum()
    expected = {"crop": (20, 20), "pad": (10, 10), "stretch": (20, 10)}[how]
    assert (height, width) == pytest.approx(expected, abs=1)
    same = read_image(data.train.paths[0], (30, 30, 1), resize=how)
    np.testing.assert_array_equal(same, data.train.arrays()[0][0])
    if how == "pad":
        assert not data.train.arrays()[0][0, :7].any()


def test_only_folders_that_are_gray_throughout_have_one_channel(image_folder):
    gray = {"0.png": (8, 8), "1.bmp": (8, 8), "2.gif": (8, 8), "3.jpg": (8, 8)}
    assert load(image_folder(gray)).image_shape == (8, 8, 1)
    assert load(image_folder({"4.png": (8, 8, 3)})).image_shape == (8, 8, 3)


BROKEN = {
    "empty.png": (b"", "empty file"),
    "text.jpg": (b"hello", "(not an image that can be read)"),
    "icon.png": (encoded("ICO"), "ICO inside, expected PNG"),
    "cut.png": (encoded("PNG")[:-30], "OSError|SyntaxError|error"),
    "cut.jpg": (encoded("JPEG")[:-200], "truncated: the JPEG end marker is missing"),
    "cut.gif": (encoded("GIF")[:-20], "truncated: the GIF trailer is missing"),
    "cut.bmp": (encoded("BMP")[:-200], "truncated: fewer bytes than the BMP header says"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_skipped_and_named(image_folder, name):
    content, reason = BROKEN[name]
    data = load(image_folder(many(4) | {name: content}))
    assert sum(len(split) for split in splits(data)) == 4
    (note,) = data.notes
    assert note.startswith(f"skipped 1 unreadable file: {name} (")
    assert any(part in note for part in reason.split("|"))


@pytest.mark.slow
def test_a_jpeg_with_data_after_its_end_is_whole(image_folder):
    tail = encoded("JPEG") + b"camera notes"
    data = load(image_folder(many(4) | {"tail.jpg": tail}))
    assert data.notes[0].startswith("images come in 2 sizes")
    for split in splits(data):
        split.arrays()


def test_many_broken_files_are_counted_and_the_first_five_named(image_folder):
    data = load(image_folder(many(4) | {f"z{index}.png": b"" for index in range(7)}))
    assert data.notes[0].startswith("skipped 7 unreadable files: z0.png (empty file), z1.png")
    assert "z4.png" in data.notes[0] and "z5.png" not in data.notes[0]
    assert data.notes[0].endswith("and 2 more.")


def test_strict_refuses_a_broken_file(image_folder):
    folder = image_folder(many(4) | {"bad.png": b"hello"})
    with pytest.raises(ValueError, match="strict=True .* Received: 1 unreadable file: bad.png"):
        load(folder, strict=True)


def test_a_folder_of_broken_files_is_refused(image_folder):
    with pytest.raises(ValueError, match="no readable image: skipped 2 unreadable files: a.png"):
        load(image_folder({"a.png": b"", "b.png": b""}))


def test_a_folder_without_images_is_refused(image_folder):
    with pytest.raises(
        ValueError, match="must hold image files .* Received: a folder with 2 other"
    ):
        load(image_folder({"a.txt": b"", "b.csv": b""}))


def test_a_folder_of_one_image_is_refused(image_folder):
    with pytest.raises(ValueError, match="at least 3 different images. Received: 1 different"):
        load(image_folder(many(1)))


def names(split):
    return {path.rsplit("/", 1)[1] for path in split.paths}


def test_a_new_file_moves_no_other(image_folder):
    folder = image_folder(many(300))
    before = [set(split.paths) for split in splits(load(folder))]
    image_folder({"new.png": (8, 8, 3)})
    after = [set(split.paths) for split in splits(load(folder))]
    new = {str(folder / "new.png")}
    assert [paths - new for paths in after] == before and any(new <= paths for paths in after)


def test_order_divides_as_earlier_versions_did(image_folder):
    """The places of these eight files were written down at version 0.1."""
    rng = np.random.default_rng(0)
    files = {f"{n}.bmp": rng.integers(0, 256, (4, 4, 3)).astype("uint8") for n in range(8)}
    data = load(image_folder(files), split_by="order")
    assert [[path[-5] for path in split.paths] for split in splits(data)] == [
        [*"730165"],
        ["2"],
        ["4"],
    ]


@pytest.mark.parametrize("wrapper", ["", "photos/"])
@pytest.mark.parametrize("official", [("train", "val", "test"), ("Training", "valid", "testing")])
def test_folders_named_as_splits_are_the_splits(image_folder, wrapper, official):
    files = {
        f"{wrapper}{split}/{name}/{split}{name}{index}.png": (8, 8)
        for split in official
        for name in ("cat", "dog")
        for index in range(4)
    }
    data = load(image_folder(files))
    assert data.class_names == ("cat", "dog")
    for split, own in zip(splits(data), official, strict=True):
        assert names(split) == {f"{own}{n}{i}.png" for n in ("cat", "dog") for i in range(4)}
        assert split.labels.tolist() == [int("dog" in path) for path in split.paths]
    assert data.notes == (
        f"used the splits of the folder: {official[2]}/ (test), {official[0]}/ (train), "
        f"{official[1]}/ (validation).",
    ) or set(official) != {"train", "val", "test"}


def test_train_and_test_folders_give_a_validation_split_of_a_tenth(image_folder, random_images):
    same = random_images(1, (8, 8), seed=999)[0]
    files = {f"train/{index}.png": (8, 8) for index in range(50)} | {"train/copy.png": same}
    files |= {"test/a.png": same, "test/b.png": (7, 7), "extra/c.png": (8, 8), "d.png": (8, 8)}
    data = load(image_folder(files))
    assert names(data.test) == {"a.png", "b.png"} and "copy.png" not in names(data.train)
    assert len(data.train) + len(data.validation) == 50 and 1 <= len(data.validation) <= 12
    assert "left out 2 images outside these folders." in data.notes
    assert "left out 1 training images that are held out too." in data.notes


def test_train_beside_other_classes_is_a_class(image_folder):
    files = {f"{name}/{index}.png": (8, 8) for name in ("train", "bus") for index in range(4)}
    assert load(image_folder(files)).class_names == ("bus", "train")


def test_a_folder_around_the_class_folders_keeps_labels(image_folder):
    files = {f"photos/{name}/{index}.png": (8, 8) for name in ("a", "b") for index in range(4)}
    data = load(image_folder(files))
    assert data.class_names == ("a", "b") and data.notes == ()


def test_splits_from_separate_folders(image_folder, tmp_path):
    train = image_folder({f"{n}/{n}{i}.png": (8, 8) for n in "ab" for i in range(20)})
    test = image_folder({f"{n}/{i}.png": (8, 8, 3) for n in "bc" for i in range(3)}, tmp_path / "t")
    data = load(train=train, test=test)
    assert data.class_names == ("a", "b", "c") and data.image_shape == (8, 8, 3)
    assert len(data.test) == 6 and set(data.test.labels) == {1, 2}
    assert len(data.train) + len(data.validation) == 40 and len(data.validation)
    with pytest.raises(ValueError, match="Either `name` or `train`"):
        load(test=test)
    with pytest.raises(ValueError, match="must be folders of images, or all of them array"):
        load(train=train, test="digits")


def test_empty_splits_are_read_as_such(image_folder):
    data = load(image_folder(many(6)), splits=(1, 0, 0))
    assert [len(split) for split in splits(data)] == [6, 0, 0]
    images, labels = data.test.arrays()
    assert images.shape == (0, 8, 8, 3) and labels is None


@pytest.mark.parametrize("groups", ["parent", r"^(p\d+)", lambda path: path.split("/")[-2]])
def test_images_of_one_patient_stay_in_one_split(image_folder, groups):
    files = {f"p{patient}/{index}.png": (8, 8) for patient in range(12) for index in range(3)}
    data = load(image_folder(files), groups=groups, labels=False)
    held = [{path.split("/")[-2] for path in split.paths} for split in splits(data)]
    assert sum(map(len, held)) == 12 and all(held)


def test_groups_that_do_not_fit_are_refused(image_folder):
    folder = image_folder(many(6))
    with pytest.raises(ValueError, match="`groups` must match every path .* '.*/00.png'"):
        load(folder, groups="patient([0-9]+)")
    with pytest.raises(ValueError, match="or a regular expression, .* Received: groups='[(]'"):
        load(folder, groups="(")
    with pytest.raises(ValueError, match="`groups` must be 'parent', a regular expression or a"):
        load(folder, groups=np.arange(6))


def test_linked_class_folders_are_followed_once(image_folder, tmp_path):
    image_folder({f"fox/{index}.png": (8, 8) for index in range(5)}, tmp_path / "elsewhere")
    folder = image_folder({f"{n}/{i}.png": (8, 8) for n in ("cat", "owl") for i in range(5)})
    (folder / "fox").symlink_to(tmp_path / "elsewhere" / "fox")
    (folder / "cat" / "up").symlink_to(folder)
    (folder / "a_cat").symlink_to(folder / "cat")
    (folder / "gone.png").symlink_to(tmp_path / "gone.png")
    data = load(folder)
    assert data.class_names == ("cat", "fox", "owl") and sum(map(len, splits(data))) == 15
    assert data.notes == (
        "ignored 1 link that points nowhere, 2 links to folders that are read already.",
    )


def test_named_pipes_and_devices_are_counted_and_never_opened(image_folder):
    folder = image_folder(many(4))
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    data = load(folder)
    assert data.notes == ("ignored 2 named pipes, sockets or devices.",)


def test_image_formats_that_are_not_read_are_called_so(image_folder):
    data = load(image_folder(many(4) | {"a.heic": b"x", "b.dcm": b"x", "c.txt": b"x"}))
    assert data.notes[0] == "ignored 1 file that is not an image."
    assert data.notes[1] == (
        "ignored 1 volume file (kind 'volumes' reads it), 1 image in a format that is not read "
        "(convert it to PNG or JPEG)."
    )


def damaged(image_format, seed):
    """Bytes with a block of zeros in the middle, the end untouched."""
    content = bytearray(encoded(image_format, (64, 64, 3)))
    at = int(np.random.default_rng(seed).integers(len(content) // 4, len(content) // 2))
    content[at : at + 300] = bytes(300)
    return bytes(content)


@pytest.mark.long
@pytest.mark.parametrize("image_format", ["JPEG", "GIF", "PNG", "WEBP", "BMP", "TIFF"])
def test_whatever_passes_inspection_can_be_read(tmp_path, image_format):
    accepted = 0
    for seed in range(12):
        path = tmp_path / f"{seed}.{image_format.lower()}"
        path.write_bytes(damaged(image_format, seed))
        file = inspect_file(str(path))
        if file.defect is None:
            accepted += 1
            FolderSplit([str(path)], (64, 64, 3), files=[file]).arrays()
    assert accepted == 0 or image_format not in ("PNG", "GIF")  # others may be read all the same


def png_chunk(kind, content):
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def test_a_png_with_too_little_data_and_right_checksums_is_refused(image_folder):
    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(17) * 5)  # of 16 rows
    content = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels)
    data = load(image_folder(many(4) | {"short.png": content + png_chunk(b"IEND", b"")}))
    assert sum(map(len, splits(data))) == 4 and "short.png (" in data.notes[0]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_in_half_with_an_end_marker_is_refused(image_folder, progressive):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(9).integers(0, 256, (64, 64, 3)).astype("uint8")
    Image.fromarray(pixels).save(buffer, "JPEG", progressive=progressive)
    content = buffer.getvalue()
    cut = content[: len(content) // 2].rstrip(b"\xff") + b"\xff\xd9"
    data = load(image_folder(many(4, (64, 64, 3)) | {"cut.jpg": cut, "whole.jpg": content}))
    assert sum(map(len, splits(data))) == 5 and "cut.jpg (truncated" in data.notes[0]


def test_a_gray_jpeg_is_whole(image_folder):
    flat = np.full((20, 20, 3), 128, "uint8")
    assert load(image_folder({f"{n}.jpg": flat + np.uint8(n) for n in range(4)})).notes == ()


def test_a_decompression_bomb_is_refused(image_folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = load(image_folder(many(4) | {"bomb.png": (40, 40)}))
    assert "bomb.png (DecompressionBombError" in data.notes[0]


@pytest.mark.slow
def test_pictures_are_turned_as_their_exif_tag_says(image_folder):
    rng, upright = np.random.default_rng(0), {}
    folder = image_folder({f"{n}.png": (12, 8, 3) for n in range(4)})
    for suffix in ("jpg", "png", "webp", "tif"):
        pixels = rng.integers(0, 256, (8, 12, 3)).astype("uint8")
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn clockwise
        options = {"lossless": True} if suffix == "webp" else {}
        path = folder / f"turned.{suffix}"
        Image.fromarray(pixels).save(path, exif=exif, **options)
        if suffix == "jpg":
            pixels = np.asarray(Image.open(path))
        upright[str(path)] = np.rot90(pixels, -1)
        np.testing.assert_array_equal(read_image(path, (12, 8, 3)), upright[str(path)])
    data = load(folder, splits=(1, 0, 0))
    assert data.image_shape == (12, 8, 3) and data.notes == ()
    trained = dict(zip(data.train.paths, data.train.arrays()[0], strict=True))
    for path, pixels in upright.items():
        np.testing.assert_array_equal(trained[path], pixels)
    assert load(folder, split_by="order").image_shape != (12, 8, 3)  # as earlier versions


@pytest.mark.slow
@pytest.mark.parametrize(("top", "white"), [(65535, 65535), (4095, 4095)])
def test_16_bits_are_kept_and_read_alike(image_folder, top, white):
    values = np.random.default_rng(0).integers(0, top, (9, 16, 16), endpoint=True).astype("uint16")
    values[:, 0, 0] = top
    folder = image_folder({f"{n}.png": image for n, image in enumerate(values[:8])})
    Image.fromarray(values[8]).save(folder / "8.tif")
    data = load(folder)
    assert data.value_range == (0, white) and data.train.dtype == "float32"
    assert f"9 images have 16 bits, with values up to {top}" in data.notes[0]
    for split in splits(data):
        for path, image in zip(split.paths, split.arrays()[0], strict=True):
            own = values[int(path.rsplit("/", 1)[1].split(".")[0])]
            np.testing.assert_array_equal(image[..., 0], own)
            np.testing.assert_array_equal(read_image(path, (16, 16, 1)), image)
            in_range = read_image(path, (16, 16, 1), value_range=data.value_range)
            np.testing.assert_array_equal(in_range, image)
    small = read_image(folder / "0.png", (16, 16, 1), value_range=(0, 255))
    np.testing.assert_allclose(small[..., 0], values[0] / 257, rtol=1e-4, atol=1e-4)


def test_8_bits_among_16_are_scaled_with_a_note(image_folder):
    deep = np.full((4, 4), 65535, "uint16")
    data = load(
        image_folder({f"{n}.png": deep - np.uint16(n) for n in range(3)} | {"b.png": (4, 4)})
    )
    assert data.notes[1] == "1 image of 8 bits is scaled to the same range."
    small = np.asarray(Image.open(next(p for s in splits(data) for p in s.paths if "b.png" in p)))
    found = np.concatenate([split.arrays()[0] for split in splits(data)])
    assert any(np.allclose(image[..., 0], small * 257.0) for image in found)


def test_color_of_16_bits_keeps_them(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (5, 6, 3)).astype("uint16")
    encoded_png = tf.io.encode_png(values).numpy()
    (tmp_path / "deep.png").write_bytes(encoded_png)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", (5, 6, 3)), values)


@pytest.mark.slow
def test_a_file_that_vanishes_is_reported_once_and_replaced_with_its_label(image_folder, caplog):
    folder = image_folder({f"{n}/{i}.png": (4, 4) for n in "ab" for i in range(20)})
    split = load(folder, splits=(1, 0, 0)).train
    images, labels = split.arrays()
    paths = [pathlib.Path(path) for path in split.paths]
    paths[3].unlink()
    paths[4].write_bytes(paths[4].read_bytes()[:40])
    for _ in range(2):
        found, found_labels = split.arrays()
        np.testing.assert_array_equal(found, images[[0, 1, 2, 5, 5, *range(5, 40)]])
        np.testing.assert_array_equal(found_labels, labels[[0, 1, 2, 5, 5, *range(5, 40)]])
    assert [str(path) in caplog.text for path in paths].count(True) == 2
    assert caplog.text.count("can no longer be read") == 2
    batches = training_batches(split, 8, seed=0, epochs=1, with_labels=True)
    assert sum(len(batch) for batch, _ in batches) == 40
    for path in paths[5:]:
        path.unlink()
    with pytest.raises(OSError, match="can no longer be read .* nor can 10 other image files"):
        split.arrays()


def test_a_file_that_was_replaced_by_another_whole_one_is_read(image_folder):
    split = load(image_folder(many(4, (4, 4))), splits=(1, 0, 0)).train
    path = split.paths[0]
    Image.fromarray(np.full((4, 4), 9, "uint8")).save(path)
    os.utime(path, (1, 1))
    assert (split.arrays()[0][0] == 9).all()


@pytest.mark.parametrize(
    ("channels", "odd", "note"),
    [
        (1, "color", "1 of 4 images is color: converted to gray."),
        (3, "gray", "1 of 4 images is gray: converted to color."),
        (1, "all", "4 of 4 images are color: converted to gray."),
        (3, "all", "4 of 4 images are gray: converted to color."),
    ],
)
def test_files_are_read_as_gray_or_color_as_asked(image_folder, channels, odd, note):
    most, other = ((8, 8), (8, 8, 3))[:: 1 if channels == 1 else -1]
    if odd == "all":
        most = other
    folder = image_folder({f"{n}.png": most for n in range(3)} | {"odd.png": other})
    data = load(folder, channels=channels)
    assert data.image_shape == (8, 8, channels) and data.notes == (note,)
    for split in splits(data):
        for path, image in zip(split.paths, split.arrays()[0], strict=True):
            with Image.open(path) as opened:
                expected = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
            np.testing.assert_array_equal(image, expected.reshape(image.shape))


def write_depths(folder, deep, shallow, top=65535):
    """Gray PNG files of 16 and 8 bits, and what share of white each pixel is, by name."""
    rng, shares = np.random.default_rng(0), {}
    for number in range(deep + shallow):
        highest, dtype = (top, "uint16") if number < deep else (255, "uint8")
        pixels = rng.integers(0, highest, (6, 6), endpoint=True).astype(dtype)
        pixels[0, 0] = highest
        Image.fromarray(pixels).save(folder / f"{number}.png")
        shares[f"{number}.png"] = pixels / (65535 if number < deep else 255)
    return shares


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value_range", "deep", "note", "tolerance"),
    [
        ((0, 255), 1, "1 of 4 images is 16-bit: scaled from [0, 65535] to [0, 255].", 0.5),
        ((0, 65535), 1, "3 of 4 images are 8-bit: scaled to [0, 65535].", 0.01),
        ((0.0, 65535.0), 0, "4 of 4 images are 8-bit: scaled to [0, 65535].", 0.01),
        ((-1, 1), 1, "1 of 4 images is 16-bit: scaled from [0, 65535] to [-1, 1].", 1e-6),
        ((0, 1), 0, None, 1e-6),
    ],
)
def test_files_are_scaled_to_the_range_asked_for(tmp_path, value_range, deep, note, tolerance):
    shares = write_depths(tmp_path, deep, 4 - deep)
    data = load(tmp_path, value_range=value_range)
    assert data.value_range == value_range
    assert data.notes == (() if note is None else (note,))
    low, high = value_range
    for split in splits(data):
        assert split.dtype == ("uint8" if high == 255 else "float32")
        for path, image in zip(split.paths, split.arrays()[0], strict=True):
            expected = low + shares[os.path.basename(path)] * (high - low)
            np.testing.assert_allclose(image[..., 0], expected, atol=tolerance)
    path = data.train.paths[0]
    alone = read_image(path, (6, 6, 1), value_range=value_range)
    np.testing.assert_allclose(data.train.arrays(limit=1)[0][0], alone, atol=tolerance, rtol=1e-6)


def test_16_bits_keep_their_values_in_a_range_of_16_bits_or_are_told(tmp_path):
    """A camera of 12 bits: a darker picture is not made brighter, a brighter one does not fit."""
    shares = write_depths(tmp_path, 3, 0, top=1000)
    data = load(tmp_path, value_range=(0, 4095))
    assert data.value_range == (0, 4095) and data.notes == ()
    image = data.train.arrays()[0][0, ..., 0]
    np.testing.assert_allclose(image, shares[os.path.basename(data.train.paths[0])] * 65535)
    assert load(tmp_path, value_range=(0, 511)).value_range == (0, 1023)
    (note,) = load(tmp_path, value_range=(0, 255)).notes
    assert note.startswith("3 of 3 images are 16-bit (largest value: 1000): scaled from")


def test_too_few_images_to_divide_name_what_was_skipped(image_folder):
    folder = image_folder({"0.png": (8, 8), "1.png": (8, 8), "text.jpg": b"hello"})
    with pytest.raises(ValueError, match="cannot be cut .* skipped 1 unreadable file: text.jpg"):
        load(folder)


def test_only_folders_are_read_as_gray_color_or_in_a_range():
    with pytest.raises(ValueError, match="`channels` is for folders of image files and of v"):
        load("digits", channels=3)
    with pytest.raises(ValueError, match="`value_range` is for folders of image files"):
        load("digits", value_range=(0, 1))


def test_channels_and_ranges_that_are_none_are_refused(image_folder):
    folder = image_folder(many(4))
    with pytest.raises(ValueError, match="`channels` must be"):
        load(folder, channels=2)
    with pytest.raises(ValueError, match="`value_range` must be"):
        load(folder, value_range=(1, 0))
