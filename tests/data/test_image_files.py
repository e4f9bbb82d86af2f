"""What is found out about image files; broken ones are covered by `test_folders`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_keras.data.file_tree import IMAGES, find_files
from mae_keras.data.image_files import inspect_files


def test_files_come_in_a_fixed_order_whatever_the_disk_says(image_folder):
    names = ["b/1.png", "a/2.png", "c.png", "a/b/0.png"]
    folder = image_folder({name: (4, 4) for name in names})
    found = find_files(folder, IMAGES)
    expected = ["a/2.png", "a/b/0.png", "b/1.png", "c.png"]
    assert [Path(path).relative_to(folder).as_posix() for path in found.paths] == expected
    assert found.others == {}


def test_copies_share_a_key_and_other_images_do_not(image_folder, random_images):
    image = random_images(1, (4, 4, 3))[0]
    folder = image_folder({"0.png": image, "1.png": image, "2.png": 255 - image})
    keys = [file.key for file in inspect_files(find_files(folder, IMAGES).paths)]
    assert keys[0] == keys[1] != keys[2]


def test_sizes_are_height_and_width(image_folder):
    folder = image_folder({"0.png": (4, 9, 3)})
    assert inspect_files(find_files(folder, IMAGES).paths)[0].size == (4, 9)


@pytest.mark.parametrize(("color", "gray"), [((7, 7, 7), True), ((7, 8, 7), False)])
def test_a_palette_is_gray_when_its_colors_are(tmp_path, color, gray):
    image = Image.fromarray(np.zeros((4, 4), "uint8")).convert("P")
    image.putpalette(color)
    image.save(tmp_path / "image.png")
    (found,) = inspect_files([str(tmp_path / "image.png")])
    assert found.gray is gray and found.defect is None
