"""Abnormality without labels: planted defects are found, and reports agree with scikit-learn."""

import json
import os
import pathlib

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mae_keras.evaluation import (
    abnormality_report,
    abnormality_scores,
    hidden_patch_errors,
    mahalanobis_distances,
    map_scores,
    neighbor_distances,
    pca_errors,
)

XRAYS = (
    pathlib.Path(os.environ.get("MAE_KERAS_TEST_DATA") or "nowhere")
    / "pneumonia_mnist_variant"
    / "pneumoniamnist.npz"
)


class Stripes:
    """Stands for a model: every row of an image is of one gray, which the others do not tell.

    A hidden pixel is predicted as the mean of its row; features are the rows' means.
    """

    def encode(self, images, pooling="mean", batch_size=32):
        return images.astype("float32").mean(axis=(2, 3))

    def anomaly_map(self, images, num_masks, mask_ratio, seed, batch_size):
        images = images.astype("float32")
        others = (images.sum(axis=2, keepdims=True) - images) / (images.shape[2] - 1)
        return np.abs(images - others)


def stripes(number, defects=0, seed=0):
    """Striped images, of which the last ones have a bright square; and the squares as masks."""
    rng = np.random.default_rng(seed)
    images = rng.integers(20, 200, (number, 8, 1, 1)) + rng.integers(-5, 6, (number, 8, 8, 1))
    masks = np.zeros((number, 8, 8), bool)
    for image, mask in zip(images[number - defects :], masks[number - defects :], strict=True):
        row, column = rng.integers(0, 6, 2)
        image[row : row + 2, column : column + 2] += 50
        mask[row : row + 2, column : column + 2] = True
    return images.astype("uint8"), masks


@pytest.fixture(scope="module")
def judged():
    normal, _ = stripes(60, seed=1)
    images, masks = stripes(40, defects=15)
    return images, masks, abnormality_scores(Stripes(), normal, images, num_components=3)


def test_what_the_model_expects_finds_defects_that_pixels_do_not(judged):
    images, masks, result = judged
    report = abnormality_report(
        masks.any(axis=(1, 2)), result.scores, masks=masks, maps=result.maps, resamples=100
    )
    methods = {method.name: method for method in report.methods}
    assert list(methods) == [
        *("reconstruction", "neighbors", "mahalanobis"),
        *("pca", "pixel_neighbors"),
    ]
    assert methods["reconstruction"].roc_auc == 1.0
    assert methods["reconstruction"].pixel_roc_auc > 0.98
    assert methods["pixel_neighbors"].roc_auc < 0.9
    assert methods["pixel_neighbors"].pixel_roc_auc is None
    assert (report.num_normal, report.num_abnormal) == (25, 15)
    assert report.abnormal_pixels == pytest.approx(15 * 4 / (40 * 64))


def test_scores_are_those_of_their_own_functions(judged):
    images, _, result = judged
    normal, _ = stripes(60, seed=1)
    model = Stripes()
    rows, others = (each.reshape(len(each), 64).astype("float32") for each in (normal, images))
    features, their_features = model.encode(normal), model.encode(images)
    np.testing.assert_allclose(
        result.scores["neighbors"], neighbor_distances(features, their_features)
    )
    np.testing.assert_allclose(
        result.scores["mahalanobis"], mahalanobis_distances(features, their_features)
    )
    np.testing.assert_allclose(result.scores["pixel_neighbors"], neighbor_distances(rows, others))
    errors = pca_errors(rows, others, 3).reshape(40, 8, 8)
    np.testing.assert_allclose(result.maps["pca"], errors)
    np.testing.assert_allclose(result.scores["pca"], errors.mean(axis=(1, 2)), rtol=1e-5)


def test_a_report_agrees_with_scikit_learn(judged):
    images, masks, result = judged
    labels = masks.any(axis=(1, 2)).astype(int)
    maps = {name: values.copy() for name, values in result.maps.items()}
    maps["pca"][:, 0] = np.nan  # missing pixels count nowhere
    report = abnormality_report(labels, result.scores, masks=masks, maps=maps, resamples=100)
    for method in report.methods:
        scores = result.scores[method.name]
        assert method.roc_auc == roc_auc_score(labels, scores)
        assert method.average_precision == average_precision_score(labels, scores)
        for measure in ("roc_auc", "average_precision"):
            low, high = method.intervals[measure]
            assert low <= getattr(method, measure) <= high
    pca = report.methods[3]
    assert pca.pixel_roc_auc == roc_auc_score(masks[:, 1:].ravel(), maps["pca"][:, 1:].ravel())
    low, high = pca.intervals["pixel_roc_auc"]
    assert low <= pca.pixel_roc_auc <= high


