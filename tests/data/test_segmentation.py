"""Data sets of images and masks: what is read, how it is shared among splits, what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from mae_keras.data import SegmentationSplit, load_segmentation

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)


def picture(size=(12, 16)):
    return RNG.integers(0, 256, size, "uint8")


def labels(size=(12, 16), values=(0, 1)):
    return RNG.choice(np.array(values, "uint8"), size)


def save(path, array, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **kwargs)


def write(folder, count=10, values=(0, 1), ending=""):
    """A folder of pairs; returns images and masks by number."""
    pairs = {}
    for number in range(count):
        pairs[number] = picture(), labels(values=values)
        save(folder / "images" / f"{number}.png", pairs[number][0])
        save(folder / "masks" / f"{number}{ending}.png", pairs[number][1])
    return pairs


def everything(data):
    """Image and mask by the number in the name."""
    found = {}
    for split in (data.train, data.validation, data.test):
        for name, image, mask in zip(split.names, split.images, split.masks, strict=True):
            number = int(name.rpartition("/")[2].split(".")[0])
            assert number not in found
            found[number] = image, mask
    return found


@pytest.mark.parametrize("ending", ["", "_mask", "-label"])
def test_pairs_of_a_folder_are_read_and_divided(tmp_path, ending):
    pairs = write(tmp_path, 12, (0, 255), ending)
    data = load_segmentation(tmp_path)
    found = everything(data)
    assert sorted(found) == list(range(12)) and len(data.train) > len(data.test) > 0
    for number, (image, mask) in pairs.items():
        np.testing.assert_array_equal(found[number][0][..., 0], image)
        np.testing.assert_array_equal(found[number][1], mask // 255)
    assert data.class_values == (0, 255) and data.class_names == ("0", "255")
    assert data.train.image_shape == (12, 16, 1) and data.value_range == (0, 255)
    assert data.train.masks[0].dtype == "int32"
    assert data.notes == ("the values 0, 255 in masks are the classes 0 and 1.",)
    apart = load_segmentation(tmp_path / "images", tmp_path / "masks")
    assert apart.test.names == data.test.names
    assert load_segmentation(tmp_path, split_seed=1).test.names != data.test.names


@pytest.mark.parametrize("inside", [False, True])
def test_given_splits_stay(tmp_path, inside):
    sizes = {"train": 4, "val": 2, "test": 3}
    for part, count in sizes.items():
        for number in range(count):
            for what, array in (("images", picture()), ("masks", labels())):
                folder = tmp_path / what / part if inside else tmp_path / part / what
                save(folder / f"{number}.png", array)
    data = load_segmentation(tmp_path)
    assert [len(data.train), len(data.validation), len(data.test)] == [4, 2, 3]
    assert all("val" in name for name in data.validation.names)
    with pytest.raises(ValueError, match="`gap` must be None where splits are given"):
        load_segmentation(tmp_path, gap=1)


def test_a_palette_counts_by_its_index(tmp_path):
    pairs = write(tmp_path, 4, (0, 1, 2))
    for number, (_, mask) in pairs.items():
        stored = Image.fromarray(mask)
        stored.putpalette([9, 9, 9, 250, 0, 0, 0, 0, 250])
        assert stored.mode == "P"
        stored.save(tmp_path / "masks" / f"{number}.png")
    found = everything(load_segmentation(tmp_path))
    for number, (_, mask) in pairs.items():
        np.testing.assert_array_equal(found[number][1], mask)


def test_16_bits_one_bit_and_gray_in_color_are_read(tmp_path):
    images = {number: RNG.integers(0, 60_000, (9, 9), "uint16") for number in range(6)}
    masks = {number: RNG.choice(np.array([0, 700], "uint16"), (9, 9)) for number in range(6)}
    for number, image in images.items():
        save(tmp_path / "images" / f"{number}.png", image)
        save(tmp_path / "masks" / f"{number}.png", masks[number])
    data = load_segmentation(tmp_path)
    assert data.class_values == (0, 700) and data.value_range == (0, 65535)
    for number, (image, mask) in everything(data).items():
        np.testing.assert_array_equal(image[..., 0], images[number])
        np.testing.assert_array_equal(mask, masks[number] // 700)
    for number in range(6):
        if number % 2:
            save(tmp_path / "masks" / f"{number}.png", masks[number] > 0)
        else:
            gray = (masks[number] > 0).astype("uint8")
            save(tmp_path / "masks" / f"{number}.png", np.stack([gray] * 3, axis=-1))
    for number, (_, mask) in everything(load_segmentation(tmp_path)).items():
        np.testing.assert_array_equal(mask, masks[number] // 700)


def stack(path, pages):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.fromarray(page) for page in pages)
    first.save(path, save_all=True, append_images=others, compression="tiff_lzw")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_pages_of_a_tiff_are_slices_of_a_stack(tmp_path, dtype):
    pages = RNG.integers(0, np.iinfo(dtype).max, (20, 8, 10), dtype)
    pages[0] //= 200  # a dark first page does not say how deep the stack is
    masks = RNG.integers(0, 2, pages.shape).astype("uint8")
    stack(tmp_path / "volume.tif", pages)
    stack(tmp_path / "labels.tif", masks)
    data = load_segmentation(tmp_path / "volume.tif", tmp_path / "labels.tif")
    assert [len(data.train), len(data.validation), len(data.test)] == [12, 3, 3]
    for split, first in ((data.train, 0), (data.validation, 13), (data.test, 17)):
        for number, (image, mask) in enumerate(zip(split.images, split.masks, strict=True)):
            np.testing.assert_array_equal(image[..., 0], pages[first + number])
            np.testing.assert_array_equal(mask, masks[first + number])
    assert data.train.names[1].endswith("volume.tif, page 2")
    assert data.value_range == (0, np.iinfo(dtype).max)
    assert any("splits are blocks" in note for note in data.notes)
    assert "2 slices are left out" in data.notes[-1]


def test_pages_of_several_files_stay_together(tmp_path):
    for number in range(7):
        stack(tmp_path / "images" / f"{number}.tif", RNG.integers(0, 256, (4, 8, 8), "uint8"))
        stack(tmp_path / "masks" / f"{number}.tif", RNG.integers(0, 2, (4, 8, 8)).astype("uint8"))
    data = load_segmentation(tmp_path)
    owners = [
        {name.split(", page")[0] for name in split.names}
        for split in (data.train, data.validation, data.test)
    ]
    assert sum(map(len, owners)) == 7 and len(set.union(*owners)) == 7
    assert 4 * len(owners[0]) == len(data.train) and 4 * len(owners[2]) == len(data.test)
    stack(tmp_path / "masks" / "3.tif", np.zeros((3, 8, 8), "uint8"))
    with pytest.raises(ValueError, match=r"3\.tif must have as many pages as its image, 4. Rece"):
        load_segmentation(tmp_path)


def test_a_gap_makes_blocks_in_the_order_of_numbers(tmp_path):
    write(tmp_path, 20)
    data = load_segmentation(tmp_path, gap=2, splits=(0.5, 0.25, 0.25))
    numbers = [
        [int(name.rpartition("/")[2][:-4]) for name in split.names]
        for split in (data.train, data.validation, data.test)
    ]
    assert numbers == [list(range(8)), list(range(10, 14)), list(range(16, 20))]
    assert "4 slices are left out between the blocks" in data.notes[-1]
    without = load_segmentation(tmp_path, gap=0, splits=(0.5, 0.0, 0.5))
    assert [len(without.train), len(without.validation), len(without.test)] == [10, 0, 10]
    with pytest.raises(ValueError, match="must have at least 23 slices for 3 splits with gap=10"):
        load_segmentation(tmp_path, gap=10)
    with pytest.raises(ValueError, match="`gap` and `groups` exclude each other"):
        load_segmentation(tmp_path, gap=1, groups="parent")


def test_groups_stay_together(tmp_path):
    write(tmp_path, 20)
    data = load_segmentation(tmp_path, groups=r"(\d)\.png$")
    for digit in "0123456789":
        holders = [
            split
            for split in (data.train, data.validation, data.test)
            if any(name.endswith(f"{digit}.png") for name in split.names)
        ]
        assert len(holders) == 1
    images = RNG.integers(0, 256, (20, 8, 8), "uint8")
    groups = np.arange(20) % 5
    data = load_segmentation(images, (images > 9).astype(int), groups=groups)
    own = [
        {int(n.split()[1]) % 5 for n in s.names} for s in (data.train, data.validation, data.test)
    ]
    assert sum(map(len, own)) == 5


@pytest.mark.parametrize("form", ["argument", "list", "json", "txt"])
def test_a_table_says_what_values_are(tmp_path, form):
    pairs = write(tmp_path, 6, (0, 2) if form in ("list", "txt") else (7, 9))
    values, names = (7, 8, 9), ["wall", "void", "cell"]
    table = dict(zip(values, names, strict=True))
    classes = None
    if form == "argument":
        classes = {9: "cell", 7: "wall", 8: "void"}
    elif form == "list":
        values, classes = (0, 1, 2), names
    elif form == "json":
        (tmp_path / "classes.json").write_text(json.dumps(table))
    else:
        values = (0, 1, 2)
        (tmp_path / "classes.txt").write_text("wall\nvoid\n\ncell\n")
    data = load_segmentation(tmp_path, classes=classes)
    assert data.class_names == tuple(names) and data.class_values == values
    for number, (_, mask) in everything(data).items():
        np.testing.assert_array_equal(mask, np.where(pairs[number][1] == values[0], 0, 2))
    assert [note for note in data.notes if note.startswith("no pixel of")] == [
        f"no pixel of class 'void' in the {split} split."
        for split in ("train", "validation", "test")
    ]


def test_unlabeled_values_become_minus_one(tmp_path):
    pairs = write(tmp_path, 6, (0, 1, 255))
    for number, (_, mask) in everything(load_segmentation(tmp_path, unlabeled=255)).items():
        expected = np.where(pairs[number][1] == 255, -1, pairs[number][1].astype(int))
        np.testing.assert_array_equal(mask, expected)
    assert any("unlabeled=255 takes it" in note for note in load_segmentation(tmp_path).notes)
    images, masks = picture((9, 6, 6)), np.array(RNG.integers(-1, 2, (9, 6, 6)))
    data = load_segmentation(images, masks)
    assert {int(value) for mask in data.train.masks for value in np.unique(mask)} == {-1, 0, 1}
    assert data.num_classes == 2


def test_npz_files_and_arrays_are_read(tmp_path):
    images, masks = picture((12, 8, 6)), RNG.integers(0, 3, (12, 8, 6))
    np.savez(tmp_path / "one.npz", images=images, masks=masks)
    data = load_segmentation(tmp_path / "one.npz", classes=["a", "b", "c"])
    same = load_segmentation(images[..., None], masks[..., None], classes=["a", "b", "c"])
    for split, other in ((data.train, same.train), (data.test, same.test)):
        for one, two in zip(split.arrays(), other.arrays(), strict=True):
            np.testing.assert_array_equal(one, two)
    for name, image, mask in zip(data.test.names, *data.test.arrays(), strict=True):
        row = int(name.split()[1])
        np.testing.assert_array_equal(image[..., 0], images[row])
        np.testing.assert_array_equal(mask, masks[row])
    np.savez(
        tmp_path / "two.npz",
        train_images=images[:8],
        train_masks=masks[:8],
        test_images=images[8:],
        test_masks=masks[8:],
    )
    data = load_segmentation(tmp_path / "two.npz", splits=(1.0, 0.0, 0.0))
    assert [len(data.train), len(data.validation), len(data.test)] == [8, 0, 4]
    np.testing.assert_array_equal(data.test.arrays()[1], masks[8:])
    volumes = RNG.random((7, 4, 6, 6)).astype("float32")
    data = load_segmentation(volumes, volumes > 0.5)
    assert data.train.image_shape == (4, 6, 6, 1) and data.value_range == (0, 1)


def test_nifti_pairs_are_turned_alike(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    for number in range(5):
        volume = RNG.normal(size=(6, 7, 8)).astype("float32")
        mask = (volume > 0).astype("int16")
        if number == 1:  # stored the other way round
            volume, affine = volume[::-1], affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
            mask = mask[::-1]
        for what, array in (("images", volume), ("masks", mask)):
            (tmp_path / what).mkdir(exist_ok=True)
            image = nibabel.Nifti1Image(array, affine)
            nibabel.save(image, tmp_path / what / f"{number}.nii.gz")
        affine = np.diag([1.0, 2.0, 3.0, 1.0])
    data = load_segmentation(tmp_path, classes=["low", "high"])
    assert data.train.image_shape == (8, 7, 6, 1)
    for image, mask in everything(data).values():
        np.testing.assert_array_equal(mask, image[..., 0] > 0)


def test_images_of_several_sizes_are_cut_into_tiles(tmp_path):
    masks = [np.arange(120).reshape(10, 12), np.arange(120, 180).reshape(6, 10)]
    split = SegmentationSplit([mask[..., None].astype("float32") for mask in masks], masks)
    assert split.image_shape is None
    with pytest.raises(ValueError, match=r"arrays\(\) expects images of one size; tiles"):
        split.arrays()
    images, tiles = split.tiles(8)
    assert images.shape == (6, 8, 8, 1)
    assert set(tiles.ravel()) == {-1, *range(180)}  # every pixel
    np.testing.assert_array_equal(tiles[0], masks[0][:8, :8])
    np.testing.assert_array_equal(tiles[3], masks[0][2:, 4:])
    assert (tiles[4:, 6:] == -1).all() and (tiles[4:, :6] >= 120).all()
    np.testing.assert_array_equal(images[4, 5:, :, 0], np.broadcast_to(masks[1][5, :8], (3, 8)))


def test_what_has_no_partner_is_named(tmp_path):
    write(tmp_path, 8)
    save(tmp_path / "images" / "extra.png", picture())
    for number in range(7):
        save(tmp_path / "masks" / f"lonely{number}.png", labels())
    notes = load_segmentation(tmp_path).notes
    assert notes[0] == "left out: 1 image has no mask: extra.png."
    assert notes[1].startswith("left out: 7 masks have no image: lonely0.png, lonely1.png")
    assert notes[1].endswith("lonely4.png and 2 more.")
    with pytest.raises(ValueError, match="must have a mask of the same name. Received: 1 image"):
        load_segmentation(tmp_path, strict=True)
    for path in (tmp_path / "masks").iterdir():
        path.rename(path.with_stem("other" + path.stem))
    with pytest.raises(ValueError, match="must have a mask of the same name. Received: 9 images"):
        load_segmentation(tmp_path)


def test_a_broken_image_is_left_out_with_its_mask(tmp_path):
    write(tmp_path, 8)
    (tmp_path / "images" / "3.png").write_bytes(b"\x89PNG no more")
    data = load_segmentation(tmp_path)
    assert sorted(everything(data)) == [0, 1, 2, 4, 5, 6, 7]
    assert "skipped 1 unreadable file: " in data.notes[0]
    (tmp_path / "masks" / "4.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(ValueError, match=r"4\.png cannot be read as a mask"):
        load_segmentation(tmp_path)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (labels((12, 8)), r"3\.png must have the size of its image, 12 x 16. .* mask of 12 x 8"),
        (RNG.integers(0, 9, (12, 16, 3), "uint8"), r"not a color: .* colors, mostly #0"),
        (np.full((12, 16), 9, "uint8"), r"Received: 9 \(192 pixels in 1 mask\)"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path, mask, message):
    write(tmp_path, 6)
    save(tmp_path / "masks" / "3.png", mask)
    with pytest.raises(ValueError, match=message):
        load_segmentation(tmp_path, classes=["a", "b"])


def test_unknown_values_are_listed_with_their_counts():
    images, masks = picture((6, 4, 4)), np.zeros((6, 4, 4), int)
    masks[0, 0], masks[1, 0, 0], masks[2, 3, 3] = 5, 5, 77
    message = r"Received: 5 \(5 pixels in 2 masks\), 77 \(1 pixel in 1 mask\)\."
    with pytest.raises(ValueError, match=message):
        load_segmentation(images, masks, classes=["a", "b"])
    load_segmentation(images, masks, classes=["a", "b"], unlabeled=(5, 77))


def test_jpeg_masks_are_refused(tmp_path):
    write(tmp_path, 6)
    (tmp_path / "masks" / "3.png").unlink()
    save(tmp_path / "masks" / "3.jpg", labels())
    with pytest.raises(ValueError, match="must be stored without loss, as PNG or TIFF"):
        load_segmentation(tmp_path)


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (picture((6, 4, 4)), RNG.random((6, 4, 4)), "float values such as .* `masks > 0.5`"),
        (picture((6, 4, 4, 3)), labels((6, 2, 4, 4)), r"without channels, \(6, 4, 4\)\. Received"),
        (picture((6, 4, 4, 3)), labels((6, 4, 4, 5)), r"masks\.argmax\(-1\) makes class numbers"),
        (picture((6, 4, 4)), labels((5, 4, 4)), "must have shape"),
        (picture((6, 4)), labels((6, 4)), "must have shape"),
        (picture((6, 4, 4)), np.zeros((6, 4, 4), int), "the value 0 alone"),
        (picture((6, 40, 40)), np.arange(9600).reshape(6, 40, 40), "objects numbered one by one"),
        (picture((6, 4, 4)), None, "`masks` must be an array where `images` is one"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, masks, message):
    with pytest.raises(ValueError, match=message):
        load_segmentation(images, masks)


def test_images_of_background_alone_are_counted():
    masks = np.zeros((20, 4, 4), int)
    masks[::2, 0] = 1
    masks[1] = -1
    notes = load_segmentation(picture((20, 4, 4)), masks, classes=["ground", "cell"]).notes
    assert "9 images hold no class but 'ground', of 20." in notes
    assert "1 image has no labeled pixel, of 20." in notes


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`images` must be a folder or file. Received: .* not fou"):
        load_segmentation(tmp_path / "nowhere")
    save(tmp_path / "pictures" / "a.png", picture())
    with pytest.raises(ValueError, match=r"must hold the folders images/ and masks/.* pictures"):
        load_segmentation(tmp_path)
    with pytest.raises(ValueError, match="`masks` must be a folder or file. Received"):
        load_segmentation(tmp_path / "pictures", tmp_path / "nowhere")
    np.savez(tmp_path / "x.npz", images=picture((4, 4, 4)))
    with pytest.raises(ValueError, match=r"must hold arrays named images and masks.*images \(4"):
        load_segmentation(tmp_path / "x.npz")
    for classes in (["one"], ["a", "a"], {"a": 1}, 3, {-1: "a", 0: "b"}):
        with pytest.raises(ValueError, match="`classes` must be names of at least two classes"):
            load_segmentation(picture((6, 4, 4)), labels((6, 4, 4)), classes=classes)
    with pytest.raises(ValueError, match="`unlabeled` must be an int"):
        load_segmentation(picture((6, 4, 4)), labels((6, 4, 4)), unlabeled="void")


def test_a_mask_belongs_to_one_image(tmp_path):
    def save(name, value):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), value, "uint8")).save(path)

    for number in range(4):
        save(f"images/{number}.png", number)
        save(f"masks/{number}.png", number % 2)
    save("images/A.png", 9)
    save("images/a.png", 10)
    save("masks/A.png", 1)
    save("masks/a.png", 0)
    split = load_segmentation(tmp_path, splits=(1, 0, 0)).train
    pairs = zip(split.images, split.masks, strict=True)
    found = {int(image.max()): int(mask.max()) for image, mask in pairs}
    assert (found[9], found[10]) == (1, 0)
    save("images/1.bmp", 11)
    with pytest.raises(ValueError, match="every mask must be of one image. .*1.png, which fits"):
        load_segmentation(tmp_path)
    (tmp_path / "images" / "1.bmp").unlink()
    save("masks/2.bmp", 1)
    with pytest.raises(ValueError, match="every image must have one mask.*2.png, which"):
        load_segmentation(tmp_path)


def test_empty_splits_and_single_classes_are_named():
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), "uint8")
    data = load_segmentation(images, images // 128, splits=(0.8, 0, 0.2))
    for method in (data.validation.arrays, lambda: data.validation.tiles(4)):
        with pytest.raises(ValueError, match="expects images with masks. Received: an empty split"):
            method()
    with pytest.raises(ValueError, match="`classes` must leave two classes beside `unlabeled`"):
        load_segmentation(images, images // 128, classes=["off", "on"], unlabeled=0)
