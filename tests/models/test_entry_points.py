"""Every way into a model refuses samples that do not fit, wherever they come from."""

import time

import keras
import numpy as np
import pytest

from mae_keras.models import ImageClassifier, attention_maps
from mae_keras.models.batch_checks import BatchCheck, checked_batches
from mae_keras.runtime.tf_data import without_tuning

GOOD = np.random.default_rng(0).integers(2, 256, (6, 8, 8, 1), "uint8")
FLOATS = GOOD.astype("float32")
LABELS = np.arange(6) % 3
LAST = (np.arange(6) == 5)[:, None, None, None]


# Where it is quicker: JAX would compile every operation by itself.
EAGER = keras.backend.backend() == "tensorflow"


@pytest.fixture(scope="module")
def autoencoder(make_tiny):
    model = make_tiny()
    model.compile("sgd", run_eagerly=EAGER)
    return model


@pytest.fixture(scope="module")
def classifier(autoencoder):
    model = ImageClassifier.from_pretrained(autoencoder, 3, seed=0)
    model.compile("sgd", run_eagerly=EAGER)
    return model


def infinite():
    images = FLOATS.copy()
    images[5, 0, 3, 0] = np.inf
    return images


FAULTS = {
    "units": (FLOATS / 255, ValueError, r"scaled to \[0, 1\]"),
    "range": (FLOATS * 2, ValueError, "within the model's value_range"),
    "negative ints": (GOOD.astype("int16") - 300, ValueError, "within the model's value_range"),
    "infinity": (infinite(), ValueError, "must be finite"),
    "complex": (GOOD.astype("complex64"), TypeError, "real numbers"),
    "text": (GOOD.astype(str), TypeError, "real numbers"),
    "objects": (GOOD.astype(object), TypeError, "real numbers"),
    "booleans": (GOOD > 100, ValueError, "boolean"),
    "channels first": (np.zeros((6, 1, 8, 8), "uint8"), ValueError, "channels last"),
    "size": (np.zeros((6, 16, 16, 1), "uint8"), ValueError, "shape the model was made for"),
    "rank": (GOOD[..., 0], ValueError, "must have (4 axes|shape)"),
    "masked ints": (np.ma.masked_less(GOOD, 50), ValueError, "must not be masked"),
}
faults = pytest.mark.parametrize("fault", FAULTS)

OF_AUTOENCODERS = {
    "fit": lambda model, x: model.fit(x, verbose=0),
    "validation_data": lambda model, x: model.fit(GOOD, validation_data=(x, None), verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, verbose=0),
    "predict": lambda model, x: model.predict(x, verbose=0),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "train_on_batch": lambda model, x: model.train_on_batch(x),
    "test_on_batch": lambda model, x: model.test_on_batch(x),
    "call": lambda model, x: model(x),
    "encoder": lambda model, x: model.encoder(x),
    "encode": lambda model, x: model.encode(x),
    "encode_blocks": lambda model, x: model.encode_blocks(x),
    "reconstruct": lambda model, x: model.reconstruct(x),
    "predict_patches": lambda model, x: model.predict_patches(x),
    "inpaint": lambda model, x: model.inpaint(x, np.eye(8, dtype=bool)),
    "restore": lambda model, x: model.restore(x),
    "denoise": lambda model, x: model.denoise(x),
    "anomaly_map": lambda model, x: model.anomaly_map(x),
    "attention_maps": attention_maps,
}
OF_CLASSIFIERS = {
    "fit": lambda model, x: model.fit(x, LABELS, verbose=0),
    "validation_data": lambda model, x: model.fit(
        GOOD, LABELS, validation_data=(x, LABELS), verbose=0
    ),
    "evaluate": lambda model, x: model.evaluate(x, LABELS, verbose=0),
    "predict": lambda model, x: model.predict(x, verbose=0),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "train_on_batch": lambda model, x: model.train_on_batch(x, LABELS),
    "test_on_batch": lambda model, x: model.test_on_batch(x, LABELS),
    "call": lambda model, x: model(x),
    "encode": lambda model, x: model.encode(x),
    "probabilities": lambda model, x: model.probabilities(x),
}


