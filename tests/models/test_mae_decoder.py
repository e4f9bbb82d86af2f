"""The decoders standing alone: what both do, and what is the usual one's own."""

import keras
import numpy as np
import pytest

from mae_keras.models import CrossAttentionDecoder, MAEDecoder

EITHER = pytest.mark.parametrize("decoder_class", [MAEDecoder, CrossAttentionDecoder])


def build(decoder_class=MAEDecoder, **overrides):
    keras.utils.set_random_seed(0)
    decoder = decoder_class(**{"hidden_dim": 8, "num_layers": 1, "num_heads": 2, **overrides})
    decoder.build((None, 12, 16))
    return decoder


def some_tokens(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def decoded(decoder, *arguments, **named):
    return keras.ops.convert_to_numpy(decoder(*arguments, **named))


MASK = np.random.default_rng(1).permuted(np.tile(np.arange(12) < 9, (5, 1)), axis=1)


def test_it_builds_from_the_shape_of_its_tokens_alone():
    decoder = MAEDecoder(hidden_dim=8, num_layers=1, num_heads=2, mlp_dim=24)
    decoder.build((None, 12, 16))
    # embedding, mask token, one block (norms, qkv, projection, MLP), closing norm
    block = 4 * 8 + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 24 + 24) + (24 * 8 + 8)
    assert decoder.count_params() == (16 * 8 + 8) + 8 + block + 2 * 8


