"""The block that looks at a context: its contract, its parts, what it does not look at."""

import keras
import numpy as np
import pytest
from layer_checks import check_layer

from mae_keras.layers import CrossAttentionBlock, TransformerBlock


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    ("rate", "num_weights"),
    [pytest.param(0.0, 14, marks=pytest.mark.slow), (0.25, 18)],
    ids=["every path", "stochastic depth"],
)
def test_contract(rate, num_weights):
    init_kwargs = {"num_heads": 2, "mlp_dim": 16, "drop_path_rate": rate}
    keras.utils.set_random_seed(0)
    inputs = draw(4, 5, 8), draw(4, 3, 12, seed=1)
    check_layer(CrossAttentionBlock, init_kwargs, inputs, num_weights=num_weights, num_trainable=14)


def test_looking_at_its_own_normed_tokens_it_is_a_transformer_block():
    own, cross = TransformerBlock(2, 16), CrossAttentionBlock(2, 16)
    tokens = draw(2, 5, 8)
    own.build(tokens.shape)
    cross.build(tokens.shape, tokens.shape)
    kernel, bias = (array(w) for w in own.attention.qkv.weights)
    cross.attention.query.set_weights([kernel[:, :8], bias[:8]])
    cross.attention.key_value.set_weights([kernel[:, 8:], bias[8:]])
    for name in ("attention_norm", "mlp_norm", "mlp_in", "mlp_out"):
        getattr(cross, name).set_weights(getattr(own, name).get_weights())
    cross.attention.projection.set_weights(own.attention.projection.get_weights())
    normed = own.attention_norm(tokens)
    np.testing.assert_allclose(array(cross(tokens, normed)), array(own(tokens)), atol=1e-5)


def test_context_that_may_not_be_looked_at_does_not_matter():
    block, tokens, context = CrossAttentionBlock(2, 16), draw(2, 5, 8), draw(2, 4, 8, seed=1)
    mask = np.array([[1, 0, 1, 1], [0, 1, 0, 0]], bool)
    changed = np.where(mask[..., None], context, 1e3)
    before, after = (array(block(tokens, x, attention_mask=mask)) for x in (context, changed))
    np.testing.assert_array_equal(before, after)
    assert not np.allclose(array(block(tokens, context)), before, atol=1e-3)