@pytest.mark.every_backend
@faults
@pytest.mark.parametrize("entry", OF_AUTOENCODERS)
def test_no_entry_point_of_an_autoencoder_takes_what_does_not_fit(autoencoder, entry, fault):
    images, error, message = FAULTS[fault]
    if fault == "size" and entry in ("encoder", "attention_maps"):
        pytest.skip("encoders take other sizes")
    message = r"channels last|must divide" if fault == "channels first" else message
    with pytest.raises(error, match=message):
        OF_AUTOENCODERS[entry](autoencoder, images)


@pytest.mark.every_backend
@faults
@pytest.mark.parametrize("entry", OF_CLASSIFIERS)
def test_no_entry_point_of_a_classifier_takes_what_does_not_fit(classifier, entry, fault):
    images, error, message = FAULTS[fault]
    with pytest.raises(error, match=message):
        OF_CLASSIFIERS[entry](classifier, images)


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return tuple(array[2 * index : 2 * index + 2] for array in self.arrays)


def generator(*arrays):
    return (batch for batch in list(Batches(*arrays)))


def dataset(*arrays):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays).batch(2)


def from_generator(*arrays):
    """A data set of unknown length, which gives its batches once."""
    import tensorflow as tf

    batches = generator(*arrays)
    signature = tuple(tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in arrays)
    return tf.data.Dataset.from_generator(lambda: batches, output_signature=signature)


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


sources = pytest.mark.parametrize("source", [Batches, generator, dataset, from_generator])
LATE = {
    "units": (FLOATS / 255, r"scaled to \[0, 1\]"),
    "range": (np.where(LAST, 300, FLOATS), "from .* to 300"),
    "ints": (
        np.where(np.arange(6)[:, None, None, None] == 5, -3, GOOD.astype("int16")),
        "from -3 to ",
    ),
    "infinity": (infinite(), "must be finite"),
    "size": (np.zeros((6, 16, 16, 1), "uint8"), "shape the model was made for"),
}


@pytest.mark.slow
@pytest.mark.every_backend
@sources
@pytest.mark.parametrize("fault", LATE)
@pytest.mark.parametrize("method", ["fit", slow("evaluate"), slow("predict")])
def test_a_batch_of_a_data_set_that_does_not_fit_is_refused(autoencoder, method, fault, source):
    images, message = LATE[fault]
    with pytest.raises(ValueError, match=message):
        getattr(autoencoder, method)(source(images), verbose=0)


