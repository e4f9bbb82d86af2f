"""Measures of counts by level agree with scikit-learn on the samples themselves."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from mae_keras.evaluation import ranking


def samples(seed=0, number=60, levels=15):
    """Scores with ties, which separate two classes in part."""
    rng = np.random.default_rng(seed)
    labels = rng.random(number) < 0.3
    return labels, np.round((rng.normal(size=number) + labels) * levels / 4) / levels


def counts(labels, scores):
    levels = np.unique(scores)
    return [
        np.array([np.sum((scores == level) & (labels == kind)) for level in levels])
        for kind in (False, True)
    ]


def curve(labels, scores):
    rates = roc_curve(labels, scores, drop_intermediate=False)
    return rates[0], rates[1]


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_scikit_learn(seed):
    labels, scores = samples(seed)
    negative, positive = counts(labels, scores)
    assert ranking.roc_auc(negative, positive) == pytest.approx(roc_auc_score(labels, scores))
    assert ranking.average_precision(negative, positive) == pytest.approx(
        average_precision_score(labels, scores)
    )
    false, true = curve(labels, scores)
    for rate in (0.0, 0.5, 0.9, 1.0):
        expected = true[1 - false >= rate - 1e-12].max()
        assert ranking.sensitivity_at(rate)(negative, positive) == pytest.approx(expected)
        expected = (1 - false)[true >= rate - 1e-12].max()
        assert ranking.specificity_at(rate)(negative, positive) == pytest.approx(expected)


def test_a_rate_that_is_met_exactly_counts():
    # 1 of 10 negatives above: 1 - 0.9 is less than 0.1 in floating point
    negative, positive = np.array([9, 0, 1]), np.array([0, 5, 5])
    assert ranking.sensitivity_at(0.9)(negative, positive) == 1.0
    assert ranking.sensitivity_at(0.91)(negative, positive) == 0.0


def drawn_by_hand(labels, scores, intervals, score):
    """The interval from one resample after the other, scored by scikit-learn."""
    rng = np.random.default_rng(intervals.seed)
    number = intervals.num_groups
    values = []
    for times in rng.multinomial(number, np.full(number, 1 / number), intervals.resamples):
        rows = np.repeat(np.arange(len(labels)), times[intervals.groups])
        if 0 < labels[rows].sum() < len(rows):
            values.append(score(labels[rows], scores[rows]))
    low, high = (1 - intervals.confidence) / 2, (1 + intervals.confidence) / 2
    return np.quantile(values, [low, high])


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_are_those_of_resamples_scored_one_by_one(grouped):
    labels, scores = samples(number=40)
    groups = np.arange(40) // 4 if grouped else None
    intervals = ranking.read_intervals(groups, 40, 0.9, 100, 3)
    ends = ranking.resample_samples(
        labels,
        scores,
        intervals,
        {"auc": ranking.roc_auc, "ap": ranking.average_precision},
    )
    for name, score in (("auc", roc_auc_score), ("ap", average_precision_score)):
        np.testing.assert_allclose(ends[name], drawn_by_hand(labels, scores, intervals, score))


def test_intervals_of_few_positives_leave_out_resamples_without_any():
    labels = np.arange(12) == 11
    intervals = ranking.read_intervals(None, 12, 0.95, 500, 0)
    ends = ranking.resample_samples(labels, np.arange(12.0), intervals, {"auc": ranking.roc_auc})
    assert ends["auc"] == (1.0, 1.0)


def test_pixels_of_one_image_are_drawn_together():
    rng = np.random.default_rng(0)
    labels = [rng.random(50) < 0.3 for _ in range(12)]
    scores = [rng.normal(size=50) + label for label in labels]
    intervals = ranking.read_intervals(None, 12, 0.9, 100, 1)
    by_pixel = ranking.Intervals(np.repeat(np.arange(12), 50), 0.9, 100, 1)
    ends = ranking.resample_pixels(labels, scores, intervals, {"auc": ranking.roc_auc})
    expected = drawn_by_hand(
        np.concatenate(labels), np.concatenate(scores), by_pixel, roc_auc_score
    )
    np.testing.assert_allclose(ends["auc"], expected, atol=2e-3)  # 1,024 levels


def test_the_interval_covers_the_true_value_as_often_as_it_says():
    # Scores of a normal distribution, shifted by 1: the area is Phi(1 / sqrt(2)).
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = np.arange(120) < 40
        scores = rng.normal(size=120) + labels
        intervals = ranking.read_intervals(None, 120, 0.95, 300, seed)
        measures = {"auc": ranking.roc_auc}
        low, high = ranking.resample_samples(labels, scores, intervals, measures)["auc"]
        hits += low <= 0.7602 <= high
    assert hits >= 88


def test_one_group_has_no_interval():
    labels, scores = samples()
    intervals = ranking.read_intervals(np.zeros(60, int), 60, 0.95, 100, 0)
    measures = {"auc": ranking.roc_auc}
    assert ranking.resample_samples(labels, scores, intervals, measures) == {"auc": None}
