"""The classifier that fine-tuning trains: what it computes, copies, freezes and saves."""

import keras
import numpy as np
import pytest

from mae_keras.models import DenseMaskedAutoencoder, ImageClassifier, ViTEncoder, load_model

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow

LABELS = np.arange(16) % 3


def make_encoder(num_layers=2, seed=0, **overrides):
    keras.utils.set_random_seed(seed)
    return ViTEncoder((8, 8, 1), 2, 16, num_layers, 2, 32, **overrides)


def make_classifier(num_layers=2, encoder=None, **kwargs):
    encoder = make_encoder(num_layers) if encoder is None else encoder
    return ImageClassifier(encoder, 3, **kwargs)


def weights_of(model):
    return {w.path: np.array(keras.ops.convert_to_numpy(w)) for w in model.weights}


def with_large_head(model):
    """Logits that differ visibly: the head starts at almost 0."""
    kernel = np.random.default_rng(1).normal(size=model.head.kernel.shape)
    model.head.kernel.assign(kernel)
    return model


def normalized(rows, epsilon=1e-6):
    mean, variance = rows.mean(-1, keepdims=True), rows.var(-1, keepdims=True)
    return (rows - mean) / np.sqrt(variance + epsilon)


def tokens_after_last_block(encoder, images):
    tokens = encoder.encode_blocks(encoder.to_patches(images)[0])[-2]
    return np.array(keras.ops.convert_to_numpy(encoder.blocks[-1](tokens)))


@pytest.mark.every_backend
def test_mean_pooling_averages_patches_before_a_new_norm(images):
    model = with_large_head(make_classifier())
    mean = tokens_after_last_block(model.encoder, images)[:, 1:].mean(axis=1)
    expected = normalized(mean) @ keras.ops.convert_to_numpy(model.head.kernel)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4)


@pytest.mark.every_backend
def test_token_pooling_norms_the_class_token_with_the_encoders_norm(images):
    model = with_large_head(make_classifier(pooling="token"))
    scale = np.random.default_rng(2).normal(size=16)
    model.encoder.norm.gamma.assign(scale)
    token = tokens_after_last_block(model.encoder, images)[:, 0]
    expected = normalized(token) * scale @ keras.ops.convert_to_numpy(model.head.kernel)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4)


@pytest.mark.every_backend
def test_flattened_tokens_are_normed_one_by_one_with_the_encoders_norm(images):
    model = with_large_head(make_classifier(pooling="flatten"))
    tokens = normalized(tokens_after_last_block(model.encoder, images)[:, 1:])
    expected = tokens.reshape(len(images), -1) @ keras.ops.convert_to_numpy(model.head.kernel)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4)


@pytest.mark.parametrize("pooling", ["flatten", ("mean", 1)])
def test_classifiers_that_keep_places_come_back_from_files(tiny, images, pooling, tmp_path):
    model = with_large_head(ImageClassifier.from_pretrained(tiny, 3, pooling=pooling))
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.pooling == pooling
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )


def test_missing_pixels_change_nothing_but_what_is_missing(images):
    model = with_large_head(make_classifier())
    holed = images[:2].astype("float32")
    holed[:, :2, :2] = np.nan
    other = holed.copy()
    other[:, 0, 0] = 7.0  # the rest of the patch is missing still
    logits = keras.ops.convert_to_numpy(model(holed))
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(other)), logits, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float32"])
def test_logits_are_float32(images, policy):
    model = make_classifier(encoder=make_encoder(dtype=policy))
    logits = model(images)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert tuple(logits.shape) == (16, 3) == model.compute_output_shape((16, 8, 8, 1))


def test_bytes_and_floats_of_the_same_pixels_are_equal(images):
    model = with_large_head(make_classifier())
    as_floats = model(images.astype("float32"))
    np.testing.assert_array_equal(np.array(model(images)), np.array(as_floats))


def test_an_untrained_head_says_all_classes_are_alike(images):
    np.testing.assert_allclose(make_classifier().probabilities(images), 1 / 3, atol=1e-3)


