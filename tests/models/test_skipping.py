"""A step that comes out NaN leaves no trace but the counters of masks."""

import keras
import numpy as np
import pytest

from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.training import pretraining_optimizer

SIZES = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}
SIZES |= {f"decoder_{name}": value for name, value in SIZES.items()}


def compiled(**options):
    keras.utils.set_random_seed(0)
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, value_range=None, seed=0, **SIZES)
    optimizer = pretraining_optimizer(
        0.1, 256, 100, gradient_accumulation_steps=options.pop("n", None)
    )
    model.compile(optimizer, jit_compile=options.pop("jit_compile", False), **options)
    return model


def batches():
    rng = np.random.default_rng(0)
    good, bad, after = rng.normal(size=(3, 4, 8, 8, 1)).astype("float32")
    bad[0] = 3e38  # finite, as images must be; what the model computes from it is not
    return good, bad, after


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def fit(model, *images):
    steps = ((x, np.zeros(len(x))) for x in images)
    return model.fit(steps, steps_per_epoch=len(images), shuffle=False, verbose=0).history


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("accumulate", [2, pytest.param(None, marks=pytest.mark.long)])
def test_training_goes_on_as_if_the_step_had_not_been(accumulate):
    good, bad, after = batches()
    skipping, sparing = (compiled(skip_nonfinite=True, n=accumulate) for _ in range(2))
    history = fit(skipping, good, bad, after)
    fit(sparing, good)
    sparing.masking.micro_step.assign(2)
    expected = fit(sparing, after)
    assert history["skipped_steps"] == [1.0]
    assert expected["skipped_steps"] == [0.0]
    assert np.isfinite(history["loss"]).all()
    for one, two in zip(state(skipping), state(sparing), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_without_it_everything_is_lost():
    model = compiled()
    history = fit(model, *batches())
    assert not np.isfinite(history["loss"]).any()
    assert any(np.isnan(weights).any() for weights in model.get_weights())


@pytest.mark.slow
@pytest.mark.long
def test_it_works_under_xla():
    model = compiled(skip_nonfinite=True, jit_compile=True)
    assert fit(model, *batches())["skipped_steps"] == [1.0]
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


@pytest.mark.slow
def test_it_is_kept_in_the_file_and_says_nothing_of_evaluation(tmp_path):
    good, *_ = batches()
    model = compiled(skip_nonfinite=True, run_eagerly=True)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    again.run_eagerly = True
    history = again.fit(good, validation_data=(good,), verbose=0).history
    assert "skipped_steps" in history
    assert "val_skipped_steps" not in history
