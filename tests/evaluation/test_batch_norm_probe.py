"""The paper's linear probe: what trains, what it reaches, what it refuses."""

import dataclasses

import keras
import numpy as np
import pytest

from mae_keras import evaluation
from mae_keras.evaluation import linear_probe, paper_linear_probe
from mae_keras.evaluation.batch_norm_probe import Plan, _batches, trained_probe
from mae_keras.training import LARS

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow

SHORT = {"epochs": 20, "warmup_epochs": 2}


def blobs(count, num_classes=3, num_features=6, noise=0.2, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, count)
    return np.eye(num_features)[labels] + noise * rng.normal(size=(count, num_features)), labels


def three_sets(noise=0.2, count=200, **options):
    parts = [blobs(count, noise=noise, seed=seed, **options) for seed in range(3)]
    return [part for pair in parts for part in pair]


@pytest.fixture(scope="module")
def trained():
    """A probe trained on features of mean 5 and deviation 2."""
    features = np.random.default_rng(0).normal(5.0, 2.0, (400, 6)).astype("float32")
    targets = (features[:, 0] > 5).astype(int)
    return trained_probe([features], targets, Plan(10.0, 100, 4, 20, 2, 0)), features


def test_only_the_linear_layer_trains(trained):
    model, _ = trained
    norm, dense = model.layers
    assert norm.trainable_weights == []
    assert [v.path for v in model.trainable_variables] == [v.path for v in dense.weights]
    assert dense.weights[0].shape == (6, 2)


def test_the_statistics_of_the_batch_norm_are_those_of_the_features(trained):
    model, features = trained
    mean, variance = map(keras.ops.convert_to_numpy, model.layers[0].non_trainable_weights)
    # An average over about ten batches of 100 images with deviation 2.
    np.testing.assert_allclose(mean, features.mean(axis=0), atol=0.2)
    np.testing.assert_allclose(variance, features.var(axis=0), rtol=0.15)


def test_the_recipe_is_that_of_the_paper(trained):
    model, _ = trained
    optimizer = model.optimizer
    assert isinstance(optimizer, LARS)
    assert optimizer.weight_decay == 0.0 and optimizer.momentum == 0.9
    assert int(optimizer.iterations) == 20 * 4
    rates = [float(optimizer._learning_rate(step)) for step in (0, 4, 8, 80)]
    # 10 * 100 / 256 after two epochs of four steps, then down to 0
    assert rates == pytest.approx([0.0, 1.953125, 3.90625, 0.0], abs=1e-6)


@pytest.mark.every_backend
def test_separable_classes_are_told_apart():
    result = paper_linear_probe(*three_sets(count=100))
    assert result.test_accuracy > 0.95
    assert result.validation_accuracy > 0.95
    assert result.num_train == 100 and result.num_views == 1 and result.epochs == 90


@pytest.mark.slow
def test_real_digits_score_as_with_logistic_regression():
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    parts = [(features[r], labels[r]) for r in (order[:1300], order[1300:1500], order[1500:])]
    result = paper_linear_probe(*[part for pair in parts for part in pair])
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*parts[0])
    assert result.test_accuracy == pytest.approx(reference.score(*parts[2]), abs=0.02)
    # docs/evaluation.md: the paper's own rate leaves so few images untrained
    literal = paper_linear_probe(*[part for pair in parts for part in pair], base_learning_rate=0.1)
    assert literal.test_accuracy == pytest.approx(0.26, abs=0.03)
    assert result.test_accuracy > 0.96


