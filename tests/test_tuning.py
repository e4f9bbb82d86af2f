"""The thread that tunes a data set is off in `fit`, unless it was asked for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mae_keras.models import ImageClassifier, MaskedAutoencoder
from mae_keras.runtime.tf_data import without_tuning

IMAGES = np.zeros((4, 8, 8, 1), "uint8")


def with_tuning(batches, enabled):
    options = tf.data.Options()
    options.autotune.enabled = enabled
    return batches.with_options(options)


def test_tuning_is_switched_off_and_other_options_are_kept():
    batches = tf.data.Dataset.range(3)
    options = tf.data.Options()
    options.deterministic = False
    settled = without_tuning(batches.with_options(options))
    assert settled.options().autotune.enabled is False
    assert settled.options().deterministic is False
    assert list(settled.as_numpy_iterator()) == [0, 1, 2]


def test_what_was_asked_for_is_kept():
    assert without_tuning(with_tuning(tf.data.Dataset.range(3), True)).options().autotune.enabled


def test_what_is_no_data_set_comes_back():
    assert without_tuning(IMAGES) is IMAGES
    assert without_tuning(None) is None


@pytest.mark.parametrize("kind", [MaskedAutoencoder, ImageClassifier])
def test_fit_and_evaluate_do_without_tuning(kind, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        keras.Model, "fit", lambda self, x, y, **options: seen.update(x=x, **options)
    )
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2)
    if kind is ImageClassifier:
        model = ImageClassifier(model.encoder, 2)
    labels = np.array([0, 1, 0, 1])
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(2)
    model.fit(batches, validation_data=batches)
    assert seen["x"].options().autotune.enabled is False
    assert seen["validation_data"].options().autotune.enabled is False
    monkeypatch.setattr(
        keras.Model, "evaluate", lambda self, x, *rest, **options: seen.update(evaluated=x)
    )
    model.evaluate(batches)
    assert seen["evaluated"].options().autotune.enabled is False
