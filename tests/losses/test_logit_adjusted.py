"""Logit adjustment: NumPy by hand, Keras's own crossentropy, and what it is for."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from mae_keras.losses import LogitAdjustedCrossentropy, adjust_logits

pytestmark = pytest.mark.every_backend
COUNTS = [60, 30, 10]


def logits_and_labels(num_samples=12, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_samples, num_classes)).astype("float32")
    return logits, rng.integers(0, num_classes, num_samples)


def by_hand(logits, labels, counts, tau, smoothing=0.0):
    """-log of the softmax of what Menon et al. put into it, one sample at a time."""
    losses = []
    for row, label in zip(np.float64(logits), labels, strict=True):
        priors = [count / sum(counts) for count in counts]
        scores = [np.exp(z) * prior**tau for z, prior in zip(row, priors, strict=True)]
        shares = [smoothing / len(row) + (1 - smoothing) * (k == label) for k in range(len(row))]
        total = sum(scores)
        losses.append(-sum(s * np.log(v / total) for s, v in zip(shares, scores, strict=True)))
    return np.array(losses)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_agrees_with_the_formula_by_hand(tau, smoothing):
    logits, labels = logits_and_labels()
    loss = LogitAdjustedCrossentropy(COUNTS, tau, label_smoothing=smoothing, reduction=None)
    expected = by_hand(logits, labels, COUNTS, tau, smoothing)
    np.testing.assert_allclose(ops.convert_to_numpy(loss(labels, logits)), expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "probabilities"])
def test_with_equal_priors_it_is_the_crossentropy_of_keras(smoothing, from_logits):
    logits, labels = logits_and_labels()
    predictions = logits if from_logits else ops.convert_to_numpy(ops.softmax(logits))
    one_hot = np.eye(3, dtype="float32")[labels]
    ours = LogitAdjustedCrossentropy([7, 7, 7], 1.5, from_logits, smoothing)
    theirs = keras.losses.CategoricalCrossentropy(from_logits, smoothing)
    expected = float(theirs(one_hot, predictions))
    assert float(ours(one_hot, predictions)) == pytest.approx(expected, rel=1e-5)


def test_without_strength_it_is_the_crossentropy_of_keras():
    logits, labels = logits_and_labels()
    expected = float(keras.losses.SparseCategoricalCrossentropy(True)(labels, logits))
    found = float(LogitAdjustedCrossentropy(COUNTS, tau=0.0)(labels, logits))
    assert found == pytest.approx(expected, rel=1e-5)


def test_integers_columns_and_one_hot_targets_are_alike():
    logits, labels = logits_and_labels()
    loss = LogitAdjustedCrossentropy(COUNTS)
    shapes = [labels, labels[:, None], np.eye(3)[labels], labels.astype("uint8")]
    values = [float(loss(y_true, logits)) for y_true in shapes]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_soft_targets_mix_the_losses_of_their_classes():
    logits, _ = logits_and_labels(1)
    loss = LogitAdjustedCrossentropy(COUNTS)
    mixed = float(loss([[0.25, 0.0, 0.75]], logits))
    parts = [float(loss([label], logits)) for label in (0, 2)]
    assert mixed == pytest.approx(0.25 * parts[0] + 0.75 * parts[1], rel=1e-5)


def test_every_position_of_a_map_has_its_loss():
    logits, labels = logits_and_labels(12)
    loss = LogitAdjustedCrossentropy(COUNTS, reduction=None)
    mapped = loss(labels.reshape(2, 3, 2), logits.reshape(2, 3, 2, 3))
    flat = ops.convert_to_numpy(loss(labels, logits))
    np.testing.assert_allclose(ops.convert_to_numpy(mapped), flat.reshape(2, 3, 2), rtol=1e-6)


def test_counts_and_shares_are_alike():
    logits, labels = logits_and_labels()
    counts = float(LogitAdjustedCrossentropy(COUNTS)(labels, logits))
    shares = float(LogitAdjustedCrossentropy([0.6, 0.3, 0.1])(labels, logits))
    assert counts == pytest.approx(shares, rel=1e-6)


def test_probabilities_and_logits_are_alike():
    logits, labels = logits_and_labels()
    probabilities = ops.convert_to_numpy(ops.softmax(logits))
    expected = float(LogitAdjustedCrossentropy(COUNTS)(labels, logits))
    found = float(LogitAdjustedCrossentropy(COUNTS, from_logits=False)(labels, probabilities))
    assert found == pytest.approx(expected, rel=1e-5)


def test_large_logits_and_sure_probabilities_stay_finite():
    loss = LogitAdjustedCrossentropy([1e6, 1])
    assert np.isfinite(float(loss([1, 0], np.array([[1e4, -1e4], [1e4, -1e4]]))))
    sure = LogitAdjustedCrossentropy([1e6, 1], from_logits=False)
    assert np.isfinite(float(sure([1], np.array([[1.0, 0.0]]))))


def test_sample_weights_multiply():
    logits, labels = logits_and_labels(4)
    weights = np.array([1.0, 0.0, 2.0, 0.5])
    expected = np.mean(by_hand(logits, labels, COUNTS, 1.0) * weights)
    found = float(LogitAdjustedCrossentropy(COUNTS)(labels, logits, weights))
    assert found == pytest.approx(expected, rel=1e-5)


def test_an_integer_that_is_no_class_is_not_a_right_answer():
    logits, _ = logits_and_labels(2)
    loss = LogitAdjustedCrossentropy(COUNTS, label_smoothing=0.1, reduction=None)
    found = ops.convert_to_numpy(loss([0, 3], logits))
    assert np.isfinite(found[0]) and np.isnan(found[1])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_arithmetic_is_float32_under_every_policy(policy):
    keras.config.set_dtype_policy(policy)
    logits, labels = logits_and_labels()
    loss = LogitAdjustedCrossentropy(COUNTS)(labels, ops.cast(logits, "float16"))
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"


@pytest.mark.slow
def test_a_model_trained_on_a_rare_class_predicts_it_as_often_as_the_other():
    """All inputs are alike, so plain crossentropy learns the frequencies, this one learns none."""
    labels = np.array([0] * 9 + [1])
    learned = {}
    for tau in (0.0, 1.0):
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(2)])
        loss = LogitAdjustedCrossentropy([9, 1], tau)
        model.compile(keras.optimizers.SGD(2.0), loss, jit_compile=False)
        steps = np.ones((600, 1)), np.tile(labels, 60)
        model.fit(*steps, batch_size=10, shuffle=False, verbose=0)
        logits = ops.convert_to_numpy(model(np.ones((1, 1))))[0]
        learned[tau] = logits[0] - logits[1]
    assert learned[0.0] == pytest.approx(np.log(9), abs=0.02)
    assert learned[1.0] == pytest.approx(0.0, abs=0.02)


def test_a_saved_model_keeps_its_loss(tmp_path):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", LogitAdjustedCrossentropy(COUNTS, 0.5), jit_compile=False)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again.loss, LogitAdjustedCrossentropy)
    assert again.loss.get_config() == model.loss.get_config()


@pytest.mark.parametrize(
    "init_kwargs",
    [
        {"class_priors": [1, 2]},
        {
            "class_priors": np.array([0.1, 0.9], "float32"),
            "tau": 2.0,
            "from_logits": False,
            "label_smoothing": 0.1,
            "reduction": "sum",
            "name": "given",
            "dtype": "float64",
        },
    ],
    ids=["default", "given"],
)
def test_config_round_trip(init_kwargs):
    loss = LogitAdjustedCrossentropy(**init_kwargs)
    config = json.loads(json.dumps(loss.get_config()))
    assert set(init_kwargs) <= set(config)
    assert LogitAdjustedCrossentropy.from_config(config).get_config() == loss.get_config()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is LogitAdjustedCrossentropy
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_adjusted_logits_divide_the_posterior_by_the_prior(tau):
    logits, _ = logits_and_labels()
    adjusted = ops.convert_to_numpy(ops.softmax(adjust_logits(logits, COUNTS, tau)))
    posterior = np.exp(np.float64(logits)) / np.array(COUNTS) ** tau
    expected = posterior / posterior.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(adjusted, expected, rtol=1e-4)


def test_adjusting_undoes_what_the_loss_adds():
    logits, labels = logits_and_labels()
    plain = float(keras.losses.SparseCategoricalCrossentropy(True)(labels, logits))
    adjusted = adjust_logits(logits, COUNTS, 1.5)
    found = float(LogitAdjustedCrossentropy(COUNTS, 1.5)(labels, adjusted))
    assert found == pytest.approx(plain, rel=1e-5)


def test_half_precision_logits_are_adjusted_in_float32():
    adjusted = adjust_logits(ops.cast(np.zeros((1, 2)), "float16"), [1, 3])
    assert keras.backend.standardize_dtype(adjusted.dtype) == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0],), "`class_priors` must be .*never occurs"),
        (([1],), "at least two classes"),
        (([[1, 2]],), "`class_priors` must be"),
        (([1, float("nan")],), "`class_priors` must be"),
        (([1, 2], -1.0), "`tau` must be.*Received: tau=-1.0"),
        (([1, 2], 1.0, True, 1.0), "`label_smoothing` must be"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LogitAdjustedCrossentropy(*arguments)


def test_shapes_that_do_not_fit_are_refused():
    loss = LogitAdjustedCrossentropy([1, 2, 3])
    with pytest.raises(ValueError, match="`y_pred` must have 3 columns"):
        loss([0], np.zeros((1, 2)))
    with pytest.raises(ValueError, match="`y_true` must be integers of shape"):
        loss(np.zeros((1, 2)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="`class_priors` must have 2 entries"):
        adjust_logits(np.zeros((1, 2)), [1, 2, 3])
