"""Imagined parts of images: which, how many, from a copy that stands still, in both uses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import check_layer

from mae_keras.models import (
    DenseMaskedAutoencoder,
    MaskedAutoencoder,
    MaskedReconstructionAugmentation,
)

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="runs a model inside tf.data"
)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def augmentation(tiny):
    """Hides half of every image; tests pass the step, so none disturbs another."""
    return MaskedReconstructionAugmentation(tiny, mask_ratio=0.5, rate=1.0, seed=2)


def augmented(augmentation, images, step=1):
    return array(augmentation(images, training=True, step=step))


def changed_patches(before, after):
    """Bool `(batch, 16)`: the 2 x 2 patches of 8 x 8 images that differ anywhere."""
    changed = (np.asarray(before, "float32") != after).reshape(-1, 4, 2, 4, 2)
    return changed.any(axis=(2, 4)).reshape(-1, 16)


@pytest.fixture(scope="module")
def image_of_every_patch():
    """Pixels that no prediction hits by chance."""
    return np.random.default_rng(0).uniform(1, 254, (16, 8, 8, 1)).astype("float32")


@pytest.mark.every_backend
def test_contract():
    model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,), seed=0)
    inputs = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1)).astype("uint8")
    check_layer(
        MaskedReconstructionAugmentation,
        {"model": model, "mask_ratio": 0.25, "rate": 0.5, "seed": 3},
        inputs,
        num_weights=len(model.weights) + 1,
        num_trainable=0,
        mixed_dtype="float32",
    )


@pytest.mark.every_backend
def test_outside_training_images_stay_as_they_are(augmentation, images):
    for outputs in (augmentation(images), augmentation(images, training=False)):
        np.testing.assert_array_equal(array(outputs), images.astype("float32"))


@pytest.mark.every_backend
def test_exactly_the_asked_share_of_patches_is_replaced(augmentation, image_of_every_patch):
    changed = changed_patches(image_of_every_patch, augmented(augmentation, image_of_every_patch))
    assert (changed.sum(axis=1) == 8).all()
    assert len(np.unique(changed, axis=0)) > 8


def test_replaced_patches_are_the_models_prediction(augmentation, tiny, image_of_every_patch):
    made = augmented(augmentation, image_of_every_patch)
    hidden = changed_patches(image_of_every_patch, made)
    expected = np.clip(tiny.reconstruct(image_of_every_patch, hidden).pasted, 0, 255)
    np.testing.assert_allclose(made, expected, atol=1e-2)


def test_what_is_hidden_does_not_show_through(make_tiny, images):
    model = make_tiny(normalize_targets=True)
    augmentation = MaskedReconstructionAugmentation(model, 0.5, 1.0, seed=0)
    made = augmented(augmentation, images)
    kept = (made == images).reshape(-1, 4, 2, 4, 2, 1).all(axis=(2, 4), keepdims=True)
    kept = np.broadcast_to(kept, (16, 4, 2, 4, 2, 1)).reshape(images.shape)
    spoiled = np.where(kept, images, 255 - images)
    np.testing.assert_array_equal(augmented(augmentation, spoiled), made)


def test_about_the_asked_share_of_images_is_chosen(tiny):
    images = np.random.default_rng(0).uniform(1, 254, (400, 8, 8, 1)).astype("float32")
    made = augmented(MaskedReconstructionAugmentation(tiny, 0.5, 0.3, seed=0), images)
    chosen = (made != images).any(axis=(1, 2, 3))
    # four standard deviations of a share of 400
    assert abs(chosen.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 400)


def test_a_rate_of_0_chooses_none(tiny, images):
    layer = MaskedReconstructionAugmentation(tiny, rate=0.0)
    np.testing.assert_array_equal(array(layer(images, training=True)), images.astype("float32"))


def test_other_patches_are_replaced_at_the_next_call(tiny, image_of_every_patch):
    layer = MaskedReconstructionAugmentation(tiny, 0.5, 1.0, seed=0)
    first, second = (array(layer(image_of_every_patch, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_step_given_repeats_and_leaves_the_counter(tiny, image_of_every_patch):
    layer = MaskedReconstructionAugmentation(tiny, 0.5, 1.0, seed=0)
    first = array(layer(image_of_every_patch, training=True))
    np.testing.assert_array_equal(augmented(layer, image_of_every_patch, step=1), first)
    assert int(array(layer.micro_step)) == 1
    assert not np.array_equal(augmented(layer, image_of_every_patch, step=2), first)


def test_equal_seeds_replace_the_same_and_others_do_not(tiny, images):
    first, same, other = (
        augmented(MaskedReconstructionAugmentation(tiny, seed=seed), images) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_predictions_are_clipped_to_the_range_of_pixels(make_tiny, images):
    model = make_tiny()
    model.head.bias.assign(np.full(model.head.bias.shape, 3.0))
    made = augmented(MaskedReconstructionAugmentation(model, rate=1.0, seed=0), images)
    assert made.max() == 255


def test_layer_and_model_leave_each_other_alone(make_tiny, images):
    model = make_tiny()
    layer = MaskedReconstructionAugmentation(model, rate=1.0, seed=0)
    before = augmented(layer, images)
    assert model.trainable and model.trainable_weights
    assert not layer.trainable_weights
    model.head.bias.assign(np.ones(model.head.bias.shape))
    np.testing.assert_array_equal(augmented(layer, images), before)
    layer(images, training=True)
    assert int(array(model.micro_step)) == int(array(layer.model.micro_step)) == 0


def test_paths_are_not_dropped_while_the_user_trains(make_tiny, images):
    model = make_tiny(drop_path_rate=0.9)
    layer = MaskedReconstructionAugmentation(model, rate=1.0, seed=0)
    first, second = (augmented(layer, images, step=1) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_one_image_without_a_batch_is_augmented(augmentation, image_of_every_patch):
    one = augmented(augmentation, image_of_every_patch[0])
    assert one.shape == (8, 8, 1)
    assert changed_patches(image_of_every_patch[:1], one[None]).sum() == 8


def classifier(augmentation):
    """A model of raw pixels that trains behind the augmentation."""
    pixels = keras.Input((8, 8, 1), dtype="uint8")
    flat = keras.layers.Flatten()(augmentation(pixels))
    model = keras.Model(pixels, keras.layers.Dense(3, name="probe")(flat / 255.0))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    return model


@pytest.mark.every_backend
def test_inside_a_model_it_acts_in_fit_only_and_learns_nothing(tiny, images, tmp_path):
    layer = MaskedReconstructionAugmentation(tiny, rate=1.0, seed=0)
    model = classifier(layer)
    before = [array(weight) for weight in layer.model.weights]
    model.fit(images, np.arange(16) % 3, batch_size=8, epochs=2, verbose=0)
    assert int(array(layer.micro_step)) == 4
    for weight, old in zip(layer.model.weights, before, strict=True):
        np.testing.assert_array_equal(array(weight), old)
    probe = model.get_layer("probe")
    expected = images.reshape(16, 64) / 255 @ array(probe.kernel) + array(probe.bias)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4)
    model.save(tmp_path / "classifier.keras")
    again = keras.saving.load_model(tmp_path / "classifier.keras")
    loaded = next(part for part in again.layers if "augmentation" in part.name)
    np.testing.assert_array_equal(augmented(loaded, images, 7), augmented(layer, images, 7))
    assert int(array(loaded.micro_step)) == 4
    assert not loaded.trainable_weights
    again.trainable = False
    again.trainable = True
    assert len(again.trainable_variables) == 2


@needs_tensorflow
def test_in_tf_data_every_batch_and_every_epoch_gets_other_masks(tiny, image_of_every_patch):
    layer = MaskedReconstructionAugmentation(tiny, 0.5, 1.0, seed=0)
    pairs = tf.data.Dataset.from_tensor_slices((image_of_every_patch, np.arange(16)))
    mapped = pairs.batch(8).map(lambda x, y: (layer(x, training=True), y))
    epochs = [np.concatenate([x for x, _ in mapped.as_numpy_iterator()]) for _ in range(2)]
    first, second = (changed_patches(image_of_every_patch, made) for made in epochs)
    assert (first.sum(axis=1) == 8).all()
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[:8], first[8:])
    eagerly = augmented(layer, image_of_every_patch[:8], step=1)
    np.testing.assert_allclose(epochs[0][:8], eagerly, atol=1e-2)


@needs_tensorflow
def test_in_tf_data_numbered_steps_repeat_exactly(augmentation, image_of_every_patch):
    batches = tf.data.Dataset.from_tensor_slices(image_of_every_patch).batch(4)
    mapped = batches.enumerate().map(
        lambda n, x: augmentation(x, training=True, step=n), num_parallel_calls=2
    )
    runs = [np.concatenate(list(mapped.as_numpy_iterator())) for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    expected = augmented(augmentation, image_of_every_patch[4:8], step=1)
    np.testing.assert_allclose(runs[0][4:8], expected, atol=1e-2)


@pytest.mark.every_backend
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow runs it in tf.data")
def test_tf_data_is_refused_on_other_backends(augmentation, images):
    with pytest.raises(TypeError, match="must not be a TensorFlow tensor under the jax backend"):
        tf.data.Dataset.from_tensors(images).map(lambda x: augmentation(x, training=True))


def test_chosen_images_have_their_missing_patches_filled_in(augmentation, images):
    holed = images.astype("float32")
    holed[:, :2, :2] = np.nan
    assert np.isfinite(augmented(augmentation, holed)).all()
    assert np.isnan(array(augmentation(holed))).sum() == 16 * 4


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_probability_is_refused(tiny, wrong):
    with pytest.raises(ValueError, match=r"`rate` must be.*Received"):
        MaskedReconstructionAugmentation(tiny, rate=wrong)


def test_a_ratio_that_replaces_nothing_or_all_is_refused(tiny):
    for wrong in (0.01, 0.99, 1.0):
        with pytest.raises(ValueError, match="`mask_ratio`"):
            MaskedReconstructionAugmentation(tiny, mask_ratio=wrong)


def test_what_is_no_masked_autoencoder_is_refused():
    with pytest.raises(TypeError, match="`model` must be a MaskedAutoencoder.*Received: Dense"):
        MaskedReconstructionAugmentation(keras.layers.Dense(3))


def test_images_of_another_shape_are_refused(augmentation):
    with pytest.raises(ValueError, match="`images` must have the shape the model was made for"):
        augmentation(np.zeros((2, 8, 9, 1), "float32"), training=True)


@pytest.mark.every_backend
def test_training_the_model_leaves_its_copy_alone(images):
    sizes = {"num_layers": 1, "decoder_num_layers": 1, "hidden_dim": 16, "num_heads": 2}
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=0, **sizes)
    augmentation = MaskedReconstructionAugmentation(model, mask_ratio=0.5, rate=1.0, seed=2)
    before = augmented(augmentation, images)
    model.compile("adam")
    model.fit(images, batch_size=len(images) // 2, verbose=0)
    np.testing.assert_array_equal(augmented(augmentation, images), before)
