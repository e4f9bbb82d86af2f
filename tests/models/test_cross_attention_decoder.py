"""The decoder that predicts what it is asked for, in what it does otherwise than the usual one."""

import keras
import numpy as np
import pytest

from mae_keras.models import CrossAttentionDecoder, MaskedAutoencoder

MASK = np.random.default_rng(1).permuted(np.tile(np.arange(12) < 9, (5, 1)), axis=1)


def build(**overrides):
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": 8, "num_layers": 2, "num_heads": 2, **overrides}
    decoder = CrossAttentionDecoder(**sizes)
    decoder.build((None, 12, 16))
    return decoder


def some_tokens(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_it_has_the_weights_of_its_blocks():
    decoder = CrossAttentionDecoder(hidden_dim=8, num_layers=1, num_heads=2, mlp_dim=24)
    decoder.build((None, 12, 16))
    # embedding, mask token, one block (norms, query, key and value, projection, MLP), closing norm
    block = 4 * 8 + (8 * 8 + 8) + (8 * 16 + 16) + (8 * 8 + 8) + (8 * 24 + 24) + (24 * 8 + 8)
    assert decoder.count_params() == (16 * 8 + 8) + 8 + block + 2 * 8


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_gathered_tokens_give_the_same_as_tokens_in_place(prefix):
    decoder, tokens = build(), some_tokens(5, prefix + 12, 16)
    visible = np.array([np.flatnonzero(~mask) for mask in MASK])
    gathered = np.stack(
        [
            np.concatenate([image[:prefix], image[prefix:][places]])
            for image, places in zip(tokens, visible, strict=True)
        ]
    )
    named = {"num_prefix_tokens": prefix, "grid": (3, 4)}
    np.testing.assert_allclose(
        array(decoder(gathered, token_indices=visible, **named)),
        array(decoder(tokens, MASK, **named)),
        atol=1e-5,
    )


def test_a_patch_does_not_depend_on_which_others_are_predicted():
    decoder, tokens = build(), some_tokens(5, 12, 16)
    some = np.array([[0, 5, 11]] * 5)
    whole = array(decoder(tokens, MASK, grid=(3, 4)))
    assert whole.shape == (5, 12, 8)
    np.testing.assert_allclose(
        array(decoder(tokens, MASK, indices=some, grid=(3, 4))), whole[:, [0, 5, 11]], atol=1e-5
    )


def test_places_are_told_apart_by_position_and_grid():
    decoder, tokens = build(), some_tokens(1, 12, 16)
    square = array(decoder(tokens, grid=(3, 4)))[0]
    assert len(np.unique(square.round(4), axis=0)) == 12
    assert not np.allclose(array(decoder(tokens))[0], square, atol=1e-3)


def test_its_output_shape_is_known_beforehand():
    decoder, tokens = build(), keras.KerasTensor((None, 1 + 12, 16))
    patch_mask = keras.KerasTensor((None, 12), dtype="bool")
    named = {"num_prefix_tokens": 1, "grid": (3, 4)}
    assert decoder(tokens, patch_mask, **named).shape == (None, 12, 8)
    some = keras.KerasTensor((None, 3), dtype="int32")
    assert decoder(tokens, patch_mask, indices=some, **named).shape == (None, 3, 8)


def test_the_number_of_patches_must_be_known():
    decoder, visible = build(), np.array([[0, 5, 11]] * 5)
    with pytest.raises(ValueError, match="`grid` must be given with `token_indices`.*Received"):
        decoder(some_tokens(5, 3, 16), token_indices=visible)
    given = array(decoder(some_tokens(5, 3, 16), MASK, token_indices=visible))
    assert given.shape == (5, 12, 8)


@pytest.fixture
def cross(make_tiny):
    def make(**options):
        return make_tiny(**{"decoder_class": CrossAttentionDecoder, "num_layers": 2, **options})

    return make


def first_step(model, images):
    """The loss of one step that changes nothing, and the errors of all patches under its mask."""
    eagerly = keras.backend.backend() != "jax"  # which compiles every operation on its own
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=eagerly)
    loss = model.fit(images, batch_size=16, verbose=0, shuffle=False).history["loss"][0]
    samples = np.arange(16)
    mask = model.masking.draw(model.grid, 1, samples)
    patches, _ = model.to_patches(images)
    predicted = array(model({"patches": patches, "patch_mask": mask}))
    errors = np.mean((predicted - array(model.to_targets(patches))) ** 2, axis=-1)
    return loss, errors, array(mask), samples


