"""Crops of image files at their own scale."""

import numpy as np
import pytest
from PIL import Image

from mae_keras import data
from mae_keras.data import training_batches
from mae_keras.runs.building import training_augmentation
from mae_keras.runs.recipe import adapt, find_recipe

CROP = (8, 12)


def place_map(number, height, width):
    """An image whose pixels say where they are, and in which image."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, np.full_like(rows, number)], axis=-1).astype("uint8")


@pytest.fixture
def folder(tmp_path):
    for number, (height, width) in enumerate([(20, 30), (16, 24), (40, 50), (9, 13)]):
        inside = tmp_path / "photos" / ("odd" if number % 2 else "even")
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(place_map(number, height, width)).save(inside / f"{number}.png")
    return tmp_path / "photos"


def crops_of(folder, **options):
    return data.load(folder, image_size=CROP, resize="none", splits=(1, 0, 0), **options)


def test_fixed_crops_cover_every_image_unchanged(folder):
    images = crops_of(folder)
    crops, labels = images.train.arrays()
    assert crops.shape[1:] == (*CROP, 3) and images.train.num_independent == 4
    numbers = crops[:, 0, 0, 2]
    np.testing.assert_array_equal(labels, numbers % 2)
    for number, (height, width) in enumerate([(20, 30), (16, 24), (40, 50), (9, 13)]):
        whole = place_map(number, height, width)
        seen = np.zeros((height, width), bool)
        for crop in crops[numbers == number]:
            top, left = crop[0, 0, :2]
            np.testing.assert_array_equal(crop, whole[top : top + 8, left : left + 12])
            seen[top : top + 8, left : left + 12] = True
        assert seen.all()


def test_training_crops_begin_anywhere(folder):
    split = crops_of(folder).train
    batches = training_batches(split, 16, seed=0, epochs=60)
    crops = np.concatenate(list(batches.as_numpy_iterator()))
    small = crops[crops[:, 0, 0, 2] == 3]  # 9 x 13: four places
    assert {tuple(crop[0, 0, :2]) for crop in small} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    first = crops[crops[:, 0, 0, 2] == 0]
    tops = first[:, 0, 0, 0]
    assert (tops.min(), tops.max()) == (0, 12)
    np.testing.assert_array_equal(first[:, -1, 0, 0], tops + 7)


def test_small_images_are_padded_and_said(tmp_path):
    Image.fromarray(np.full((4, 20), 9, "uint8")).save(tmp_path / "a.png")
    Image.fromarray(np.full((30, 20), 7, "uint8")).save(tmp_path / "b.png")
    images = crops_of(tmp_path)
    crops, _ = images.train.arrays()
    small = crops[crops[:, 0, 0, 0] == 9]
    assert (small[:, :4] == 9).all() and not small[:, 4:].any()
    assert "1 image is smaller than a crop: padded with black." in images.notes
    assert any("crops of 8 x 12" in note for note in images.notes)


def test_values_of_16_bits_stay(tmp_path):
    pixels = (np.arange(30 * 40).reshape(30, 40) * 50).astype("uint16")
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    crops, _ = crops_of(tmp_path).train.arrays()
    first = next(crop for crop in crops if crop[0, 0, 0] == 0)
    np.testing.assert_array_equal(first[..., 0], pixels[:8, :12])


def test_one_image_is_read_in_the_middle(folder):
    crop = data.read_image(folder / "even" / "0.png", (*CROP, 3), resize="none")
    np.testing.assert_array_equal(crop, place_map(0, 20, 30)[6:14, 9:21])


def test_crops_keep_their_scale_in_training(folder):
    recipe = adapt(
        find_recipe(dataset=str(folder)), dataset=str(folder), resize="none", image_size=8
    )
    images = crops_of(folder)
    assert training_augmentation(recipe, images).crop_scale is None


def test_what_is_no_folder_of_images_is_refused():
    with pytest.raises(ValueError, match="`resize` must be 'crop', 'pad' or 'stretch' but for"):
        data.load("digits", resize="none")
