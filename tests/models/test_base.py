"""A subclass of `TrainableModel` with nothing but what its docstring asks for."""

import keras
import numpy as np
import pytest

from mae_keras.models import TrainableModel
from mae_keras.models.exporting import signatures_of

IMAGES = np.arange(2 * 12, dtype="float32").reshape(12, 2, 1, 1)
LABELS = (IMAGES.mean(axis=(1, 2, 3)) > 11.5).astype("int32")
pytestmark = pytest.mark.every_backend
# Where it is quicker: JAX would compile every operation by itself.
EAGER = keras.backend.backend() == "tensorflow"


class MeanClassifier(TrainableModel):
    """Two classes from the sum of an image's pixels: logits `(0, sum * kernel)`."""

    def __init__(self, initial=0.0, **kwargs):
        super().__init__((2, 1, 1), hidden_dim=1, value_range=(0, 255), num_classes=2, **kwargs)
        self.initial = initial
        self.scale = keras.layers.Dense(
            1, use_bias=False, kernel_initializer=keras.initializers.Constant(initial)
        )
        self.build((None, 2, 1, 1))

    def build(self, input_shape):
        self.scale.build((None, 1))

    def call(self, images, training=False):
        total = keras.ops.sum(keras.ops.cast(images, "float32"), axis=(1, 2))
        logit = self.scale(total)
        return keras.ops.concatenate([keras.ops.zeros_like(logit), logit], axis=-1)

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


def compiled(initial=0.0, learning_rate=0.0, **options):
    model = MeanClassifier(initial)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(learning_rate), loss, run_eagerly=EAGER, **options)
    return model


def kernel(model):
    return float(keras.ops.convert_to_numpy(model.scale.kernel)[0, 0])


def cross_entropy(images, labels, initial):
    logits = images.sum(axis=(1, 2, 3)) * initial
    return np.mean(np.log1p(np.exp(np.where(labels == 1, -logits, logits))))


def test_it_fits_evaluates_and_predicts():
    model = compiled(initial=0.1, learning_rate=1e-3)
    loss = model.evaluate(IMAGES, LABELS, batch_size=5, verbose=0)
    assert loss == pytest.approx(cross_entropy(IMAGES, LABELS, 0.1), rel=1e-5)
    logits = model.predict(IMAGES, batch_size=5, verbose=0)
    np.testing.assert_allclose(logits[:, 1], IMAGES.sum(axis=(1, 2, 3)) * 0.1, rtol=1e-5)
    model.fit(IMAGES, LABELS, batch_size=12, verbose=0)
    total = IMAGES.sum(axis=(1, 2, 3))
    slope = np.mean((1 / (1 + np.exp(-0.1 * total)) - LABELS) * total)
    assert kernel(model) == pytest.approx(0.1 - 1e-3 * slope, rel=1e-4)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:, 0], LABELS, "must have"),
        (IMAGES + 300, LABELS, "within the model's value_range"),
        (IMAGES, LABELS + 1, "values from 1 to 2"),
    ],
    ids=["shape", "range", "labels"],
)
def test_it_refuses_what_does_not_fit(images, labels, message):
    model = compiled()
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=message):
            method(images, labels, verbose=0)
        with pytest.raises(ValueError, match=message):
            batches = ((images, labels) for _ in range(1))
            method(batches, **{"steps_per_epoch" if method == model.fit else "steps": 1}, verbose=0)


def test_it_is_saved_and_loaded_as_it_was_compiled(tmp_path):
    model = compiled(initial=0.3, skip_nonfinite=True)
    model.save(tmp_path / "model.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    again = keras.saving.load_model(
        tmp_path / "model.keras", custom_objects={"MeanClassifier": MeanClassifier}
    )
    assert kernel(again) == pytest.approx(0.3)
    config = again.get_compile_config()
    assert (config["jit_compile"], config["skip_nonfinite"]) == ("auto", True)


