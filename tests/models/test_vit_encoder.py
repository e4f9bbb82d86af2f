"""The encoder standing alone."""

import keras
import numpy as np
import pytest

from mae_keras.models import MaskedAutoencoder, ViTEncoder, load_model
from mae_keras.ops import interpolate_positions


def build(image_shape=(8, 8, 1), patch_size=2, **overrides):
    keras.utils.set_random_seed(0)
    return ViTEncoder(image_shape, patch_size, 16, 2, 2, 32, **overrides)


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype("uint8")


def tokens_of(encoder, images, **arguments):
    return keras.ops.convert_to_numpy(encoder(images, **arguments))


@pytest.mark.slow
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize(
    ("shape", "patch", "patches"),
    [((12, 2), 3, 4), ((8, 6, 3), (2, 3), 8), ((4, 4, 8, 1), (2, 2, 4), 8)],
    ids=["rank 1", "rank 2", "rank 3"],
)
def test_there_is_a_token_for_every_patch(shape, patch, patches, class_token):
    encoder = build(shape, patch, use_class_token=class_token)
    assert tokens_of(encoder, pixels(2, *shape)).shape == (2, patches + class_token, 16)


@pytest.mark.slow
def test_pixels_are_normalized_inside():
    images = pixels(2, 8, 8, 1)
    stored = build(mean=0.5, std=0.2)
    prepared = build(value_range=None)
    np.testing.assert_allclose(
        tokens_of(stored, images),
        tokens_of(prepared, (images / 255.0 - 0.5).astype("float32") / 0.2),
        atol=1e-5,  # float32 rounding of the normalization
    )


@pytest.mark.slow
def test_all_dtypes_of_the_same_pixels_give_the_same_tokens():
    encoder, images = build(), pixels(2, 8, 8, 1)
    expected = tokens_of(encoder, images)
    for dtype in ("float32", "float64", "int32", "float16"):
        np.testing.assert_array_equal(tokens_of(encoder, images.astype(dtype)), expected)


def test_half_precision_does_not_round_the_pixels_first():
    # bfloat16 holds 8 bits: 200 and 201 would become one value if pixels were cast to it.
    encoder = build(dtype="mixed_bfloat16", value_range=(0, 1024))
    steps = [np.full((1, 8, 8, 1), value, "float32") for value in (1000, 1001)]
    first, second = (encoder.to_patches(keras.ops.convert_to_tensor(step))[0] for step in steps)
    assert float(second[0, 0, 0] - first[0, 0, 0]) == pytest.approx(1 / 1024, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sincos", "learned"])
@pytest.mark.parametrize("size", [(4, 8), (12, 16), (2, 2)])
def test_other_image_sizes_are_encoded(kind, size):
    encoder = build(position_embedding=kind)
    count = size[0] * size[1] // 4
    assert tokens_of(encoder, pixels(2, *size, 1)).shape == (2, count + 1, 16)


@pytest.mark.slow
def test_sincos_positions_of_another_size_are_those_of_an_encoder_of_that_size():
    small, large = build(), build((12, 16, 1))
    large.set_weights(small.get_weights())
    images = pixels(2, 12, 16, 1)
    np.testing.assert_allclose(tokens_of(small, images), tokens_of(large, images), atol=1e-6)


@pytest.mark.slow
def test_learned_positions_of_another_size_are_interpolated():
    small = build(position_embedding="learned")
    large = build((12, 16, 1), position_embedding="learned")
    weights = small.get_weights()
    place = [w.path.endswith("positions/positions") for w in small.weights].index(True)
    weights[place] = keras.ops.convert_to_numpy(
        interpolate_positions(keras.ops.convert_to_tensor(weights[place]), (4, 4), (6, 8))
    )
    large.set_weights(weights)
    images = pixels(2, 12, 16, 1)
    np.testing.assert_allclose(tokens_of(small, images), tokens_of(large, images), atol=1e-5)


def test_a_size_that_patches_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="`patch_size` must divide the image"):
        build()(pixels(1, 8, 9, 1))


@pytest.mark.parametrize("class_token", [True, False])
def test_hidden_patches_are_not_seen(class_token, random_masks):
    encoder, images = build(use_class_token=class_token), pixels(16, 8, 8, 1)
    hidden_pixels = random_masks.reshape(16, 4, 4, 1).repeat(2, 1).repeat(2, 2)
    changed = np.where(hidden_pixels, 255 - images, images)
    before = tokens_of(encoder, images, patch_mask=random_masks)[:, class_token:]
    after = tokens_of(encoder, changed, patch_mask=random_masks)[:, class_token:]
    np.testing.assert_array_equal(before[~random_masks], after[~random_masks])
    assert not np.array_equal(before, after)


def test_a_mask_matters(random_masks):
    encoder, images = build(), pixels(16, 8, 8, 1)
    masked = tokens_of(encoder, images, patch_mask=random_masks)
    assert not np.allclose(masked[5], tokens_of(encoder, images)[5], atol=1e-3)


