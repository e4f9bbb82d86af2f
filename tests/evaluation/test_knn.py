"""Weighted nearest neighbors against a loop, scikit-learn and hand-computed cases."""

import math

import numpy as np
import pytest

from mae_keras.evaluation import choose_k, knn_accuracy


def random_task(num_train=60, num_test=40, num_features=5, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_train + num_test)
    centers = rng.normal(size=(num_classes, num_features))
    features = centers[labels] + 1.5 * rng.normal(size=(len(labels), num_features))
    return features[:num_train], labels[:num_train], features[num_train:], labels[num_train:]


def brute_force(train, train_labels, test, test_labels, k, temperature):
    correct = 0
    for row, label in zip(test, test_labels, strict=True):
        similarities = []
        for other, vote in zip(train, train_labels, strict=True):
            cosine = sum(a * b for a, b in zip(row, other, strict=True))
            cosine /= math.sqrt(sum(a * a for a in row)) * math.sqrt(sum(b * b for b in other))
            similarities.append((cosine, vote))
        votes = {}
        for cosine, vote in sorted(similarities, reverse=True)[:k]:
            votes[vote] = votes.get(vote, 0.0) + math.exp(cosine / temperature)
        correct += max(votes, key=votes.get) == label
    return correct / len(test)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 1.0), (60, 0.07)])
def test_agrees_with_a_loop_over_pairs(k, temperature):
    task = random_task()
    result = knn_accuracy(*task, k=k, temperature=temperature)
    assert result.test_accuracy == brute_force(*task, k, temperature)
    assert 0.34 < result.test_accuracy < 1.0


@pytest.mark.parametrize("k", [3, 20])
def test_agrees_with_scikit_learn(k):
    from sklearn.neighbors import KNeighborsClassifier

    train, train_labels, test, test_labels = random_task(num_train=200, num_test=150, seed=1)
    votes = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07)
    ).fit(train, train_labels)
    result = knn_accuracy(train, train_labels, test, test_labels, k=k)
    assert result.test_accuracy == votes.score(test, test_labels)


def test_the_temperature_decides_between_one_near_and_two_far_neighbors():
    train = [[1.0, 0.0], [1.0, 1.0], [1.0, 1.1]]
    near, far = [[1.0, 0.05]], [0]
    assert knn_accuracy(train, [0, 1, 1], near, far, k=3, temperature=0.07).test_accuracy == 1
    assert knn_accuracy(train, [0, 1, 1], near, far, k=3, temperature=10.0).test_accuracy == 0


def test_the_result_does_not_depend_on_the_batch_size():
    task = random_task()
    results = {knn_accuracy(*task, batch_size=size).test_accuracy for size in (1, 7, 40, 1024)}
    assert len(results) == 1


def test_the_length_of_a_row_does_not_count():
    train, train_labels, test, test_labels = random_task()
    scaled = test * np.geomspace(1e-20, 1e30, len(test))[:, None]
    expected = knn_accuracy(train, train_labels, test, test_labels)
    assert knn_accuracy(train, train_labels, scaled, test_labels) == expected


def test_a_tiny_temperature_does_not_overflow():
    task = random_task()
    nearest = knn_accuracy(*task, k=1).test_accuracy
    assert knn_accuracy(*task, k=5, temperature=1e-6).test_accuracy == nearest


def test_rows_of_zeros_are_allowed():
    result = knn_accuracy([[0.0, 0.0], [1.0, 0.0]], [0, 1], [[1.0, 0.0], [0.0, 0.0]], [1, 0], k=1)
    assert result.test_accuracy == 1.0


def test_labels_need_not_be_counted_from_zero():
    result = knn_accuracy([[1.0, 0.0], [0.0, 1.0]], [-4, 900], [[0.1, 2.0]], [900], k=1)
    assert result.test_accuracy == 1.0


def test_a_class_unknown_in_training_is_never_right():
    assert knn_accuracy([[1.0], [2.0]], [0, 0], [[1.0]], [5], k=2).test_accuracy == 0.0


def test_reports_what_it_used():
    result = knn_accuracy(*random_task(), k=7, temperature=0.2)
    assert (result.k, result.temperature) == (7, 0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 61}, "`k` must be at most the number of training rows, 60. Received: k=61"),
        ({"k": 0}, "`k` must be.*Received: k=0"),
        ({"k": 2.5}, "`k` must be"),
        ({"temperature": 0.0}, "`temperature` must be"),
        ({"temperature": float("nan")}, "`temperature` must be"),
        ({"batch_size": -1}, "`batch_size` must be"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        knn_accuracy(*random_task(), **options)


def test_sets_of_different_width_are_refused():
    with pytest.raises(ValueError, match="`test_features` must have as many columns"):
        knn_accuracy(np.ones((3, 2)), [0, 1, 2], np.ones((2, 3)), [0, 1], k=1)


def test_every_k_of_a_sweep_scores_as_it_does_alone():
    task = random_task()
    swept = choose_k(*task, ks=(1, 5, 20, 60, 61))
    assert swept == {k: knn_accuracy(*task, k=k).test_accuracy for k in swept}
    assert set(swept) == {1, 5, 20, 60}
    assert list(swept.values()) == sorted(swept.values(), reverse=True)


def test_a_sweep_without_a_possible_k_is_refused():
    with pytest.raises(ValueError, match="`ks` must hold a k of at most .* 60. Received: ks=.61"):
        choose_k(*random_task(), ks=(61,))
