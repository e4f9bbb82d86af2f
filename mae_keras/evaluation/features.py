"""Raw pixels and their principal components as features, and the checks every protocol makes.

Imports NumPy only; scikit-learn by the function that needs it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mae_keras import feature_scores
from mae_keras.arguments import check_array, check_int


def pixel_features(images: Any) -> np.ndarray:
    """Use raw pixels as features: the baseline an encoder has to beat.

    Args:
        images: array `(batch, *spatial, channels)`, any number type. NaN (missing) pixels take
            the mean of the image's other pixels.

    Returns:
        float32 array `(batch, values per image)`, in the pixel range as given.

    Raises:
        ValueError: if there is no batch axis with at least one axis after it.

    Example:
    >>> pixel_features(np.zeros((5, 8, 8, 1), "uint8")).shape
    (5, 64)
    """
    images = check_array("images", images, empty=True)
    if images.ndim < 2:
        raise ValueError(
            f"`images` must have shape (batch, *spatial, channels). "
            f"Received: images.shape={images.shape}"
        )
    rows = images.reshape(len(images), int(np.prod(images.shape[1:]))).astype("float32")
    if np.isinf(rows).any():
        raise ValueError("`images` must be finite (NaN means missing). Received: infinite pixels")
    missing = np.isnan(rows)
    if missing.any():
        seen = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
        rows = np.where(missing, np.where(missing, 0, rows).sum(1, keepdims=True) / seen, rows)
    return rows


def fit_pca(features: Any, num_components: int, seed: int = 0) -> Callable[[Any], np.ndarray]:
    """Find the principal components of features.

    The classic way to learn features without labels: what an encoder has to beat at the same
    number of features.

    Args:
        features: array `(num_train, num_features)`, which alone decides the components.
        num_components: int, at most; there are no more than rows or columns.
        seed: int, of the randomized solver that scikit-learn uses for large arrays.

    Returns:
        Callable from an array `(num_samples, num_features)` to its float32 coordinates
        `(num_samples, num_components)`.

    Raises:
        ValueError: if `num_components` is not positive.

    Example:
    >>> rows = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    >>> project = fit_pca(rows, num_components=1)
    >>> np.abs(project([[3.0, 3.0], [2.0, 2.0]])).round().tolist()
    [[1.0], [0.0]]
    """
    from sklearn.decomposition import PCA

    num_components = check_int("num_components", num_components, 1)
    check_int("seed", seed, 0, 2**32 - 1)
    rows = check_array("features", features, 2, finite=True).astype("float32")
    model = PCA(min(num_components, *rows.shape), random_state=seed).fit(rows)

    def project(features: Any) -> np.ndarray:
        rows = check_array("features", features, 2, finite=True).astype("float32")
        check_same_width(fitted_features=model.components_, features=rows)
        return model.transform(rows).astype("float32")

    return project


def effective_rank(features: Any) -> float:
    """How many directions features spread over: RankMe, from 1 to the number of columns.

    It is `exp(entropy)` of the singular values as shares of their sum: 1 for features that are all
    alike, d for those that spread evenly over d directions. Their mean is not removed. It needs no
    labels, and a fall of it during training is a sign of collapse.

    Args:
        features: array `(num_samples, num_features)`; best with more rows than columns.

    Returns:
        float; 1 where all features are 0.

    Raises:
        ValueError: if they are no finite numbers or not of that shape.

    Example:
    >>> round(effective_rank(np.eye(3)), 3), round(effective_rank(np.ones((5, 3))), 3)
    (3.0, 1.0)

    References:
        - Garrido et al. 2023 (RankMe), arXiv:2210.02885, equation 1.
    """
    return feature_scores.effective_rank(check_array("features", features, 2, finite=True))


def class_notes(
    train_labels: Any, test_labels: Any, class_names: Sequence[str] | None = None
) -> list[str]:
    """Say which classes an accuracy cannot speak of.

    Args:
        train_labels: int array `(num_train,)`.
        test_labels: int array `(num_test,)`.
        class_names: str for each label from 0, or `None`: the labels themselves.

    Returns:
        Sentences; none when both sets hold the same classes.

    Example:
    >>> class_notes([0, 1], [1, 2], ["cat", "dog", "fox"])
    ['Class fox is absent from train: its 1 test images count as wrong.',
     'Class cat is absent from test: accuracies say nothing about it.']
    """

    def name(label: int) -> str:
        return str(label if class_names is None else class_names[label])

    train_labels = check_array("train_labels", train_labels, 1, kinds="ui")
    test_labels = check_array("test_labels", test_labels, 1, kinds="ui")
    if class_names is not None:
        largest = max(train_labels.max(), test_labels.max())
        least = min(train_labels.min(), test_labels.min())
        if least < 0 or largest >= len(class_names):
            raise ValueError(
                "`class_names` must have a name for every label. Received: labels from "
                f"{least} to {largest} with class_names={class_names!r}"
            )
    known, scored = np.unique(train_labels), test_labels
    notes = [
        f"Class {name(label)} is absent from train: its {int((scored == label).sum())} test images "
        f"count as wrong."
        for label in np.setdiff1d(scored, known)
    ]
    return notes + [
        f"Class {name(label)} is absent from test: accuracies say nothing about it."
        for label in np.setdiff1d(known, scored)
    ]


def check_features(
    features: Any, labels: Any, name: str = "train"
) -> tuple[np.ndarray, np.ndarray]:
    """Bring features and labels to arrays, or say what is wrong with them.

    Args:
        features: array `(num_samples, num_features)` of finite numbers.
        labels: int array `(num_samples,)`.
        name: str, the set's name, put before `_features` and `_labels` in errors.

    Returns:
        float32 features, and labels.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if shapes do not fit, a set is empty, or features are not finite.

    Example:
    >>> features, labels = check_features([[0.5, 1.0]], [3])
    >>> features.dtype, labels.tolist()
    (dtype('float32'), [3])
    """
    features = check_array(f"{name}_features", features, empty=True)
    labels = check_array(f"{name}_labels", labels, kinds="buifO", empty=True)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f"`{name}_features` must have shape (num_samples, num_features), neither of them 0. "
            f"Received: {name}_features.shape={features.shape}"
        )
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"`{name}_labels` must have shape ({len(features)},), one label for each row of "
            f"`{name}_features`. Received: {name}_labels.shape={labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"`{name}_labels` must be integers. Received: {name}_labels.dtype={labels.dtype}"
        )
    features = features.astype("float32")
    _check_finite(features, name)
    return features, labels


def check_same_width(**features: np.ndarray) -> None:
    """Refuse sets of features that differ in width."""
    (first, expected), *others = features.items()
    for name, array in others:
        if array.shape[1] != expected.shape[1]:
            raise ValueError(
                f"`{name}` must have as many columns as `{first}`, {expected.shape[1]}. "
                f"Received: {name}.shape={array.shape}"
            )


def _check_finite(features: np.ndarray, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(
            f"`{name}_features` must be finite numbers. Received: NaN or infinity in "
            f"{len(bad)} of {len(features)} rows: {shown}"
        )
