"""How accuracy, or any other number, falls under corrupted images. Imports NumPy only."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import check_array
from mae_keras.data.corruptions import CORRUPTIONS, corrupt

Curves = dict[str, dict[int, float]]


def robustness(
    predict: Callable[[np.ndarray], Any],
    images: Any,
    labels: Any,
    *,
    kinds: Sequence[str] | None = None,
    strengths: Sequence[int] = (0, 1, 3, 5),
    seed: int = 0,
    corrupt: Callable[..., np.ndarray] = corrupt,
) -> Curves:
    """Accuracy of a classifier on images corrupted in several ways, ever more strongly.

    Args:
        predict: callable from images to class ids `(num_images,)`: of a fine-tuned model
            `lambda x: model.predict(x).argmax(axis=1)`, of an encoder with a fitted probe
            `lambda x: probe.predict(model.encode(x))`.
        images: array `(num_images, *spatial, channels)` of test images, pixels as stored.
        labels: int array `(num_images,)`.
        kinds: names of corruptions, or `None` for all of `data.CORRUPTIONS`.
        strengths: ints from 1 (weak) to 5 (strong); 0 stands for the images as they are, which
            are classified only once.
        seed: int, of what is random in the corruptions.
        corrupt: callable `(images, kind, strength, seed)` to images. For float images give
            `functools.partial(data.corrupt, value_range=(0, 1))`.

    Returns:
        Dict from kind to strength to accuracy in [0, 1].

    Raises:
        TypeError: if labels or predictions are not integers.
        ValueError: if labels do not go with images, predictions not with labels, or a kind or
            strength is unknown; these before anything is classified.

    Example:
    >>> images = np.zeros((6, 8, 8, 1), "uint8")
    >>> images[::2] = 255
    >>> bright = lambda x: (x.mean(axis=(1, 2, 3)) > 127).astype(int)
    >>> robustness(bright, images, [1, 0] * 3, kinds=["noise", "contrast"], strengths=(0, 5))
    {'noise': {0: 1.0, 5: 1.0}, 'contrast': {0: 1.0, 5: 1.0}}

    References:
        - Hendrycks and Dietterich 2019, arXiv:1903.12261, section 4: accuracy by corruption and
          severity; no average is taken here.
    """
    images = check_array("images", images)
    labels = check_array("labels", labels, empty=True)
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"`labels` must have shape {images.shape[:1]}, one label for each image. "
            f"Received: labels.shape={labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"`labels` must be integers. Received: labels.dtype={labels.dtype}")

    def accuracy(seen: np.ndarray, _: np.ndarray) -> float:
        return float(np.mean(_class_ids(predict(seen), labels.shape) == labels))

    return corruption_curves(
        accuracy, images, kinds=kinds, strengths=strengths, seed=seed, corrupt=corrupt
    )


def corruption_curves(
    measure: Callable[[np.ndarray, np.ndarray], float],
    images: Any,
    *,
    kinds: Sequence[str] | None = None,
    strengths: Sequence[int] = (0, 1, 3, 5),
    seed: int = 0,
    corrupt: Callable[..., np.ndarray] = corrupt,
) -> Curves:
    """Measure anything on images corrupted as in `robustness`, such as reconstruction error.

    Args:
        measure: callable from corrupted images and the same images uncorrupted to a float.
        images: array `(num_images, *spatial, channels)`, at least one image.
        kinds: as for `robustness`.
        strengths: as for `robustness`.
        seed: as for `robustness`.
        corrupt: as for `robustness`.

    Returns:
        Dict from kind to strength to what `measure` returned, as float.

    Raises:
        ValueError: if there is no image, kind or strength, or one is unknown to `corrupt`; before
            anything is measured.

    Example:
    >>> images = np.full((4, 8, 8, 1), 255, "uint8")
    >>> changed = lambda seen, clean: np.mean(seen != clean)
    >>> corruption_curves(changed, images, kinds=["occlusion"])
    {'occlusion': {0: 0.0, 1: 0.0625, 3: 0.25, 5: 0.5625}}
    """
    images = check_array("images", images, empty=True)
    kinds, strengths = _listed("kinds", kinds, CORRUPTIONS), _listed("strengths", strengths)
    if images.ndim < 1 or not len(images):
        raise ValueError(
            f"`images` must hold at least one image. Received: images.shape={images.shape}"
        )
    corrupted = [strength for strength in strengths if strength != 0]
    # A dry run: an unknown kind is found before the hours of the known ones are spent.
    for kind in kinds:
        for strength in corrupted:
            corrupt(images[:1], kind, strength, seed)
    clean = float(measure(images, images)) if len(corrupted) < len(strengths) else None
    return {
        kind: {
            strength: clean
            if strength == 0
            else float(measure(corrupt(images, kind, strength, seed), images))
            for strength in strengths
        }
        for kind in kinds
    }


def _listed(name: str, values: Any, default: Any = ()) -> list[Any]:
    values = default if values is None else values
    chosen = [] if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)
    if not chosen:
        raise ValueError(f"`{name}` must be a sequence, not empty. Received: {name}={values!r}")
    return chosen


def _class_ids(predictions: Any, shape: tuple[int, ...]) -> np.ndarray:
    predictions = np.asarray(predictions)
    if predictions.shape != shape:
        raise ValueError(
            f"`predict` must return one class id for each image, shape {shape}. "
            f"Received: shape {predictions.shape}"
        )
    if not np.issubdtype(predictions.dtype, np.integer):
        raise TypeError(f"`predict` must return integers. Received: dtype {predictions.dtype}")
    return predictions
