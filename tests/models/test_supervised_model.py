"""Training a classifier: what is checked before, and what labels and losses may be."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mae_keras.models import ImageClassifier, ViTEncoder

# Together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow

LABELS = np.arange(16) % 3


@pytest.fixture(scope="module")
def model():
    """Compiled, and trained by no test."""
    encoder = ViTEncoder((8, 8, 1), 2, 16, 1, 2, 32)
    classifier = ImageClassifier(encoder, 3)
    classifier.compile("sgd", run_eagerly=True)
    return classifier


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x[..., 0], y), ValueError, "One axis is missing"),
        (lambda x, y: (x[:, :4], y), ValueError, "must have the shape the model was made for"),
        (lambda x, y: (x / 255.0, y), ValueError, "seem to be scaled"),
        (lambda x, y: (x, None), TypeError, "`labels` must be given"),
        (lambda x, y: (x, y[:5]), ValueError, "one label for each of the 16 images"),
        (lambda x, y: (x, y + 1), ValueError, "values from 1 to 3"),
        (lambda x, y: (x, y * 0.5), TypeError, "must be integers"),
    ],
    ids=["rank", "size", "scaled", "unlabeled", "short", "from-1", "floats"],
)
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_what_does_not_fit_is_refused_before_training(
    model, images, method, change, error, message
):
    with pytest.raises(error, match=message):
        getattr(model, method)(*change(images, LABELS), verbose=0)


def test_validation_data_is_checked_too(model, images):
    with pytest.raises(ValueError, match="values from 1 to 3"):
        model.fit(images, LABELS, validation_data=(images, LABELS + 1), verbose=0)
    unlabeled = tf.data.Dataset.from_tensor_slices(images).batch(4)
    with pytest.raises(TypeError, match="images alone"):
        model.fit(images, LABELS, validation_data=unlabeled, verbose=0)


def test_datasets_of_numbers_and_of_shares_are_trained_on(images):
    model = ImageClassifier(ViTEncoder((8, 8, 1), 2, 16, 1, 2, 32), 3)
    model.compile("sgd", run_eagerly=True)
    for labels in (LABELS, np.full((16, 3), 1 / 3, "float32")):
        batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
        losses = model.fit(batches, validation_data=batches, verbose=0).history["loss"]
        assert losses == pytest.approx([np.log(3)], abs=0.02)


def test_sample_weights_are_counted(model, images):
    kept = LABELS == 0
    weighted = model.evaluate(images, LABELS, sample_weight=kept * 3.0, verbose=0)[0]
    alone = model.evaluate(images[kept], LABELS[kept], verbose=0)[0]
    # Keras divides by the number of images, not by the sum of the weights.
    assert weighted == pytest.approx(alone * kept.mean() * 3.0, rel=1e-3)


@pytest.mark.parametrize(
    "loss", ["sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy()]
)
def test_a_loss_of_class_numbers_is_refused(images, loss):
    model = ImageClassifier(ViTEncoder((8, 8, 1), 2, 16, 1, 2, 32), 3)
    with pytest.raises(ValueError, match="`loss` must take one-hot labels"):
        model.compile("sgd", loss)
