"""The transformer block: a NumPy oracle of the pre-norm equations, masks, stochastic depth."""

import keras
import numpy as np
import pytest
from layer_checks import check_layer
from scipy.special import erf, softmax

from mae_keras.layers import TransformerBlock


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def norm(x, gamma, beta):
    centered = x - x.mean(-1, keepdims=True)
    return gamma * centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6) + beta


def one_head(x, qkv, qkv_bias, out, out_bias):
    query, key, value = np.split(x @ qkv + qkv_bias, 3, axis=-1)
    scores = query @ key.swapaxes(1, 2) / np.sqrt(x.shape[-1])
    return softmax(scores, axis=-1) @ value @ out + out_bias


@pytest.mark.parametrize(
    ("rate", "num_weights"),
    [(0.0, 12), (0.25, 16)],
    ids=["every path", "stochastic depth"],
)
def test_contract(rate, num_weights):
    init_kwargs = {"num_heads": 2, "mlp_dim": 16, "drop_path_rate": rate}
    keras.utils.set_random_seed(0)
    check_layer(
        TransformerBlock, init_kwargs, draw(4, 5, 8), num_weights=num_weights, num_trainable=12
    )


@pytest.mark.every_backend
def test_the_last_tokens_go_on_as_all_do():
    block, tokens = TransformerBlock(num_heads=2, mlp_dim=16), draw(4, 5, 8)
    seen = np.array([[True, False, True, True, True]] * 4)
    whole = array(block(tokens, seen))
    some = array(block(tokens, seen, num_queries=2))
    np.testing.assert_allclose(some, whole[:, -2:], atol=1e-6)
    symbolic = keras.KerasTensor((None, 5, 8))
    assert block(symbolic, num_queries=2).shape == (None, 2, 8)
    assert block(symbolic).shape == block.attention(symbolic).shape == (None, 5, 8)
    assert block.attention(symbolic, num_queries=2).shape == (None, 2, 8)


@pytest.mark.parametrize("number", [0, 6])
def test_an_impossible_number_of_queries_is_refused(number):
    block = TransformerBlock(num_heads=2, mlp_dim=16)
    for tokens in (draw(4, 5, 8), keras.KerasTensor((None, 5, 8))):
        with pytest.raises(ValueError, match="`num_queries` must be 1 to .* 5. Received"):
            block(tokens, num_queries=number)


def test_the_pre_norm_equations():
    tokens = draw(2, 5, 6).astype("float64")
    block = TransformerBlock(num_heads=1, mlp_dim=7)
    block.build(tokens.shape)
    weights = {}
    for seed, weight in enumerate(block.weights):
        value = 0.5 * draw(*weight.shape, seed=seed)
        weight.assign(value)
        weights["/".join(weight.path.split("/")[-2:])] = value.astype("float64")
    assert len(weights) == 12

    def of(name, *parts):
        return [weights[f"{name}/{part}"] for part in parts]

    normed = norm(tokens, *of("attention_norm", "gamma", "beta"))
    attention = [*of("qkv", "kernel", "bias"), *of("projection", "kernel", "bias")]
    expected = tokens + one_head(normed, *attention)
    kernel, bias = of("mlp_in", "kernel", "bias")
    hidden = norm(expected, *of("mlp_norm", "gamma", "beta")) @ kernel + bias
    hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))  # GELU, exact
    kernel, bias = of("mlp_out", "kernel", "bias")
    expected = expected + hidden @ kernel + bias
    # float32 against float64 on values of order 1
    np.testing.assert_allclose(array(block(tokens.astype("float32"))), expected, atol=1e-4)


def test_the_number_of_parameters_is_that_of_a_vit_block():
    block = TransformerBlock(num_heads=3, mlp_dim=768)
    block.build((None, 10, 192))
    # ViT-Ti: 12 d^2 + 13 d
    assert block.count_params() == 12 * 192**2 + 13 * 192


def test_tokens_that_may_not_be_attended_to_do_not_matter():
    block, tokens = TransformerBlock(2, 16), draw(2, 6, 8)
    mask = np.array([[1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 1]], bool)
    changed = np.where(mask[..., None], tokens, draw(2, 6, 8, seed=1))
    before, after = (array(block(x, attention_mask=mask)) for x in (tokens, changed))
    np.testing.assert_array_equal(before[mask], after[mask])
    assert not np.allclose(array(block(tokens))[mask], before[mask], atol=1e-3)


def test_a_block_whose_paths_are_all_dropped_is_the_identity():
    block, tokens = TransformerBlock(2, 16, drop_path_rate=0.9999), draw(8, 5, 8)
    np.testing.assert_array_equal(array(block(tokens, training=True)), tokens)
    assert not np.allclose(array(block(tokens)), tokens, atol=1e-3)


def test_the_two_paths_are_dropped_independently():
    block = TransformerBlock(2, 16, drop_path_rate=0.5)
    ones = np.ones((64, 1, 1), "float32")
    attention, mlp = (
        array(drop(ones, training=True)).ravel() for drop in (block.attention_drop, block.mlp_drop)
    )
    assert 0.25 < np.mean(attention == mlp) < 0.75


def test_training_changes_nothing_without_stochastic_depth():
    block, tokens = TransformerBlock(2, 16), draw(4, 5, 8)
    np.testing.assert_array_equal(array(block(tokens, training=True)), array(block(tokens)))


@pytest.mark.parametrize(
    ("init_kwargs", "message"),
    [
        ({"num_heads": 2, "mlp_dim": 0}, "`mlp_dim` must be.*mlp_dim=0"),
        ({"num_heads": 0, "mlp_dim": 4}, "`num_heads` must be.*num_heads=0"),
        (
            {"num_heads": 2, "mlp_dim": 4, "drop_path_rate": 1.0},
            r"`drop_path_rate` must be.*drop_path_rate=1.0",
        ),
    ],
    ids=["mlp_dim", "num_heads", "drop_path_rate"],
)
def test_impossible_arguments_are_refused(init_kwargs, message):
    with pytest.raises(ValueError, match=message):
        TransformerBlock(**init_kwargs)