@pytest.mark.slow
@pytest.mark.every_backend
@sources
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_a_first_batch_that_is_refused_leaves_the_weights(autoencoder, method, source):
    """On JAX Keras takes the weights out of a model and puts back those of its last step."""
    before = autoencoder.get_weights()
    autoencoder.fit(GOOD, verbose=0)
    autoencoder.evaluate(GOOD, verbose=0)
    # So that they are not those of the last step.
    autoencoder.set_weights(before)
    with pytest.raises(ValueError, match="scaled to"):
        getattr(autoencoder, method)(source(LATE["units"][0]), verbose=0)
    for one, other in zip(autoencoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.every_backend
@sources
def test_held_out_batches_are_checked_too(autoencoder, source):
    with pytest.raises(ValueError, match="must be finite"):
        autoencoder.fit(GOOD, validation_data=source(infinite()), verbose=0)


@pytest.mark.slow
@pytest.mark.every_backend
@sources
@pytest.mark.parametrize("label", [3, -1])
def test_labels_outside_the_classes_are_refused_in_every_batch(classifier, source, label):
    labels = np.where(np.arange(6) == 5, label, LABELS)
    with pytest.raises(ValueError, match="`labels` must be integers from 0 to 2"):
        classifier.fit(source(GOOD, labels), verbose=0)


@pytest.mark.slow
@pytest.mark.every_backend
@sources
def test_weights_that_ruin_training_are_refused_in_every_batch(autoencoder, source):
    weights = np.where(np.arange(6) == 5, np.nan, 1).astype("float32")
    with pytest.raises(ValueError, match="`sample_weight` must be finite and at least 0"):
        autoencoder.fit(source(GOOD, LABELS, weights), verbose=0)


@pytest.mark.slow
@pytest.mark.every_backend
@sources
def test_every_batch_of_a_data_set_that_fits_is_trained_on_once(autoencoder, source):
    seen = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    autoencoder.fit(source(FLOATS), steps_per_epoch=3, callbacks=[count], verbose=0)
    assert seen == [0, 1, 2]
    whole = autoencoder.predict(FLOATS, batch_size=2, verbose=0)
    np.testing.assert_allclose(
        autoencoder.predict(source(FLOATS), steps=3, verbose=0), whole, rtol=1e-5
    )


@pytest.fixture
def functional(make_tiny):
    """Of an encoder of its own: with JAX, Keras loses the weights where a step fails."""
    inputs = keras.Input((8, 8, 1))
    tokens = make_tiny().encoder(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(tokens))
    model.compile("sgd", "mse", jit_compile=keras.backend.backend() == "jax")
    return model


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("fault", ["units", "range", "infinity"])
def test_a_functional_model_around_an_encoder_refuses_what_does_not_fit(functional, fault):
    images = FAULTS[fault][0]
    message = r"scaled to \[0, 1\]" if fault == "units" else "must be within value_range"
    with pytest.raises(Exception, match=message):
        functional.predict(images, verbose=0)


@pytest.mark.slow
@pytest.mark.every_backend
def test_a_functional_model_around_an_encoder_takes_what_fits(functional):
    made = functional.predict(FLOATS, verbose=0)
    ours = np.asarray(functional.layers[1](GOOD)).mean(axis=1)
    np.testing.assert_allclose(made, ours, atol=1e-5)
    functional.predict(np.zeros_like(FLOATS), verbose=0)
    functional.predict((FLOATS > 128).astype("float32"), verbose=0)  # dark
    functional.predict(np.where(FLOATS > 200, np.nan, FLOATS), verbose=0)


DARK = (FLOATS > 128).astype("float32")  # whole numbers from 0 to 1


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize(
    "entry", ["predict", "train_on_batch", "call", "encoder", "encode", "reconstruct"]
)
def test_a_dark_float_image_is_not_taken_for_one_scaled_to_1(autoencoder, entry):
    OF_AUTOENCODERS[entry](autoencoder, DARK[:1])
    OF_AUTOENCODERS[entry](autoencoder, DARK)
    with pytest.raises(ValueError, match=r"scaled to \[0, 1\]"):
        OF_AUTOENCODERS[entry](autoencoder, DARK[:1] * 0.9)


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", ["floats", "dark"])
@pytest.mark.slow
def test_jax_maps_and_differentiates_an_encoder_over_images_that_fit(autoencoder, kind):
    jax = only_on_jax()
    images = FLOATS if kind == "floats" else DARK
    one_by_one = lambda image: autoencoder.encoder(image[None])[0]  # noqa: E731
    total = lambda image: jax.numpy.sum(one_by_one(image))  # noqa: E731
    whole = np.asarray(autoencoder.encoder(images))
    for mapped in (jax.vmap(one_by_one), jax.jit(jax.vmap(one_by_one))):
        np.testing.assert_allclose(mapped(images), whole, atol=1e-5)
    gradients = jax.jit(jax.vmap(jax.grad(total)))(images)
    np.testing.assert_allclose(gradients[3], jax.grad(total)(images[3]), atol=1e-5)
    jax.effects_barrier()


@pytest.mark.every_backend
@pytest.mark.parametrize("fault", ["units", "range"])
def test_jax_refuses_images_that_do_not_fit_while_it_maps_over_them(autoencoder, fault):
    jax = only_on_jax()
    mapped = jax.jit(jax.vmap(lambda image: autoencoder.encoder(image[None])[0]))
    images = FAULTS[fault][0]
    with pytest.raises(Exception, match=rf"values from .* to {images.max():.6g}"):
        jax.block_until_ready(mapped(images))
    # A dark image among others does not make a batch scaled to [0, 1].
    mapped(np.concatenate([FLOATS / 255, FLOATS]))
    jax.effects_barrier()


@pytest.mark.every_backend
def test_jax_exports_a_function_with_an_encoder_for_a_batch_of_one_size(autoencoder):
    jax = only_on_jax()
    from jax import export

    shape = jax.ShapeDtypeStruct((2, 8, 8, 1), "float32")
    exported = export.export(jax.jit(lambda images: autoencoder.encoder(images)))(shape)
    loaded = export.deserialize(exported.serialize())
    tokens = np.asarray(autoencoder.encoder(FLOATS[:2]))
    np.testing.assert_allclose(loaded.call(FLOATS[:2]), tokens, atol=1e-5)


def only_on_jax():
    if keras.backend.backend() != "jax":
        pytest.skip("of JAX")
    import jax

    return jax


@pytest.mark.every_backend
@pytest.mark.parametrize("source", [Batches, dataset])
def test_units_are_told_by_the_first_batch_of_a_data_set_alone(autoencoder, source):
    """As of shuffled data: the second epoch begins with another batch."""

    def read(images, check):
        batches = checked_batches(source(images), check)
        return [batches[i] for i in range(3)] if source is Batches else list(batches)

    check = BatchCheck((8, 8, 1), (0.0, 255.0))
    read(FLOATS, check)
    read(FLOATS / 255, check)
    with pytest.raises(Exception, match=r"scaled to \[0, 1\]"):
        read(np.where(LAST, FLOATS, FLOATS / 255), BatchCheck((8, 8, 1), (0.0, 255.0)))


class Loader:
    """As PyTorch's `DataLoader`, as far as it matters: batches in another order every epoch."""

    def __init__(self, images):
        self.images, self.epoch, self.collate_fn = images, 0, np.stack

    def __iter__(self):
        self.epoch += 1
        batches = [self.collate_fn(list(self.images[i : i + 2])) for i in (0, 2, 4)]
        return iter(batches[:: 1 if self.epoch % 2 else -1])


def test_batches_of_a_loader_are_checked_where_their_order_is_known():
    images = np.concatenate([FLOATS[:4], FLOATS[4:] / 255])
    check = BatchCheck((8, 8, 1), (0.0, 255.0), grid=(4, 4))
    loader = checked_batches(Loader(images), check)
    assert isinstance(loader, Loader)
    first, second = list(loader), list(loader)
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in first]), images)
    np.testing.assert_array_equal(second[0][0], images[4:])
    assert check.seen == 6
    with pytest.raises(ValueError, match=r"scaled to \[0, 1\]"):
        list(checked_batches(Loader(images[::-1]), BatchCheck((8, 8, 1), (0.0, 255.0))))
    with pytest.raises(ValueError, match="must be finite"):
        list(checked_batches(Loader(infinite()), BatchCheck((8, 8, 1), (0.0, 255.0))))


