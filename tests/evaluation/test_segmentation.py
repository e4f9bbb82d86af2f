"""The report on segmentations against scikit-learn, scikit-image and distances by hand."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from mae_keras.evaluation import segmentation_report

NUM_CLASSES = 3
SHAPE = (2, 4, 5)
MASKS = arrays.arrays("int8", SHAPE, elements=st.integers(-1, NUM_CLASSES - 1)).filter(
    lambda masks: (masks >= 0).any()
)
PREDICTIONS = arrays.arrays("uint8", SHAPE, elements=st.integers(0, NUM_CLASSES - 1))


def report_of(masks, predictions, num_classes=NUM_CLASSES, **kwargs):
    return segmentation_report(masks, predictions, num_classes, resamples=100, **kwargs)


@given(MASKS, PREDICTIONS)
def test_overlap_is_that_of_scikit_learn(masks, predictions):
    report = report_of(masks, predictions)
    labels, called = masks[masks >= 0], predictions[masks >= 0]
    classes = range(NUM_CLASSES)
    confusion = metrics.confusion_matrix(labels, called, labels=classes)
    options = {"labels": classes, "average": None, "zero_division": 0}
    iou = metrics.jaccard_score(labels, called, **options)
    dice = metrics.f1_score(labels, called, **options)
    present = np.isin(classes, labels)
    np.testing.assert_array_equal(report.confusion, confusion)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(labels, called))
    assert report.mean_iou == pytest.approx(iou[present].mean())
    assert report.mean_dice == pytest.approx(dice[present].mean())
    for number, scores in enumerate(report.classes):
        expected = (iou[number], dice[number]) if present[number] else (None, None)
        assert (scores.iou, scores.dice) == pytest.approx(expected)
    assert report.num_labeled + report.num_unlabeled == masks.size


@given(MASKS, PREDICTIONS, st.integers(0, NUM_CLASSES - 1))
def test_what_is_predicted_without_a_label_counts_nowhere(masks, predictions, other):
    changed = np.where(masks < 0, other, predictions)
    assert report_of(masks, predictions).as_dict() == report_of(masks, changed).as_dict()


def two_maps():
    """A disk, and a prediction of it that is moved and torn."""
    shape = (24, 30)
    rows, columns = np.indices(shape)
    mask = (rows - 10) ** 2 + (columns - 12) ** 2 < 60
    prediction = np.roll(mask, 2, axis=0) & (np.random.default_rng(0).random(shape) < 0.9)
    return mask.astype(int), prediction.astype(int)


def border_pixels(classes):
    segmentation = pytest.importorskip("skimage.segmentation")
    return np.argwhere(segmentation.find_boundaries(classes, 1, "inner", background=0))


@pytest.mark.parametrize("spacing", [None, (1.0, 2.5)])
def test_borders_are_those_of_scikit_image_and_distances_of_all_pairs(spacing):
    mask, prediction = two_maps()
    one, other = border_pixels(mask), border_pixels(prediction)
    apart = np.linalg.norm((one[:, None] - other) * (spacing or (1, 1)), axis=-1)
    there, back = apart.min(axis=1), apart.min(axis=0)
    scores = report_of([mask], [prediction], 2, spacing=spacing, tolerance=1.5).classes[1]
    expected = max(np.percentile(there, 95), np.percentile(back, 95))
    assert scores.hausdorff95 == pytest.approx(expected)
    recall, precision = np.mean(there <= 1.5), np.mean(back <= 1.5)
    assert scores.boundary_f1 == pytest.approx(2 * recall * precision / (recall + precision))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_plane_that_is_moved_is_as_far_as_it_was_moved(rank):
    place = np.indices((20,) + (6,) * (rank - 1))[0]
    masks, predictions = (place > 9)[None].astype(int), (place > 12)[None].astype(int)
    near = report_of(masks, predictions, 2, tolerance=2.9)
    far = report_of(masks, predictions, 2, tolerance=3.0)
    assert [scores.hausdorff95 for scores in near.classes] == [3.0, 3.0]
    assert (near.mean_boundary_f1, far.mean_boundary_f1) == (0.0, 1.0)
    stretched = report_of(masks, predictions, 2, spacing=(0.5, *(7.0,) * (rank - 1)))
    assert stretched.mean_hausdorff95 == 1.5


def test_ends_of_the_image_and_of_labels_are_no_border():
    mask = np.zeros((1, 6, 6), int)
    mask[:, :, 3:] = -1
    prediction = np.zeros((1, 6, 6), int)
    prediction[:, :, 3:] = 1
    scores = report_of(mask, prediction, 2).classes[0]
    assert (scores.boundary_f1, scores.hausdorff95, scores.num_borders) == (None, None, 0)


def test_a_border_that_is_missed_has_no_distance():
    dot, nothing = np.zeros((5, 5), int), np.zeros((5, 5), int)
    dot[2, 2] = 1
    scores = report_of([dot, dot], [dot, nothing], 2).classes[1]
    assert (scores.boundary_f1, scores.hausdorff95) == (0.5, 0.0)
    assert (scores.num_borders, scores.num_distances) == (2, 1)


def test_the_area_under_the_curve_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    masks = rng.integers(-1, 2, (6, 8, 8))
    chance = rng.random(masks.shape) * 0.5 + 0.3 * masks.clip(0)
    probabilities = np.stack([1 - chance, chance], axis=-1)
    report = report_of(masks, probabilities.argmax(-1), 2, probabilities=probabilities)
    labeled = masks >= 0
    expected = metrics.roc_auc_score(masks[labeled], chance[labeled])
    assert report.roc_auc == pytest.approx(expected)
    low, high = report.intervals["roc_auc"]
    assert low < expected < high


def test_intervals_of_areas_under_curves_are_those_of_drawn_images():
    rng = np.random.default_rng(1)
    masks = rng.integers(0, 2, (12, 10, 10))
    quality = rng.random(12)[:, None, None]
    chance = (0.4 * rng.random(masks.shape) + 0.5 * quality * masks).clip(0, 1)
    probabilities = np.stack([1 - chance, chance], axis=-1)
    report = segmentation_report(
        masks, probabilities.argmax(-1), 2, probabilities=probabilities, resamples=2000
    )
    draws = rng.integers(0, 12, (1000, 12))
    areas = [metrics.roc_auc_score(masks[d].ravel(), chance[d].ravel()) for d in draws]
    expected = np.quantile(areas, [0.025, 0.975])
    np.testing.assert_allclose(report.intervals["roc_auc"], expected, atol=0.01)


@pytest.mark.parametrize("kind", ["hard", "two values", "rare"])
def test_intervals_of_areas_hold_them_where_values_repeat(kind):
    rng = np.random.default_rng(0)
    masks = (rng.random((12, 40, 40)) < (0.02 if kind == "rare" else 0.4)).astype(int)
    chance = masks.astype(float)
    if kind == "two values":
        chance = np.where(rng.random(masks.shape) < 0.25, 0.3, 0.6 * masks + 0.3 * (1 - masks))
    if kind == "rare":
        chance = np.where(masks, rng.random(masks.shape), (rng.random(masks.shape) < 0.01) * 0.5)
    probabilities = np.stack([1 - chance, chance], axis=-1)
    report = report_of(masks, probabilities.argmax(-1), 2, probabilities=probabilities)
    low, high = report.intervals["roc_auc"]
    assert low - 1e-9 <= report.roc_auc <= high + 1e-9
    assert high - low < 0.1


def test_intervals_are_those_of_drawn_images():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (15, 20))
    right = rng.random((15, 1)) > rng.random((15, 20))
    predictions = np.where(right, masks, 1 - masks)
    report = segmentation_report(masks, predictions, 2, resamples=4000)
    draws = rng.integers(0, 15, (4000, 15))
    accuracies = right.mean(axis=1)[draws].mean(axis=1)
    expected = np.quantile(accuracies, [0.025, 0.975])
    np.testing.assert_allclose(report.intervals["accuracy"], expected, atol=0.02)
    low, high = report.classes[0].iou_interval
    assert low < report.classes[0].iou < high


def test_images_of_a_group_are_drawn_together():
    masks = np.arange(8).reshape(8, 1) % 2 * np.ones((1, 4), int)
    predictions = masks.copy()
    predictions[4:] = 1 - predictions[4:]
    alone = report_of(masks, predictions, 2)
    together = report_of(masks, predictions, 2, groups=[0, 0, 0, 0, 1, 1, 1, 1])
    assert (alone.num_groups, together.num_groups) == (8, 2)
    assert together.intervals["accuracy"] == (0.0, 1.0)
    assert alone.intervals["accuracy"] != (0.0, 1.0)


def test_one_image_has_no_interval():
    report = report_of([[0, 1]], [[0, 1]], 2)
    assert report.intervals == dict.fromkeys(("accuracy", "mean_iou", "mean_dice"))
    assert report.classes[0].dice_interval is None and "brackets" not in report.text()


def test_images_may_have_several_sizes():
    masks = [np.zeros((2, 3), int), np.ones((4, 5), int)]
    report = report_of(masks, [mask.copy() for mask in masks], 2)
    assert report.num_labeled == 26 and report.accuracy == 1.0


def test_a_class_without_pixels_is_named_and_left_out():
    report = report_of([[0, 1, -1]], [[0, 1, 2]], 3, class_names=["cell", "wall", "rest"])
    assert report.absent == ("rest",) and report.mean_iou == 1.0
    assert report.classes[2].iou is None
    assert "left out of the means: rest" in report.text()


def test_probabilities_of_one_labeled_class_have_no_area():
    report = report_of([[1, 1]], [[1, 0]], 2, probabilities=np.full((1, 2, 2), 0.5))
    assert report.roc_auc is None and "roc_auc" not in report.intervals


def test_json_holds_all_of_it():
    masks, predictions = np.array([[0, 1, 2], [2, 1, 0]]), np.array([[0, 1, 1], [2, 1, 1]])
    entry = report_of(masks, predictions, 4).as_dict()
    assert json.loads(json.dumps(entry)) == entry
    assert entry["absent"] == ["3"] and entry["classes"][0]["support"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 2), "`masks` must have shape .* at least one image.*Received: no images"),
        (([0, 1], [0, 1], 2), "`masks` must have shape"),
        (([[0, 1]], [[0]], 2), r"`predictions` must have the shapes .*\(1,\), not \(2,\)"),
        (([[0, 1]], [[0, 1], [0, 1]], 2), "`predictions` must be of the 1 images"),
        (([[0, 7, 7, 255]], [[0] * 4], 2), r"or -1 where.*7 \(2 pixels\), 255 \(1 pixels\)"),
        (([[0, 1]], [[0, -1]], 2), r"`predictions` must be in \[0, 2\). Received: -1 \(1 pixels"),
        (([[-1, -1]], [[0, 1]], 2), "`masks` must have labeled pixels. Received: -1 in all 2"),
        (([[0, 1]], [[0, 1]], 1), "`num_classes` must be"),
    ],
    ids=str,
)
def test_bad_maps_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        segmentation_report(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["one"]}, "`class_names` must have 2 entries"),
        ({"groups": [0, 1]}, "`groups` must have a number for each of the 1 images"),
        ({"spacing": [1.0, 1.0]}, "`spacing` must be a positive number for each of the 1"),
        ({"tolerance": -1}, "`tolerance` must be"),
        ({"resamples": 5}, "`resamples` must be"),
        ({"probabilities": [[0.5, 0.5]]}, r"`probabilities` must have the shapes.*not \(2, 2\)"),
        ({"probabilities": np.full((1, 2, 2), np.nan)}, r"`probabilities` must be in \[0, 1\]"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        segmentation_report([[0, 1]], [[0, 1]], 2, **options)


def test_probabilities_of_three_classes_are_refused():
    with pytest.raises(ValueError, match="`probabilities` must be of two classes"):
        report_of([[0, 1]], [[0, 1]], 3, probabilities=np.full((1, 2, 3), 1 / 3))


def test_masks_of_floats_are_refused():
    with pytest.raises(TypeError, match="`masks` must be integers. Received: .*float64"):
        report_of([[0.0, 1.0]], [[0, 1]], 2)


def test_importing_it_loads_nothing_heavy():
    script = (
        "import sys\n"
        "from mae_keras.evaluation import segmentation_report\n"
        "heavy = {'scipy', 'sklearn', 'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
