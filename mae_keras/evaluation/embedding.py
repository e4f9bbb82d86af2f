"""Features in two dimensions, to be looked at. Imports scikit-learn, when called."""

from typing import Any, NamedTuple

import numpy as np

from mae_keras.arguments import check_array, check_choice, check_int

_METHODS = ("pca", "tsne")
_LEAST = {"pca": 3, "tsne": 5}
_TSNE_FEATURES = 50


class Embedding(NamedTuple):
    """What `embed_2d` returns.

    Attributes:
        points: float64 array `(num_shown, 2)`.
        indices: ascending int array `(num_shown,)`, the rows of the features that are shown.
    """

    points: np.ndarray
    indices: np.ndarray


def embed_2d(
    features: Any, method: str = "pca", seed: int = 0, max_samples: int = 2000
) -> Embedding:
    """Reduce features to two numbers per sample, by PCA or t-SNE.

    The same arguments give the same points. Which samples are shown depends on their number,
    `max_samples` and `seed` alone, so PCA and t-SNE of the same features show the same ones. The
    perplexity of t-SNE is 30, or a third of the number of other samples if that is less; it starts
    from PCA, and of more than 50 features it sees the first 50 principal components. Features
    that are the same for all samples all lie at the origin.

    Args:
        features: array `(num_samples, num_features)` of finite numbers, at least two features;
            three samples for PCA, five for t-SNE.
        method: `"pca"` or `"tsne"`.
        seed: int, which samples are shown, and the randomness of t-SNE.
        max_samples: int, a random subset of so many samples is used if there are more. t-SNE of
            2000 samples takes some 15 seconds.

    Returns:
        `Embedding(points, indices)`; labels of the points are `labels[indices]`.

    Raises:
        ValueError: if features are not finite, too few, or `method` is unknown.

    Example:
    >>> points, indices = embed_2d(np.eye(6, 4), method="pca", max_samples=5)
    >>> points.shape, indices.shape
    ((5, 2), (5,))

    References:
        - van der Maaten and Hinton 2008, JMLR 9:2579; start from PCA: Kobak and Berens 2019,
          doi:10.1038/s41467-019-13056-x.
    """
    features = check_array("features", features, empty=True)
    check_int("seed", seed, 0, 2**32 - 1)
    check_int("max_samples", max_samples, 2)
    _check(features, method, max_samples)
    indices = np.arange(len(features))
    if len(features) > max_samples:
        chosen = np.random.default_rng(seed).permutation(len(features))[:max_samples]
        indices = np.sort(chosen)
    shown = features[indices].astype("float64")
    shown = shown - shown.mean(axis=0)
    # Divided by the largest, so that squares of huge or tiny features stay numbers.
    largest = np.abs(shown).max()
    if largest <= 1e-12 * max(float(np.abs(features[indices]).max()), 1e-300):
        return Embedding(np.zeros((len(indices), 2)), indices)
    points = _pca(shown / largest, 2) * largest if method == "pca" else _tsne(shown / largest, seed)
    return Embedding(points, indices)


def _pca(features: np.ndarray, count: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    return PCA(min(count, *features.shape), svd_solver="full").fit_transform(features)


def _tsne(features: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(features) - 1) / 3)
    # One thread: sums of several come in no fixed order, and t-SNE magnifies the difference.
    with threadpool_limits(1):
        if features.shape[1] > _TSNE_FEATURES:
            features = _pca(features, _TSNE_FEATURES)
        return (
            TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
            .fit_transform(features)
            .astype("float64")
        )


def _check(features: np.ndarray, method: str, max_samples: int) -> None:
    check_choice("method", method, _METHODS)
    least = _LEAST[method]
    if features.ndim != 2 or len(features) < least or features.shape[1] < 2:
        raise ValueError(
            f"`features` must have shape (num_samples, num_features), at least {least} samples "
            f"and 2 features for {method!r}. Received: features.shape={features.shape}"
        )
    if not hasattr(max_samples, "__index__") or max_samples < least:
        raise ValueError(
            f"`max_samples` must be an int of at least {least} for {method!r}. "
            f"Received: max_samples={max_samples!r}"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(
            "`features` must be finite numbers. Received: NaN or infinity in "
            f"{len(bad)} of {len(features)} rows: {shown}"
        )
