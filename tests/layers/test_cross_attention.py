"""Attention to a context: a NumPy oracle, masks, and tokens that do not see each other."""

import keras
import numpy as np
import pytest
from layer_checks import check_layer
from scipy.special import softmax

from mae_keras.layers import MultiHeadCrossAttention


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    ("init_kwargs", "num_weights"),
    [
        ({"num_heads": 2}, 6),
        pytest.param({"num_heads": 4, "use_bias": False}, 3, marks=pytest.mark.slow),
    ],
    ids=["with bias", "without bias"],
)
def test_contract(init_kwargs, num_weights):
    inputs = draw(3, 5, 8), draw(3, 4, 12, seed=1)
    check_layer(MultiHeadCrossAttention, init_kwargs, inputs, num_weights=num_weights)


@pytest.mark.parametrize("masked", [False, True], ids=["all of the context", "some of it"])
def test_it_agrees_with_an_oracle(masked):
    """One image, one head and one token at a time, in float64."""
    tokens, context = draw(2, 5, 6), draw(2, 4, 10, seed=1)
    mask = np.array([[1, 0, 1, 1], [0, 1, 0, 0]], bool) if masked else None
    layer = MultiHeadCrossAttention(num_heads=3)
    layer.build(tokens.shape, context.shape)
    for seed, weight in enumerate(layer.weights):
        weight.assign(draw(*weight.shape, seed=seed))
    kernels = [array(weight).astype("float64") for weight in layer.weights]
    query = tokens @ kernels[0] + kernels[1]
    key, value = np.split(context @ kernels[2] + kernels[3], 2, axis=-1)
    mixed = np.zeros((2, 5, 6))
    for image, token, head in np.ndindex(2, 5, 3):
        own = slice(2 * head, 2 * head + 2)
        seen = np.ones(4, bool) if mask is None else mask[image]
        weights = softmax(key[image, seen, own] @ query[image, token, own] / np.sqrt(2))
        mixed[image, token, own] = weights @ value[image, seen, own]
    expected = mixed @ kernels[4] + kernels[5]
    np.testing.assert_allclose(
        array(layer(tokens, context, attention_mask=mask)), expected, rtol=1e-4, atol=1e-4
    )


def test_tokens_do_not_see_each_other():
    layer, tokens, context = MultiHeadCrossAttention(2), draw(2, 5, 8), draw(2, 4, 8, seed=1)
    whole = array(layer(tokens, context))
    np.testing.assert_allclose(array(layer(tokens[:, 1:3], context)), whole[:, 1:3], atol=1e-6)


def test_heads_must_divide_the_features():
    with pytest.raises(ValueError, match="`num_heads` must divide `hidden_dim`.*num_heads=3"):
        MultiHeadCrossAttention(3).build((None, 5, 8), (None, 4, 8))


def test_the_number_of_heads_must_be_positive():
    with pytest.raises(ValueError, match="`num_heads` must be.*num_heads=0"):
        MultiHeadCrossAttention(0)
