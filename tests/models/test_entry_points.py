"""Every way into a model refuses samples that do not fit, wherever they come from."""

import keras
import numpy as np
import pytest

from mae_keras.models import ImageClassifier, attention_maps

GOOD = np.random.default_rng(0).integers(2, 256, (6, 8, 8, 1), "uint8")
FLOATS = GOOD.astype("float32")
LABELS = np.arange(6) % 3
LAST = (np.arange(6) == 5)[:, None, None, None]


@pytest.fixture(scope="module")
def autoencoder(make_tiny):
    model = make_tiny()
    model.compile("sgd", run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def classifier(autoencoder):
    model = ImageClassifier.from_pretrained(autoencoder, 3, seed=0)
    model.compile("sgd", run_eagerly=True)
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


@pytest.mark.every_backend
@sources
@pytest.mark.parametrize("fault", LATE)
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_a_batch_of_a_data_set_that_does_not_fit_is_refused(autoencoder, method, fault, source):
    images, message = LATE[fault]
    with pytest.raises(ValueError, match=message):
        getattr(autoencoder, method)(source(images), verbose=0)


@pytest.mark.every_backend
@sources
def test_held_out_batches_are_checked_too(autoencoder, source):
    with pytest.raises(ValueError, match="must be finite"):
        autoencoder.fit(GOOD, validation_data=source(infinite()), verbose=0)


@pytest.mark.every_backend
@sources
@pytest.mark.parametrize("label", [3, -1])
def test_labels_outside_the_classes_are_refused_in_every_batch(classifier, source, label):
    labels = np.where(np.arange(6) == 5, label, LABELS)
    with pytest.raises(ValueError, match="`labels` must be integers from 0 to 2"):
        classifier.fit(source(GOOD, labels), verbose=0)


@pytest.mark.every_backend
@sources
def test_weights_that_ruin_training_are_refused_in_every_batch(autoencoder, source):
    weights = np.where(np.arange(6) == 5, np.nan, 1).astype("float32")
    with pytest.raises(ValueError, match="`sample_weight` must be finite and at least 0"):
        autoencoder.fit(source(GOOD, LABELS, weights), verbose=0)


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