def test_a_report_can_be_read_and_written(judged):
    images, masks, result = judged
    labels = masks.any(axis=(1, 2))
    report = abnormality_report(labels, result.scores, masks=masks, maps=result.maps)
    text = report.text()
    assert (
        "25 normal and 15 abnormal images; chance: ROC-AUC 0.500, average precision 0.375" in text
    )
    assert "95 % intervals over 40 images" in text
    assert text.splitlines()[0].split("  ")[0] == "method"
    stored = json.loads(json.dumps(report.as_dict()))
    assert stored["methods"][0]["intervals"]["roc_auc"] == [1.0, 1.0]
    alone = abnormality_report(labels, {"a": result.scores["pca"]}, groups=np.zeros(40, int))
    assert alone.methods[0].intervals == {"roc_auc": None, "average_precision": None}
    assert "pixel" not in alone.text() and "brackets" not in alone.text()


def test_images_of_one_patient_are_drawn_together():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12) % 2, 20)  # 12 patients of 20 images that are all alike
    scores = {"a": np.repeat(rng.normal(size=12) + np.arange(12) % 2, 20)}
    apart = abnormality_report(labels, scores).methods[0].intervals["roc_auc"]
    groups = np.repeat(np.arange(12), 20)
    together = abnormality_report(labels, scores, groups=groups).methods[0].intervals["roc_auc"]
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_standardized_scores_do_not_depend_on_brightness_and_contrast():
    normal, _ = stripes(60, seed=1)
    images = stripes(20, defects=5)[0] / 2.0
    normal = normal.astype("float32")
    shape = (-1, 1, 1, 1)
    scale = np.linspace(0.5, 2, 20).reshape(shape)
    changed = scale * images + np.linspace(-9, 9, 20).reshape(shape)
    plain, other = (
        abnormality_scores(Stripes(), normal, each, num_components=3, standardize=True)
        for each in (images, changed)
    )
    for name in ("reconstruction", "pca", "pixel_neighbors"):
        np.testing.assert_allclose(other.scores[name], plain.scores[name], rtol=1e-3, atol=1e-5)
    rows = images.reshape(20, -1)
    errors = Stripes().anomaly_map(images, 2, None, 0, 1)[..., 0] ** 2
    expected = errors / rows.var(axis=1).reshape(-1, 1, 1)
    np.testing.assert_allclose(plain.maps["reconstruction"], expected, rtol=1e-4)


@pytest.mark.skipif(
    not XRAYS.is_file(), reason="MAE_KERAS_TEST_DATA has no pneumonia_mnist_variant"
)
def test_x_rays_differ_from_normal_ones_once_contrast_is_left_out():
    stored = np.load(XRAYS)
    normal = stored["train_images"][stored["train_labels"].ravel() == 0].reshape(-1, 784)
    images, labels = stored["test_images"].reshape(-1, 784), stored["test_labels"].ravel()

    def standardized(rows):
        return (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)

    scores = {
        "raw": neighbor_distances(normal, images, 1),
        "standardized": neighbor_distances(standardized(normal), standardized(images), 1),
    }
    raw, better = abnormality_report(labels, scores, resamples=100).methods
    assert raw.intervals["roc_auc"][0] < 0.5 < raw.intervals["roc_auc"][1]  # 0.515
    assert better.roc_auc == pytest.approx(0.856, abs=0.005)


def test_distances_to_neighbors_are_means_of_the_nearest():
    rng = np.random.default_rng(0)
    normal, rows = rng.normal(size=(30, 4)), rng.normal(size=(7, 4))
    every = np.linalg.norm(rows[:, None] - normal[None], axis=-1)
    for k in (1, 3, 30):
        expected = np.sort(every, axis=1)[:, :k].mean(axis=1)
        np.testing.assert_allclose(neighbor_distances(normal, rows, k), expected, rtol=1e-6)


def test_mahalanobis_distances_count_standard_deviations():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    spread = np.array([10.0, 1.0, 0.1]) * np.sqrt(20_000)
    normal = (rng.normal(size=(20_000, 3)) * spread) @ turn
    rows = (np.eye(3) * 2 * spread) @ turn
    distances = mahalanobis_distances(normal, rows)
    np.testing.assert_allclose(distances[:2], 2, rtol=0.05)
    assert distances[2] <= 2.1  # the smallest spread is shrunk most


