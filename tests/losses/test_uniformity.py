"""Spread of directions, against NumPy and the loss as U-MAE writes it."""

import keras
import numpy as np
import pytest

from mae_keras.losses import uniformity

every_backend = pytest.mark.every_backend


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@every_backend
def test_it_is_the_mean_squared_cosine_of_all_pairs():
    features = draw(6, 4)
    cosines = [
        [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in features.astype("float64")]
        for a in features.astype("float64")
    ]
    assert float(uniformity(features)) == pytest.approx(np.mean(np.square(cosines)), rel=1e-5)


def test_a_weight_of_a_hundredth_is_the_reference_at_its_defaults():
    features = draw(5, 3)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    reference = 1e-4 * np.mean((unit @ unit.T / 0.1) ** 2)  # beta, tau of zhangq327/U-MAE
    assert 0.01 * float(uniformity(features)) == pytest.approx(reference, rel=1e-5)


def test_the_length_of_features_does_not_count():
    features = draw(6, 4)
    scaled = features * np.geomspace(1e-3, 1e4, 6)[:, None].astype("float32")
    assert float(uniformity(scaled)) == pytest.approx(float(uniformity(features)), rel=1e-4)


def test_half_precision_is_not_used():
    features = keras.ops.cast(draw(6, 4) * 1000, "float16")
    assert keras.backend.standardize_dtype(uniformity(features).dtype) == "float32"
    assert 0 < float(uniformity(features)) <= 1


def test_features_of_zeros_have_a_finite_gradient():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("uses TensorFlow's tape")
    import tensorflow as tf

    features = tf.Variable(np.zeros((3, 2), "float32"))
    with tf.GradientTape() as tape:
        loss = uniformity(features)
    assert np.isfinite(tape.gradient(loss, features).numpy()).all()
