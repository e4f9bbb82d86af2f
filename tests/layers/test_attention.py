"""Attention: a NumPy oracle, masks, heads."""

import keras
import numpy as np
import pytest
from layer_checks import check_layer
from scipy.special import softmax

from mae_keras.layers import MultiHeadSelfAttention, dot_product_attention


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def oracle(query, key, value, attention_mask=None):
    """One image, one head and one query at a time, over the keys that may be seen."""
    attended = np.zeros(query.shape)
    for image, token, head in np.ndindex(query.shape[:3]):
        seen = np.ones(key.shape[1], bool) if attention_mask is None else attention_mask[image]
        logits = [query[image, token, head] @ k for k in key[image, seen, head]]
        weights = softmax(np.array(logits, "float64") / np.sqrt(query.shape[3]))
        attended[image, token, head] = weights @ value[image, seen, head]
    return attended


@pytest.mark.parametrize(
    ("init_kwargs", "num_weights"),
    [
        ({"num_heads": 2}, 4),
        ({"num_heads": 4, "use_bias": False, "kernel_initializer": "he_normal"}, 2),
    ],
    ids=["with bias", "without bias"],
)
def test_contract(init_kwargs, num_weights):
    if "kernel_initializer" in init_kwargs:
        initializer = keras.initializers.HeNormal()
        init_kwargs = {**init_kwargs, "kernel_initializer": initializer}
    check_layer(MultiHeadSelfAttention, init_kwargs, draw(3, 5, 8), num_weights=num_weights)


@pytest.mark.parametrize("masked", [False, True], ids=["all keys", "some keys"])
def test_attend_agrees_with_the_oracle(masked):
    query, key, value = (draw(3, 6, 2, 4, seed=seed) for seed in range(3))
    mask = np.random.default_rng(3).random((3, 6)) < 0.6 if masked else None
    np.testing.assert_allclose(
        array(dot_product_attention(query, key, value, mask)),
        oracle(query, key, value, mask),
        atol=1e-5,  # float32 against float64
    )


@pytest.mark.parametrize("masked", [False, True], ids=["all keys", "some keys"])
def test_the_layer_agrees_with_the_oracle(masked):
    tokens = draw(2, 5, 6)
    layer = MultiHeadSelfAttention(num_heads=3)
    layer.build(tokens.shape)
    weights = [draw(*w.shape, seed=seed) for seed, w in enumerate(layer.weights)]
    layer.set_weights(weights)
    mask = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]], bool) if masked else None
    kernel, bias, out_kernel, out_bias = weights
    # columns of the joint kernel: all queries, all keys, all values; heads side by side in each
    joint = tokens @ kernel + bias
    query, key, value = (joint[:, :, 6 * i : 6 * i + 6].reshape(2, 5, 3, 2) for i in range(3))
    expected = oracle(query, key, value, mask).reshape(2, 5, 6) @ out_kernel + out_bias
    np.testing.assert_allclose(
        array(layer(tokens, attention_mask=mask)),
        expected,
        rtol=1e-4,  # float32 against float64, through two more matrix products
        atol=1e-4,
    )


def test_tokens_that_may_not_be_attended_to_do_not_matter():
    layer, tokens = MultiHeadSelfAttention(2), draw(2, 6, 8)
    mask = np.array([[1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 1]], bool)
    changed = np.where(mask[..., None], tokens, 100.0 * draw(2, 6, 8, seed=1))
    before = array(layer(tokens, attention_mask=mask))
    after = array(layer(changed, attention_mask=mask))
    np.testing.assert_array_equal(before[mask], after[mask])


def test_a_mask_that_hides_nothing_changes_nothing():
    layer, tokens = MultiHeadSelfAttention(2), draw(2, 6, 8)
    everything = np.ones((2, 6), bool)
    np.testing.assert_allclose(
        array(layer(tokens, attention_mask=everything)), array(layer(tokens)), atol=1e-6
    )


def test_an_image_with_nothing_to_attend_to_stays_finite():
    layer, tokens = MultiHeadSelfAttention(2), draw(2, 6, 8)
    assert np.all(np.isfinite(array(layer(tokens, attention_mask=np.zeros((2, 6), bool)))))


def test_the_order_of_tokens_is_not_seen():
    layer, tokens = MultiHeadSelfAttention(2), draw(1, 6, 8)
    order = np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(
        array(layer(tokens[:, order])),
        array(layer(tokens))[:, order],
        atol=1e-6,  # sums in another order
    )


def test_heads_attend_separately():
    value = draw(1, 4, 2, 3)
    query, key = draw(1, 4, 2, 3, seed=1), draw(1, 4, 2, 3, seed=2)
    before = array(dot_product_attention(query, key, value))
    query[:, :, 1] += 1.0
    after = array(dot_product_attention(query, key, value))
    np.testing.assert_array_equal(before[:, :, 0], after[:, :, 0])
    assert not np.allclose(before[:, :, 1], after[:, :, 1], atol=1e-3)


def test_layers_that_share_an_initializer_start_different():
    initializer = keras.initializers.GlorotUniform()
    layers = [MultiHeadSelfAttention(2, kernel_initializer=initializer) for _ in range(2)]
    for layer in layers:
        layer.build((None, 4, 8))
    first, second = (array(layer.qkv.kernel) for layer in layers)
    assert not np.array_equal(first, second)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match=r"`num_heads` must divide .*num_heads=3, hidden_dim=8"):
        MultiHeadSelfAttention(3)(draw(1, 5, 8))


@pytest.mark.parametrize("num_heads", [0, -2])
def test_a_number_of_heads_below_one_is_refused(num_heads):
    with pytest.raises(ValueError, match=f"`num_heads` must be.*num_heads={num_heads}"):
        MultiHeadSelfAttention(num_heads)
