"""The two ways to hide, the forward pass, and what a saved model keeps."""

import keras
import numpy as np
import pytest

from mae_keras.layers import BlockMasking, GridMasking, RandomMasking
from mae_keras.models import MAEDecoder, MaskedAutoencoder, ViTEncoder, load_model
from mae_keras.ops import unpatchify
from mae_keras.registry import MASKINGS

RANKS = {
    "rank 1": ((16, 2), 2),
    "rank 2": ((6, 8, 3), (2, 4)),
    "rank 3": ((4, 4, 4, 1), 2),
    "volumes": ((4, 6, 8, 1), (2, 3, 4)),
    "video": ((4, 8, 8, 3), (2, 4, 4)),
}


def to_numpy(tensors):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, tensors)


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("normalize", [False, True], ids=["pixels", "standardized"])
@pytest.mark.parametrize("class_token", [False, True], ids=["no token", "class token"])
@pytest.mark.parametrize("rank", RANKS)
def test_gathering_and_attention_masking_agree(make_tiny, rank, class_token, normalize):
    image_shape, patch_size = RANKS[rank]
    model = make_tiny(
        image_shape, patch_size, use_class_token=class_token, normalize_targets=normalize
    )
    images = np.random.default_rng(0).integers(0, 256, (4, *image_shape)).astype("uint8")
    num_visible = model.num_patches - model.num_hidden
    rng = np.random.default_rng(1)
    visible = np.sort(
        [rng.permutation(model.num_patches)[:num_visible] for _ in images], axis=1
    ).astype("int32")
    patch_mask = np.ones((4, model.num_patches), bool)
    np.put_along_axis(patch_mask, visible, False, axis=1)
    patches, _ = model.to_patches(keras.ops.convert_to_tensor(images))
    gathered = to_numpy(
        model({"patches": patches, "patch_mask": patch_mask, "visible_indices": visible})
    )
    pixels = model.reconstruct(images, patch_mask).prediction
    masked = model.predict_patches(images, patch_mask)
    assert np.abs(gathered - masked.predictions).max() <= 1e-5 * np.abs(gathered).max()
    if not normalize:
        at_once = to_numpy(unpatchify(gathered, patch_size, image_shape)) * 255
        assert np.abs(at_once - pixels).max() <= 1e-5 * np.abs(at_once).max()


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("kind", ["rank 1", "volumes", "video"])
def test_features_depend_on_the_sample_alone_and_come_back_from_a_file(make_tiny, tmp_path, kind):
    image_shape, patch_size = RANKS[kind]
    masking = {"video": "tube"}.get(kind, "random")
    model = make_tiny(image_shape, patch_size, value_range=None, masking=make_masking(masking))
    samples = np.random.default_rng(0).normal(size=(5, *image_shape)).astype("float32")
    samples[1, :2] = np.nan
    features, made = model.encode(samples, batch_size=5), model.reconstruct(samples)
    for number in range(5):
        alone = model.encode(samples[number : number + 1])[0]
        np.testing.assert_allclose(alone, features[number], atol=1e-5)
    other = samples.copy()
    other[1, 0] = 7  # the patches have a gap still, in every place of their second row
    assert np.isnan(other[1, 1]).all()
    np.testing.assert_allclose(model.encode(other), features, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode(samples, batch_size=5), features)
    again = loaded.reconstruct(samples)
    np.testing.assert_array_equal(again.patch_mask, made.patch_mask)
    np.testing.assert_array_equal(again.prediction, made.prediction)


def make_masking(name):
    return MASKINGS[name](0.5, seed=3)


def test_a_missing_patch_in_a_visible_slot_is_hidden_on_both_ways(make_tiny):
    model = make_tiny()
    patches = np.random.default_rng(0).random((2, 16, 4)).astype("float32")
    patch_mask = np.tile(np.arange(16) >= 4, (2, 1))
    missing = np.tile(np.arange(16) == 2, (2, 1))
    inputs = {"patches": patches, "patch_mask": patch_mask, "missing": missing}
    indices = np.tile(np.arange(4, dtype="int32"), (2, 1))
    gathered = to_numpy(model({**inputs, "visible_indices": indices}))
    np.testing.assert_allclose(gathered, to_numpy(model(inputs)), atol=1e-6)
    patches[:, 2] = 7.0
    np.testing.assert_array_equal(to_numpy(model({**inputs, "visible_indices": indices})), gathered)


@pytest.mark.slow
@pytest.mark.parametrize("rank", RANKS)
def test_calling_gives_pixels_of_the_shape_of_the_images(make_tiny, rank):
    image_shape, patch_size = RANKS[rank]
    model = make_tiny(image_shape, patch_size)
    images = np.random.default_rng(0).integers(0, 256, (4, *image_shape)).astype("uint8")
    called = to_numpy(model(images))
    assert (called.shape, called.dtype) == (images.shape, np.float32)
    np.testing.assert_allclose(model.predict(images, verbose=0), called, atol=1e-3)


