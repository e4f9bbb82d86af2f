"""TensorFlow Datasets: errors without a network, and real MNIST where it is prepared."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_keras.data import load, training_batches

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def mnist_dir():
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not Path(folder, "mnist").is_dir():
        pytest.skip("real MNIST is not prepared in TFDS_DATA_DIR")
    return folder


@pytest.fixture
def made_up(tmp_path):
    """Prepare a small data set of PNG photographs in mixed sizes, without a network."""

    class MadeUp(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path  # where TFDS looks for citations and tags

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["ape", "cat"]),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {
                "train": self._generate_examples(0, 40),
                "test": self._generate_examples(36, 50),
            }

        def _generate_examples(self, start, end):
            for seed in range(start, end):
                rng = np.random.default_rng(seed)
                size = (20 + seed % 5, 24, 3)
                image = rng.integers(0, 256, size).astype("uint8")
                yield seed, {"image": image, "label": seed % 2}

    builder = MadeUp(data_dir=tmp_path)
    builder.download_and_prepare()
    return f"tfds:{builder.name}", tmp_path


@pytest.mark.slow
def test_a_prepared_data_set_is_held_and_resized(made_up):
    name, folder = made_up
    data = load(name, data_dir=folder, image_size=(16, 12))
    assert data.image_shape == (16, 12, 3) and data.class_names == ("ape", "cat")
    assert [len(data.train), len(data.validation), len(data.test)] == [33, 3, 14]
    assert data.notes == ("left out 4 training images that are held out too.",)


@pytest.mark.slow
def test_mixed_sizes_are_resized_with_a_note(made_up):
    name, folder = made_up
    data = load(name, data_dir=folder)
    assert data.image_shape == (224, 224, 3)
    assert data.notes[0].startswith("images differ in size; all are resized to 224 x 224")


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["WEBP", "BMP", "PNG", "JPEG"])
def test_files_are_read_as_they_are_stored(tmp_path, image_format):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype("uint8")

    class Stored(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path

        def _info(self):
            features = {"image": tfds.features.Image(shape=(8, 8, 3))}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number, image in enumerate(pixels):
                buffer = io.BytesIO()
                options = {"lossless": True} if image_format == "WEBP" else {}
                Image.fromarray(image).save(buffer, image_format, **options)
                yield number, {"image": io.BytesIO(buffer.getvalue())}

    builder = Stored(data_dir=tmp_path)
    builder.download_and_prepare()
    data = load(f"tfds:{builder.name}", data_dir=tmp_path)
    found = np.concatenate([s.arrays()[0] for s in (data.train, data.validation, data.test)])
    if image_format != "JPEG":
        assert {i.tobytes() for i in found} == {i.tobytes() for i in pixels}
    assert len(found) == 12


@pytest.mark.slow
def test_a_large_data_set_is_streamed(made_up):
    name, folder = made_up
    data = load(name, data_dir=folder, image_size=16, in_memory_limit=0)
    assert data.train.stream
    assert [len(data.train), len(data.validation), len(data.test)] == [36, 4, 14]
    assert data.notes == ("streamed from disk; whether splits share an image was not checked.",)
    epoch = list(training_batches(data.train, 12, seed=0, epochs=1, with_labels=True))
    seen = np.concatenate([images for images, _ in epoch])
    stored, labels = data.train.arrays()
    assert {image.tobytes() for image in seen} == {image.tobytes() for image in stored}
    assert sum(batch_labels.numpy().sum() for _, batch_labels in epoch) == labels.sum()


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ValueError, match="knows no data set 'mnits'.* Did you mean 'tfds:mnist'"):
        load("tfds:mnits")


def test_a_data_set_without_images_is_refused_before_any_download(tmp_path):
    with pytest.raises(ValueError, match=r"expected an image feature. Received: \['label', 'text'"):
        load("tfds:imdb_reviews", data_dir=tmp_path)


def test_a_failed_download_names_the_ways_out(tmp_path, monkeypatch):
    def fail(self, **options):
        raise ConnectionError("no route to host\nlong traceback")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    message = (
        r"mnist is not prepared in .* \(ConnectionError: no route to host\). Set data_dir or the "
        "environment variable TFDS_DATA_DIR"
    )
    with pytest.raises(ValueError, match=message):
        load("mnist", data_dir=tmp_path)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install '.*\[datasets\]'"):
        load("cifar10")


@pytest.mark.slow
def test_real_mnist_keeps_its_test_images_and_shares_none(mnist_dir):
    data = load("mnist", data_dir=mnist_dir)
    assert data.image_shape == (28, 28, 1) and data.num_classes == 10
    assert [len(data.train), len(data.validation), len(data.test)] == [54000, 6000, 10000]
    raw = next(
        tfds.load("mnist", split="test", data_dir=mnist_dir).batch(10000).as_numpy_iterator()
    )
    np.testing.assert_array_equal(data.test.images, raw["image"])
    np.testing.assert_array_equal(data.test.labels, raw["label"])
    held = [
        {image.tobytes() for image in split.images}
        for split in (data.train, data.validation, data.test)
    ]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
