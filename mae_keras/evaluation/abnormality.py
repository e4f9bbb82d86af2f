"""How abnormal images are, judged by a model and by baselines that saw normal images alone.

Arrays in, numbers out. Imports NumPy; scikit-learn in the functions that need it, Keras through the
model.
"""

from typing import Any, NamedTuple

import numpy as np

from mae_keras.arguments import (
    LARGEST_SEED,
    check_array,
    check_int,
    check_number,
    check_pooling,
)
from mae_keras.evaluation.features import check_same_width, pixel_features


class AbnormalityScores(NamedTuple):
    """What `abnormality_scores` returns; the higher, the more abnormal.

    Attributes:
        scores: dict from method to float32 array `(num_images,)`.
        maps: dict from method to float32 array `(num_images, *spatial)`, for the methods that
            judge every pixel. NaN where a pixel is missing.
    """

    scores: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]


def abnormality_scores(
    model: Any,
    normal: Any,
    images: Any,
    *,
    k: int = 5,
    num_components: int | None = None,
    num_masks: int = 16,
    mask_ratio: float | None = None,
    pooling: Any = "mean",
    fraction: float = 1.0,
    standardize: bool = False,
    seed: int = 0,
    batch_size: int = 32,
) -> AbnormalityScores:
    """Score how far images are from normal ones, without labels, in five ways.

    | method | score of an image |
    |---|---|
    | `reconstruction` | squared error of the model's predictions of hidden patches |
    | `neighbors` | mean distance of its features to the `k` nearest of normal images |
    | `mahalanobis` | distance of its features to the mean of normal ones, by their covariance |
    | `pca` | squared error of the pixels' reconstruction from principal components |
    | `pixel_neighbors` | mean distance of its pixels to the `k` nearest normal images |

    The last two need no model: they are the baselines. The model should be pretrained on normal
    images alone; what it is given here as `normal` may be the same images.

    Args:
        model: `MaskedAutoencoder` that predicts pixels.
        normal: array `(num_normal, *spatial, channels)` of normal images, pixels as stored.
        images: array `(num_images, *spatial, channels)` of images to score.
        k: int, neighbors, at most `num_normal`. Defaults to `5`.
        num_components: int, principal components of `pca`. Defaults to as many as the encoder has
            features.
        num_masks: int, masks to average over, at least 2 and enough to hide every patch. Defaults
            to `16`.
        mask_ratio: float in (0, 1), fraction of patches that one mask hides. Defaults to the
            model's.
        pooling: how tokens become features, as for `model.encode`. Defaults to `"mean"`.
        fraction: float in (0, 1], share of an image's pixels, those with the largest errors, that
            `reconstruction` and `pca` average over. Less than 1 finds small defects. Defaults to
            `1.0`.
        standardize: bool, whether brightness and contrast of an image as a whole are no sign of
            abnormality: pixels of each image are standardized by its own mean and standard
            deviation for `pca` and `pixel_neighbors`, and errors of `reconstruction` are divided by
            its variance. Features are the model's affair: pretrain with `standardize="sample"`.
            Defaults to `False`.
        seed: int, which masks.
        batch_size: int.

    Returns:
        `AbnormalityScores(scores, maps)`; `maps` are of `reconstruction` and `pca`.

    Raises:
        TypeError, ValueError: if images do not fit the model, or a number is out of range.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 4, mask_ratio=0.5, num_layers=1)
    >>> images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype("uint8")
    >>> result = abnormality_scores(model, images[:4], images, k=1, num_masks=2)
    >>> result.scores["pixel_neighbors"].round(3)[:4].tolist()
    [0.0, 0.0, 0.0, 0.0]
    >>> sorted(result.maps)
    ['pca', 'reconstruction']

    References:
        - Bergman et al. 2020, "Deep nearest neighbor anomaly detection", arXiv:2002.10445.
        - Lee et al. 2018, arXiv:1807.03888: Mahalanobis distance of features.
    """
    check_number("fraction", fraction, 0, 1, above=True)
    check_int("num_components", num_components, 1, optional=True)
    pooling = check_pooling(pooling)
    features = [model.encode(each, pooling, batch_size) for each in (normal, images)]
    pixels = [pixel_features(each) for each in (normal, images)]
    shape = np.shape(images)[:-1]
    errors = hidden_patch_errors(model, images, num_masks, mask_ratio, seed, batch_size)
    if standardize:
        spread = pixels[1].std(axis=1).reshape(-1, *(1,) * (errors.ndim - 1))
        errors = errors / np.maximum(np.square(spread), 1e-12)
        pixels = [_standardized(rows) for rows in pixels]
    wanted = features[0].shape[1] if num_components is None else num_components
    squares = pca_errors(*pixels, min(wanted, *pixels[0].shape), seed)
    squares = squares.reshape(*shape, -1).mean(axis=-1)
    maps = {"reconstruction": errors, "pca": squares}
    scores = {
        "reconstruction": map_scores(errors, fraction),
        "neighbors": neighbor_distances(*features, k),
        "mahalanobis": mahalanobis_distances(*features),
        "pca": map_scores(squares, fraction),
        "pixel_neighbors": neighbor_distances(*pixels, k),
    }
    return AbnormalityScores(scores, maps)


