"""The loss: a NumPy oracle, blindness to what does not count, weights, dtypes."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mae_keras.losses import MaskedReconstructionLoss, reconstruction_weights

ERRORS = ["squared", "absolute"]
MASKS = hnp.arrays(bool, (3, 5))
VALUES = hnp.arrays("float32", (3, 5, 4), elements=st.floats(-10, 10, width=32))


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def loss_of(y_true, y_pred, counted, sample_weight=None, error="squared"):
    weights = reconstruction_weights(counted, sample_weight)
    return float(MaskedReconstructionLoss(error)(y_true, y_pred, weights))


def oracle(y_true, y_pred, counted, sample_weight=None, error="squared"):
    """The mean over images of each image's mean over the pixels of its counted patches."""
    means = []
    for image, places in enumerate(counted):
        difference = np.float64(y_pred[image, places]) - y_true[image, places]
        pixels = difference**2 if error == "squared" else np.abs(difference)
        mean = pixels.mean() if places.any() else 0.0
        means.append(mean * (1.0 if sample_weight is None else sample_weight[image]))
    return np.mean(means)


@pytest.mark.parametrize("error", ERRORS)
@given(VALUES, VALUES, MASKS)
def test_the_loss_agrees_with_the_oracle(error, y_true, y_pred, counted):
    expected = oracle(y_true, y_pred, counted, error=error)
    actual = loss_of(y_true, y_pred, counted, error=error)
    assert actual == pytest.approx(expected, rel=1e-4, abs=1e-6)  # float32 against float64


@pytest.mark.parametrize("error", ERRORS)
@given(VALUES, VALUES, VALUES, VALUES, MASKS)
def test_the_loss_is_blind_to_visible_patches(error, y_true, y_pred, other, another, patch_mask):
    hidden = patch_mask[..., None]
    before = loss_of(y_true, y_pred, patch_mask, error=error)
    changed = np.where(hidden, y_true, other), np.where(hidden, y_pred, another)
    assert loss_of(*changed, patch_mask, error=error) == before


@pytest.mark.parametrize(("error", "expected"), [("squared", 7.5), ("absolute", 2.5)])
def test_a_small_case_by_hand(error, expected):
    y_true = np.zeros((1, 3, 2), "float32")
    y_pred = np.array([[[1, -2], [100, 100], [3, 4]]], "float32")
    counted = np.array([[True, False, True]])
    # squared: (1 + 4) / 2 and (9 + 16) / 2, mean 7.5; absolute: 1.5 and 3.5, mean 2.5
    assert loss_of(y_true, y_pred, counted, error=error) == pytest.approx(expected)


def test_images_count_alike_whatever_they_hide():
    y_pred = np.stack([np.full((4, 2), 1.0), np.full((4, 2), 3.0)])
    counted = np.array([[True, False, False, False], [True, True, True, True]])
    # (1 + 9) / 2; pooled over patches it would be (1 + 4 * 9) / 5
    assert loss_of(np.zeros((2, 4, 2)), y_pred, counted) == pytest.approx(5.0)


def test_an_image_with_no_counted_patch_adds_nothing_and_stays_finite():
    y_pred = np.full((2, 3, 2), 2.0, "float32")
    counted = np.array([[False, False, False], [True, True, False]])
    assert loss_of(np.zeros((2, 3, 2)), y_pred, counted) == pytest.approx(4.0 / 2)
    nothing = np.zeros((2, 3), bool)
    assert loss_of(np.zeros((2, 3, 2)), y_pred, nothing) == 0.0


def test_without_weights_every_patch_counts():
    y_true, y_pred = draw(3, 5, 4), draw(3, 5, 4, seed=1)
    plain = float(MaskedReconstructionLoss()(y_true, y_pred))
    assert plain == pytest.approx(np.mean((y_true - y_pred) ** 2), rel=1e-5)
    assert loss_of(y_true, y_pred, np.ones((3, 5), bool)) == pytest.approx(plain, rel=1e-6)


