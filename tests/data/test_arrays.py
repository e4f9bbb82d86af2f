"""`.npz` and `.npy` files."""

import os
import zipfile
from unittest import mock

import numpy as np
import pytest

from mae_keras.data import load
from mae_keras.data.splits import ArraySplit, MappedSplit


@pytest.fixture
def save(tmp_path):
    def save_arrays(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return save_arrays


def pixels(split):
    return {image.tobytes() for image in split.arrays()[0]}


def test_splits_cover_the_archive_and_share_no_image(save, random_images):
    images = random_images(40)
    data = load(save(images=images))
    held = [pixels(split) for split in (data.train, data.validation, data.test)]
    assert sum(map(len, held)) == 40 and min(map(len, held)) > 0
    assert set.union(*held) == {image.tobytes() for image in images}


def test_planted_duplicates_land_in_one_split(save, random_images):
    images = np.concatenate([random_images(30), random_images(30), random_images(15)])
    data = load(save(images=images))
    held = [pixels(split) for split in (data.train, data.validation, data.test)]
    assert len(data.train) + len(data.validation) + len(data.test) == 75
    assert sum(len(split) for split in held) == len(set.union(*held)) == 30


@pytest.mark.parametrize("names", [("images", "labels"), ("x_train", "y_train"), ("x", "y")])
def test_the_usual_names_are_found_and_labels_stay_with_their_images(save, names):
    numbers = np.arange(30, dtype="uint8")
    images = numbers.reshape(-1, 1, 1, 1) * np.ones((4, 4, 1), "uint8")
    data = load(save(**{names[0]: images, names[1]: numbers % 3, "other": np.zeros(7)}))
    assert data.num_classes == 3 and data.class_names == ("0", "1", "2")
    for split in (data.train, data.validation, data.test):
        found, labels = split.arrays()
        np.testing.assert_array_equal(found[:, 0, 0, 0] % 3, labels)


def test_labels_are_dropped_when_unwanted(save, random_images):
    data = load(save(images=random_images(9), labels=np.zeros(9, int)), labels=False)
    assert data.num_classes is None and not data.train.has_labels


def test_the_only_array_of_images_needs_no_name(save, random_images):
    data = load(save(scans=random_images(9, (6, 7)), weights=np.zeros(9)))
    assert data.image_shape == (6, 7, 1)


def test_an_official_test_split_stays_and_leaves_the_training_images(save, random_images):
    images, test = random_images(50), random_images(10, seed=1)
    images[:5] = test[:5]
    data = load(save(x_train=images, x_test=test))
    np.testing.assert_array_equal(data.test.arrays()[0], test)
    assert not (pixels(data.train) | pixels(data.validation)) & pixels(data.test)
    assert len(data.train) + len(data.validation) == 45
    assert data.notes == ("left out 5 training images that are held out too.",)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_the_first_images_are_not_those_of_the_file(tmp_path, suffix):
    images = np.arange(200, dtype="uint8").reshape(-1, 1, 1) * np.ones((4, 4), "uint8")
    path = tmp_path / f"data.{suffix}"
    np.save(path, images) if suffix == "npy" else np.savez(path, images=images)
    numbers = load(path).train.arrays()[0][:, 0, 0, 0]
    assert numbers[:10].max() > 100
    np.testing.assert_array_equal(numbers, load(path).train.arrays()[0][:, 0, 0, 0])


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_an_official_test_split_is_shuffled_only_if_it_comes_class_by_class(
    save, random_images, dtype
):
    images, test = random_images(30), random_images(40, seed=1)
    for labels, kept in ((np.arange(40) // 20, False), (np.arange(40) % 2, True)):
        path = save(x=images, y=np.arange(30) % 2, x_test=test, y_test=labels.astype(dtype))
        found, found_labels = load(path).test.arrays()
        assert (found_labels.tolist() == labels.tolist()) is kept
        of_class = {image.tobytes(): label for image, label in zip(test, labels, strict=True)}
        assert [of_class[image.tobytes()] for image in found] == found_labels.tolist()


def test_test_images_without_labels_drop_all_labels_and_say_so(save, random_images):
    path = save(x=random_images(9), y=np.arange(9) % 2, x_test=random_images(3, seed=1))
    data = load(path)
    assert not data.train.has_labels
    assert data.notes == ("labels are dropped: the test images have none.",)


def test_string_labels_become_class_names(save, random_images):
    data = load(save(images=random_images(20), labels=np.array(["cat", "ape"] * 10)))
    assert data.class_names == ("ape", "cat")
    assert set(data.train.labels) == {0, 1}


def test_other_channel_counts_are_kept(save, random_images):
    assert load(save(images=random_images(9, (6, 7, 5)))).image_shape == (6, 7, 5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_become_float32_and_their_range_is_told(save, dtype):
    images = np.linspace(0, 1, 9 * 16).reshape(9, 4, 4).astype(dtype)
    data = load(save(images=images))
    assert data.train.dtype == "float32" and data.value_range == (0, 1)
    assert load(save(images=images * 200)).value_range == (0, 255)


def test_whole_numbers_become_bytes_with_a_note(save, random_images):
    data = load(save(images=random_images(9).astype("int64")))
    assert data.train.dtype == "uint8" and data.notes == ("int64 pixels are used as uint8.",)


def test_missing_pixels_are_kept(save):
    images = np.random.default_rng(0).random((9, 4, 4))
    images[:, 0, 0] = np.nan
    data = load(save(images=images))
    assert data.value_range == (0, 1)
    assert np.isnan(data.train.arrays()[0][:, 0, 0]).all()


def test_images_are_resized_when_asked(save):
    images = np.arange(9, dtype="uint8").reshape(-1, 1, 1) * np.ones((8, 8), "uint8")
    data = load(save(images=images), image_size=(4, 6))
    assert data.image_shape == (4, 6, 1)
    found = np.concatenate(
        [split.arrays()[0] for split in (data.train, data.validation, data.test)]
    )
    assert sorted(found[:, 2, 3, 0]) == list(range(9))


def test_a_small_npy_file_is_read_and_a_large_one_stays_mapped(tmp_path, random_images):
    images = random_images(30, (8, 8))
    np.save(tmp_path / "data.npy", images)
    small = load(tmp_path / "data.npy")
    large = load(tmp_path / "data.npy", in_memory_limit=100)
    assert isinstance(small.train, ArraySplit) and isinstance(large.train, MappedSplit)
    np.testing.assert_array_equal(small.train.arrays()[0], large.train.arrays()[0])


REFUSED = {
    "infinite": (np.full((9, 4, 4), np.inf), "pixels must be finite, .* Received: 144 infinite"),
    "all missing": (np.full((9, 4, 4), np.nan), "Received: nothing but NaN"),
    "wide floats": (np.linspace(-1, 1, 144).reshape(9, 4, 4), r"\[0, 255\]. Received: .* -1.0 to"),
    "wide numbers": (np.arange(144).reshape(9, 4, 4) * 3, "from 0 to 429 in dtype int64"),
    "rank 2": (np.zeros((9, 16), "uint8"), r"must have shape .* Received: shape \(9, 16\)"),
    "rank 5": (np.zeros((9, 2, 2, 2, 1), "uint8"), r"Received: shape \(9, 2, 2, 2, 1\)"),
    "empty": (np.zeros((0, 4, 4), "uint8"), r"must not be empty. Received: shape \(0, 4, 4\)"),
    "text": (np.full((9, 4, 4), "a"), "must be whole numbers or floats. Received: dtype <U1"),
    "channels first": (np.zeros((9, 3, 8, 8), "uint8"), "must be channels-last"),
    "object": (np.full((9, 4, 4), None), "object arrays are refused"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_images_that_cannot_be_used_are_refused(save, case):
    images, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        load(save(images=images))


REFUSED_LABELS = {
    "another length": (np.zeros(8, int), r"one entry per image, shape \(9,\). Received: shape \(8"),
    "one-hot": (np.eye(9, dtype=int), r"Received: shape \(9, 9\)"),
    "floats": (np.zeros(9), "whole numbers or strings. Received: dtype float64"),
    "negative": (np.arange(9) - 1, "labels must count from 0. Received: -1"),
}


@pytest.mark.parametrize("case", REFUSED_LABELS)
def test_labels_that_cannot_be_used_are_refused(save, random_images, case):
    labels, message = REFUSED_LABELS[case]
    with pytest.raises(ValueError, match=message):
        load(save(images=random_images(9), labels=labels))


def test_an_archive_without_images_lists_what_it_holds(save):
    with pytest.raises(ValueError, match=r"must hold an array named .* Received: weights \(9,\)"):
        load(save(weights=np.zeros(9)))


def test_an_archive_with_several_candidates_lists_them(save):
    with pytest.raises(ValueError, match=r"Received: a \(9, 4, 4\), b \(9, 4, 4\)"):
        load(save(a=np.zeros((9, 4, 4)), b=np.zeros((9, 4, 4))))


def test_test_images_of_another_shape_are_refused(save, random_images):
    with pytest.raises(ValueError, match="test images must be like the training images"):
        load(save(x=random_images(9), x_test=random_images(9, (6, 6, 1))))


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_a_file_that_is_no_array_is_refused(tmp_path, suffix):
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(b"not an array")
    with pytest.raises(ValueError, match=f"data.{suffix} cannot be read as a .{suffix}"):
        load(path)


def test_a_truncated_archive_is_refused(save, random_images):
    path = save(images=random_images(9))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="cannot be read as a .npz"):
        load(path)


def test_a_new_image_moves_no_other_and_order_still_counts_exactly(save, random_images):
    images = random_images(301)
    first, second = load(save(images=images[:300])), load(save(images=images))
    for split in ("train", "validation", "test"):
        before, after = pixels(getattr(first, split)), pixels(getattr(second, split))
        assert after - {images[300].tobytes()} == before
    earlier = load(save(images=images[:40]), split_by="order")
    assert [len(s) for s in (earlier.train, earlier.validation, earlier.test)] == [28, 6, 6]


def test_asked_splits_may_be_empty(save, random_images):
    data = load(save(images=random_images(60), labels=np.arange(60) % 2), splits=(1, 0, 0))
    assert [len(s) for s in (data.train, data.validation, data.test)] == [60, 0, 0]
    assert data.test.arrays()[0].shape == (0, 8, 8, 1)


@pytest.mark.parametrize("named", [True, False])
def test_groups_are_given_as_an_array_or_named(save, random_images, named):
    patients = np.arange(60) // 4
    path = save(images=random_images(60), labels=np.arange(60) % 3, patient=patients)
    data = load(path, groups="patient" if named else patients)
    of_image = {i.tobytes(): p for i, p in zip(random_images(60), patients, strict=True)}
    held = [
        {of_image[image] for image in pixels(s)} for s in (data.train, data.validation, data.test)
    ]
    assert sum(map(len, held)) == 15 == len(set.union(*held)) and all(held)
    with pytest.raises(ValueError, match="`groups` must be an array or the name of one in"):
        load(path, groups="doctor")
    with pytest.raises(ValueError, match=r"one entry per training image, shape \(60,\)"):
        load(path, groups=patients[:-1])


def test_splits_from_separate_files(tmp_path, random_images):
    np.savez(tmp_path / "a.npz", images=random_images(30), labels=np.arange(30) % 2)
    np.savez(tmp_path / "b.npz", x=random_images(6, seed=1), y=np.arange(6) % 2)
    data = load(train=tmp_path / "a.npz", test=tmp_path / "b.npz")
    assert pixels(data.test) == {image.tobytes() for image in random_images(6, seed=1)}
    assert len(data.train) + len(data.validation) == 30 and len(data.validation)
    assert data.test.labels.tolist() == [0, 1] * 3


def test_float_arrays_that_may_be_signals_are_refused_unless_said(save, tmp_path):
    values = np.random.default_rng(0).random((30, 150, 1)).astype("float32")
    np.save(tmp_path / "data.npy", values)
    with pytest.raises(ValueError, match=r"may hold images or signals. .*--kind .*\(30, 150, 1\)"):
        load(tmp_path / "data.npy")
    with pytest.raises(ValueError, match="may hold images or signals"):
        load(save(x=values))
    named = load(save(signals=values - 5, labels=np.arange(30) % 2))
    asked = load(tmp_path / "data.npy", kind="signals")
    for data in (named, asked):
        assert data.image_shape == (150, 1) and data.value_range is None
    assert named.num_classes == 2
    assert load(save(signals=values[..., 0])).image_shape == (150, 1)
    assert load(tmp_path / "data.npy", kind="images").image_shape == (150, 1, 1)
    mapped = load(tmp_path / "data.npy", kind="signals", in_memory_limit=0)
    np.testing.assert_array_equal(mapped.train.arrays()[0], asked.train.arrays()[0])


def test_volumes_are_told_from_images(save, random_images):
    cubes = random_images(12, (6, 6, 6))
    assert load(save(volumes=cubes)).image_shape == (6, 6, 6, 1)
    assert load(save(x=cubes), kind="volumes").value_range == (0, 255)
    with pytest.raises(ValueError, match="may hold images or volumes"):
        load(save(x=cubes))
    assert load(save(x=random_images(12, (6, 9, 3)))).image_shape == (6, 9, 3)
    assert load(save(x=random_images(12, (6, 9)))).image_shape == (6, 9, 1)  # bytes, as ever


@pytest.mark.parametrize(
    ("shape", "kind", "axes"),
    [
        ((9, 3, 32, 32), "images", "0, 2, 3, 1"),
        ((9, 4, 8, 8), "images", "0, 2, 3, 1"),
        ((9, 2, 8, 8, 8), "volumes", "0, 2, 3, 4, 1"),
        ((9, 3, 150), "signals", "0, 2, 1"),
    ],
)
def test_channels_first_are_refused_with_the_transpose(save, shape, kind, axes):
    with pytest.raises(ValueError, match=rf"images.transpose\({axes}\)"):
        load(save(**{kind: np.zeros(shape, "float32")}))


@pytest.mark.parametrize(
    "names",
    [
        ("arr_0", "arr_1"),
        ("x", "target"),
        ("X", "Y"),
        ("train_images", "train_labels"),
    ],
)
def test_labels_under_other_usual_names_are_used(save, random_images, names):
    data = load(save(**{names[0]: random_images(40), names[1]: np.arange(40) % 2}))
    assert data.num_classes == 2 and data.notes == ()


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "x_val", "x_test"),
        ("train_images", "val_images", "test_images"),
        ("x", "x_valid", "x_test"),
    ],
)
def test_official_validation_splits_are_used(save, random_images, names):
    parts = [random_images(count, seed=seed) for seed, count in enumerate((40, 9, 7))]
    arrays = dict(zip(names, parts, strict=True))
    labels = {
        name.replace("images", "labels").replace("x", "y"): np.arange(len(part)) % 2
        for name, part in arrays.items()
    }
    data = load(save(**arrays, **labels))
    for split, part in zip((data.train, data.validation, data.test), parts, strict=True):
        assert pixels(split) == {image.tobytes() for image in part}
        assert set(split.labels) == {0, 1}


def test_arrays_that_are_not_used_are_named_and_never_read(save, random_images, tmp_path):
    path = save(images=random_images(12), weights=np.zeros(5))
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9, 9, 9), }"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", header.ljust(127) + b"\n" + bytes(50 << 20))
    with mock.patch("numpy.lib.format.read_array", wraps=np.lib.format.read_array) as reading:
        data = load(path)
    assert reading.call_count == 1
    assert data.notes == ("not used of data.npz: bomb (9, 9, 9), weights (5,).",)