@pytest.mark.parametrize("ahead", [True, False], ids=["prefetched", "as it comes"])
def test_batches_are_checked_ahead_where_the_data_set_reads_ahead(ahead):
    # NaN has Python look at each batch. Tuning, which models switch off, would read ahead, too.
    images = np.where(np.arange(8)[:, None] == 3, np.nan, FLOATS)
    batches = without_tuning(dataset(images).prefetch(1) if ahead else dataset(images))
    check = BatchCheck((8, 8, 1), (0.0, 255.0), grid=(4, 4))
    iterator = iter(checked_batches(batches, check))
    np.testing.assert_array_equal(next(iterator), images[:2])
    until = time.monotonic() + (10 if ahead else 0.2)
    while time.monotonic() < until and check.seen < 2:
        time.sleep(0.01)
    assert (check.seen >= 2) is ahead
    np.testing.assert_array_equal(np.concatenate(list(iterator)), images[2:])


@pytest.mark.slow
@pytest.mark.every_backend
def test_weights_may_be_booleans(autoencoder):
    keep = np.array([True, False, True, True, False, True])
    weighed = autoencoder.evaluate(dataset(GOOD, LABELS, keep.astype("float32")), verbose=0)
    np.testing.assert_allclose(
        autoencoder.evaluate(dataset(GOOD, LABELS, keep), verbose=0), weighed
    )
    array = autoencoder.evaluate(GOOD, sample_weight=keep, batch_size=2, verbose=0)
    np.testing.assert_allclose(array, weighed, rtol=1e-6)


