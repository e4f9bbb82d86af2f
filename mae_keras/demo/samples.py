"""Pictures to choose from on the demo page, and the training images nearest to one."""

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mae_keras import data
from mae_keras.data.image_files import resize
from mae_keras.data.tfds import is_prepared
from mae_keras.run_contents import config_of
from mae_keras.runs.building import load_images, located

_EXAMPLES, _NEIGHBORS = 16, 8
_MOST_IMAGES, _MOST_BYTES, _MOST_SECONDS = 2000, 256 << 20, 30.0  # to look up neighbors in


class Samples(NamedTuple):
    """Pictures to choose from, training images to compare with, and what is missing, if any is."""

    examples: np.ndarray
    training: tuple[np.ndarray, list[str]] | None
    note: str


def samples_of(images: Any, seed: int = 0) -> Samples:
    """Some test images of a data set, and some of its training images with the names of classes.

    Args:
        images: `data.ImageData`.
        seed: int, which are taken.
    """
    held_out = next(part for part in (images.test, images.validation, images.train) if len(part))
    examples, _ = _some(held_out, _EXAMPLES, seed)
    most = max(1, _MOST_BYTES // (4 * int(np.prod(images.image_shape))))
    training, labels = _some(images.train, min(_MOST_IMAGES, most), seed)
    names = [""] * len(training)
    if labels is not None:
        classes = images.class_names or [f"class {number}" for number in range(images.num_classes)]
        names = [str(classes[label]) for label in labels]
    return Samples(examples, (training, names), "")


def _some(split: Any, count: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    if split.stream or count >= len(split):
        return split.arrays(count)
    rows = np.random.default_rng(seed).choice(len(split), count, replace=False)
    return data.SelectedSplit(split, rows).arrays()


def find_samples(
    run: str | os.PathLike[str], recipe: Any, model: Any, data_dir: str | None = None
) -> Samples:
    """Images of the data set that a run was trained on, if it is at hand: nothing is downloaded.

    Args:
        run: folder of a run, name of pretrained weights, or a `.keras` file.
        recipe: `Recipe` of the run.
        model: its model.
        data_dir: folder of TensorFlow Datasets; defaults to `TFDS_DATA_DIR`.
    """
    config = config_of(run)
    if "dataset" not in config:
        return stand_in_samples(model, "The data that this model was trained on is not known")
    dataset = located(recipe.dataset, config.get("data"))
    downloaded = [source for source in data.SOURCES.values() if "data_dir" in source.options]
    if any(source.reads(dataset) for source in downloaded) and not is_prepared(dataset, data_dir):
        why = f"The data set {dataset} is not on this machine"
        if dataset.removeprefix("tfds:") == "mnist" and tuple(model.image_shape) == (28, 28, 1):
            samples = samples_of(data.load("mnist-sample"))
            return samples._replace(
                note=f"{why}: shown are 5,000 of the digits that it was trained on."
            )
        return stand_in_samples(model, why)
    try:
        images = load_images(dataclasses.replace(recipe, dataset=dataset), data_dir, model)
    except (ImportError, OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "no reason").rstrip(".")
        return stand_in_samples(model, f"The training data cannot be read ({reason})")
    if tuple(images.image_shape) != tuple(model.image_shape):
        return stand_in_samples(model, f"{dataset} has images of another size than the model's")
    return samples_of(images)


def stand_in_samples(model: Any, why: str) -> Samples:
    """Pictures to choose from where the data of a model is not at hand.

    Digits for gray models, parts of two photographs of scikit-learn for color ones.
    """
    height, width, channels = model.image_shape
    if channels == 1:
        name = "digits" if min(height, width) < 16 else "mnist-sample"
        images = samples_of(data.load(name, image_size=(height, width))).examples
        what = "handwritten digits"
    else:
        images, what = _photographs(height, width), "parts of two photographs"
    low, high = model.value_range or (0, 255)
    if (low, high) != (0, 255):
        images = (low + images * np.float32((high - low) / 255)).astype("float32")
    return Samples(images, None, f"{why}: the examples are {what}, and no neighbors are shown.")


def _photographs(height: int, width: int) -> np.ndarray:
    from sklearn.datasets import load_sample_images

    rng, parts = np.random.default_rng(0), []
    photographs = load_sample_images().images
    for number in range(_EXAMPLES):
        picture = photographs[number % 2]
        side = int(rng.integers(160, min(picture.shape[:2])))
        top, left = (int(rng.integers(0, length - side)) for length in picture.shape[:2])
        part = picture[top : top + side, left : left + side]
        parts.append(np.asarray(resize(part[np.newaxis], (height, width), "crop"))[0])
    return np.stack(parts)


class Neighbors:
    """Images by the direction of their features, compared by cosine similarity.

    Args:
        model: masked autoencoder.
        images: `(num_images, height, width, channels)`, pixels as stored.
        names: what each image is called on the page, such as its class.
        seconds: time after which the rest of the images is left out.
    """

    def __init__(
        self, model: Any, images: np.ndarray, names: Sequence[str], seconds: float = _MOST_SECONDS
    ):
        self._model = model
        end, features = time.monotonic() + seconds, []
        for start in range(0, len(images), 256):
            features.append(self._directions(images[start : start + 256]))
            if time.monotonic() > end:
                break
        self._features = np.concatenate(features)
        self.images, self.names = images[: len(self._features)], names

    def _directions(self, images: np.ndarray) -> np.ndarray:
        features = self._model.encode(images, batch_size=256)
        return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-30)

    def nearest(self, image: np.ndarray, count: int = _NEIGHBORS) -> list[tuple[int, float]]:
        """Numbers of the images that are most similar, and how similar they are, nearest first."""
        similarity = self._features @ self._directions(image[np.newaxis])[0]
        order = np.argsort(-similarity, kind="stable")[:count]
        return [(int(number), float(similarity[number])) for number in order]