def test_building_twice_keeps_the_weights():
    decoder = build()
    before = decoder.get_weights()
    decoder.build((None, 12, 16))
    assert len(decoder.get_weights()) == len(before)
    for first, second in zip(before, decoder.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_gathered_tokens_give_the_same_as_tokens_in_place(prefix):
    decoder, tokens = build(), some_tokens(5, prefix + 12, 16)
    visible = [np.flatnonzero(~mask) for mask in MASK]
    gathered = np.stack(
        [
            np.concatenate([image[:prefix], image[prefix:][places]])
            for image, places in zip(tokens, visible, strict=True)
        ]
    )
    restore = np.zeros((5, 12), "int32")
    for row, places in zip(restore, visible, strict=True):
        row[places] = np.arange(3)
    np.testing.assert_allclose(
        decoded(decoder, gathered, MASK, restore=restore, num_prefix_tokens=prefix, grid=(3, 4)),
        decoded(decoder, tokens, MASK, num_prefix_tokens=prefix, grid=(3, 4)),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("prefix", "num_layers"),
    [(0, 0), (0, 1), (0, 2), (1, 0), pytest.param(1, 1, marks=pytest.mark.every_backend), (1, 2)],
)
def test_hidden_patches_alone_are_what_they_are_among_all(prefix, num_layers):
    decoder, tokens = build(num_layers=num_layers), some_tokens(5, prefix + 12, 16)
    decoder.mask_token.assign(some_tokens(1, 1, 8))
    visible, hidden = (np.stack([np.flatnonzero(row) for row in mask]) for mask in (~MASK, MASK))
    gathered = np.concatenate(
        [tokens[:, :prefix], np.take_along_axis(tokens[:, prefix:], visible[..., None], 1)], axis=1
    )
    # One of the visible patches is missing in the first image.
    missing = np.zeros((5, 12), bool)
    missing[0, visible[0, 1]] = True
    options = {"num_prefix_tokens": prefix, "grid": (3, 4)}
    for absent in (None, missing):
        whole = decoded(decoder, tokens, MASK if absent is None else MASK | absent, **options)
        some = decoded(decoder, gathered, absent, indices=hidden, token_indices=visible, **options)
        np.testing.assert_allclose(some, np.take_along_axis(whole, hidden[..., None], 1), atol=2e-6)


def test_places_must_be_told_of_hidden_patches_alone():
    decoder, hidden = build(), np.array([[0, 5, 11]])
    with pytest.raises(ValueError, match="`token_indices` and `grid` must be given.*Received"):
        decoder(some_tokens(1, 9, 16), indices=hidden, grid=(3, 4))
    with pytest.raises(ValueError, match="`patch_mask` must be given without `indices`.*Received"):
        decoder(some_tokens(1, 12, 16))


def test_some_of_the_hidden_patches_are_refused():
    decoder, visible = build(), np.array([[1, 2, 3, 4, 6, 7, 8, 9, 10]])
    options = {"token_indices": visible, "grid": (3, 4)}
    with pytest.raises(ValueError, match="`indices` must be all patches.*leave 3. Received"):
        decoder(some_tokens(1, 9, 16), indices=np.array([[0, 5]]), **options)


@EITHER
def test_hidden_tokens_are_not_seen(decoder_class):
    decoder, tokens = build(decoder_class), some_tokens(5, 12, 16)
    changed = np.where(MASK[..., None], 1e3, tokens)
    np.testing.assert_array_equal(
        decoded(decoder, changed, MASK, grid=(3, 4)), decoded(decoder, tokens, MASK, grid=(3, 4))
    )


def test_hidden_places_are_told_apart_by_position():
    everything = np.ones((1, 12), bool)
    result = decoded(build(), some_tokens(1, 12, 16), everything, grid=(3, 4))[0]
    assert len(np.unique(result.round(4), axis=0)) == 12


def test_the_grid_matters():
    decoder, tokens = build(), some_tokens(5, 12, 16)
    flat, square = decoded(decoder, tokens, MASK), decoded(decoder, tokens, MASK, grid=(3, 4))
    assert not np.allclose(flat, square, atol=1e-3)


@pytest.mark.parametrize("prefix", [0, 1])
def test_there_is_one_token_for_every_patch(prefix):
    result = decoded(build(), some_tokens(5, prefix + 12, 16), MASK, num_prefix_tokens=prefix)
    assert result.shape == (5, 12, 8)


@EITHER
def test_heads_must_divide_the_features(decoder_class):
    with pytest.raises(ValueError, match="`num_heads` must divide `hidden_dim`. Received"):
        decoder_class(hidden_dim=8, num_layers=1, num_heads=3)


@EITHER
def test_its_config_rebuilds_it(decoder_class):
    options = {"mlp_dim": 24, "layer_norm_epsilon": 1e-5, "dtype": "mixed_bfloat16"}
    decoder = build(decoder_class, **options)
    again = decoder_class.from_config(decoder.get_config())
    assert again.get_config() == decoder.get_config()


@EITHER
def test_a_saved_decoder_gives_the_same_tokens(decoder_class, tmp_path):
    decoder, tokens = build(decoder_class), some_tokens(5, 12, 16)
    decoder.save(tmp_path / "decoder.keras")
    loaded = keras.saving.load_model(tmp_path / "decoder.keras")
    np.testing.assert_array_equal(decoded(loaded, tokens, MASK), decoded(decoder, tokens, MASK))


def test_its_output_shape_is_known_beforehand():
    tokens = keras.KerasTensor((None, 1 + 12, 16))
    patch_mask = keras.KerasTensor((None, 12), dtype="bool")
    assert build()(tokens, patch_mask, num_prefix_tokens=1).shape == (None, 12, 8)
    places = {
        "indices": keras.KerasTensor((None, 9), dtype="int32"),
        "token_indices": keras.KerasTensor((None, 3), dtype="int32"),
    }
    visible = keras.KerasTensor((None, 1 + 3, 16))
    made = build()(visible, **places, num_prefix_tokens=1, grid=(3, 4))
    assert made.shape == (None, 9, 8)


@EITHER
def test_it_works_in_half_precision(decoder_class):
    decoder = build(decoder_class, dtype="mixed_float16")
    result = decoded(decoder, some_tokens(5, 12, 16), MASK, grid=(3, 4))
    assert result.dtype == np.float16
    assert np.isfinite(result).all()