def test_it_skips_a_step_that_is_not_finite():
    model = compiled(learning_rate=1e-3, skip_nonfinite=True)
    # Finite, as weights must be; the sum of what they multiply is not.
    bad = (IMAGES, LABELS, np.full(12, 3e38, "float32"))
    history = model.fit((batch for batch in [bad]), steps_per_epoch=1, shuffle=False, verbose=0)
    assert history.history["skipped_steps"] == [1.0]
    assert kernel(model) == 0.0
    assert "skipped_steps" not in model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
    model.fit(IMAGES, LABELS, verbose=0)
    assert kernel(model) > 0.0


def test_it_exports_its_outputs():
    model = compiled(initial=0.5)
    signature = signatures_of(model)["serving_default"]
    outputs = keras.ops.convert_to_numpy(signature.function(IMAGES)["outputs"])
    np.testing.assert_allclose(outputs[:, 1], IMAGES.sum(axis=(1, 2, 3)) / 2)


class Regressor(TrainableModel):
    """The sum of an image's pixels plus an offset; or that and its negative, each by name."""

    def __init__(self, several=False):
        super().__init__((2, 1, 1), hidden_dim=1)
        self.several = several
        self.offset = keras.layers.Dense(1, kernel_initializer="zeros")
        self.build((None, 2, 1, 1))

    def build(self, input_shape):
        self.offset.build((None, 1))

    def call(self, images, training=False):
        total = keras.ops.sum(keras.ops.cast(images, "float32"), axis=(1, 2))
        total = total + self.offset(total)
        return {"plus": total, "minus": -total} if self.several else total

    @property
    def learned(self):
        return float(keras.ops.convert_to_numpy(self.offset.bias)[0])


TOTALS = IMAGES.sum(axis=(1, 2))
WEIGHTS = np.repeat(np.float32([1, 0]), 6)
# Images with no weight have labels far from the rest.
NUMBERS = np.where(WEIGHTS[:, None] > 0, TOTALS + 10, TOTALS - 1000)


def regressor(several=False):
    model = Regressor(several)
    model.offset.kernel.trainable = False
    model.compile(keras.optimizers.SGD(0.5), "mse", run_eagerly=EAGER)
    return model


def as_arrays(model, labels, weights):
    return model.fit(
        IMAGES,
        labels,
        sample_weight=weights,
        batch_size=12,
        validation_data=(IMAGES, labels, weights),
        verbose=0,
    )


def as_dataset(model, labels, weights):
    tf = pytest.importorskip("tensorflow")
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, labels, weights)).batch(12)
    return model.fit(batches, validation_data=batches, verbose=0)


def as_generator(model, labels, weights):
    batches = ((IMAGES, labels, weights) for _ in range(1))
    held_out = ((IMAGES, labels, weights) for _ in range(1))
    return model.fit(
        batches, steps_per_epoch=1, validation_data=held_out, validation_steps=1, verbose=0
    )


@pytest.mark.parametrize("fit", [as_arrays, as_dataset, as_generator])
def test_a_model_without_classes_learns_the_labels_of_images_that_have_weight(fit):
    model = regressor()
    history = fit(model, NUMBERS, WEIGHTS).history
    # The mean over all images of weight * (offset - 10)^2, of which half have no weight.
    assert history["loss"][0] == pytest.approx(50.0, rel=1e-5)
    assert model.learned == pytest.approx(0.5 * 10.0, rel=1e-5)
    assert history["val_loss"][0] == pytest.approx(0.5 * 5.0**2, rel=1e-5)
    assert model.evaluate(IMAGES, NUMBERS, sample_weight=WEIGHTS, verbose=0) == pytest.approx(12.5)
    assert model.test_on_batch(IMAGES, TOTALS + 8) == pytest.approx(9.0)


@pytest.mark.parametrize("fit", [as_arrays, as_dataset, as_generator])
def test_a_model_without_classes_has_several_outputs(fit):
    model = regressor(several=True)
    labels = {"plus": NUMBERS, "minus": -NUMBERS}
    history = fit(model, labels, {"plus": WEIGHTS, "minus": WEIGHTS}).history
    assert history["loss"][0] == pytest.approx(100.0, rel=1e-5)
    assert model.learned == pytest.approx(10.0, rel=1e-5)


def test_a_model_without_classes_needs_labels_for_weights():
    with pytest.raises(ValueError, match="`sample_weight` needs labels"):
        regressor().fit(IMAGES, sample_weight=WEIGHTS, verbose=0)