def test_probabilities_do_not_depend_on_the_batches(images):
    model = with_large_head(make_classifier())
    whole = model.probabilities(images)
    np.testing.assert_allclose(model.probabilities(images, batch_size=5), whole, atol=1e-6)
    np.testing.assert_allclose(whole.sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.every_backend
def test_a_copy_has_the_weights_of_the_trained_model(tiny, images):
    model = ImageClassifier.from_pretrained(tiny, 3, drop_path_rate=0.3)
    assert model.encoder is not tiny.encoder
    assert model.encoder.drop_path_rate == 0.3
    ours, theirs = (keras.ops.convert_to_numpy(e(images)) for e in (model.encoder, tiny.encoder))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.every_backend
def test_fine_tuning_leaves_the_pretrained_model_as_it_was(tiny, images):
    before = weights_of(tiny)
    model = ImageClassifier.from_pretrained(tiny, 3)
    model.compile("adam")
    model.fit(images, LABELS, verbose=0)
    assert not np.array_equal(
        weights_of(model.encoder.blocks[0].mlp_in)[model.encoder.blocks[0].mlp_in.kernel.path],
        np.array(tiny.encoder.blocks[0].mlp_in.kernel),
    )
    for path, weight in weights_of(tiny).items():
        np.testing.assert_array_equal(weight, before[path], err_msg=path)
    assert tiny.encoder.trainable and tiny.encoder.norm.trainable


def test_from_scratch_is_the_same_model_with_weights_of_a_seed(tiny):
    made = [
        ImageClassifier.from_pretrained(tiny, 3, copy_weights=False, seed=seed)
        for seed in (1, 1, 2)
    ]
    kernels = [np.array(model.encoder.blocks[0].mlp_in.kernel) for model in made]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], np.array(tiny.encoder.blocks[0].mlp_in.kernel))
    assert made[0].encoder.get_config()["mlp_dim"] == tiny.encoder.mlp_dim


def test_a_bare_encoder_and_another_classifier_can_be_copied():
    encoder = make_encoder()
    model = ImageClassifier.from_pretrained(encoder, 3, train_blocks=0)
    again = ImageClassifier.from_pretrained(model, 5)
    for copy in (model, again):
        np.testing.assert_array_equal(
            np.array(copy.encoder.blocks[1].mlp_in.kernel),
            np.array(encoder.blocks[1].mlp_in.kernel),
        )
    assert again.encoder.blocks[1].trainable and again.train_blocks is None


@pytest.mark.parametrize("rates", [(0.0, 0.3), (0.3, 0.0), (0.3, 0.5)], ids=str)
def test_a_copy_of_several_blocks_has_the_weights_whatever_the_drop_path_rates(rates, images):
    """Drop path has counters, which lie between the weights of blocks and stay its own."""
    encoder = make_encoder(num_layers=3, drop_path_rate=rates[0])
    model = ImageClassifier.from_pretrained(encoder, 3, drop_path_rate=rates[1])
    ours, theirs = (keras.ops.convert_to_numpy(e(images)) for e in (model.encoder, encoder))
    np.testing.assert_array_equal(ours, theirs)
    streams = [
        {w.path.split("/", 1)[1]: int(w) for w in each.weights if w.name == "stream"}
        for each in (encoder, model.encoder)
    ]
    assert all(
        streams[1][path] != value for path, value in streams[0].items() if path in streams[1]
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(3, dtype="float32")[LABELS]])
def test_class_numbers_and_one_hot_labels_give_one_loss(images, labels):
    model = with_large_head(make_classifier())
    model.compile("adam", run_eagerly=True)
    found = model.evaluate(images, labels, batch_size=8, verbose=0, return_dict=True)
    logits = keras.ops.convert_to_numpy(model(images)).astype("float64")
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert found["loss"] == pytest.approx(-logs[np.arange(16), LABELS].mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == LABELS).mean())


@pytest.mark.every_backend
def test_fit_learns_to_tell_bright_from_dark():
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 2
    images = (labels[:, None, None, None] * 120 + rng.integers(0, 100, (32, 8, 8, 1))).astype(
        "uint8"
    )
    model = ImageClassifier(make_encoder(1), 2)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = model.fit(images, labels, epochs=6, batch_size=16, verbose=0).history
    assert history["accuracy"][-1] == 1.0
    assert history["loss"][-1] < 0.5 * history["loss"][0]


@pytest.mark.long
@pytest.mark.every_backend
@pytest.mark.parametrize("pooling", ["mean", "token", "flatten"])
@pytest.mark.parametrize("train_blocks", [0, 1, 2])
def test_what_is_frozen_stays_bit_identical(images, train_blocks, pooling):
    encoder = make_encoder(drop_path_rate=0.5, position_embedding="learned")
    model = make_classifier(encoder=encoder, pooling=pooling, train_blocks=train_blocks)
    before = weights_of(model)
    model.compile("adamw", run_eagerly=True)
    model.fit(images, LABELS, epochs=2, batch_size=8, verbose=0)
    changed = {p for p, w in weights_of(model).items() if not np.array_equal(w, before[p])}
    # The head starts near 0, but Adam moves everything that has a gradient at all.
    parts = {part for path in changed for part in path.split("/") if path.count("/") > 0}
    assert "head" in parts
    blocks = {part for part in parts if part.startswith("block_")}
    assert blocks == {f"block_{index}" for index in range(2 - train_blocks, 2)}
    assert not parts & {"class_token", "patch_projection", "positions"}
    norm = "fc_norm" if pooling == "mean" else "norm"
    assert (norm in parts) == (train_blocks > 0)