def test_hiding_nothing_changes_nothing():
    encoder, images = build(), pixels(4, 8, 8, 1)
    nothing = np.zeros((4, 16), bool)
    np.testing.assert_allclose(
        tokens_of(encoder, images, patch_mask=nothing), tokens_of(encoder, images), atol=1e-6
    )


def test_a_patch_with_a_missing_pixel_is_not_seen_whatever_its_other_pixels():
    encoder = build()
    images = pixels(2, 8, 8, 1).astype("float32")
    images[:, 0, 0] = np.nan
    changed = images.copy()
    changed[:, 1, 1] = 0.0
    first, second = tokens_of(encoder, images), tokens_of(encoder, changed)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(np.delete(first, 1, axis=1), np.delete(second, 1, axis=1))


def test_mean_pooling_averages_the_patch_tokens_alone():
    encoder, images = build(), pixels(3, 8, 8, 1)
    tokens = tokens_of(encoder, images)
    pooled = keras.ops.convert_to_numpy(encoder.pool(tokens, "mean"))
    np.testing.assert_allclose(pooled, tokens[:, 1:].mean(axis=1), atol=1e-6)


def test_mean_pooling_leaves_hidden_patches_out():
    encoder = build()
    tokens = np.random.default_rng(0).normal(size=(1, 17, 16)).astype("float32")
    hidden = np.arange(16)[None] >= 3
    pooled = keras.ops.convert_to_numpy(encoder.pool(tokens, "mean", hidden))
    np.testing.assert_allclose(pooled, tokens[:, 1:4].mean(axis=1), atol=1e-6)


def test_mean_pooling_of_nothing_is_finite():
    pooled = build().pool(np.ones((1, 17, 16), "float32"), "mean", np.ones((1, 16), bool))
    assert np.isfinite(keras.ops.convert_to_numpy(pooled)).all()


def test_token_pooling_takes_the_class_token():
    tokens = np.random.default_rng(0).normal(size=(2, 17, 16)).astype("float32")
    pooled = keras.ops.convert_to_numpy(build().pool(tokens, "token"))
    np.testing.assert_array_equal(pooled, tokens[:, 0])


@pytest.mark.every_backend
def test_flattened_tokens_stand_side_by_side_and_hidden_ones_are_0():
    tokens = np.random.default_rng(0).normal(size=(2, 17, 16)).astype("float32")
    hidden = np.arange(16) % 5 == 0
    pooled = keras.ops.convert_to_numpy(
        build().pool(tokens, "flatten", np.stack([hidden, ~hidden]))
    )
    first = np.where(hidden[:, None], 0, tokens[0, 1:])
    np.testing.assert_array_equal(pooled[0], first.ravel())
    assert pooled.shape == (2, 256) and not pooled[1].reshape(16, 16)[~hidden].any()


@pytest.mark.every_backend
@pytest.mark.parametrize("axis", [0, 1])
def test_the_mean_over_one_axis_keeps_the_other(axis):
    encoder = build(image_shape=(8, 4, 1))
    tokens = np.random.default_rng(0).normal(size=(3, 9, 16)).astype("float32")
    hidden = np.zeros((3, 4, 2), bool)
    hidden[1, 0], hidden[2, :, 1] = True, True
    grid = np.where(hidden[..., None], np.nan, tokens[:, 1:].reshape(3, 4, 2, 16))
    kept = np.sum(~hidden, axis=1 + axis)[..., None]
    expected = np.nansum(grid, axis=1 + axis) / np.maximum(kept, 1)  # of nothing: 0
    for pooling in (("mean", axis), ["mean", axis], f"mean:{axis}"):
        pooled = encoder.pool(tokens, pooling, hidden.reshape(3, 8))
        np.testing.assert_allclose(pooled, expected.reshape(3, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        (("mean", 2), r"an axis of the grid of patches, 0 to 1. Received: pooling=\('mean', 2\)"),
        (("mean", -1), "`pooling` must be 'mean'"),
        (("max", 0), "`pooling` must be 'mean'"),
        ("mean:x", "`pooling` must be 'mean'.*did you mean 'mean'"),
    ],
)
def test_axes_that_are_not_there_are_refused(pooling, message):
    with pytest.raises(ValueError, match=message):
        build().pool(np.zeros((1, 17, 16)), pooling)


def test_the_mean_over_an_axis_is_for_the_encoders_own_size():
    with pytest.raises(ValueError, match="own size, 16 patches. Received: .*64 patches"):
        build().pool(np.zeros((1, 65, 16)), ("mean", 0))


