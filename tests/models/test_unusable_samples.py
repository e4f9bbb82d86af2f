"""Samples with fewer than two present patches: no weight, counted, reported."""

import warnings

import keras
import numpy as np
import pytest

from mae_keras.models import DenseMaskedAutoencoder, MaskedAutoencoder
from mae_keras.runs import Progress, RunCheckpoint, RunFolder


def build(**options):
    keras.utils.set_random_seed(0)
    model = DenseMaskedAutoencoder((4, 4, 1), (8,), value_range=(0, 1), seed=0, **options)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def whole():
    return np.random.default_rng(0).random((12, 4, 4, 1)).astype("float32")


@pytest.fixture(scope="module")
def holed(whole):
    """12 images: three without a value, one with one, one with two; one lacks a value."""
    images = whole.copy()
    images[[3, 4, 5]] = np.nan
    images[6].flat[1:] = np.nan
    images[7].flat[2:] = np.nan
    images[8].flat[5] = np.nan
    return images


@pytest.mark.slow
@pytest.mark.every_backend
def test_they_are_counted_in_training_and_in_validation(holed):
    with pytest.warns(UserWarning, match="^4 samples trained on .* fewer than 2 patches") as caught:
        history = (
            build()
            .fit(holed, epochs=2, batch_size=5, validation_data=(holed[:6],), verbose=0)
            .history
        )
    assert sum("fewer than 2" in str(one.message) for one in caught) == 1
    assert history["unusable_samples"] == [4, 4]
    assert history["val_unusable_samples"] == [3, 3]
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("loss_on", ["all", "hidden"])
def test_they_have_no_weight(holed, loss_on):
    model = build(loss_on=loss_on)
    x, _, weights = model._masked_batch((keras.ops.convert_to_tensor(holed),), 1)
    weights = keras.ops.convert_to_numpy(weights)
    unusable = np.isin(np.arange(12), [3, 4, 5, 6])
    assert (weights[unusable] == 0).all()
    np.testing.assert_allclose(weights[~unusable].sum(axis=1), 16, rtol=1e-6)
    seen = ~keras.ops.convert_to_numpy(x["patch_mask"] | x["missing"])
    assert (seen[~unusable].sum(axis=1) >= 1).all()


def test_evaluation_names_them_and_returns_what_it_did(holed):
    with pytest.warns(UserWarning, match="^4 samples evaluated have fewer than 2 patches"):
        loss = build().evaluate(holed, verbose=0)
    assert isinstance(loss, float)
    assert isinstance(build().train_on_batch(holed), float | np.floating)


def test_holes_that_leave_enough_are_no_reason_to_warn(holed):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        history = build().fit(holed[7:], epochs=1, verbose=0).history
    assert history["unusable_samples"] == [0]


@pytest.mark.slow
def test_without_holes_logs_are_as_before(whole):
    floats = build()
    assert set(floats.fit(whole, epochs=2, validation_data=(whole,), verbose=0).history) == {
        "loss",
        "val_loss",
    }
    keras.utils.set_random_seed(0)
    integers = DenseMaskedAutoencoder((4, 4, 1), (8,), seed=0)
    integers.compile("sgd", run_eagerly=True)
    assert set(integers.fit((whole * 255).astype("uint8"), verbose=0).history) == {"loss"}
    assert [metric.name for metric in integers.metrics] == ["loss"]


def test_a_column_that_comes_late_has_as_many_rows(whole, holed):
    batches = (batch for batch in [(whole,), (holed,), (whole,)])
    with pytest.warns(UserWarning, match="^4 samples"):
        history = (
            build().fit(batches, epochs=3, steps_per_epoch=1, shuffle=False, verbose=0).history
        )
    assert history["unusable_samples"] == [0, 4, 0]
    assert len(history["loss"]) == 3


def test_a_checkpoint_from_before_the_counts_still_resumes(whole, tmp_path):
    (tmp_path / "run").mkdir()
    start = Progress(metrics=[0.5, 3.0])
    callback = RunCheckpoint(RunFolder(tmp_path / "run"), 1, 2, start)
    model = build()
    model._prepare_counts(whole)
    callback.set_model(model)
    callback._set_metrics([0.5, 3.0])
    values = [float(keras.ops.convert_to_numpy(v)) for v in model.metrics_variables]
    assert values == [0.5, 3.0, 0.0, 0.0]


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("options", [{}, {"decoder_attention": "cross", "decode_ratio": 0.4}])
@pytest.mark.parametrize("class_token", [True, False])
def test_what_is_asked_of_them_is_finite(options, class_token):
    """Images with 0, 1, 2 and all patches: predictions, features and training hold no NaN."""
    model = MaskedAutoencoder.from_preset(
        "nano", (8, 8, 1), 2, num_layers=1, decoder_num_layers=1, value_range=(0, 1),
        use_class_token=class_token, seed=0, **options,
    )  # fmt: skip
    images = np.random.default_rng(0).random((8, 8, 8, 1)).astype("float32")
    images[0] = images[4] = np.nan
    images[1, 2:] = images[1, :, 2:] = np.nan
    images[2, 2:] = images[2, :, 4:] = np.nan
    with pytest.warns(UserWarning, match="^2 of 8 `images` have a missing"):
        made, features = model.reconstruct(images), model.encode(images)
    assert np.isfinite(made.prediction).all() and np.isfinite(made.pasted).all()
    assert np.isfinite(features).all()
    model.compile("adam", jit_compile=False)
    with pytest.warns(UserWarning, match="^3 samples"):
        model.fit(images, batch_size=4, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
