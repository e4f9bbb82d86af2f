"""Synthetic images and folders for the data room's tests."""

import numpy as np
import pytest
from PIL import Image

from mae_keras.data import ArraySplit


@pytest.fixture
def random_images():
    """Return a maker of uint8 images that all differ."""

    def make(count, shape=(8, 8, 1), seed=0):
        return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype("uint8")

    return make


@pytest.fixture
def numbered_split():
    """Return a maker of splits whose n-th image holds nothing but the number n."""

    def make(count, shape=(4, 4, 1)):
        images = np.arange(count, dtype="float32").reshape(-1, 1, 1, 1) * np.ones(shape, "float32")
        return ArraySplit(images, np.arange(count))

    return make


@pytest.fixture
def image_folder(tmp_path, random_images):
    """Return a maker of folders: {"a/0.png": size or array, ...} to files."""

    def make(files, folder=tmp_path / "images"):
        folder.mkdir(exist_ok=True)
        for seed, (name, content) in enumerate(files.items()):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
                continue
            if isinstance(content, tuple):
                content = random_images(1, content, seed)[0]
            Image.fromarray(content).save(path)
        return folder

    return make
