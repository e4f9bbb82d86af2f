"""Features in two dimensions."""

import numpy as np
import pytest

from mae_keras.evaluation import embed_2d


def clusters(samples=60, features=8, groups=3):
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % groups
    centers = 20 * rng.normal(size=(groups, features))
    return centers[labels] + rng.normal(size=(samples, features)), labels


def test_pca_gives_the_two_directions_of_most_variance():
    features, _ = clusters()
    points, indices = embed_2d(features)
    centered = features - features.mean(axis=0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    expected = u[:, :2] * s[:2]
    signs = np.sign((points * expected).sum(axis=0))
    np.testing.assert_allclose(points * signs, expected, atol=1e-9)
    assert indices.tolist() == list(range(60))


def test_t_sne_keeps_groups_together():
    from sklearn.neighbors import KNeighborsClassifier

    features, labels = clusters()
    points, _ = embed_2d(features, "tsne")
    assert points.shape == (60, 2)
    assert (
        KNeighborsClassifier(3).fit(points[::2], labels[::2]).score(points[1::2], labels[1::2]) == 1
    )


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_the_same_seed_gives_the_same_points(method):
    features, _ = clusters(samples=100, features=70)
    first, second = (embed_2d(features, method, seed=3, max_samples=50) for _ in range(2))
    np.testing.assert_array_equal(first.points, second.points)
    np.testing.assert_array_equal(first.indices, second.indices)


def test_both_methods_show_the_same_samples_chosen_by_the_seed():
    features, _ = clusters()
    shown = [
        embed_2d(features, method, seed=1, max_samples=20).indices for method in ("pca", "tsne")
    ]
    np.testing.assert_array_equal(*shown)
    assert len(set(shown[0].tolist())) == 20
    assert (np.diff(shown[0]) > 0).all()
    other = embed_2d(features, seed=2, max_samples=20).indices
    assert shown[0].tolist() != other.tolist()


@pytest.mark.parametrize(("method", "samples"), [("pca", 3), ("tsne", 5), ("tsne", 12)])
def test_few_samples_are_enough(method, samples):
    features, _ = clusters(samples)
    assert np.isfinite(embed_2d(features, method).points).all()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_collapsed_features_lie_at_the_origin(method):
    points, _ = embed_2d(np.full((40, 4), 0.1, "float32"), method)
    assert points.tolist() == [[0.0, 0.0]] * 40


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_huge_and_tiny_features_are_drawn(scale):
    features, _ = clusters()
    expected = embed_2d(features).points
    np.testing.assert_allclose(embed_2d(features * scale).points / scale, expected, atol=1e-9)
    assert np.isfinite(embed_2d(features * scale, "tsne").points).all()


def test_features_that_vary_in_one_direction_only_are_drawn():
    features = np.outer(np.arange(20.0), [1.0, 2.0, 0.0])
    assert np.isfinite(embed_2d(features).points).all()
    assert np.isfinite(embed_2d(features, "tsne").points).all()


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (np.zeros((2, 4)), {}, r"at least 3 samples and 2 features for 'pca'.*\(2, 4\)"),
        (np.zeros((4, 4)), {"method": "tsne"}, "at least 5 samples"),
        (np.zeros((9, 1)), {}, r"Received: features.shape=\(9, 1\)"),
        (np.zeros((9, 2, 2)), {}, r"`features` must have shape \(num_samples, num_features\)"),
        (np.zeros((9, 2)), {"method": "umap"}, "`method` must be 'pca' or 'tsne'.*'umap'"),
        (np.zeros((9, 2)), {"max_samples": 2}, "`max_samples` must be .*of at least 3"),
        (np.zeros((9, 2)), {"max_samples": 9.5}, "`max_samples` must be"),
    ],
)
def test_arguments_that_do_not_fit_are_named(features, options, message):
    with pytest.raises(ValueError, match=message):
        embed_2d(features, **options)


def test_rows_that_are_not_finite_are_named():
    features = np.zeros((9, 2))
    features[4, 1], features[7, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match="`features` must be finite.*2 of 9 rows: 4, 7$"):
        embed_2d(features)