@pytest.mark.slow
def test_the_prediction_is_in_pixels_as_given(make_tiny):
    # A head that is blind predicts its bias, in normalized units, everywhere.
    model = make_tiny(mean=0.5, std=0.25)
    model.head.kernel.assign(np.zeros(model.head.kernel.shape))
    model.head.bias.assign(np.ones(4))
    prediction = to_numpy(model(np.zeros((1, 8, 8, 1), "uint8")))
    np.testing.assert_allclose(prediction, (0.5 + 0.25) * 255, rtol=1e-5)


def test_patches_and_pixels_inside_them_are_in_raster_order(make_tiny):
    model = make_tiny((4, 6, 2), (2, 3), masking=0.5)
    model.head.kernel.assign(np.zeros(model.head.kernel.shape))
    model.head.bias.assign(np.arange(12) / 255.0)
    prediction = to_numpy(model(np.zeros((1, 4, 6, 2), "uint8")))[0]
    patch = np.arange(12).reshape(2, 3, 2)
    np.testing.assert_allclose(prediction, np.tile(patch, (2, 2, 1)), atol=1e-4)


def test_targets_are_the_normalized_patches(make_tiny, images):
    model = make_tiny(mean=0.5, std=0.25)
    patches, missing = model.to_patches(keras.ops.convert_to_tensor(images))
    by_hand = images.reshape(16, 4, 2, 4, 2).swapaxes(2, 3).reshape(16, 16, 4)
    np.testing.assert_allclose(to_numpy(patches), (by_hand / 255 - 0.5) / 0.25, atol=1e-5)
    assert missing is None


def test_a_ratio_stands_for_random_masking():
    encoder = ViTEncoder((8, 8, 1), 2, 16, 1, 2)
    model = MaskedAutoencoder(encoder, MAEDecoder(16, 1, 2), masking=0.5, seed=4)
    assert isinstance(model.masking, RandomMasking)
    assert (model.mask_ratio, model.num_hidden, model.masking.seed) == (0.5, 8, 4)


def test_three_quarters_are_hidden_by_default():
    model = MaskedAutoencoder(ViTEncoder((8, 8, 1), 2, 16, 1, 2), MAEDecoder(16, 1, 2))
    assert (model.mask_ratio, model.num_hidden) == (0.75, 12)


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0, 1, 1.2, -0.5, True, 0.01, 0.99])
def test_ratios_that_hide_none_or_all_are_refused(ratio):
    encoder = ViTEncoder((8, 8, 1), 2, 16, 1, 2)
    with pytest.raises(ValueError, match="`mask_ratio` must .*Received"):
        MaskedAutoencoder(encoder, MAEDecoder(16, 1, 2), masking=ratio)


def test_an_unknown_loss_on_is_refused(make_tiny):
    with pytest.raises(ValueError, match="`loss_on` must be 'hidden' or 'all'. Received"):
        make_tiny(loss_on="visible")


def test_the_model_owns_every_weight_once(make_tiny):
    model = make_tiny()
    paths = [weight.path for weight in model.weights]
    assert len(set(paths)) == len(paths)
    parts = model.encoder.count_params() + model.decoder.count_params()
    assert model.count_params() == parts + 16 * 4 + 4 + 1
    assert len(model.trainable_variables) == len(model.weights) - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize_targets": True, "loss_on": "all", "use_class_token": False},
        {"image_shape": (6, 8, 3), "patch_size": (2, 4), "mean": (0.1, 0.2, 0.3), "std": 0.5},
        {"masking": BlockMasking(0.6, seed=1), "position_embedding": "learned"},
        {"masking": GridMasking(0.5), "value_range": None, "drop_path_rate": 0.2},
        {"dtype": "mixed_bfloat16", "name": "mine"},
    ],
    ids=["plain", "standardized", "rectangular", "block", "grid", "bfloat16"],
)
def test_its_config_rebuilds_it(make_tiny, options):
    model = make_tiny(**options)
    config = model.get_config()
    again = MaskedAutoencoder.from_config(config)
    assert again.get_config() == config
    assert type(again.masking) is type(model.masking)
    again.set_weights(model.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (4, *model.image_shape)).astype("uint8")
    first, second = model.reconstruct(images), again.reconstruct(images)
    np.testing.assert_array_equal(first.patch_mask, second.patch_mask)
    np.testing.assert_array_equal(first.prediction, second.prediction)