def test_weights_of_text_in_a_data_set_are_refused_by_name(autoencoder):
    text = np.array(list("abcabc"))
    with pytest.raises(TypeError, match="`sample_weight` must be numbers"):
        autoencoder.evaluate(dataset(GOOD, LABELS, text), verbose=0)


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("sizes", [None, (None, None, None, 1)], ids=["no rank", "no sizes"])
def test_a_data_set_without_static_shape_gets_the_shape_that_the_model_knows(autoencoder, sizes):
    import tensorflow as tf

    def without_shape(images):
        batches = tf.data.Dataset.from_tensor_slices(images).batch(2)
        unknown = batches.map(lambda x: tf.py_function(lambda y: y, [x], tf.uint8))
        return unknown if sizes is None else unknown.map(lambda x: tf.ensure_shape(x, sizes))

    whole = autoencoder.evaluate(GOOD, batch_size=2, verbose=0)
    loss = autoencoder.evaluate(without_shape(GOOD), verbose=0)
    np.testing.assert_allclose(loss, whole, rtol=1e-5)
    with pytest.raises(ValueError, match=r"\('batch', 8, 8, 1\).*Received: images.shape=\(2, 4, 8"):
        autoencoder.evaluate(without_shape(GOOD[:, :4]), verbose=0)


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("source", [None, Batches, generator, dataset])
def test_labels_that_are_text_are_left_out(autoencoder, source):
    labels = np.array(list("abcabc"))
    data = (GOOD, labels) if source is None else (source(GOOD, labels),)
    whole = autoencoder.evaluate(GOOD, batch_size=2, verbose=0)
    steps = {} if source is None else {"steps": 3}
    loss = autoencoder.evaluate(*data, batch_size=2 if source is None else None, verbose=0, **steps)
    np.testing.assert_allclose(loss, whole, rtol=1e-5)


@pytest.mark.every_backend
@pytest.mark.parametrize("weight", [np.nan, -1.0, np.inf])
def test_weights_of_images_and_classes_must_be_finite_and_not_negative(autoencoder, weight):
    weights = np.where(np.arange(6) == 4, weight, 1.0)
    for method in (autoencoder.fit, autoencoder.evaluate):
        with pytest.raises(ValueError, match="`sample_weight` must be finite"):
            method(GOOD, sample_weight=weights, verbose=0)
    with pytest.raises(ValueError, match="`sample_weight` must be finite"):
        autoencoder.train_on_batch(GOOD, sample_weight=weights)
    with pytest.raises(ValueError, match="`class_weight` must be finite"):
        autoencoder.fit(GOOD, LABELS, class_weight={0: 1.0, 1: weight}, verbose=0)


@pytest.mark.every_backend
@pytest.mark.parametrize("source", [Batches, generator, dataset])
def test_labels_and_weights_beside_a_data_set_are_refused_by_name(autoencoder, source):
    with pytest.raises(ValueError, match="`sample_weight` must be None where images come as"):
        autoencoder.fit(source(GOOD), sample_weight=np.ones(6), verbose=0)
    with pytest.raises(ValueError, match="`y` must be None where images come as"):
        autoencoder.fit(source(GOOD), LABELS, verbose=0)
    if source is not generator:
        with pytest.raises(ValueError, match="`class_weight` needs labels"):
            autoencoder.fit(source(GOOD), class_weight={0: 1.0}, verbose=0)


@pytest.mark.slow
@pytest.mark.every_backend
def test_masked_floats_are_missing(autoencoder):
    masked = np.ma.masked_greater(FLOATS, 240)
    missing = masked.filled(np.nan)
    assert np.isnan(missing).any()
    for ask in (autoencoder.encode, lambda x: autoencoder.predict(x, verbose=0)):
        np.testing.assert_array_equal(ask(masked), ask(missing))


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("entry", ["encode", "predict", "reconstruct", "attention_maps"])
def test_images_of_which_nothing_can_be_seen_are_named(autoencoder, entry):
    images = FLOATS.copy()
    images[2] = np.nan
    images[4, ::2, ::2] = np.nan  # a pixel of every patch
    with pytest.warns(UserWarning, match="2 of 6 `images` have a missing .*: 2, 4"):
        OF_AUTOENCODERS[entry](autoencoder, images)


@pytest.mark.slow
@pytest.mark.every_backend
def test_images_of_a_data_set_of_which_nothing_can_be_seen_are_named(autoencoder):
    images = FLOATS.copy()
    images[3] = np.nan
    with pytest.warns(UserWarning, match="1 `images` have a missing .*: image 1 of batch 1"):
        features = autoencoder.encode(dataset(images))
    assert not features[3].any() and np.isfinite(features).all()
