"""Screening agrees with scikit-learn, and thresholds and temperatures do what they promise."""

import json

import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from mae_keras.evaluation import (
    accuracy_interval,
    apply_temperature,
    choose_threshold,
    fit_temperature,
    screening_report,
)


def cases(number=300, seed=0, scale=1.0, digits=2):
    """Labels, and probabilities with ties that are calibrated at a scale of 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.5, 1.5, number)
    labels = (rng.random(number) < 1 / (1 + np.exp(-logits))).astype(int)
    return labels, np.round(1 / (1 + np.exp(-scale * logits)), digits)


def test_numbers_are_those_of_scikit_learn():
    labels, probabilities = cases()
    report = screening_report(labels, probabilities, threshold=0.4, specificity=0.8)
    called = probabilities >= 0.4
    assert report.roc_auc == metrics.roc_auc_score(labels, probabilities)
    assert report.average_precision == metrics.average_precision_score(labels, probabilities)
    assert report.brier == metrics.brier_score_loss(labels, probabilities)
    assert report.sensitivity == metrics.recall_score(labels, called)
    assert report.specificity == metrics.recall_score(labels, called, pos_label=0)
    assert report.precision == metrics.precision_score(labels, called)
    sensitivities = [
        metrics.recall_score(labels, probabilities >= threshold)
        for threshold in [*np.unique(probabilities), 2]
        if metrics.recall_score(labels, probabilities >= threshold, pos_label=0) >= 0.8
    ]
    assert report.sensitivity_at_specificity == max(sensitivities)
    bins = [one for one in report.calibration.bins if one.count]
    assert sum(one.count for one in bins) == 300
    error = sum(one.count * abs(one.accuracy - one.confidence) for one in bins) / 300
    assert report.calibration.error == pytest.approx(error)
    both = np.stack([1 - probabilities, probabilities], axis=1)
    assert screening_report(labels, both).roc_auc == report.roc_auc


def test_intervals_hold_their_value_and_shrink_with_more_images():
    widths = []
    for number in (100, 1600):
        report = screening_report(*cases(number), resamples=300)
        for name, (low, high) in report.intervals.items():
            assert low <= getattr(report, name) <= high
        widths.append({name: high - low for name, (low, high) in report.intervals.items()})
    for name in widths[0]:
        assert widths[1][name] < 0.5 * widths[0][name], name


def test_sensitivity_at_a_threshold_has_a_wilson_interval():
    labels = np.arange(40) % 4 == 0
    report = screening_report(labels, labels * 0.8 + 0.1, resamples=100)
    assert report.intervals["sensitivity"] == accuracy_interval(1.0, 10)
    assert report.intervals["specificity"] == accuracy_interval(1.0, 30)
    assert report.intervals["roc_auc"] == (1.0, 1.0)


def test_images_of_one_patient_are_drawn_together():
    labels, probabilities = (np.repeat(values, 10) for values in cases(30, seed=1))
    groups = np.repeat(np.arange(30), 10)
    apart = screening_report(labels, probabilities, resamples=300)
    together = screening_report(labels, probabilities, groups=groups, resamples=300)
    assert together.num_groups == 30
    for name in ("roc_auc", "sensitivity", "brier"):
        widths = [np.ptp(report.intervals[name]) for report in (apart, together)]
        assert widths[1] > 2 * widths[0], name
    one = screening_report(labels, probabilities, groups=np.zeros(300, int))
    assert set(one.intervals.values()) == {None}
    assert "brackets" not in one.text()


@pytest.mark.parametrize("limit", [0.0, 0.5, 0.8, 0.9, 1.0])
def test_a_threshold_keeps_its_limit_and_no_other_is_better(limit):
    labels, probabilities = cases(seed=3)

    def rates(threshold):
        called = probabilities >= threshold
        return called[labels == 1].mean(), (~called)[labels == 0].mean()

    every = [rates(threshold) for threshold in [*np.unique(probabilities), 2.0]]
    sensitivity, specificity = rates(choose_threshold(labels, probabilities, specificity=limit))
    assert specificity >= limit
    assert sensitivity == max(one for one, other in every if other >= limit)
    sensitivity, specificity = rates(choose_threshold(labels, probabilities, sensitivity=limit))
    assert sensitivity >= limit
    assert specificity == max(other for one, other in every if one >= limit)
    assert sum(rates(choose_threshold(labels, probabilities))) == max(map(sum, every))


def test_where_no_threshold_is_specific_enough_nothing_is_positive():
    labels, probabilities = [0, 1, 1], [0.9, 0.5, 0.6]
    threshold = choose_threshold(labels, probabilities, specificity=1.0)
    assert 0.9 < threshold < 0.91
    report = screening_report(labels, probabilities, threshold=threshold, resamples=100)
    assert (report.sensitivity, report.specificity, report.precision) == (0.0, 1.0, None)


def test_a_threshold_transfers_to_images_of_the_same_kind():
    threshold = choose_threshold(*cases(4000, seed=1, digits=6), specificity=0.9)
    report = screening_report(*cases(4000, seed=2, digits=6), threshold=threshold, resamples=100)
    assert report.specificity == pytest.approx(0.9, abs=0.03)


def test_the_temperature_of_two_classes_is_a_logistic_regression_of_the_logit():
    labels, probabilities = cases(1000, scale=3.0, digits=6)
    probabilities = probabilities.clip(1e-6, 1 - 1e-6)
    logits = np.log(probabilities / (1 - probabilities))[:, None]
    fitted = LogisticRegression(C=1e12, fit_intercept=False, tol=1e-8).fit(logits, labels)
    assert fit_temperature(labels, probabilities) == pytest.approx(1 / fitted.coef_[0, 0], rel=1e-3)
    scaled = apply_temperature(probabilities, 1 / fitted.coef_[0, 0])
    np.testing.assert_allclose(scaled, fitted.predict_proba(logits)[:, 1], atol=1e-6)


def test_temperature_scaling_calibrates_and_keeps_the_ranking():
    validation, test = (cases(2000, seed, scale=3.0, digits=6) for seed in (1, 2))
    temperature = fit_temperature(*validation)
    assert temperature == pytest.approx(3.0, rel=0.15)
    before = screening_report(*test, resamples=100)
    scaled = apply_temperature(test[1], temperature)
    after = screening_report(test[0], scaled, resamples=100)
    assert after.calibration.error < 0.3 * before.calibration.error
    assert after.brier < before.brier
    assert after.roc_auc == pytest.approx(before.roc_auc, abs=1e-6)


def test_the_temperature_of_several_classes_is_found_again():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 4)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    sharp = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
    assert fit_temperature(labels, sharp) == pytest.approx(2.0, rel=0.06)
    np.testing.assert_allclose(apply_temperature(sharp, 2.0), shares, atol=1e-6)


def test_a_report_can_be_read_and_written():
    labels, probabilities = cases()
    report = screening_report(labels, probabilities, threshold=0.25, resamples=100)
    text = report.text()
    assert "sensitivity at 90 % specificity" in text and "sensitivity at threshold 0.25" in text
    positive = int(labels.sum())
    assert f"{positive} positive and {300 - positive} negative images" in text
    stored = json.loads(json.dumps(report.as_dict()))
    area = metrics.auc(stored["false_positive_rates"], stored["true_positive_rates"])
    assert area == pytest.approx(report.roc_auc)
    assert report.prevalence == positive / 300


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: screening_report([0, 0], [0.1, 0.2]), ValueError, "`labels` must hold both"),
        (
            lambda: screening_report([0, 1], [0.1]),
            ValueError,
            r"`probabilities` must have shape \(",
        ),
        (lambda: screening_report([0, 1], [0.1, 1.2]), ValueError, r"must be in \[0, 1\].*1.2"),
        (lambda: screening_report([0, 1], [[0.5, 0.1]] * 2), ValueError, "add up to 1"),
        (
            lambda: screening_report([0, 1], [0.1, np.nan]),
            ValueError,
            "`probabilities` must be fin",
        ),
        (lambda: screening_report([0, 1], [0, 1], specificity=90), ValueError, "`specificity` mus"),
        (
            lambda: choose_threshold([0, 1], [0, 1], specificity=0.9, sensitivity=0.9),
            ValueError,
            "`specificity` or `sensitivity` must be None",
        ),
        (lambda: fit_temperature([0, 2], [0.1, 0.9]), ValueError, r"`labels` must be in \[0, 2\)"),
        (lambda: fit_temperature([0, 1, 1], [0.1, 0.9]), ValueError, "of the 3 images in `labels`"),
        (lambda: fit_temperature([0.5, 1], [0.1, 0.9]), TypeError, "`labels` must be an array of"),
        (lambda: apply_temperature([0.5], 0), ValueError, "`temperature` must be a"),
    ],
)
def test_what_does_not_fit_is_refused(use, error, message):
    with pytest.raises(error, match=message):
        use()