@pytest.mark.slow
def test_a_saved_model_keeps_outputs_optimizer_and_mask_ratio(make_tiny, images, tmp_path):
    model = make_tiny()
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.05), jit_compile=False)
    model.fit(images, epochs=2, batch_size=8, verbose=0)
    model.set_mask_ratio(0.5)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert (loaded.mask_ratio, loaded.num_hidden, int(loaded.micro_step)) == (0.5, 8, 4)
    first, second = model.reconstruct(images), loaded.reconstruct(images)
    np.testing.assert_array_equal(first.prediction, second.prediction)
    np.testing.assert_array_equal(first.patch_mask, second.patch_mask)
    before, after = (m.optimizer.variables for m in (model, loaded))
    assert len(before) == len(after) > 10
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(to_numpy(one.value), to_numpy(other.value))
    assert loaded.optimizer.weight_decay == pytest.approx(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", ["auto", False, True])
def test_a_saved_model_keeps_what_was_asked_of_xla(make_tiny, tmp_path, jit_compile):
    model = make_tiny()
    model.compile("adam", jit_compile=jit_compile)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.get_compile_config()["jit_compile"] == jit_compile
    assert loaded.jit_compile == model.jit_compile


def test_a_saved_loss_keeps_its_error(make_tiny, images, tmp_path):
    from mae_keras.losses import MaskedReconstructionLoss

    model = make_tiny()
    model.compile("adam", MaskedReconstructionLoss("absolute"), jit_compile=False)
    model.save(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").loss.error == "absolute"


def test_the_same_seed_gives_the_same_weights_and_masks(make_tiny):
    def build(seed):
        keras.utils.set_random_seed(seed)
        encoder = ViTEncoder((8, 8, 1), 2, 16, 1, 2)
        return MaskedAutoencoder(encoder, MAEDecoder(16, 1, 2))

    first, again, other = build(1), build(1), build(2)
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert first.masking.seed == again.masking.seed != other.masking.seed
    kernels = [to_numpy(m.encoder.patch_projection.kernel) for m in (first, other)]
    assert not np.array_equal(*kernels)


@pytest.mark.slow
def test_other_image_sizes_are_refused(tiny):
    with pytest.raises(ValueError):
        tiny(np.zeros((1, 12, 8, 1), "uint8"))


@pytest.mark.slow
def test_its_summary_can_be_printed(tiny):
    lines = []
    tiny.summary(print_fn=lines.append)
    assert "encoder" in "\n".join(map(str, lines))


def test_its_encoder_goes_on_alone(tiny, images, tmp_path):
    tiny.encoder.save(tmp_path / "encoder.keras")
    encoder = load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(
        to_numpy(encoder(images))[:, 0], tiny.encode(images, "token"), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.every_backend
def test_uniformity_adds_its_weight_to_the_training_loss_alone(make_tiny, images):
    losses = {}
    for weight in (0.0, 2.0):
        model = make_tiny(uniformity_weight=weight)
        # Nothing moves, so that both see the same weights.
        model.compile(keras.optimizers.SGD(0.0), jit_compile=keras.backend.backend() == "jax")
        history = model.fit(images, batch_size=16, shuffle=False, verbose=0)
        losses[weight] = history.history["loss"][0], model.evaluate(images, verbose=0)
    patch_mask = to_numpy(model.masking.draw(model.grid, 1, np.arange(16, dtype="int32"), None))
    patches, _ = model.to_patches(keras.ops.convert_to_tensor(images))
    tokens = to_numpy(model.encoder.encode_patches(patches, hidden=patch_mask))[:, 1:]
    visible = np.stack([rows[~mask].mean(0) for rows, mask in zip(tokens, patch_mask, strict=True)])
    visible /= np.linalg.norm(visible, axis=1, keepdims=True)
    expected = 2.0 * np.mean((visible @ visible.T) ** 2)
    assert losses[2.0][0] - losses[0.0][0] == pytest.approx(expected, rel=1e-4)
    assert losses[2.0][1] == pytest.approx(losses[0.0][1], rel=1e-6)


@pytest.mark.long
def test_uniformity_spreads_features(make_tiny, images):
    spreads = []
    for weight in (0.0, 5.0):
        model = make_tiny(uniformity_weight=weight)
        model.compile(keras.optimizers.Adam(1e-2), jit_compile=keras.backend.backend() == "jax")
        model.fit(images, batch_size=16, epochs=15, verbose=0)
        features = model.encode(images)
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
        spreads.append(np.mean((features @ features.T) ** 2))
    assert spreads[1] < 0.9 * spreads[0]


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_a_bad_uniformity_weight_is_refused(make_tiny, weight):
    with pytest.raises(ValueError, match="`uniformity_weight` must be .*at least 0. Received"):
        make_tiny(uniformity_weight=weight)
