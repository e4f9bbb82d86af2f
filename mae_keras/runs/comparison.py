"""An encoder compared with its baselines, on splits that share no image."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from mae_keras import data, evaluation
from mae_keras.data.division import content_keys
from mae_keras.models.targets import Target

Encode = Callable[[np.ndarray], np.ndarray]

# Most bytes of the images of one split, as stored: 60,000 of CIFAR-10 at 96 x 96 pixels.
_MOST_BYTES = 2**31
# Raw pixels are compared at this many values at most: more makes the probe slow and no better.
_PIXEL_VALUES = 1024
_BATCH_SIZE = 256


class Features(NamedTuple):
    """Features and labels of three splits that share no image.

    Attributes:
        train: features and labels to fit on.
        validation: features and labels to choose on.
        test: features and labels to report on.
    """

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def with_labels_of(self, encode: Encode) -> "Features":
        """The same images through another function of their features."""
        return Features(*((encode(features), labels) for features, labels in self))


class Comparison:
    """A trained encoder, its baselines, and their features of one data set, computed once.

    The baselines are the same encoder untrained, raw pixels, and as many of their principal
    components as the encoder has features.

    Args:
        model: trained `MaskedAutoencoder`.
        untrained: the same model before training.
        images: `data.ImageData`.
        max_train: int, training images used at most.
        max_test: int, validation and test images used at most.
        pooling: `"mean"` or `"token"`, what the encoders' features are.
        num_blocks: int, features are those of so many last blocks, side by side.
        announce: callable of a line that says how far a protocol that trains has come.
        masks: `data.SegmentationData`, images with masks for protocols that segment, or `None`.
        mask_augmentation: `data.SegmentationAugmentation` to train on them, or `None`.

    Attributes:
        model: the trained model; `model.encoder` is its encoder.
        untrained: the same model before training.
        images: `data.ImageData`: `class_names`, `value_range` and all images of every split.
        pixels: `Features` whose arrays are the images as stored: `pixels.train`,
            `pixels.validation` and `pixels.test` are pairs `(images, labels)`, of `max_train` and
            `max_test` images at most. Raises `ValueError` without labels: use `images` then.
        features: `"trained"`, `"untrained"`, `"pca"` and `"pixels"` to `Features`: pairs of an
            array `(num_images, num_features)` and labels.
        encoders: the same names to functions from images to features.
        num_classes: int, 0 without labels.
        value_range: `(black, white)` of the images.
        shared_images: int, validation and test images that are in an earlier split too.
        notes: list of sentences, appended to the `notes` of every entry.
        announce: call it with a line to print.
        masks: `data.SegmentationData`, or `None`.
        mask_augmentation: random changes of its training images, or `None`.
        segmented: protocol to the predicted classes of the pixels of test images, for its figures.

    Raises:
        ValueError: if the images are not of the model's shape, or it has fewer blocks.

    Example:
    >>> from mae_keras import data
    >>> from mae_keras.models import MaskedAutoencoder
    >>> models = [MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2) for _ in range(2)]
    >>> comparison = Comparison(*models, data.load("digits"), max_train=50, max_test=20)
    >>> comparison.pixels.train[0].shape
    (50, 8, 8, 1)
    """

    def __init__(
        self,
        model: Any,
        untrained: Any,
        images: Any,
        *,
        max_train: int = 10_000,
        max_test: int = 10_000,
        pooling: str | tuple[str, int] = "mean",
        num_blocks: int = 1,
        announce: Callable[[str], Any] = lambda text: None,
        masks: Any = None,
        mask_augmentation: Any = None,
    ):
        model.check_pooling(pooling)
        check_fit(model, images)
        self.notes: list[str] = []
        if num_blocks != 1:
            _check_blocks(model, num_blocks)
            self.notes.append(f"Frozen features: those of the last {num_blocks} blocks, joined.")
        self.model, self.untrained, self.images = model, untrained, images
        self.max_train, self.max_test, self.pooling = max_train, max_test, pooling
        self.num_blocks = num_blocks
        self.announce = announce
        self.masks, self.mask_augmentation = masks, mask_augmentation
        self.segmented: dict[str, list[np.ndarray]] = {}

    @property
    def num_classes(self) -> int:
        """Classes of the data set, 0 without labels."""
        return self.images.num_classes or 0

    @functools.cached_property
    def pixels(self) -> Features:
        """The images themselves and their labels."""
        if self.num_classes < 2:
            raise ValueError(
                f"The protocol needs labels of at least two classes. Received: a data set with "
                f"{self.images.num_classes or 'no'} classes"
            )
        return Features(
            self._sample("train", self.max_train),
            self._sample("validation", self.max_test),
            self._sample("test", self.max_test),
        )

    @property
    def value_range(self) -> tuple[float, float]:
        """Black and white of the images; without such ends, their smallest and largest value."""
        test = self.pixels.test[0]
        return self.images.value_range or (float(np.nanmin(test)), float(np.nanmax(test)))

    def _sample(self, name: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """At most so many images of a split, drawn at random: folders are sorted by class."""
        split = getattr(self.images, name)
        size = math.prod(self.images.image_shape) * np.dtype(split.dtype).itemsize
        fitting = max(1, _MOST_BYTES // size)
        if fitting < min(limit, len(split)):
            limit = fitting
            self.notes.append(f"{name}: only {limit:,} of {len(split):,} images fit into memory.")
        if limit >= len(split):
            return split.arrays()
        if split.stream:
            self.notes.append(f"{name}: the first {limit:,} images of a stream were used.")
            return split.arrays(limit=limit)
        rows = np.random.default_rng(0).permutation(len(split))[:limit]
        return data.SelectedSplit(split, np.sort(rows)).arrays()

    @functools.cached_property
    def shared_images(self) -> int:
        """Validation and test images that are in an earlier split too, pixel for pixel."""
        seen, shared = np.zeros(0, "uint64"), 0
        for images, _ in self.pixels:
            keys = content_keys(images)
            shared += int(np.isin(keys, seen).sum())
            seen = np.concatenate([seen, keys])
        return shared

    @functools.cached_property
    def encoders(self) -> dict[str, Encode]:
        """The feature extractors that are always reported together."""
        width = self._encode(self.model, self.pixels.train[0][:1]).shape[-1]
        project = evaluation.fit_pca(pixel_values(self.pixels.train[0]), width)
        return {
            "trained": lambda x: self._encode(self.model, x),
            "untrained": lambda x: self._encode(self.untrained, x),
            "pca": lambda x: project(pixel_values(x)),
            "pixels": pixel_values,
        }

    @functools.cached_property
    def features(self) -> dict[str, Features]:
        """Features of all three splits for each encoder."""
        return {name: self.pixels.with_labels_of(encode) for name, encode in self.encoders.items()}

    def block_features(self, name: str, max_train: int = 10_000) -> list[Features]:
        """Features out of every block of the `"trained"` or `"untrained"` encoder.

        Args:
            name: `"trained"` or `"untrained"`.
            max_train: int, training images used at most: every block is held in memory.

        Returns:
            `num_layers + 1` `Features`, see `MaskedAutoencoder.encode_blocks`.
        """
        model = self.model if name == "trained" else self.untrained
        (train, labels), *others = self.pixels
        rows = np.sort(np.random.default_rng(1).permutation(len(train))[:max_train])
        splits = [(train[rows], labels[rows]), *others]
        encoded = [
            (model.encode_blocks(x, self.pooling, batch_size=_BATCH_SIZE), y) for x, y in splits
        ]
        count = len(encoded[0][0])
        return [Features(*((x[block], y) for x, y in encoded)) for block in range(count)]

    def _encode(self, model: Any, images: np.ndarray) -> np.ndarray:
        if self.num_blocks == 1:
            return model.encode(images, self.pooling, batch_size=_BATCH_SIZE)
        blocks = model.encode_blocks(images, self.pooling, batch_size=_BATCH_SIZE)
        return np.concatenate(blocks[-self.num_blocks :], axis=-1)


def _check_blocks(model: Any, num_blocks: int) -> None:
    if not 1 <= num_blocks <= model.encoder.num_layers:
        raise ValueError(
            f"`num_blocks` must be 1 to the encoder's {model.encoder.num_layers}. "
            f"Received: num_blocks={num_blocks}"
        )


def check_fit(model: Any, images: Any) -> None:
    """Refuse a data set of another shape than the model's.

    Args:
        model: `MaskedAutoencoder`.
        images: `data.ImageData`.

    Raises:
        ValueError: if the shapes differ.
    """
    if tuple(images.image_shape) != tuple(model.image_shape):
        raise ValueError(
            f"`images` must have the shape the model was made for, {model.image_shape}. "
            f"Received: images.image_shape={tuple(images.image_shape)}"
        )


def pixel_values(images: np.ndarray) -> np.ndarray:
    """Pixels of images as features, averaged down to 1,024 values at most.

    Args:
        images: array `(batch, *spatial, channels)`.

    Returns:
        float32 array `(batch, values)`.

    Example:
    >>> pixel_values(np.zeros((2, 64, 64, 1), "uint8")).shape
    (2, 1024)
    """
    return evaluation.pixel_features(shrunk(images))


def shrunk(images: np.ndarray) -> np.ndarray:
    """Images of at most 1,024 values, averaged over the smallest squares that make them so.

    Args:
        images: array `(batch, *spatial, channels)`.

    Returns:
        Array `(batch, *smaller, channels)`; the images themselves where they are small enough.

    Example:
    >>> shrunk(np.zeros((2, 70, 64, 3), "uint8")).shape
    (2, 17, 16, 3)
    """
    *sides, channels = images.shape[1:]
    factor = 1
    while math.prod(max(side // factor, 1) for side in sides) * channels > _PIXEL_VALUES:
        if factor >= max(sides):
            break
        factor += 1
    for axis, side in enumerate(sides, 1):
        step = min(factor, side)
        if step > 1:
            kept = np.take(images, range(side - side % step), axis=axis)
            shape = (*kept.shape[:axis], side // step, step, *kept.shape[axis + 1 :])
            images = kept.reshape(shape).mean(axis=axis + 1, dtype="float32")
    return images


_LOSS_IMAGES = 2000
QUICK = {"knn_accuracy": "20-NN", "linear_probe_accuracy": "linear probe"}


def score(model: Any, untrained: Any, images: Any, pooling: Any = "mean") -> dict[str, Any]:
    """Loss against naive baselines, and features against theirs.

    At most 10,000 images of each split are used; `mae-keras evaluate` says more.

    Args:
        model: trained `MaskedAutoencoder`.
        untrained: the same model before training.
        images: `data.ImageData`.
        pooling: what the features are; see `MaskedAutoencoder.encode`.

    Returns:
        `hidden_loss`, `baseline_loss`, `knn_accuracy` and `linear_probe_accuracy` as in
        `metrics.json`; the accuracies are `None` without labels of at least two kinds, or when
        they cannot be measured (`notes` says why).

    Example:
    >>> from mae_keras import data
    >>> scores = score(model, untrained, data.load("digits"))  # doctest: +SKIP
    >>> sorted(scores["baseline_loss"])  # doctest: +SKIP
    ['mean_image', 'nearest_visible', 'visible_mean']
    """
    scores: dict[str, Any] = {**reconstruction_scores(model, images), **dict.fromkeys(QUICK)}
    if (images.num_classes or 0) < 2:
        return scores
    try:
        comparison = Comparison(model, untrained, images, pooling=pooling)
        accuracies = {name: _quick(features) for name, features in comparison.features.items()}
    except (ValueError, TypeError) as error:  # the trained model is not lost over its score
        return {**scores, "notes": [f"Features could not be scored: {error}"]}
    for key in QUICK:
        scores[key] = {name: round(values[key], 4) for name, values in accuracies.items()}
    return scores


def _quick(features: Features) -> dict[str, float]:
    """Accuracies of one encoder's features, nothing chosen but the probe's penalty."""
    train, validation, test = features
    k = min(20, len(train[0]))
    return {
        "knn_accuracy": evaluation.knn_accuracy(*train, *test, k=k).test_accuracy,
        "linear_probe_accuracy": evaluation.linear_probe(*train, *validation, *test).test_accuracy,
    }


def reconstruction_scores(model: Any, images: Any) -> dict[str, Any]:
    """Hidden-patch loss on held-out images, and the same loss for naive baselines.

    Args:
        model: `MaskedAutoencoder`.
        images: `data.ImageData`; its test split is used.

    Returns:
        `{"hidden_loss": float, "baseline_loss": {name: float}}`.
    """
    held_out, _ = images.test.arrays(limit=_LOSS_IMAGES)
    train, _ = images.train.arrays(limit=_LOSS_IMAGES)
    predicted = model.predict_patches(held_out, batch_size=256)
    per_patch = np.asarray(model.target.loss(predicted.targets, predicted.predictions))
    baselines = evaluation.trivial_losses(
        _mean_target(*_targets(model, train)),
        predicted.targets,
        predicted.patch_mask,
        model.grid,
        channels=model.target.num_channels,
        missing_mask=predicted.missing,
        frames=images.is_video,
    )
    return {
        "hidden_loss": mean_over_images(per_patch, predicted.counted),
        "baseline_loss": {name: float(value) for name, value in baselines.items()},
    }


# Of the loss that training is compared with: pairs of patches that are compared, over all images.
_MOST_PAIRS, _MEAN_BYTES = 2**26, 2**27
_MOST_IMAGES, _FEWEST_IMAGES = 256, 16


def naive_losses(model: Any, images: Any) -> dict[str, float]:
    """The baselines of `reconstruction_scores` on validation images; no network is run.

    They are what `val_loss` compares with, on the first images and under the masks of `fit`.

    Args:
        model: `MaskedAutoencoder`, trained or not.
        images: `data.ImageData`.

    Returns:
        Name to loss; empty where the validation loss is another one (it counts visible patches,
        or is no squared error) or there are no validation images.
    """
    squared_error = type(model.target).loss is Target.loss
    if model.loss_on != "hidden" or not squared_error or not len(images.validation):
        return {}
    limit = max(_FEWEST_IMAGES, min(_MOST_IMAGES, _MOST_PAIRS // model.num_patches**2))
    held_out, _ = images.validation.arrays(limit=limit)
    size = 4 * math.prod(model.image_shape)  # the mean needs no pairs of patches, but memory
    train, _ = images.train.arrays(
        limit=max(_FEWEST_IMAGES, min(_LOSS_IMAGES, _MEAN_BYTES // size))
    )
    masks = model.evaluation_masks(held_out)
    targets, missing = _targets(model, held_out, masks)
    return evaluation.trivial_losses(
        _mean_target(*_targets(model, train)),
        targets,
        masks,
        model.grid,
        channels=model.target.num_channels,
        missing_mask=missing,
        frames=images.is_video,
    )


def _targets(
    model: Any, images: np.ndarray, masks: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What a model has to predict of images under masks, and which patches are missing."""
    patches, missing = model.to_patches(ops.convert_to_tensor(images))
    if masks is not None:
        patches = model._as_seen(ops.convert_to_tensor(images), patches, masks)
    targets = ops.convert_to_numpy(model.to_targets(patches, missing=missing))
    if missing is None:
        return targets, np.zeros(targets.shape[:2], "bool")
    return targets, ops.convert_to_numpy(missing)


