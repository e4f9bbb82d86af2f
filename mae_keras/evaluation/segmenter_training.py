"""Segmentation: what a pretrained encoder is worth for classes of pixels. Imports Keras.

Trained on crops of the training images; whole test images are segmented by windows that overlap.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.arguments import LARGEST_SEED, UNLABELED, check_int, check_number
from mae_keras.data import SegmentationAugmentation, SegmentationSplit, segmentation_batches
from mae_keras.data.segmentation_crops import check_segmentation_split
from mae_keras.evaluation.segmentation import SegmentationReport, segmentation_report
from mae_keras.models import Segmenter
from mae_keras.training import NonFiniteError
from mae_keras.training.optimizers import warmup_cosine

_WARMUP = 0.1  # of all steps
# On slices of electron microscopy kept for validation, 300 steps of a linear head on frozen tokens
# reach an area under the ROC curve of 0.864 at 0.001, 0.889 at 0.01, 0.892 at 0.05.
_RATE, _RATE_OF_HEADS = 1e-3, 1e-2
_EPOCHS = 10  # that training is cut into, whatever the data
_AT_ONCE = 256  # images: probabilities of many classes take much memory


@dataclasses.dataclass(frozen=True, eq=False)
class SegmenterTraining:
    """What `train_segmenter` returns.

    Attributes:
        model: `Segmenter`, with the weights of the end.
        history: loss and metrics of each of ten epochs of equal length.
        steps: int, steps trained.
        train_seconds: float, wall time of the training, compilation included.
        num_trained_weights: int, numbers that were trained.
    """

    model: Segmenter
    history: dict[str, list[float]]
    steps: int
    train_seconds: float
    num_trained_weights: int


def train_segmenter(
    model: keras.Model,
    train: SegmentationSplit,
    num_classes: int,
    *,
    head: str = "pyramid",
    steps: int = 600,
    batch_size: int = 16,
    learning_rate: float | None = None,
    weight_decay: float = 0.01,
    train_blocks: int | None = None,
    from_scratch: bool = False,
    drop_path_rate: float = 0.0,
    augmentation: SegmentationAugmentation | None = None,
    value_range: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = 0,
) -> SegmenterTraining:
    """Train a segmenter on a copy of an encoder, from crops of the encoder's size.

    AdamW, with linear warmup over a tenth of the steps and cosine decay to 0. The weights of the
    last step are the result: no set is needed to choose among others.

    Args:
        model: `MaskedAutoencoder` or `ViTEncoder`; it is never changed.
        train: `SegmentationSplit`, images of the size of the encoder's or of any other.
        num_classes: int, at least 2.
        head: `"linear"`, `"pyramid"` or `"unetr"`, see `Segmenter`. Defaults to `"pyramid"`.
        steps: int, updates of the weights, from 10 on rounded up to a multiple of 10. Defaults to
            `600`.
        batch_size: int, crops per step. Defaults to `16`.
        learning_rate: float, highest rate of AdamW, or `None`: 0.001, and 0.01 where the head alone
            is trained.
        weight_decay: float >= 0. Defaults to `0.01`.
        train_blocks: int, train the last so many blocks and the head (0: the head alone), or
            `None`: everything.
        from_scratch: bool, fresh weights instead of the pretrained ones: the baseline of equal
            cost. Defaults to `False`.
        drop_path_rate: float in [0, 1), stochastic depth. Defaults to `0.0`.
        augmentation: `SegmentationAugmentation`, or `None`.
        value_range: `(low, high)` of the pixels, which changes of brightness need.
        class_names: one name per class, saved with the model, or `None`.
        seed: int >= 0, on which initial weights, crops and changes depend.
        callbacks: passed to `fit`.
        verbose: passed to `fit`.

    Returns:
        `SegmenterTraining`.

    Raises:
        TypeError: if `model` has no encoder, or `train` is no `SegmentationSplit`.
        ValueError: if images do not fit the encoder, or a number is out of range.
        NonFiniteError: if the loss becomes NaN or infinite.

    Example:
    >>> from mae_keras.models import ViTEncoder
    >>> encoder = ViTEncoder((8, 8, 1), 4, hidden_dim=8, num_layers=1, num_heads=1)
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 1), "uint8")
    >>> split = SegmentationSplit(images, (images[..., 0] > 127).astype("int32"))
    >>> training = train_segmenter(encoder, split, 2, head="linear", steps=2)
    >>> training.model.image_shape, training.steps
    ((8, 8, 1), 2)
    """
    check_segmentation_split("train", train)
    if not any((mask != UNLABELED).any() for mask in train.masks):
        raise ValueError(
            f"`train` must have labeled pixels. Received: {len(train)} masks of -1 alone"
        )
    check_int("steps", steps, 1, LARGEST_SEED)
    check_int("batch_size", batch_size, 1, LARGEST_SEED)
    check_number("learning_rate", learning_rate, 0, above=True, optional=True)
    if learning_rate is None:
        learning_rate = _RATE_OF_HEADS if train_blocks == 0 else _RATE
    check_number("weight_decay", weight_decay, 0)
    segmenter = Segmenter.from_pretrained(
        model,
        num_classes,
        head=head,
        train_blocks=train_blocks,
        copy_weights=not from_scratch,
        drop_path_rate=drop_path_rate,
        class_names=class_names,
        seed=seed,
    )
    batches = segmentation_batches(
        train,
        batch_size,
        seed=seed,
        crop_size=segmenter.image_shape[:-1],
        patch_size=segmenter.encoder.patch_size,
        crops_per_image=_enough_crops(train, segmenter.image_shape[:-1], batch_size),
        augmentation=augmentation,
        value_range=value_range,
    )
    epochs = min(_EPOCHS, steps)
    steps_per_epoch = -(-steps // epochs)
    steps = epochs * steps_per_epoch
    schedule = warmup_cosine(learning_rate, steps, int(_WARMUP * steps))
    segmenter.compile(keras.optimizers.AdamW(schedule, weight_decay=weight_decay))
    started = time.perf_counter()
    history = segmenter.fit(
        batches,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        callbacks=[keras.callbacks.TerminateOnNaN(), *callbacks],
        verbose=verbose,
    ).history
    losses = history["loss"]
    if not np.isfinite(losses).all():
        raise NonFiniteError(
            f"The loss became {losses[-1]} in epoch {len(losses)} of training a segmenter. Try a "
            "lower `learning_rate`, or float32 or bfloat16 instead of float16."
        )
    return SegmenterTraining(
        model=segmenter,
        history={name: [float(value) for value in values] for name, values in history.items()},
        steps=steps,
        train_seconds=time.perf_counter() - started,
        num_trained_weights=sum(int(np.prod(v.shape)) for v in segmenter.trainable_variables),
    )


def _enough_crops(train, crop, batch_size):
    """Crops of each image, where those that fill them would not make one batch."""
    sizes = [
        int(np.prod([-(-extent // size) for extent, size in zip(mask.shape, crop, strict=True)]))
        for mask in train.masks
    ]
    return None if sum(sizes) >= batch_size else -(-batch_size // max(1, len(sizes)))


def segment_images(model: Segmenter, images: Sequence[np.ndarray], *, overlap: float = 0.5) -> list:
    """Probabilities of the classes of whole images of any size.

    Args:
        model: `Segmenter`.
        images: arrays `(*spatial, channels)`, pixels as stored.
        overlap: float in [0, 1), of the windows that larger images are cut into; see
            `Segmenter.segment`. Defaults to `0.5`.

    Returns:
        List of float32 arrays `(*spatial, num_classes)`.

    Raises:
        TypeError, ValueError: if an image does not fit the model.

    Example:
    >>> from mae_keras.models import ViTEncoder
    >>> encoder = ViTEncoder((8, 8, 1), 4, hidden_dim=8, num_layers=1, num_heads=1)
    >>> model = Segmenter.from_pretrained(encoder, 2, head="linear", seed=0)
    >>> [maps.shape for maps in segment_images(model, np.zeros((2, 12, 16, 1), "uint8"))]
    [(12, 16, 2), (12, 16, 2)]
    """
    images = list(images)
    if images and all(image.shape == model.image_shape for image in images):
        return list(model.probabilities(np.stack(images)))
    return [model.segment(image, overlap=overlap, probabilities=True) for image in images]


def score_segmenter(
    model: Segmenter, split: SegmentationSplit, *, groups: Any = None, seed: int = 0, **settings
) -> tuple[SegmentationReport, list[np.ndarray]]:
    """Segment the images of a split and compare with their masks.

    Pixels that no window sees, as all around is missing, count as the first class.

    Args:
        model: `Segmenter`.
        split: `SegmentationSplit`.
        groups: as for `segmentation_report`.
        seed: int, of the intervals.
        **settings: passed to `segmentation_report`, such as `tolerance` and `spacing`.

    Returns:
        `SegmentationReport`, and the predicted classes of every image, int32 `(*spatial)`.

    Raises:
        TypeError, ValueError: if images do not fit the model, or nothing is labeled.

    Example:
    >>> from mae_keras.models import ViTEncoder
    >>> encoder = ViTEncoder((8, 8, 1), 4, hidden_dim=8, num_layers=1, num_heads=1)
    >>> model = Segmenter.from_pretrained(encoder, 2, head="linear", seed=0)
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 1), "uint8")
    >>> split = SegmentationSplit(images, (images[..., 0] > 127).astype("int32"))
    >>> report, predictions = score_segmenter(model, split)
    >>> report.num_labeled, predictions[0].shape
    (576, (12, 12))
    """
    keeps = model.num_classes == 2  # for the area under the curve
    probabilities, predictions = [], []
    for start in range(0, len(split), _AT_ONCE):
        for maps in segment_images(model, split.images[start : start + _AT_ONCE]):
            maps = np.nan_to_num(maps)
            predictions.append(maps.argmax(axis=-1).astype("int32"))
            if keeps:
                probabilities.append(maps)
    report = segmentation_report(
        split.masks,
        predictions,
        model.num_classes,
        class_names=model.class_names,
        probabilities=probabilities if keeps else None,
        groups=groups,
        seed=seed,
        **settings,
    )
    return report, predictions