def test_principal_components_rebuild_what_lies_in_their_space():
    rng = np.random.default_rng(0)
    space = rng.normal(size=(2, 6))
    normal = rng.normal(size=(50, 2)) @ space
    rows = rng.normal(size=(5, 2)) @ space
    np.testing.assert_allclose(pca_errors(normal, rows, 2), 0, atol=1e-10)
    off = np.linalg.svd(space)[2][-1]  # at a right angle to the space
    errors = pca_errors(normal, rows + 3 * off, 2)
    np.testing.assert_allclose(errors.sum(axis=1), 9, rtol=1e-5)


def test_small_defects_are_found_by_the_largest_errors():
    maps = np.random.default_rng(0).random((2, 10, 10))
    flat = np.sort(maps.reshape(2, -1), axis=1)
    np.testing.assert_allclose(map_scores(maps), flat.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(map_scores(maps, 0.05), flat[:, -5:].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(map_scores(maps, 1e-9), flat[:, -1], rtol=1e-6)
    maps[0, :5] = np.nan
    half = np.sort(maps[0, 5:].ravel())
    np.testing.assert_allclose(map_scores(maps, 0.1)[0], half[-5:].mean(), rtol=1e-6)


@pytest.mark.slow
def test_errors_of_hidden_patches_are_squares_of_the_anomaly_map():
    from mae_keras.models import DenseMaskedAutoencoder

    model = DenseMaskedAutoencoder((4, 4, 2), hidden_units=(8,), mask_ratio=0.5)
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 2)).astype("uint8")
    denoised = model.restore(images, num_masks=4).denoised
    errors = hidden_patch_errors(model, images, num_masks=4)
    np.testing.assert_allclose(errors, ((images - denoised) ** 2).mean(axis=-1), rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"labels": [0, 0, 0]}, ValueError, "`labels` must hold both classes.*0 in all 3"),
        ({"labels": [0, 1, 2]}, ValueError, r"`labels` must be 0 .* Received: values \[0, 1, 2\]"),
        ({"labels": [0.0, 0.5, 1.0]}, TypeError, "`labels` must be an array of integers"),
        ({"scores": [0.1, 0.2, 0.3]}, TypeError, "`scores` must be a dict"),
        ({"scores": {}}, TypeError, "`scores` must be a dict"),
        ({"scores": {"a": [1.0]}}, ValueError, "one number for each of the 3 labels. Received: 1"),
        ({"scores": {"a": [1.0, 2.0, np.nan]}}, ValueError, r"`scores\['a'\]` must be finite"),
        ({"masks": None}, ValueError, "`masks` and `maps` must be given together"),
        ({"maps": None}, ValueError, "`masks` and `maps` must be given together"),
        ({"maps": {"b": np.ones((3, 2, 2))}}, ValueError, "must be of methods in `scores`, a. Rec"),
        ({"maps": {"a": np.ones((3, 2, 3))}}, ValueError, "must have the shape of `masks`"),
        ({"masks": np.zeros((3, 2, 2), int)}, ValueError, "`masks` must hold both classes"),
        ({"masks": np.zeros((2, 2, 2), int)}, ValueError, r"`masks` must have shape \(3, \*sp"),
        ({"maps": {"a": np.full((3, 2, 2), np.nan)}}, ValueError, "NaN at all of one kind"),
        ({"groups": [0, 1]}, ValueError, "`groups` must have one number for each of the 3"),
        ({"resamples": 5}, ValueError, "`resamples` must be an int from 100"),
    ],
)
def test_reports_of_what_does_not_fit_are_refused(changes, error, message):
    masks = np.zeros((3, 2, 2), int)
    masks[2, 0] = 1
    given = {
        **{"labels": [0, 0, 1], "scores": {"a": [0.1, 0.2, 0.3]}},
        **{"masks": masks, "maps": {"a": np.ones((3, 2, 2))}},
    }
    with pytest.raises(error, match=message):
        abnormality_report(**{**given, **changes})


def test_distances_of_what_does_not_fit_are_refused():
    rows = np.eye(3)
    with pytest.raises(ValueError, match="`k` must be at most the number of normal images, 3"):
        neighbor_distances(rows, rows, 4)
    with pytest.raises(ValueError, match="`features` must have as many columns"):
        neighbor_distances(rows, rows[:, :2], 1)
    with pytest.raises(ValueError, match="`normal_features` must hold at least two different rows"):
        mahalanobis_distances(np.ones((3, 2)), np.ones((1, 2)))
    with pytest.raises(ValueError, match="`num_components` must be an int from 1 to 3"):
        pca_errors(rows, rows, 4)
    with pytest.raises(ValueError, match="NaN in all of image 1"):
        map_scores([[1.0, 2.0], [np.nan, np.nan]])
    with pytest.raises(ValueError, match="`fraction` must be a number in"):
        map_scores([[1.0]], 0)