def test_arrays_beyond_all_memory_are_refused(tmp_path):
    shape = b"'shape': (2000000000, 1000, 1000), }"
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, " + shape
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header.ljust(127) + b"\n")
    with pytest.raises(ValueError, match="holds more than this machine's memory"):
        load(tmp_path / "a.npz")


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="a.npz"):
        load(tmp_path / "a.npz")


ODD_LABELS = {
    "NaN": ([0.0, np.nan, 1.0] * 4, "Received: dtype float64, NaN among them"),
    "fractions": ([0.0, 0.5, 1.0] * 4, "with fractions; labels=False leaves them out"),
    "huge": ([0, 1, 10**12] * 4, r"np.unique\(labels, return_inverse=True\)\[1\] numbers them"),
    "booleans": ([True, False] * 6, "Received: dtype bool"),
}


@pytest.mark.parametrize("case", ODD_LABELS)
def test_labels_that_are_no_class_numbers_are_refused_in_words(save, random_images, case):
    labels, message = ODD_LABELS[case]
    with pytest.raises(ValueError, match=message):
        load(save(images=random_images(12), labels=np.array(labels)))


def test_classes_without_images_are_noted(save, random_images):
    data = load(save(images=random_images(12), labels=np.array([2019, 2020] * 6)))
    assert data.notes[0].startswith("labels count to 2020, but only 2 classes have images")


def test_booleans_and_masked_arrays_are_refused(save):
    with pytest.raises(ValueError, match=r"images.astype\('uint8'\) \* 255 .* dtype bool"):
        load(save(images=np.zeros((9, 4, 4), bool)))
    for images in (np.zeros((9, 4, 4, 1), bool), np.ma.masked_array(np.zeros((9, 4, 4, 1)))):
        with pytest.raises(TypeError, match="`images` must be a(n array of real| plain array of)"):
            ArraySplit(images)
