import json
import types

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from mae_keras import data
from mae_keras.demo.samples import Neighbors, find_samples, samples_of, stand_in_samples
from mae_keras.runs import Recipe


def test_neighbors_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (300, 3, 2, 1), "uint8")
    model = types.SimpleNamespace(
        encode=lambda images, batch_size: images.reshape(len(images), -1).astype("float32") - 99
    )
    neighbors = Neighbors(model, images, [""] * 300)
    found = neighbors.nearest(images[7])
    search = NearestNeighbors(n_neighbors=8, metric="cosine").fit(model.encode(images, 1))
    distances, rows = search.kneighbors(model.encode(images[7:8], 1))
    assert [row for row, _ in found] == rows[0].tolist()
    np.testing.assert_allclose([1 - close for _, close in found], distances[0], atol=1e-5)


def test_what_takes_too_long_to_encode_is_left_out():
    model = types.SimpleNamespace(encode=lambda images, batch_size: np.ones((len(images), 2)))
    assert len(Neighbors(model, np.zeros((600, 2, 2, 1)), [""] * 600, seconds=0).images) == 256


def test_examples_are_test_images_and_neighbors_training_images(array_file):
    images = data.load(str(array_file))
    samples = samples_of(images)
    held_out, _ = images.test.arrays()
    assert {image.tobytes() for image in samples.examples} <= {i.tobytes() for i in held_out}
    training, labels = images.train.arrays()
    names = {image.tobytes(): str(label) for image, label in zip(training, labels, strict=True)}
    assert len(samples.training[0]) == len(training)
    for image, name in zip(*samples.training, strict=True):
        assert name.split()[-1] == names[image.tobytes()]


def run_of(tmp_path, **config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_nothing_is_downloaded_for_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr("mae_keras.data.tfds._download", pytest.fail)
    model = types.SimpleNamespace(image_shape=(28, 28, 1), value_range=(0.0, 1.0))
    run = run_of(tmp_path, dataset="tfds:kmnist")
    samples = find_samples(run, Recipe(dataset="tfds:kmnist"), model, str(tmp_path))
    assert samples.training is None
    assert "The data set tfds:kmnist is not on this machine" in samples.note
    assert samples.examples.shape == (16, 28, 28, 1)
    assert 0 <= samples.examples.min() < samples.examples.max() <= 1


def test_data_that_is_gone_is_said_in_a_line(tmp_path):
    model = types.SimpleNamespace(image_shape=(8, 8, 1), value_range=(0.0, 255.0))
    run = run_of(tmp_path, dataset="photos/")
    note = find_samples(run, Recipe(dataset=str(tmp_path / "photos")), model).note
    assert "The training data cannot be read" in note and "\n" not in note


def test_color_models_get_photographs():
    model = types.SimpleNamespace(image_shape=(16, 16, 3), value_range=None)
    samples = stand_in_samples(model, "Why")
    assert samples.examples.shape == (16, 16, 16, 3)
    assert samples.examples.dtype == "uint8"
    assert np.ptp(samples.examples.mean(axis=(1, 2)), axis=1).max() > 10  # colors, not gray
    assert samples.note.startswith("Why: the examples are parts of two photographs")


def test_models_of_mnist_get_the_digits_that_come_with_the_package(tmp_path):
    model = types.SimpleNamespace(image_shape=(28, 28, 1), value_range=(0.0, 255.0))
    run = run_of(tmp_path, dataset="mnist")
    samples = find_samples(run, Recipe(dataset="mnist"), model, str(tmp_path))
    assert "The data set mnist is not on this machine" in samples.note
    images, names = samples.training
    assert len(images) == len(names) == 2000 and set(names) == set("0123456789")
