"""The linear probe on real digits and on made-up tasks."""

import warnings

import numpy as np
import pytest

from mae_keras import evaluation
from mae_keras.evaluation import fit_linear_probe, linear_probe


def blobs(count, num_classes=3, num_features=4, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, count)
    return np.eye(num_features)[labels] + noise * rng.normal(size=(count, num_features)), labels


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    parts = order[:1300], order[1300:1500], order[1500:]
    return [part for rows in parts for part in (features[rows], labels[rows])]


@pytest.mark.slow
def test_real_digits_are_told_apart(digits):
    result = linear_probe(*digits)
    assert 0.93 < result.test_accuracy < 1.0
    assert result.converged
    assert result.num_train == 1300


@pytest.mark.slow
def test_agrees_with_a_scikit_learn_pipeline_at_one_strength(digits):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, train_labels, tuning, tuning_labels, test, test_labels = digits
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (1e-2 * 1300), tol=1e-6))
    model.fit(train, train_labels)
    result = linear_probe(*digits, strengths=(1e-2,))
    # Solvers stopped at different tolerances may differ in one borderline image.
    assert result.test_accuracy == pytest.approx(model.score(test, test_labels), abs=0.004)
    assert result.validation_accuracy == pytest.approx(
        model.score(tuning, tuning_labels), abs=0.006
    )


def test_two_classes_work():
    train, labels = blobs(200, num_classes=2)
    assert linear_probe(train, labels, train, labels, train, labels).test_accuracy > 0.95


def test_the_scale_of_features_does_not_count():
    train, labels = blobs(90, noise=0.8)
    test, test_labels = blobs(300, noise=0.8, seed=1)
    scale, shift = np.array([1.0, 64.0, 1 / 64, 4.0]), np.array([0.0, 8.0, -2.0, 1.0])
    expected = linear_probe(train, labels, test, test_labels, test, test_labels)
    moved = test * scale + shift
    result = linear_probe(train * scale + shift, labels, moved, test_labels, moved, test_labels)
    assert result.test_accuracy == pytest.approx(expected.test_accuracy, abs=0.01)


def test_statistics_come_from_the_training_set_alone():
    train, labels = blobs(200)
    test, test_labels = blobs(200, seed=1)
    alone = linear_probe(train, labels, train, labels, test[:1], test_labels[:1])
    # With statistics of their own, shifted test features would score like unshifted ones.
    shifted = linear_probe(train, labels, train, labels, test + [0, 0, 9, 0], test_labels)
    assert alone.validation_accuracy > 0.9
    assert shifted.test_accuracy < 0.6


def test_regularization_is_chosen_by_validation_and_not_by_test():
    # Labels of the test set are shuffled: whatever they prefer, the choice stays the same.
    train, labels = blobs(60, num_features=30, noise=1.0)
    tuning, tuning_labels = blobs(400, num_features=30, noise=1.0, seed=1)
    test, test_labels = blobs(400, num_features=30, noise=1.0, seed=2)
    choices = set()
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(test_labels)
        result = linear_probe(train, labels, tuning, tuning_labels, test, shuffled)
        choices.add((result.regularization, result.validation_accuracy))
    assert len(choices) == 1


def test_the_best_strength_on_validation_is_kept():
    train, labels = blobs(60, num_features=30, noise=1.0)
    tuning = blobs(400, num_features=30, noise=1.0, seed=1)
    strengths = (10.0, 1e-1, 1e-5)
    alone = [
        linear_probe(train, labels, *tuning, *tuning, strengths=[strength]).validation_accuracy
        for strength in strengths
    ]
    result = linear_probe(train, labels, *tuning, *tuning, strengths=strengths)
    assert result.regularization == strengths[int(np.argmax(alone))]
    assert result.validation_accuracy == max(alone)


def test_features_that_never_change_are_harmless():
    train, labels = blobs(200)
    padded = np.concatenate([train, np.full((200, 2), 0.1), np.zeros((200, 1))], axis=1)
    moved = padded + [0, 0, 0, 0, 1e-3, 0, 0]
    assert linear_probe(padded, labels, padded, labels, moved, labels).test_accuracy > 0.9


def test_a_large_training_set_is_cut_by_the_seed():
    train, labels = blobs(400, noise=1.0)
    test = blobs(500, noise=1.0, seed=1)
    results = [
        linear_probe(train, labels, *test, *test, max_samples=40, seed=seed) for seed in (0, 0, 1)
    ]
    assert results[0].num_train == 40
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_an_unfinished_fit_is_reported_without_a_warning(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = linear_probe(*digits, max_iter=2)
    assert not result.converged


def test_a_single_class_is_refused():
    rows = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"at least two classes. Received: \[7\] in 3 rows"):
        linear_probe(rows, [7, 7, 7], rows, [7, 7, 7], rows, [7, 7, 7])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strengths": ()}, "`strengths` must"),
        ({"strengths": (1.0, 0.0)}, "`strengths` must be"),
        ({"max_samples": 0}, "`max_samples` must be"),
        ({"max_iter": 0}, "`max_iter` must be"),
        ({"max_iter": None}, "`max_iter` must be"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, message):
    rows, labels = blobs(30)
    with pytest.raises(ValueError, match=message):
        linear_probe(rows, labels, rows, labels, rows, labels, **options)


def test_sets_of_different_width_are_refused():
    rows, labels = blobs(30)
    with pytest.raises(ValueError, match="`validation_features` must have as many columns"):
        linear_probe(rows, labels, rows[:, :2], labels, rows, labels)


def test_the_function_is_not_hidden_by_its_module():
    import mae_keras.evaluation.linear_probe  # noqa: F401

    assert callable(evaluation.linear_probe)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_fitted_probe_gives_the_probabilities_of_scikit_learn(num_classes):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, labels = blobs(200, num_classes, noise=1.0)
    test, _ = blobs(50, num_classes, noise=1.0, seed=1)
    probe = fit_linear_probe(train, labels * 5, train, labels * 5, strengths=(1e-2,))
    scaler = StandardScaler().fit(train)
    theirs = LogisticRegression(C=1 / (1e-2 * 200)).fit(scaler.transform(train), labels * 5)
    expected = theirs.predict_proba(scaler.transform(test))
    # both solvers stop at a tolerance of 1e-4
    np.testing.assert_allclose(probe.probabilities(test), expected, atol=2e-3)
    assert set(probe.predict(test)) <= set(labels * 5)