def test_everything_but_the_unused_norm_is_trained_by_default():
    model = make_classifier(encoder=make_encoder(position_embedding="learned"))
    spared = {w.path for w in model.weights} - {w.path for w in model.trainable_variables}
    assert {path.split("/", 1)[1] for path in spared} == {"norm/gamma", "norm/beta"}


def test_thawing_needs_compile_again(images):
    model = make_classifier(train_blocks=0)
    model.compile("adam", run_eagerly=True)
    model.fit(images, LABELS, verbose=0)
    model.train_last_blocks(None)
    with pytest.raises(ValueError, match="compile"):
        model.fit(images, LABELS, verbose=0)
    before = weights_of(model)
    model.compile("adam", run_eagerly=True)
    model.fit(images, LABELS, verbose=0)
    path = model.encoder.blocks[0].mlp_in.kernel.path
    assert not np.array_equal(weights_of(model)[path], before[path])


@pytest.mark.every_backend
def test_saving_keeps_weights_configuration_and_what_is_frozen(images, tmp_path):
    model = with_large_head(make_classifier(train_blocks=1, pooling="token", head_dropout_rate=0.2))
    model.compile("adam", run_eagerly=True)
    model.fit(images, LABELS, verbose=0)
    model.save(tmp_path / "classifier.keras")
    loaded = keras.saving.load_model(tmp_path / "classifier.keras")
    assert isinstance(loaded, ImageClassifier)
    assert loaded.get_config() == model.get_config()
    assert [w.path for w in loaded.trainable_variables] == [
        w.path for w in model.trainable_variables
    ]
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert int(loaded.optimizer.iterations) == 1


def test_it_can_skip_steps_that_are_not_finite():
    model = make_classifier(num_layers=1)
    model.compile("sgd", skip_nonfinite=True, run_eagerly=True)
    assert model.metrics[-1].name == "skipped_steps"
    assert model.get_compile_config()["skip_nonfinite"] is True


def test_auto_jit_is_kept_as_auto_when_saved():
    model = make_classifier()
    model.compile("adam")
    assert isinstance(model.jit_compile, bool)
    assert model.get_compile_config()["jit_compile"] == "auto"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_classes": 1}, "`num_classes` must be an int .*2"),
        ({"num_classes": 2.5}, "`num_classes` must be an int .*2"),
        ({"pooling": "max"}, "`pooling` must be"),
        ({"pooling": None}, "`pooling` must be"),
        ({"train_blocks": 3}, "must be an int from 0 to the encoder's 2 blocks"),
        ({"train_blocks": -1}, "must be an int from 0 to the encoder's 2 blocks"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ImageClassifier(make_encoder(), **{"num_classes": 3, **kwargs})


def test_the_class_token_has_to_exist_to_be_pooled():
    with pytest.raises(ValueError, match="needs an encoder with a class token"):
        make_classifier(encoder=make_encoder(use_class_token=False), pooling="token")


def test_a_model_without_a_transformer_is_refused():
    dense = DenseMaskedAutoencoder((8, 8, 1))
    with pytest.raises(TypeError, match="`model` must be a ViTEncoder or have one"):
        ImageClassifier.from_pretrained(dense, 3)


def test_images_of_another_size_are_refused_in_a_call_too():
    with pytest.raises(ValueError, match="must have the shape the model was made for"):
        make_classifier()(np.zeros((1, 4, 4, 1), "uint8"))


@pytest.mark.parametrize("pooling", ["mean", "token", "flatten", ("mean", 0)])
def test_features_are_what_the_head_classifies(images, pooling):
    model = with_large_head(make_classifier(pooling=pooling))
    kernel, bias = model.head.get_weights()
    logits = model.encode(images, batch_size=5) @ kernel + bias
    np.testing.assert_allclose(logits, model.predict(images, verbose=0), rtol=1e-4, atol=1e-5)


def test_class_names_are_saved_and_files_without_them_load(tiny, tmp_path):
    names = ("cat", "dog", "ibis")
    ImageClassifier.from_pretrained(tiny, 3, class_names=names).save(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").class_names == names
    config = ImageClassifier.from_pretrained(tiny, 3).get_config()
    assert "class_names" not in config
    assert ImageClassifier.from_config(config).class_names is None


@pytest.mark.parametrize(
    "names", [["a", "b"], ["a", "b", "b"], ["a", "b", 3], "abc", ["a", "b", ""]], ids=str
)
def test_class_names_that_do_not_fit_are_refused(tiny, names):
    with pytest.raises(ValueError, match="`class_names` must be 3 different strings"):
        ImageClassifier.from_pretrained(tiny, 3, class_names=names)
