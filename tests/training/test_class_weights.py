"""Class weights against scikit-learn, the formula of Cui et al., and what Keras does with them."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from mae_keras.training import class_weights

COUNTS = st.lists(st.integers(1, 60), min_size=2, max_size=6)


def labels_with(counts):
    return np.repeat(np.arange(len(counts)), counts)


@given(COUNTS)
def test_inverse_weights_are_the_balanced_ones_of_scikit_learn(counts):
    labels = labels_with(counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    found = class_weights(labels, len(counts))
    assert list(found) == list(range(len(counts)))
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-12)


@given(COUNTS, st.sampled_from([0.0, 0.5, 0.99, 0.9999]))
def test_effective_weights_have_the_ratios_of_cui_et_al(counts, beta):
    found = list(class_weights(labels_with(counts), len(counts), "effective", beta).values())
    # the effective number is the sum of the geometric series 1 + beta + ... + beta ** (n - 1)
    numbers = [sum(beta**power for power in range(count)) for count in counts]
    ratios = np.array(numbers[0]) / numbers
    np.testing.assert_allclose(np.array(found) / found[0], ratios, rtol=1e-9)


@pytest.mark.parametrize("method", ["inverse", "effective"])
@given(COUNTS)
def test_the_weights_of_the_samples_have_mean_one(method, counts):
    labels = labels_with(counts)
    weights = class_weights(labels, len(counts), method)
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1.0)


def test_effective_weights_by_hand():
    # effective numbers 1 and 1.75, so weights 1 : 4 / 7 for one and three samples
    weights = class_weights([0, 1, 1, 1], 2, "effective", beta=0.5)
    assert weights == {0: pytest.approx(28 / 19), 1: pytest.approx(16 / 19)}


def test_the_ends_of_beta_are_no_weights_and_inverse_weights():
    labels = labels_with([50, 5])
    assert class_weights(labels, 2, "effective", beta=0.0) == {0: 1.0, 1: 1.0}
    nearly = class_weights(labels, 2, "effective", beta=1 - 1e-9)
    assert nearly == pytest.approx(class_weights(labels, 2), rel=1e-6)


def test_keras_takes_them_as_class_weight():
    labels = np.array([0, 0, 0, 1])
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True), run_eagerly=True)
    model.optimizer.learning_rate = 0.0
    x = np.linspace(-1, 1, 4, dtype="float32")[:, None]
    weights = class_weights(labels, 2)
    history = model.fit(x, labels, batch_size=4, class_weight=weights, verbose=0)
    logits = np.asarray(keras.ops.convert_to_numpy(model(x)), "float64")
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(4), labels]
    expected = np.mean(losses * [2 / 3, 2 / 3, 2 / 3, 2])
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 2, 2], 3), r"`labels` must hold every class. Received: no sample of \[1\]"),
        (([0, 3], 3), "`labels` must be.*Received: values from 0 to 3"),
        (([-1, 0], 2), "`labels` must be.*Received: values from -1 to 0"),
        (([], 2), "`labels` must have shape"),
        (([[0, 1]], 2), "`labels` must have shape"),
        (([0, 0], 1), "`num_classes` must be"),
        (([0, 1], 2, "inverse_frequency"), "`method` must be 'inverse' or 'effective'"),
        (([0, 1], 2, "effective", 1.0), "`beta` must be.*Received: beta=1.0"),
        (([0, 1], 2, "effective", -0.1), "`beta` must be"),
    ],
    ids=str,
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        class_weights(*arguments)


def test_labels_that_are_not_integers_are_refused():
    with pytest.raises(TypeError, match="`labels` must be .*integers. Received: .*float64"):
        class_weights([0.0, 1.0], 2)
