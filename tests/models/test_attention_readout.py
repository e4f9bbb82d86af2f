"""Attention read from an encoder's own weights."""

import keras
import numpy as np
import pytest

from mae_keras.layers import MultiHeadSelfAttention
from mae_keras.models import ViTEncoder, attention_maps
from mae_keras.models.inspection import attention_weights

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow


def build(image_shape=(8, 8, 1), patch_size=2, num_layers=3, **overrides):
    keras.utils.set_random_seed(0)
    encoder = ViTEncoder(image_shape, patch_size, 16, num_layers, 2, 32, **overrides)
    for weight in encoder.weights:  # fresh weights attend almost evenly
        if weight.path.endswith("qkv/kernel"):
            weight.assign(4 * weight)
    return encoder


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype("uint8")


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.every_backend
@pytest.mark.parametrize("masked", [False, True])
def test_weights_times_values_give_what_the_layer_gives(masked):
    layer = MultiHeadSelfAttention(num_heads=4)
    tokens = np.random.default_rng(0).normal(size=(3, 7, 16)).astype("float32") * 3
    mask = None
    if masked:
        mask = np.array([[1, 1, 0, 1, 0, 1, 1]] * 2 + [[1, 0, 0, 0, 0, 0, 0]], bool)
    expected = as_numpy(layer(tokens, attention_mask=mask))
    weights = as_numpy(attention_weights(layer, tokens, mask))
    assert weights.shape == (3, 4, 7, 7)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    if masked:
        assert (weights.transpose(0, 3, 1, 2)[~mask] == 0).all()
    kernel, bias, out_kernel, out_bias = (as_numpy(weight) for weight in layer.weights)
    values = (tokens @ kernel + bias)[..., 32:].reshape(3, 7, 4, 4)
    mixed = np.einsum("bhqk,bkhd->bqhd", weights, values).reshape(3, 7, 16)
    np.testing.assert_allclose(mixed @ out_kernel + out_bias, expected, atol=1e-5)


def test_a_single_token_attends_to_itself():
    layer = MultiHeadSelfAttention(num_heads=2)
    tokens = np.ones((2, 1, 8), "float32")
    layer(tokens)
    assert (as_numpy(attention_weights(layer, tokens)) == 1).all()


def recorded(encoder, images, block, monkeypatch):
    """The tokens that enter a block's attention when the encoder itself runs."""
    seen = {}
    attention = encoder.blocks[block].attention
    original = type(attention).call

    def spy(self, tokens, attention_mask=None, **options):
        if self is attention:
            seen["tokens"], seen["mask"] = tokens, attention_mask
        return original(self, tokens, attention_mask, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(attention), "call", spy)
        encoder(images)
    return attention_weights(attention, seen["tokens"], seen["mask"])


@pytest.mark.parametrize("block", [0, 1, 2, -1])
def test_the_map_is_the_class_tokens_row_of_the_block_asked_for(block, monkeypatch):
    encoder, images = build(), pixels(3, 8, 8, 1)
    expected = as_numpy(recorded(encoder, images, block, monkeypatch))
    maps = attention_maps(encoder, images, block)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, expected[:, :, 0, 1:], atol=1e-6)
    assert (maps.sum(axis=-1) < 1).all()


def test_without_a_class_token_the_map_is_the_mean_over_patches(monkeypatch):
    encoder, images = build(use_class_token=False), pixels(3, 8, 8, 1)
    expected = as_numpy(recorded(encoder, images, -1, monkeypatch)).mean(axis=2)
    maps = attention_maps(encoder, images)
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("class_token", [True, False])
def test_missing_patches_are_not_looked_at_and_do_not_look(class_token, monkeypatch):
    encoder = build(use_class_token=class_token)
    images = pixels(2, 8, 8, 1).astype("float32")
    images[0, :2, :2] = np.nan  # the first patch
    maps = attention_maps(encoder, images)
    assert (maps[0, :, 0] == 0).all()
    assert (maps[1] > 0).all()
    weights = as_numpy(recorded(encoder, images, -1, monkeypatch))[0]
    expected = weights[:, 0, 1:] if class_token else weights[:, 1:].mean(axis=1)
    np.testing.assert_allclose(maps[0], expected, atol=1e-6)


def test_the_batch_size_does_not_matter():
    encoder, images = build(num_layers=2), pixels(5, 8, 8, 1)
    whole = attention_maps(encoder, images)
    # Products of another size round otherwise on some processors: 3.6e-6, relative, was seen.
    parts = attention_maps(encoder, images, batch_size=2)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_an_autoencoder_is_read_through_its_encoder(tiny, images):
    maps = attention_maps(tiny, list(images[:2]))
    np.testing.assert_array_equal(maps, attention_maps(tiny.encoder, images[:2]))


@pytest.mark.parametrize(
    ("shape", "patch", "given", "patches"),
    [
        ((12, 2), 3, (12, 2), 4),
        ((4, 4, 8, 1), (2, 2, 4), (4, 4, 8, 1), 8),
        ((8, 8, 1), 2, (12, 8, 1), 24),
    ],
    ids=["signal", "volume", "larger image"],
)
def test_any_rank_and_size_of_image(shape, patch, given, patches):
    assert attention_maps(build(shape, patch), pixels(2, *given)).shape == (2, 2, patches)


def test_half_precision_gives_float32_weights():
    maps = attention_maps(build(dtype="mixed_bfloat16"), pixels(2, 8, 8, 1))
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": keras.layers.Dense(3)}, TypeError, "`model` must be a ViTEncoder.*Dense"),
        ({"images": "digits"}, TypeError, "`images` must be an array"),
        ({"images": pixels(8, 8, 1)}, ValueError, "`images` must have shape"),
        ({"images": pixels(2, 8, 8, 3)}, ValueError, r"Received: images.shape=\(2, 8, 8, 3\)"),
        ({"images": pixels(0, 8, 8, 1)}, ValueError, "`images` must have shape"),
        ({"images": pixels(2, 7, 8, 1)}, ValueError, "patch"),
        ({"images": pixels(2, 8, 8, 1) / 255}, ValueError, r"scaled to \[0, 1\]"),
        ({"block": 3}, ValueError, "`block` must be one of the encoder's 3 blocks.*block=3"),
        ({"block": -4}, ValueError, "`block` must be one of the encoder's 3 blocks"),
        ({"block": 0.5}, ValueError, "`block` must be"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be an int of at least 1"),
    ],
)
def test_arguments_that_do_not_fit_are_named(changes, error, message):
    given = {"model": build(), "images": pixels(2, 8, 8, 1), **changes}
    with pytest.raises(error, match=message):
        attention_maps(**given)