def _mean_target(targets: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Mean target of each place over the images in which it is not missing."""
    present = ~missing[..., None]
    return (targets * present).sum(axis=0) / np.maximum(present.sum(axis=0), 1)


def mean_over_images(per_patch: np.ndarray, counted: np.ndarray) -> float:
    """Mean over images of each image's mean over its counted patches.

    Args:
        per_patch: `(batch, num_patches)`.
        counted: bool `(batch, num_patches)`.

    Returns:
        float.

    Example:
    >>> mean_over_images(np.array([[1.0, 3.0]]), np.array([[True, False]]))
    1.0
    """
    totals = np.maximum(counted.sum(axis=1), 1)
    return float(np.mean((per_patch * counted).sum(axis=1) / totals))


def test_interval(accuracy: float, split: Any, count: int) -> list[float]:
    """95 % interval of an accuracy on `count` samples of a split.

    Args:
        accuracy: float.
        split: `data.Split`. Crops of one volume count as one sample, since they resemble each
            other.
        count: int, samples that were scored.

    Returns:
        Two floats.
    """
    together = len(split) / max(getattr(split, "num_independent", len(split)), 1)
    independent = max(1, round(count / max(together, 1)))
    return list(evaluation.accuracy_interval(accuracy, independent))


def entry_of(entries: dict[str, dict[str, Any]], comparison: Comparison) -> dict[str, Any]:
    """The trained encoder's entry, the accuracies of all compared with it, and how sure they are.

    Args:
        entries: for each encoder a dict with `test_accuracy`.
        comparison: `Comparison`.

    Returns:
        Dict with `accuracies`, `interval` (95 %, of the trained encoder's accuracy as that of
        more test images of the same kind), `num_train` and `num_test` added.
    """
    (train, _), _, (test, _) = comparison.pixels
    own = entries["trained"]
    return {
        "num_train": len(train),
        **own,
        "accuracies": {name: entry["test_accuracy"] for name, entry in entries.items()},
        "interval": test_interval(own["test_accuracy"], comparison.images.test, len(test)),
        "num_test": len(test),
    }