def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_parts():
    y_true, y_pred = draw(4, 5, 4), draw(4, 5, 4, seed=1)
    counted = np.random.default_rng(2).random((4, 5)) < 0.6
    weights = [1.0, 2.0, 0.5, 3.0]
    parts = [
        loss_of(y_true[i : i + 2], y_pred[i : i + 2], counted[i : i + 2], weights[i : i + 2])
        for i in (0, 2)
    ]
    assert loss_of(y_true, y_pred, counted, weights) == pytest.approx(np.mean(parts), rel=1e-5)


@pytest.mark.parametrize("shape", [(3,), (3, 1)], ids=["flat", "column"])
@pytest.mark.parametrize("error", ERRORS)
def test_sample_weights_multiply_the_loss_of_their_image(error, shape):
    y_true, y_pred = draw(3, 5, 4), draw(3, 5, 4, seed=1)
    counted = np.arange(15).reshape(3, 5) % 4 > 0
    user = np.array([2.0, 0.0, 0.5])
    expected = oracle(y_true, y_pred, counted, user, error)
    actual = loss_of(y_true, y_pred, counted, user.reshape(shape), error)
    assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("counted", "sample_weight", "expected"),
    [
        ([[1, 1, 1, 1]], None, [[1, 1, 1, 1]]),
        ([[1, 0, 0, 0]], None, [[4, 0, 0, 0]]),
        ([[1, 1, 0, 0]], [3.0], [[6, 6, 0, 0]]),
        ([[0, 0, 0, 0], [0, 1, 1, 1]], None, [[0, 0, 0, 0], [0, 4 / 3, 4 / 3, 4 / 3]]),
        ([[1, 1, 1, 1], [1, 1, 0, 0]], [[0], [2]], [[0, 0, 0, 0], [4, 4, 0, 0]]),
    ],
    ids=["all hidden", "one hidden", "weighted", "none hidden", "column of weights"],
)
def test_weights_by_hand(counted, sample_weight, expected):
    weights = reconstruction_weights(np.array(counted, bool), sample_weight)
    assert keras.backend.standardize_dtype(weights.dtype) == "float32"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weights), expected, rtol=1e-6)


@given(MASKS)
def test_every_image_that_counts_has_the_same_total_weight(counted):
    total = keras.ops.convert_to_numpy(reconstruction_weights(counted)).sum(axis=1)
    np.testing.assert_allclose(total, np.where(counted.any(axis=1), 5.0, 0.0), rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_the_arithmetic_is_float32_under_every_policy(policy):
    keras.config.set_dtype_policy(policy)
    # 300 squared is beyond float16
    y_pred = keras.ops.cast(np.full((2, 3, 4), 300.0), "float16")
    weights = reconstruction_weights(np.ones((2, 3), bool))
    loss = MaskedReconstructionLoss()(np.zeros((2, 3, 4), "float32"), y_pred, weights)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(loss) == 90000.0


@pytest.mark.parametrize(
    ("reduction", "shape"), [("sum_over_batch_size", ()), ("sum", ()), (None, (3, 5))]
)
def test_reductions_are_those_of_keras(reduction, shape):
    y_true, y_pred = draw(3, 5, 4), draw(3, 5, 4, seed=1)
    loss = MaskedReconstructionLoss(reduction=reduction)(y_true, y_pred)
    assert tuple(loss.shape) == shape
    per_patch = ((y_true - y_pred) ** 2).mean(axis=-1)
    expected = {"sum": per_patch.sum(), None: per_patch}.get(reduction, per_patch.mean())
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loss), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "init_kwargs",
    [{}, {"error": "absolute", "reduction": "sum", "name": "given", "dtype": "float64"}],
    ids=["default", "given"],
)
def test_config_round_trip(init_kwargs):
    loss = MaskedReconstructionLoss(**init_kwargs)
    config = json.loads(json.dumps(loss.get_config()))
    assert set(init_kwargs) <= set(config)
    assert MaskedReconstructionLoss.from_config(config).get_config() == loss.get_config()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is MaskedReconstructionLoss
    assert again.get_config() == loss.get_config()
    assert again.dtype == loss.dtype


def test_an_unknown_error_is_refused():
    with pytest.raises(ValueError, match="`error` must be 'squared' or 'absolute'.*error='huber'"):
        MaskedReconstructionLoss("huber")
