"""Volumes: NIfTI files, series of DICOM slices and arrays, whole and in crops."""

import gzip
import pathlib

import numpy as np
import pytest
from scipy import ndimage

from mae_keras.data import VolumeAugmentation, kind, load, read_volume, training_batches
from mae_keras.data.volumes import volumes_of
from mae_keras.evaluation import accuracy_interval
from mae_keras.runs.comparison import test_interval as interval_on
from mae_keras.runs.options import check_images, file_settings

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
WHOLE = {"crop_size": (1, 1, 1)}


def numbered(depth, height, width, first=0):
    """A volume of which every voxel has a value of its own."""
    return first + np.arange(depth * height * width, dtype="int16").reshape(depth, height, width)


def save_nifti(path, volume, spacing=(1, 1, 1), affine=None):
    """`volume` `(depth, height, width)` of millimeters, as NIfTI has it: x, y, z."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing[::-1], 1]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(volume.transpose(2, 1, 0), affine), path)


def save_series(folder, slices, distance=2.0, **changes):
    """Slices from the feet up, with names in another order; `changes` by tag: a value for each."""
    folder.mkdir(parents=True, exist_ok=True)
    series = pydicom.uid.generate_uid()
    for place, pixels in enumerate(slices):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        data = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SeriesInstanceUID = meta.MediaStorageSOPClassUID, series
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        data.Rows, data.Columns = pixels.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.PixelSpacing = [0.5, 0.75]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [0, 0, distance * place]
        data.RescaleSlope, data.RescaleIntercept = 2, -1000
        data.PixelData = pixels.astype("int16").tobytes()
        for tag, values in changes.items():
            setattr(data, tag, values[place])
        data.save_as(folder / f"{(7 * place) % len(slices)}", enforce_file_format=True)


def splits(data):
    return data.train, data.validation, data.test


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_nifti_comes_up_front_and_right(tmp_path, order, signs):
    """Whatever the order and the direction of the axes in which it is stored."""
    volume = numbered(3, 4, 5)
    stored, affine = volume.transpose(2, 1, 0), np.zeros((4, 4))
    stored = stored[tuple(slice(None, None, sign) for sign in signs)].transpose(order)
    for axis, world in enumerate(order):
        affine[world, axis] = signs[world] * (2.0, 3.0, 4.0)[world]
    affine[3, 3] = 1
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "one.nii.gz", WHOLE)[..., 0], volume)
    as_thick = read_volume(tmp_path / "one.nii.gz", {**WHOLE, "spacing": (4, 3, 1)})
    assert as_thick.shape == (3, 4, 10, 1)


def test_slices_are_sorted_rescaled_and_turned(tmp_path):
    slices = numbered(5, 3, 4)
    save_series(tmp_path / "head", slices)
    volume = read_volume(tmp_path / "head", WHOLE)
    # Rows of DICOM run to the left and down them to the back.
    np.testing.assert_array_equal(volume[..., 0], 2.0 * slices[:, ::-1, ::-1] - 1000)
    finer = read_volume(tmp_path / "head", {**WHOLE, "spacing": (2, 0.5, 0.375)})
    assert finer.shape == (5, 3, 8, 1)


def test_what_cannot_be_used_is_named_and_counted(tmp_path):
    for number in range(4):
        save_nifti(tmp_path / f"good{number}.nii", numbered(2, 4, 4, number))
    np.save(tmp_path / "flat.npy", np.zeros((4, 4)))
    np.save(tmp_path / "objects.npy", np.array([[[{}]]]), allow_pickle=True)
    np.save(tmp_path / "infinite.npy", np.full((2, 4, 4), np.inf))
    np.save(tmp_path / "tiny.npy", np.zeros((1, 4, 4)))
    whole = (tmp_path / "good0.nii").read_bytes()
    (tmp_path / "cut.nii").write_bytes(whole[:-1])
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(whole)[:-4])
    huge = bytearray(whole)
    huge[42:48] = np.array([32767] * 3, "<i2").tobytes()
    (tmp_path / "huge.nii").write_bytes(huge)
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(huge))
    pixels = numbered(4, 4, 4)
    save_series(tmp_path / "gap", pixels, ImagePositionPatient=[[0, 0, z] for z in (0, 2, 6, 8)])
    save_series(tmp_path / "twice", pixels, ImagePositionPatient=[[0, 0, z] for z in (0, 2, 2, 4)])
    save_series(tmp_path / "color", pixels, SamplesPerPixel=[3] * 4)
    save_series(tmp_path / "cropped", [*pixels[:3], pixels[3, :2]])
    (tmp_path / "README").write_text("no DICOM")
    with pytest.raises(ValueError, match="strict=True every volume file must be readable"):
        load(tmp_path, multiple_of=2, strict=True)
    settings = {"multiple_of": 2, "seed": 3}
    data = load(tmp_path, **settings)
    assert sum(len(split.paths) for split in splits(data)) == 4
    skipped, ignored = data.notes[:2]
    assert skipped.startswith("skipped 12 unreadable files: color (0 is in color), cropped")
    assert ignored == "ignored 1 file that is not a volume."
    for name, reason in {
        "gap": "1 of 5 slices missing",
        "twice": "several slices at one place",
        "cropped": "slices of differing shapes",
        "cut.nii": "truncated: 415 of 416 bytes",
        "cut.nii.gz": "a damaged one",
        "huge.nii": "truncated: 416 of 70,362,",
        "huge.nii.gz": "more than this machine's memory",
        "flat.npy": "not three axes",
        "objects.npy": "Python objects in dtype",
        "infinite.npy": "holds values that are not finite",
    }.items():
        with pytest.raises(ValueError, match=reason):
            read_volume(tmp_path / name, WHOLE)


def test_resampling_a_part_is_linear_interpolation_of_the_whole(tmp_path):
    noise = np.random.default_rng(0).normal(size=(6, 7, 8)).astype("float32")
    save_nifti(tmp_path / "one.nii", noise, (3, 1, 2))
    wanted = (2.0, 1.0, 1.0)
    whole = read_volume(tmp_path / "one.nii", {**WHOLE, "spacing": wanted})[..., 0]
    places = [
        (np.arange(count) + 0.5) * ratio - 0.5
        for count, ratio in zip((9, 7, 16), (2 / 3, 1, 1 / 2), strict=True)
    ]
    grid = np.meshgrid(*places, indexing="ij")
    expected = ndimage.map_coordinates(noise, grid, order=1, mode="nearest")
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    for number in range(3):
        save_nifti(tmp_path / f"s/{number}.nii", noise + number, (3, 1, 2))
    data = load(tmp_path / "s", spacing=wanted, crop_size=4, multiple_of=2, in_memory_limit=0)
    (crop, *_), _ = data.train.arrays(1)
    number, *start = data.train.crops[0]
    z, y, x = start
    shift = int(pathlib.Path(data.train.paths[number]).stem)
    np.testing.assert_allclose(
        crop[..., 0], expected[z : z + 4, y : y + 4, x : x + 4] + shift, atol=1e-5
    )


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        name = f"{'ab'[number % 2]}/{number}.nii{'.gz' if number % 3 == 0 else ''}"
        save_nifti(tmp_path / name, numbered(6, 8, 8, 384 * number))
    return tmp_path


@pytest.mark.slow
def test_crops_are_read_alike_from_memory_and_from_files(folder):
    settings = {"crop_size": (4, 4, 4), "multiple_of": (2, 4, 4)}
    held, streamed = load(folder, **settings), load(folder, **settings, in_memory_limit=0)
    assert kind(folder) == "volumes" and held.class_names == ("a", "b")
    assert "unpacked whole for every crop" in " ".join(streamed.notes)
    for one, two in zip(splits(held), splits(streamed), strict=True):
        assert len(one) == 8 * len(one.paths)  # 2 x 2 x 2 crops fill a volume
        np.testing.assert_array_equal(one.arrays()[0], two.arrays()[0])
        first = one.arrays()[0][:, 0, 0, 0, 0]
        assert one.labels.tolist() == (first // 384 % 2).tolist()
        for number in range(len(one.paths)):
            assert len(np.unique(one.arrays()[0][one.crops[:, 0] == number])) == 6 * 8 * 8
    batches = [
        np.concatenate([*training_batches(data.train, 4, seed=1, epochs=2).as_numpy_iterator()])
        for data in (held, streamed)
    ]
    np.testing.assert_array_equal(*batches)
    later = training_batches(held.train, 4, seed=1, epochs=2, start_epoch=1, start_step=3)
    later = np.concatenate([*later.as_numpy_iterator()])
    np.testing.assert_array_equal(later, batches[0][-len(later) :])
    for crop in batches[0][..., 0]:
        number, place = divmod(int(crop[0, 0, 0]), 384)
        z, y, x = np.unravel_index(place, (6, 8, 8))
        np.testing.assert_array_equal(
            crop, numbered(6, 8, 8, 384 * number)[z : z + 4, y : y + 4, x : x + 4]
        )
    assert len(np.unique(batches[0][:, 0, 0, 0, 0] % 384)) > 8  # at other places than the fixed


def test_arrays_are_cut_and_clipped(tmp_path):
    volumes = np.stack([numbered(4, 6, 6, 144 * number) for number in range(8)])
    np.save(tmp_path / "v.npy", volumes)
    settings = {"kind": "volumes", "crop_size": (2, 6, 6), "window": (10, 300)}
    data = load(tmp_path / "v.npy", **settings)
    mapped = load(tmp_path / "v.npy", **settings, in_memory_limit=0)
    assert data.image_shape == (2, 6, 6, 1) and data.preprocessing["volume"]["window"] == [10, 300]
    found = [split.arrays()[0] for split in splits(data)]
    for crops, split in zip(found, splits(mapped), strict=True):
        np.testing.assert_array_equal(crops, split.arrays()[0])
    assert sum(map(len, found)) == 16
    np.testing.assert_array_equal(
        np.unique(np.concatenate(found)), np.arange(10, 301, dtype="float32")
    )
    with pytest.raises(ValueError, match="`crop_size` must fit into the volumes, 4 x 6 x 6"):
        load(tmp_path / "v.npy", kind="volumes", crop_size=5)
    with pytest.raises(ValueError, match="`crop_size` is for volumes"):
        load(tmp_path / "v.npy", kind="images", crop_size=2)


def test_small_volumes_are_padded_with_missing_voxels(tmp_path):
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", np.ones((3 if number else 5, 8, 8)) * number)
    data = load(tmp_path, crop_size=(4, 8, 8), multiple_of=(2, 8, 8))
    assert "5 volumes are smaller than a crop: padded with missing voxels." in data.notes
    assert "6 volumes do not say the distance of voxels." in data.notes
    crops = np.concatenate([split.arrays()[0] for split in splits(data)])
    missing = np.isnan(crops).any(axis=(2, 3, 4))
    assert sorted(missing.sum(axis=1).tolist()) == [0, 0, 1, 1, 1, 1, 1]
    assert not missing[:, :3].any()


def test_patients_and_official_splits_of_series(tmp_path):
    for number, name in enumerate(["p1/x", "p1/y", "p2/x", "p3/x", "p4/x"]):
        save_series(tmp_path / "flat" / name, numbered(2, 4, 4, 50 * number))
    data = load(tmp_path / "flat", groups="parent", multiple_of=2)
    patients = [{pathlib.Path(path).parts[-3] for path in split.paths} for split in splits(data)]
    assert sum(map(len, patients)) == 4 == len(set.union(*patients))
    for number, name in enumerate(["train/a/1", "train/b/2", "train/a/3", "test/a/4", "test/b/5"]):
        save_series(tmp_path / "official" / name, numbered(2, 4, 4, 50 * number))
    data = load(tmp_path / "official", multiple_of=2)
    assert data.class_names == ("a", "b")
    assert len(data.test) == 2 and "used the splits of the folder" in " ".join(data.notes)


def test_volumes_of_differing_spacing_come_to_the_median(tmp_path):
    for number in range(5):
        save_nifti(tmp_path / f"{number}.nii", numbered(4, 8, 8, number), (2 + (number == 4), 1, 1))
    data = load(tmp_path, multiple_of=(2, 8, 8))
    assert data.preprocessing["volume"]["spacing"] == [2.0, 1.0, 1.0]
    assert "resampled to 2 x 1 x 1 mm" in data.notes[0] and ": 1 of another" in data.notes[0]
    assert data.image_shape == (4, 8, 8, 1)


def test_half_of_the_volumes_are_flipped_along_each_axis():
    volumes = np.tile(numbered(2, 2, 2)[None, ..., None], (64, 1, 1, 1, 1))
    flipped = VolumeAugmentation().apply(volumes, (0, 1)).numpy()
    counts = np.unique(flipped[:, 0, 0, 0, 0], return_counts=True)
    assert counts[0].tolist() == list(range(8)) and counts[1].min() > 2
    expected = numbered(2, 2, 2)[::-1, :, ::-1]  # that corner tells all
    (first, *_) = flipped[flipped[:, 0, 0, 0, 0] == 5]
    np.testing.assert_array_equal(first[..., 0], expected)
    part = VolumeAugmentation().apply(volumes[:8], (0, 1), (16, 64)).numpy()
    np.testing.assert_array_equal(part, flipped[16:24])
    height = VolumeAugmentation(("height",)).apply(volumes, (0, 1)).numpy()
    assert np.unique(height[:, 0, 0, 0, 0]).tolist() == [0, 2]
    with pytest.raises(ValueError, match="`flip_axes` must be of depth, height, width"):
        VolumeAugmentation(("left",))


def test_slices_that_are_tilted_or_inverted_are_not_taken_for_a_box(tmp_path):
    pixels = numbered(4, 4, 4)
    for name in ("a", "b", "c"):
        save_nifti(tmp_path / f"{name}.nii", numbered(4, 4, 4, ord(name)))
    turned = [1, 0, 0, 0, np.cos(0.35), np.sin(0.35)]  # 20 degrees
    save_series(tmp_path / "tilted", pixels, ImageOrientationPatient=[turned] * 4)
    save_series(tmp_path / "inverted", pixels, PhotometricInterpretation=["MONOCHROME1"] * 4)
    skipped = load(tmp_path, multiple_of=2).notes[0]
    assert "skipped 2 unreadable files" in skipped
    assert "slices are tilted by 20 degrees; convert to NIfTI" in skipped
    assert "is stored inverted (MONOCHROME1)" in skipped


def test_a_file_that_says_no_orientation_is_not_turned(tmp_path):
    for number in range(3):
        volume = numbered(2, 4, 6, number)
        stored = nibabel.Nifti1Image(volume.transpose(2, 1, 0), None)
        nibabel.save(stored, tmp_path / f"{number}.nii")
        read = read_volume(tmp_path / f"{number}.nii", WHOLE)[..., 0]
        np.testing.assert_array_equal(read, volume)
    data = load(tmp_path, multiple_of=2)
    assert data.preprocessing["volume"]["oriented"] is False
    save_nifti(tmp_path / "other" / "0.nii", numbered(2, 4, 6), spacing=(1, 1, 1))
    for number in (1, 2):
        save_nifti(tmp_path / "other" / f"{number}.nii", numbered(2, 4, 6, number))
    assert load(tmp_path / "other", multiple_of=2).preprocessing["volume"]["oriented"] is True


def test_a_fourth_axis_of_moments_is_noted(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        moments = nibabel.Nifti1Image(rng.normal(size=(4, 4, 4, 6)), np.eye(4))
        nibabel.save(moments, tmp_path / f"{number}.nii")
    data = load(tmp_path, multiple_of=2)
    assert data.image_shape == (4, 4, 4, 6)
    assert any("6 channels, of the fourth axis" in note for note in data.notes)


def test_a_slice_stands_for_its_series(tmp_path):
    first, second = numbered(3, 4, 4), numbered(5, 4, 4, 100)
    save_series(tmp_path / "one", first)
    save_series(tmp_path / "two", second)
    for path in (tmp_path / "two").iterdir():
        path.rename(tmp_path / "one" / f"second{path.name}")
    paths = sorted(str(path) for path in (tmp_path / "one").iterdir())
    volumes = volumes_of(paths)
    assert len(volumes) == 2
    shapes = {read_volume(path, WHOLE).shape for path in volumes}
    assert shapes == {(3, 4, 4, 1), (5, 4, 4, 1)}
    assert volumes_of(paths[:1]) == [str(tmp_path / "one")]


def test_crops_of_a_volume_are_one_independent_sample(tmp_path):
    np.savez(tmp_path / "v.npz", volumes=np.random.default_rng(0).normal(size=(9, 8, 8, 8)))
    data = load(tmp_path / "v.npz", crop_size=4, splits=(1, 0, 0))
    assert (len(data.train), data.train.num_independent) == (72, 9)
    assert interval_on(0.5, data.train, 36) == list(accuracy_interval(0.5, 4))
    assert len(load(tmp_path / "v.npz", crops_per_volume=5, splits=(1, 0, 0)).train) == 45


def test_models_of_arrays_and_of_files_read_each_other(tmp_path):
    for number in range(3):
        save_nifti(tmp_path / "scans" / f"{number}.nii", numbered(9, 9, 9, number))
    np.savez(tmp_path / "v.npz", volumes=np.random.default_rng(0).normal(size=(9, 8, 8, 8)))
    of_arrays = file_settings(tmp_path / "scans", (8, 8, 8, 1), None, {})
    assert load(tmp_path / "scans", **of_arrays).image_shape == (8, 8, 8, 1)
    made = {"volume": {"crop_size": [4, 4, 4], "spacing": [2.0, 1.0, 1.0], "oriented": True}}
    of_files = file_settings(tmp_path / "v.npz", (4, 4, 4, 1), None, made, "volumes")
    data = load(tmp_path / "v.npz", **of_files)
    assert data.image_shape == (4, 4, 4, 1)
    with pytest.raises(ValueError, match=r"range .* \(0, 255\): .* with values in any range"):
        check_images(data, (4, 4, 4, 1), (0, 255))