def test_token_pooling_needs_a_class_token():
    with pytest.raises(ValueError, match="needs an encoder with a class token.*Received"):
        build(use_class_token=False).pool(np.zeros((1, 16, 16)), "token")


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="must be 'mean', 'token', 'flatten', None or .*'max'"):
        build().pool(np.zeros((1, 17, 16)), "max")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 3}, "`num_heads` must divide `hidden_dim`. Received: num_heads=3"),
        ({"patch_size": 3}, "`patch_size` must divide the image"),
        ({"patch_size": (2, 2, 2)}, "one entry for each of the 2 spatial axes"),
        ({"image_shape": (8,)}, "`image_shape` must be"),
        ({"image_shape": (2, 2, 2, 2, 1)}, "one to three spatial axes"),
        ({"value_range": (255, 0)}, "`value_range` must be"),
        ({"std": 0.0}, "`std` must be positive"),
        ({"mean": (0.5, 0.5)}, "`mean` must have one value for each of the 1 channels"),
        ({"position_embedding": "rotary"}, "must be 'sincos' or 'learned'"),
        ({"drop_path_rate": 1.0}, r"`drop_path_rate` must be a number in \[0, 1\)"),
        ({"mlp_dim": 0}, "`mlp_dim` must be an int from 1"),
        ({"hidden_dim": 2, "num_heads": 1}, "`hidden_dim` must be at least 4"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused(arguments, message):
    good = {"image_shape": (8, 8, 1), "patch_size": 2, "hidden_dim": 16, "num_layers": 2}
    with pytest.raises(ValueError, match=message):
        encoder = ViTEncoder(**{**good, "num_heads": 2, **arguments})
        encoder(pixels(1, 8, 8, 1))


def test_the_mlp_is_four_times_as_wide_by_default():
    assert ViTEncoder((8, 8, 1), 2, 16, 1, 2).mlp_dim == 64


def test_drop_path_grows_linearly_to_the_last_block():
    encoder = ViTEncoder((8, 8, 1), 2, 16, 3, 2, drop_path_rate=0.4)
    assert [block.drop_path_rate for block in encoder.blocks] == pytest.approx([0, 0.2, 0.4])


@pytest.mark.slow
def test_drop_path_acts_in_training_only():
    encoder, images = build(drop_path_rate=0.9), pixels(8, 8, 8, 1)
    calm = tokens_of(encoder, images)
    np.testing.assert_array_equal(tokens_of(encoder, images, training=False), calm)
    assert not np.allclose(tokens_of(encoder, images, training=True), calm)


@pytest.mark.slow
def test_its_config_rebuilds_it():
    encoder = build((8, 6, 3), (2, 3), mean=(0.1, 0.2, 0.3), std=0.5, position_embedding="learned")
    again = ViTEncoder.from_config(encoder.get_config())
    assert again.get_config() == encoder.get_config()
    again.set_weights(encoder.get_weights())
    images = pixels(2, 8, 6, 3)
    np.testing.assert_array_equal(tokens_of(again, images), tokens_of(encoder, images))


@pytest.mark.slow
def test_a_saved_encoder_gives_the_same_tokens(tmp_path):
    encoder, images = build(value_range=(0, 1), drop_path_rate=0.1), pixels(2, 8, 8, 1) / 255.0
    encoder.save(tmp_path / "encoder.keras")
    loaded = load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(tokens_of(loaded, images), tokens_of(encoder, images))


def test_it_serves_as_a_layer_of_a_functional_model():
    inputs = keras.Input((8, 8, 1), dtype="uint8")
    encoder = build()
    tokens = encoder(inputs)
    assert tuple(tokens.shape) == (None, 17, 16)
    model = keras.Model(inputs, keras.layers.Dense(3)(tokens[:, 0]))
    assert model(pixels(2, 8, 8, 1)).shape == (2, 3)
    assert encoder.compute_output_shape((5, 12, 8, 1)) == (5, 25, 16)


def test_initial_weights_are_those_of_the_paper():
    encoder = ViTEncoder((32, 32, 1), 8, 64, 1, 4, 256)
    kernel = encoder.blocks[0].mlp_in.kernel.numpy()
    limit = np.sqrt(6 / (64 + 256))  # Xavier uniform
    assert np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    assert encoder.class_token.numpy().std() == pytest.approx(0.02, rel=0.4)
    biases = [w for w in encoder.weights if w.name in ("bias", "beta")]
    assert biases
    assert not any(bias.numpy().any() for bias in biases)


def test_what_made_the_samples_is_kept_with_the_model(tmp_path):
    """And leaves no trace in the files of models that were given nothing."""
    settings = {"log_mel": {"sample_rate": 8000, "frames": 8, "high_hz": None}}
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, preprocessing=settings)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.encoder.preprocessing == settings
    plain = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2)
    assert plain.encoder.preprocessing is None
    assert "preprocessing" not in plain.encoder.get_config()


@pytest.mark.parametrize("given", [[1], "log_mel", {"a": float("nan")}, {"a": object()}])
def test_preprocessing_that_no_file_can_hold_is_refused(given):
    with pytest.raises(ValueError, match="`preprocessing` must be a dict that JSON can hold"):
        ViTEncoder((8, 8, 1), 2, 16, 1, 2, preprocessing=given)