def hidden_patch_errors(
    model: Any,
    images: Any,
    num_masks: int = 16,
    mask_ratio: float | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> np.ndarray:
    """Squared error of every pixel, predicted while it was hidden: mean over channels.

    The prediction is the mean over several masks that hide every patch, as in
    `model.anomaly_map`.

    Args:
        model: `MaskedAutoencoder` or `DenseMaskedAutoencoder` that predicts pixels.
        images: array `(num_images, *spatial, channels)` of pixels as stored.
        num_masks: int, at least 2 and enough to hide every patch. Defaults to `16`.
        mask_ratio: float in (0, 1), fraction of patches that one mask hides. Defaults to the
            model's.
        seed: int, which masks.
        batch_size: int.

    Returns:
        float32 array `(num_images, *spatial)`, NaN where a pixel is missing.

    Raises:
        TypeError, ValueError: as `model.anomaly_map`.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,), mask_ratio=0.5)
    >>> hidden_patch_errors(model, np.zeros((2, 4, 4, 1), "uint8"), num_masks=4).shape
    (2, 4, 4)
    """
    errors = model.anomaly_map(images, num_masks, mask_ratio, seed, batch_size)
    return np.square(errors.astype("float64")).mean(axis=-1).astype("float32")


def map_scores(maps: Any, fraction: float = 1.0) -> np.ndarray:
    """One number for each map: the mean of its largest values.

    Args:
        maps: array `(num_images, *spatial)`; NaN counts nowhere.
        fraction: float in (0, 1], share of the values to average, at least one. Defaults to
            `1.0`.

    Returns:
        float32 array `(num_images,)`.

    Raises:
        ValueError: if a map is NaN everywhere, or `fraction` is out of range.

    Example:
    >>> map_scores([[[0.0, 1.0], [2.0, 9.0]]], fraction=0.5).tolist()
    [5.5]
    """
    maps = check_array("maps", maps)
    check_number("fraction", fraction, 0, 1, above=True)
    if maps.ndim < 2 or np.isinf(maps).any():
        raise ValueError(
            "`maps` must have shape (num_images, *spatial) and be finite, NaN where a pixel is "
            f"missing. Received: maps.shape={maps.shape}"
        )
    rows = maps.reshape(len(maps), -1).astype("float64")
    known = ~np.isnan(rows)
    counts = known.sum(axis=1)
    if not counts.all():
        raise ValueError(
            "`maps` must have a value in every image. Received: NaN in all of image "
            f"{int(np.argmin(counts))}"
        )
    descending = -np.sort(np.where(known, -rows, np.inf), axis=1)
    taken = np.maximum(np.ceil(fraction * counts - 1e-9), 1)
    largest = np.arange(rows.shape[1]) < taken[:, None]
    return (np.where(largest, descending, 0).sum(axis=1) / taken).astype("float32")


def neighbor_distances(normal_features: Any, features: Any, k: int = 5) -> np.ndarray:
    """Mean Euclidean distance of each row to its `k` nearest normal rows.

    Args:
        normal_features: array `(num_normal, num_features)`.
        features: array `(num_images, num_features)`.
        k: int, neighbors, at most `num_normal`. Defaults to `5`.

    Returns:
        float32 array `(num_images,)`.

    Raises:
        ValueError: if shapes do not fit, features are not finite, or `k` exceeds `num_normal`.

    Example:
    >>> neighbor_distances([[0.0], [1.0], [9.0]], [[2.0]], k=2).tolist()
    [1.5]
    """
    from sklearn.neighbors import NearestNeighbors

    normal, rows = _read_pair(normal_features, features)
    check_int("k", k, 1)
    if k > len(normal):
        raise ValueError(
            f"`k` must be at most the number of normal images, {len(normal)}. Received: k={k}"
        )
    # A tree would be slower than comparing all pairs of so many columns.
    neighbors = NearestNeighbors(n_neighbors=int(k), algorithm="brute").fit(normal)
    return neighbors.kneighbors(rows)[0].mean(axis=1).astype("float32")


def mahalanobis_distances(normal_features: Any, features: Any) -> np.ndarray:
    """Distance of each row to the mean of normal rows, in standard deviations of their spread.

    The covariance is shrunk toward a multiple of the identity (Ledoit and Wolf), so that fewer rows
    than columns are enough.

    Args:
        normal_features: array `(num_normal, num_features)`, at least two rows.
        features: array `(num_images, num_features)`.

    Returns:
        float32 array `(num_images,)`.

    Raises:
        ValueError: if shapes do not fit, features are not finite, or normal rows are all alike.

    Example:
    >>> normal = [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    >>> distances = mahalanobis_distances(normal, [[0.0, 0.0], [2.0, 0.0]])
    >>> [round(float(distance), 3) for distance in distances]
    [0.0, 2.828]

    References:
        - Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
          matrices"; `sklearn.covariance.LedoitWolf`.
    """
    from sklearn.covariance import LedoitWolf

    normal, rows = _read_pair(normal_features, features)
    if not normal.std(axis=0).any():
        raise ValueError(
            "`normal_features` must hold at least two different rows. Received: "
            f"{len(normal)} equal rows"
        )
    squares = LedoitWolf().fit(normal).mahalanobis(rows)
    return np.sqrt(np.maximum(squares, 0)).astype("float32")


def pca_errors(
    normal_features: Any, features: Any, num_components: int, seed: int = 0
) -> np.ndarray:
    """Squared error of each value, reconstructed from the principal components of normal rows.

    Args:
        normal_features: array `(num_normal, num_features)`, such as pixels by `pixel_features`.
        features: array `(num_images, num_features)`.
        num_components: int, at most `min(num_normal, num_features)`.
        seed: int, of the randomized solver that scikit-learn uses for large arrays.

    Returns:
        float32 array `(num_images, num_features)`.

    Raises:
        ValueError: if shapes do not fit, features are not finite, or the components are too many.

    Example:
    >>> normal = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    >>> pca_errors(normal, [[3.0, 3.0], [2.0, 0.0]], num_components=1).round(3).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    from sklearn.decomposition import PCA

    normal, rows = _read_pair(normal_features, features)
    check_int("num_components", num_components, 1, min(normal.shape))
    check_int("seed", seed, 0, LARGEST_SEED)
    model = PCA(int(num_components), random_state=seed).fit(normal)
    rebuilt = model.inverse_transform(model.transform(rows))
    return np.square(rows - rebuilt).astype("float32")


def _standardized(rows: np.ndarray) -> np.ndarray:
    """Each row by its own mean and standard deviation; a row of one value becomes 0."""
    spread = rows.std(axis=1, keepdims=True)
    return (rows - rows.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)


def _read_pair(normal_features: Any, features: Any) -> tuple[np.ndarray, np.ndarray]:
    # float64: squares of pixels, and differences of nearly equal distances
    normal, rows = (
        check_array(name, values, 2, finite=True).astype("float64")
        for name, values in (("normal_features", normal_features), ("features", features))
    )
    check_same_width(normal_features=normal, features=rows)
    largest = max(abs(normal).max(), abs(rows).max())
    if largest > 1e15:
        raise ValueError(
            "`normal_features` and `features` must be numbers whose squares float32 can hold. "
            f"Received: up to {largest:g}"
        )
    return normal, rows
