"""Asking a model: reconstruct, predict_patches, encode; and being refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf


def cover(patch_mask, patch=2, side=4):
    """Mask `(batch, 16)` to pixels `(batch, 8, 8, 1)`, by repetition."""
    grid = patch_mask.reshape(-1, side, side, 1)
    return grid.repeat(patch, axis=1).repeat(patch, axis=2)


@pytest.mark.slow
def test_visible_pixels_of_pasted_are_bit_equal_to_the_original(tiny, images, random_masks):
    made = tiny.reconstruct(images, random_masks)
    hidden = cover(random_masks)
    np.testing.assert_array_equal(made.pasted[~hidden], images.astype("float32")[~hidden])
    np.testing.assert_array_equal(made.pasted[hidden], made.prediction[hidden])
    np.testing.assert_array_equal(made.patch_mask, random_masks)


@pytest.mark.parametrize("statistics", ["original", "visible"])
def test_visible_pixels_are_bit_equal_for_standardized_targets_too(
    make_tiny, images, random_masks, statistics
):
    model = make_tiny(normalize_targets=True, mean=0.45, std=0.2)
    made = model.reconstruct(images, random_masks, statistics=statistics)
    hidden = cover(random_masks)
    np.testing.assert_array_equal(made.pasted[~hidden], images.astype("float32")[~hidden])
    assert made.statistics == statistics


@pytest.mark.slow
def test_hidden_pixels_do_not_influence_the_prediction(tiny, images, random_masks):
    changed = np.where(cover(random_masks), 255 - images, images).astype("uint8")
    first = tiny.reconstruct(images, random_masks).prediction
    second = tiny.reconstruct(changed, random_masks).prediction
    np.testing.assert_array_equal(first, second)


def test_visible_pixels_do_influence_the_prediction(tiny, images, random_masks):
    changed = np.where(cover(random_masks), images, 255 - images).astype("uint8")
    first = tiny.reconstruct(images, random_masks).prediction
    second = tiny.reconstruct(changed, random_masks).prediction
    assert all(not np.allclose(a, b, atol=0.1) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_visible_statistics_keep_hidden_pixels_out_of_the_picture(make_tiny, images, random_masks):
    model = make_tiny(normalize_targets=True)
    changed = np.where(cover(random_masks), 255 - images, images).astype("uint8")
    first = model.reconstruct(images, random_masks, statistics="visible").prediction
    second = model.reconstruct(changed, random_masks, statistics="visible").prediction
    np.testing.assert_array_equal(first, second)


def test_original_statistics_give_the_hidden_patches_their_own_brightness(make_tiny):
    model = make_tiny(normalize_targets=True)
    model.head.kernel.assign(np.zeros(model.head.kernel.shape))  # predicts the mean
    image = np.repeat(np.repeat(np.arange(16).reshape(1, 4, 4, 1), 2, 1), 2, 2) * 10
    made = model.reconstruct(image.astype("uint8"), np.ones(16, bool), statistics="original")
    np.testing.assert_allclose(made.prediction, image, atol=1e-3)


def test_models_of_pixels_name_no_statistics(tiny, images):
    assert tiny.reconstruct(images).statistics is None


def test_masks_drawn_do_not_depend_on_the_batch_size_or_on_the_other_images(tiny, images):
    whole = tiny.reconstruct(images, batch_size=16)
    parts = tiny.reconstruct(images[:5], batch_size=2)
    np.testing.assert_array_equal(whole.patch_mask[:5], parts.patch_mask)
    np.testing.assert_allclose(whole.prediction[:5], parts.prediction, atol=1e-3)
    assert (whole.patch_mask.sum(axis=1) == 12).all()
    assert len(np.unique(whole.patch_mask, axis=0)) > 8


def test_one_mask_in_the_grids_shape_serves_all_images(tiny, images):
    mask = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(
        tiny.reconstruct(images, mask).patch_mask, np.tile(mask.ravel(), (16, 1))
    )


def test_hiding_nothing_is_what_calling_the_model_does(tiny, images):
    made = tiny.reconstruct(images, np.zeros(16, bool))
    called = keras.ops.convert_to_numpy(tiny(images))
    np.testing.assert_allclose(made.prediction, called, atol=1e-3)
    np.testing.assert_allclose(tiny.predict(images, verbose=0), called, atol=1e-3)
    np.testing.assert_array_equal(made.pasted, images)


def test_hiding_everything_is_finite_and_the_same_for_all_images(tiny, images):
    made = tiny.reconstruct(images, np.ones(16, bool))
    assert np.isfinite(made.prediction).all()
    np.testing.assert_allclose(made.prediction, made.prediction[:1].repeat(16, 0), atol=1e-3)


def test_images_given_are_not_changed(tiny, images):
    before = images.copy()
    tiny.reconstruct(images)
    np.testing.assert_array_equal(images, before)


def test_predicted_patches_are_those_of_reconstruct(tiny, images, random_masks):
    made = tiny.predict_patches(images, random_masks)
    pixels = tiny.reconstruct(images, random_masks).prediction
    by_hand = pixels.reshape(16, 4, 2, 4, 2).swapaxes(2, 3).reshape(16, 16, 4)
    originals = images.reshape(16, 4, 2, 4, 2).swapaxes(2, 3).reshape(16, 16, 4)
    np.testing.assert_allclose(made.predictions, by_hand / 255, atol=1e-5)
    np.testing.assert_allclose(made.targets, originals / 255, atol=1e-6)
    np.testing.assert_array_equal(made.counted, random_masks)


def test_standardized_targets_have_mean_0_and_unbiased_variance_1(make_tiny, images):
    targets = make_tiny(normalize_targets=True).predict_patches(images).targets
    np.testing.assert_allclose(targets.mean(axis=-1), 0, atol=1e-4)
    # 1e-6 is added to the variance, which is small for flat patches
    assert np.median(targets.var(axis=-1, ddof=1)) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("pooling", "shape"),
    [
        ("mean", (16, 16)),
        ("token", (16, 16)),
        ("flatten", (16, 256)),
        (["mean", 0], (16, 64)),
        (None, (16, 17, 16)),
    ],
)
def test_features_have_the_shape_of_their_pooling(tiny, images, pooling, shape):
    features = tiny.encode(images, pooling)
    assert (features.shape, features.dtype) == (shape, np.float32)


def test_features_are_the_encoders_tokens(tiny, images):
    tokens = keras.ops.convert_to_numpy(tiny.encoder(images))
    np.testing.assert_allclose(tiny.encode(images, None), tokens, atol=1e-5)
    np.testing.assert_allclose(tiny.encode(images), tokens[:, 1:].mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(tiny.encode(images, "token"), tokens[:, 0], atol=1e-5)


@pytest.mark.slow
def test_features_come_from_labeled_datasets(tiny, images):
    batches = tf.data.Dataset.from_tensor_slices((images, np.arange(16))).batch(5)
    np.testing.assert_allclose(tiny.encode(batches), tiny.encode(images), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 5, 16, 1000])
def test_features_do_not_depend_on_the_batch_size(tiny, images, batch_size):
    features = tiny.encode(images, batch_size=batch_size)
    np.testing.assert_allclose(features, tiny.encode(images), atol=1e-5)


def test_missing_patches_are_left_out_of_the_features(tiny, images):
    holed = images.astype("float32")
    holed[:, :2, :2] = np.nan
    tokens = keras.ops.convert_to_numpy(tiny.encoder(holed))
    np.testing.assert_allclose(tiny.encode(holed), tokens[:, 2:].mean(axis=1), atol=1e-5)


@pytest.mark.slow
def test_missing_patches_are_filled_in_and_the_rest_is_kept(tiny, images):
    holed = images.astype("float32")
    holed[:, :2, 2] = np.nan
    made = tiny.reconstruct(holed, np.zeros(16, bool))
    assert np.isfinite(made.pasted).all()
    kept = np.ones((8, 8), bool)
    kept[:2, 2:4] = False  # the whole patch that holds the missing pixels
    np.testing.assert_array_equal(made.pasted[:, kept], holed[:, kept])


@pytest.mark.slow
def test_missing_patches_are_among_the_hidden_when_masks_are_drawn(tiny, images):
    holed = images.astype("float32")
    holed[:, 6:, 6:] = np.nan
    made = tiny.reconstruct(holed)
    assert made.patch_mask[:, 15].all()
    assert (made.patch_mask.sum(axis=1) == 12).all()
    assert not tiny.predict_patches(holed).counted[:, 15].any()


@pytest.mark.slow
def test_a_wholly_missing_image_is_reconstructed_in_finite_numbers(tiny):
    nothing = np.full((2, 8, 8, 1), np.nan, "float32")
    with pytest.warns(UserWarning, match="2 of 2 `images` have a missing"):
        assert np.isfinite(tiny.reconstruct(nothing).pasted).all()
    with pytest.warns(UserWarning, match="2 of 2 `images` have a missing"):
        assert np.isfinite(tiny.encode(nothing)).all()


@pytest.mark.parametrize("method", ["reconstruct", "encode", "predict_patches"])
@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None])
def test_batch_sizes_that_are_none_are_refused(tiny, images, method, batch_size):
    with pytest.raises(ValueError, match="`batch_size` must be an int of at least 1. Received"):
        getattr(tiny, method)(images, batch_size=batch_size)


@pytest.mark.parametrize("method", ["reconstruct", "encode", "predict_patches", "fit", "evaluate"])
def test_images_that_do_not_fit_are_refused(tiny, images, method):
    ask = getattr(tiny, method)
    with pytest.raises(ValueError, match="One axis is missing"):
        ask(images[0])
    with pytest.raises(ValueError, match=r"scaled to \[0, 1\]"):
        ask(images / 255.0)
    with pytest.raises(ValueError, match="must not be empty"):
        ask(images[:0])


@pytest.mark.parametrize("method", ["reconstruct", "predict_patches"])
def test_datasets_are_refused_where_an_array_is_needed(tiny, images, method):
    batches = tf.data.Dataset.from_tensor_slices(images).batch(4)
    with pytest.raises(TypeError, match="`images` must be an array. Received: a dataset"):
        getattr(tiny, method)(batches)


@pytest.mark.parametrize("method", ["reconstruct", "encode"])
@pytest.mark.parametrize("wrong", [None, "digits.png", 3])
def test_what_is_no_array_is_refused(tiny, method, wrong):
    with pytest.raises((TypeError, ValueError), match="`images`"):
        getattr(tiny, method)(wrong)


def test_lists_of_images_are_stacked(tiny, images):
    np.testing.assert_array_equal(tiny.encode(list(images)), tiny.encode(images))


def test_unknown_statistics_are_refused(tiny, images):
    with pytest.raises(ValueError, match="must be 'original' or 'visible'. Received: 'mean'"):
        tiny.reconstruct(images, statistics="mean")


def test_masks_of_another_shape_are_refused(tiny, images):
    with pytest.raises(ValueError, match=r"`patch_mask` must have shape \(16,\).*\(15,\)"):
        tiny.reconstruct(images, np.zeros(15, bool))


def test_unknown_pooling_is_refused(tiny, images):
    with pytest.raises(
        ValueError, match="`pooling` must be 'mean', 'token', 'flatten', None or \\('mean', axis\\)"
    ):
        tiny.encode(images, pooling="max")


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "token", "flatten"])
def test_features_of_blocks_run_from_the_embedding_to_the_features(make_tiny, images, pooling):
    model = make_tiny(num_layers=2)
    blocks = model.encode_blocks(images, pooling, batch_size=7)
    assert blocks.shape == (3, 16, 256 if pooling == "flatten" else 16)
    np.testing.assert_allclose(blocks[2], model.encode(images, pooling), atol=1e-6)
    tokens = model.encoder.patch_projection(
        model.to_patches(keras.ops.convert_to_tensor(images))[0]
    )
    tokens, _ = model.encoder._with_class_token(model.encoder.positions(tokens), None)
    for block in range(2):
        pooled = keras.ops.convert_to_numpy(model.encoder.pool(tokens, pooling))
        np.testing.assert_allclose(blocks[block], pooled, atol=1e-5)
        tokens = model.encoder.blocks[block](tokens)


@pytest.mark.slow
def test_missing_patches_are_left_out_of_the_features_of_every_block(make_tiny, images):
    model = make_tiny(num_layers=2)
    holed = images.astype("float32")
    holed[:, :2, :2] = np.nan
    other = np.where(np.isnan(holed), np.nan, holed)
    other[:, 0, 1] = np.nan  # within the same patch
    assert np.isfinite(model.encode_blocks(holed)).all()
    np.testing.assert_array_equal(model.encode_blocks(holed), model.encode_blocks(other))


def test_tokens_of_every_block_are_not_given(tiny, images):
    with pytest.raises(ValueError, match="`pooling` must be 'mean', 'token', 'flatten' or"):
        tiny.encode_blocks(images, None)