@pytest.mark.slow
@pytest.mark.parametrize(
    "normalize", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["pixels", "standardized"]
)
def test_the_loss_is_that_of_all_hidden_patches(cross, images, normalize):
    loss, errors, mask, _ = first_step(cross(normalize_targets=normalize), images)
    assert loss == pytest.approx(errors[mask].mean(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss_on",
    [
        pytest.param("hidden", marks=pytest.mark.every_backend),
        pytest.param("all", marks=pytest.mark.slow),
    ],
)
def test_a_quarter_decoded_is_the_loss_of_those(cross, images, loss_on):
    model = cross(decode_ratio=0.25, loss_on=loss_on)
    loss, errors, mask, samples = first_step(model, images)
    counted = mask if loss_on == "hidden" else np.ones_like(mask)
    drawn = array(model.decoded_indices(None, counted, 1, samples))
    assert drawn.shape == (16, 3 if loss_on == "hidden" else 4)
    assert loss == pytest.approx(np.take_along_axis(errors, drawn, axis=1).mean(), rel=1e-4)


@pytest.mark.slow
def test_missing_patches_are_not_in_the_loss(cross, images):
    holed = images.astype("float32")
    holed[:, :2, :2] = np.nan  # the first patch
    model = cross(decode_ratio=0.5)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    loss = model.fit(holed, batch_size=16, verbose=0, shuffle=False).history["loss"][0]
    patches, missing = model.to_patches(holed)
    mask = array(model.masking.draw(model.grid, 1, np.arange(16), missing))
    predicted = array(model({"patches": patches, "patch_mask": mask, "missing": missing}))
    errors = np.mean((predicted - array(patches)) ** 2, axis=-1)
    counted = mask & ~array(missing)
    drawn = array(model.decoded_indices(None, counted, 1, np.arange(16)))
    assert not (drawn == 0).any()
    assert loss == pytest.approx(np.take_along_axis(errors, drawn, axis=1).mean(), rel=1e-4)


@pytest.mark.slow
def test_validation_decodes_all(cross, images):
    some, whole = cross(decode_ratio=0.25), cross()
    whole.set_weights(some.get_weights())
    for model in (some, whole):
        model.compile("sgd", run_eagerly=True)
    assert some.evaluate(images, verbose=0) == whole.evaluate(images, verbose=0)


@pytest.mark.long
def test_it_learns_and_comes_back_from_a_file(cross, images, tmp_path):
    model = cross(decode_ratio=0.5)
    model.compile("adam", jit_compile=False)
    before = model.evaluate(images, verbose=0)
    model.fit(images, epochs=30, batch_size=8, verbose=0)
    assert model.evaluate(images, verbose=0) < 0.9 * before
    model.set_mask_ratio(0.5)  # another number to decode
    model.fit(images, epochs=1, batch_size=8, verbose=0)
    assert model.num_decoded == 4
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.decode_ratio, again.num_decoded) == (0.5, 4)
    np.testing.assert_array_equal(
        again.reconstruct(images).prediction, model.reconstruct(images).prediction
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"image_shape": (24, 1), "patch_size": 2},
        {"image_shape": (4, 4, 4, 1), "patch_size": 2},
        {"use_class_token": False, "position_embedding": "learned"},
        {"dtype": "mixed_float16"},
        {"masking": 0.04, "decode_ratio": 0.01},  # one of 16 hidden
    ],
    ids=str,
)
def test_models_of_every_kind_train(cross, options):
    model = cross(**{"decode_ratio": 0.4, **options})
    model.compile("adam", run_eagerly=True)
    shape = (16, *model.image_shape)
    images = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    history = model.fit(images, np.ones(16), sample_weight=np.arange(16.0), verbose=0).history
    assert np.isfinite(history["loss"][0])
    assert model.reconstruct(images).prediction.shape == shape
    assert np.isfinite(model.encode(images)).all()


@pytest.mark.slow
def test_presets_make_it():
    sizes = {"image_shape": (8, 8, 1), "patch_size": 2, "decode_ratio": 0.25}
    model = MaskedAutoencoder.from_preset("nano", decoder_attention="cross", **sizes)
    assert isinstance(model.decoder, CrossAttentionDecoder)
    assert (model.num_hidden, model.num_decoded) == (12, 3)
    with pytest.raises(ValueError, match="`decoder_attention` must be 'self' or 'cross'. Rec"):
        MaskedAutoencoder.from_preset("nano", decoder_attention="joint")
    with pytest.raises(ValueError, match="`decode_ratio` must be 1 without a CrossAttentionDec"):
        MaskedAutoencoder.from_preset("nano", **sizes)


@pytest.mark.parametrize("ratio", [0.0, 1.5, float("nan"), "0.5", None, True])
def test_a_bad_decode_ratio_is_refused(cross, ratio):
    with pytest.raises(ValueError, match=r"`decode_ratio` must be a number in \(0, 1\]. Received"):
        cross(decode_ratio=ratio)