def test_the_same_seed_gives_the_same_result():
    sets = three_sets(noise=1.0, count=60)
    first, again, other = (paper_linear_probe(*sets, seed=seed, **SHORT) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_scale_of_features_does_not_count():
    sets = three_sets(noise=0.5)
    moved = [part * 100.0 - 7.0 if part.ndim == 2 else part for part in sets]
    result, expected = (paper_linear_probe(*given, **SHORT) for given in (moved, sets))
    assert result.test_accuracy == pytest.approx(expected.test_accuracy, abs=0.02)


def test_the_dtype_policy_does_not_count():
    sets = three_sets(noise=1.0, count=60)
    expected = paper_linear_probe(*sets, **SHORT)
    keras.config.set_dtype_policy("mixed_float16")
    assert paper_linear_probe(*sets, **SHORT) == expected


def test_labels_may_be_any_integers():
    features, labels = blobs(90)
    names = np.array([7, -3, 40])[labels]
    result = paper_linear_probe(features, names, features, names, features, names)
    assert result.test_accuracy > 0.95


def test_batches_are_equal_and_no_larger_than_asked():
    result = paper_linear_probe(*three_sets(), batch_size=150, base_learning_rate=2.56, **SHORT)
    assert result.batch_size == 100
    assert result.learning_rate == pytest.approx(1.0)


def test_batches_shrink_where_the_rate_would_exceed_the_papers():
    result = paper_linear_probe(*three_sets(), base_learning_rate=64.0, **SHORT)
    assert result.batch_size == 25  # 6.4 * 256 / 64 = 25.6
    assert result.learning_rate == pytest.approx(6.25)


def test_small_sets_get_a_higher_rate_and_large_ones_that_of_the_paper():
    small = paper_linear_probe(*three_sets(), epochs=2, warmup_epochs=0)
    assert small.base_learning_rate == pytest.approx(0.1 * 40_000 * 90 / (200 * 2))
    train = blobs(40_000)
    large = paper_linear_probe(
        *train, *blobs(50), *blobs(50), batch_size=40_000, epochs=90, warmup_epochs=10
    )
    assert large.base_learning_rate == 0.1


def test_the_rate_is_chosen_by_validation_and_not_by_test():
    train, labels, tuning, tuning_labels, test, test_labels = three_sets(noise=1.0, count=100)
    rates = (0.1, 30.0)
    alone = [
        paper_linear_probe(
            *(train, labels, tuning, tuning_labels, test, test_labels),
            base_learning_rate=rate,
            **SHORT,
        ).validation_accuracy
        for rate in rates
    ]
    choices = set()
    for seed in range(2):
        shuffled = np.random.default_rng(seed).permutation(test_labels)
        result = paper_linear_probe(
            *(train, labels, tuning, tuning_labels, test, shuffled),
            base_learning_rate=rates,
            **SHORT,
        )
        choices.add((result.base_learning_rate, result.validation_accuracy))
    assert choices == {(rates[int(np.argmax(alone))], max(alone))}


def test_epochs_take_the_views_in_turn_and_no_image_twice():
    views = [np.full((23, 1), number) for number in (0.0, 1.0)]
    plan = Plan(1.0, batch_size=5, steps=4, epochs=3, warmup_epochs=0, seed=0)
    stream = _batches(views, np.arange(23), plan)
    orders = []
    for epoch in range(3):
        batches = [next(stream) for _ in range(4)]
        assert {value for features, _ in batches for value in features.ravel().tolist()} == {
            epoch % 2
        }
        orders.append(np.concatenate([targets for _, targets in batches]).tolist())
        assert len(set(orders[-1])) == 20
    assert orders[0] != orders[1] != orders[2]


def test_views_of_the_same_images_are_learned_from():
    sets = three_sets(count=100)
    features = np.stack([sets[0], sets[0] + 0.1])
    result = paper_linear_probe(features, *sets[1:])
    assert result.num_views == 2 and result.num_train == 100
    assert result.test_accuracy > 0.95


def test_features_that_never_change_are_harmless():
    sets = three_sets(count=100)
    padded = [
        np.concatenate([part, np.full((len(part), 2), 0.1)], axis=1) if part.ndim == 2 else part
        for part in sets
    ]
    expected = paper_linear_probe(*padded)
    padded[4][:, -1] = 1.0
    assert paper_linear_probe(*padded) == expected
    assert expected.test_accuracy > 0.95


def test_the_result_is_plain_numbers():
    values = dataclasses.asdict(paper_linear_probe(*three_sets(count=30), **SHORT))
    assert {type(value) for value in values.values()} == {int, float}


@pytest.mark.parametrize("position", [3, 5])
def test_a_class_absent_from_train_is_named(position):
    sets = three_sets()
    sets[position] = sets[position].copy()
    sets[position][:2] = 9
    name = {3: "validation_labels", 5: "test_labels"}[position]
    with pytest.raises(ValueError, match=f"every class of `{name}`. Received: no row of class 9"):
        paper_linear_probe(*sets)


def test_bad_sets_are_refused():
    sets = three_sets(count=20)
    bad = np.array(sets[0])
    bad[3, 0] = np.nan
    for position, value, error, message in [
        (0, bad, ValueError, "`train_features` must be finite numbers.*rows: 3"),
        (0, np.stack([sets[0], bad]), ValueError, "`train_features` must be finite numbers"),
        (0, np.zeros((0, 20, 6)), ValueError, "`train_features` must have shape"),
        (0, np.ones((20, 6)), ValueError, "`train_features` must differ between rows"),
        (1, np.zeros(20, int), ValueError, "`train_labels` must have at least two classes"),
        (1, np.zeros(19, int), ValueError, "`train_labels` must have shape"),
        (1, np.zeros(20), TypeError, "`train_labels` must be integers"),
        (2, np.ones((20, 5)), ValueError, "`validation_features` must have as many columns"),
        (4, np.ones((20, 7)), ValueError, "`test_features` must have as many columns"),
    ]:
        given = [*sets[:position], value, *sets[position + 1 :]]
        with pytest.raises(error, match=message):
            paper_linear_probe(*given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_learning_rate": 0.0}, "`base_learning_rate` must be a positive number"),
        ({"base_learning_rate": ()}, "`base_learning_rate` must be a positive number"),
        ({"base_learning_rate": (0.1, np.nan)}, "`base_learning_rate` must be a positive number"),
        ({"batch_size": 0}, "`batch_size` must be a positive int"),
        ({"epochs": 1.5}, "`epochs` must be a positive int"),
        ({"epochs": 10}, "`warmup_epochs` must be an int of at least 0 and less than `epochs`"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        paper_linear_probe(*three_sets(count=20), **options)


def test_the_room_loads_it_lazily():
    assert {"paper_linear_probe", "PaperProbeResult"} <= set(evaluation.__all__)
    assert linear_probe is not paper_linear_probe
