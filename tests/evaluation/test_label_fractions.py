"""Fewer labels: which are drawn, and what is reported."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mae_keras.evaluation import fraction_rows, label_fraction_scores


def task(count=300, num_classes=3, noise=0.8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, count)
    return np.eye(num_classes)[labels] + noise * rng.normal(size=(count, num_classes)), labels


TASKS = (*task(), *task(seed=1), *task(seed=2))


@pytest.mark.slow
@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_every_class_keeps_its_share_and_one_image_at_least(labels, fraction):
    labels = np.array(labels)
    rows, note = fraction_rows(labels, fraction, seed=3)
    assert len(set(rows)) == len(rows)
    for label in np.unique(labels):
        count, kept = (labels == label).sum(), (labels[rows] == label).sum()
        assert kept >= 1
        assert abs(kept - fraction * count) <= 0.5 or (kept == 1 and note)


def test_another_seed_draws_other_images():
    labels = np.zeros(100, int)
    draws = [tuple(fraction_rows(labels, 0.1, seed)[0]) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_class_that_would_be_empty_is_kept_and_told():
    rows, note = fraction_rows([0] * 100 + [1] * 10, 0.01)
    assert len(rows) == 2
    assert note == "1 % leaves 1 of 2 classes without an image: one image of each was kept."
    assert fraction_rows([0] * 100, 0.5)[1] == ""


def test_more_labels_score_better_and_the_interval_is_that_of_the_draws():
    few, all_labels = label_fraction_scores(*TASKS, fractions=(0.02, 1.0), seeds=range(4))
    assert few.num_labels < 10
    assert all_labels.num_labels == 300
    assert few.test_accuracy < all_labels.test_accuracy
    assert len(few.accuracies) == 4
    assert few.test_accuracy == pytest.approx(np.mean(few.accuracies))
    # Student t with 3 degrees of freedom: 3.182
    half = 3.182 * np.std(few.accuracies, ddof=1) / 2
    assert (few.low, few.high) == pytest.approx(
        (few.test_accuracy - half, few.test_accuracy + half), abs=1e-3
    )


def test_all_labels_are_one_draw():
    [score] = label_fraction_scores(*TASKS, fractions=(1.0,))
    assert len(score.accuracies) == 1
    assert score.low is score.high is None


def test_test_labels_decide_nothing_but_the_score():
    """Whatever the test labels are, the same classifier is judged by them."""
    shuffled = np.random.default_rng(0).permutation(TASKS[5])
    first = label_fraction_scores(*TASKS, fractions=(0.1,), seeds=(0,))[0].test_accuracy
    again = label_fraction_scores(*TASKS[:5], shuffled, fractions=(0.1,), seeds=(0,))
    assert again[0].test_accuracy < first
    third = label_fraction_scores(*TASKS, fractions=(0.1,), seeds=(0,))[0].test_accuracy
    assert third == first


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(ValueError, match=r"`fraction` must be.*Received: fraction="):
        label_fraction_scores(*TASKS, fractions=(fraction,))


def test_no_seeds_are_refused():
    with pytest.raises(ValueError, match="`seeds` must hold at least one int"):
        label_fraction_scores(*TASKS, seeds=())


def test_the_interval_stays_within_the_scale():
    """Student's t over draws near 100 % reaches beyond it."""
    train, labels = task(noise=0.25)
    scores = label_fraction_scores(*(train, labels) * 3, fractions=(0.03,), seeds=range(5))
    assert np.std(scores[0].accuracies) > 0
    assert 0 <= scores[0].low <= scores[0].test_accuracy <= scores[0].high <= 1
