"""Private runs: what they write and leave out, resume, and refusals."""

import dataclasses
import importlib.util
import json
import stat

import numpy as np
import pytest

from mae_keras import data
from mae_keras.models import load_model
from mae_keras.runs import (
    Recipe,
    RunFolder,
    Saving,
    adapt,
    find_recipe,
    model_card,
    pretrain,
    pretraining,
    private,
    summary,
)
from mae_keras.runs.building import untrained_model
from mae_keras.training import StopAtNonFinite

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("dp_accounting") is None,
    reason="dp-accounting is not installed: pip install '.[privacy]'",
)
SIZES = {"hidden_dim": 8, "num_layers": 1, "num_heads": 1, "mlp_dim": 8}
SIZES |= {f"decoder_{name}": value for name, value in SIZES.items()}
RECIPE = Recipe(
    patch_size=4,
    mask_ratio=0.5,
    batch_size=16,
    epochs=2,
    warmup_epochs=0,
    jit_compile="false",
    epsilon=8.0,
    delta=1e-3,
)
SPENT = {
    "epsilon": 7.9,
    "delta": 1e-3,
    "target_epsilon": 8.0,
    "noise_multiplier": 0.8,
    "steps": 8,
    "unit": "one sample, added or removed",
}


def images_of(shape=(8, 8, 1), value_range=(0, 255), dtype="uint8"):
    pixels = np.random.default_rng(0).integers(0, 256, (64, *shape)).astype(dtype)
    split = data.ArraySplit(pixels)
    parts = {"train": split, "validation": split, "test": split}
    return data.ImageData("digits", shape, None, None, **parts, value_range=value_range)


@pytest.fixture
def small(monkeypatch):
    """Runs of a model that is made and traced in seconds, and write no SavedModel."""

    def make(recipe, images):
        return untrained_model(recipe, images, **SIZES)

    monkeypatch.setattr(pretraining, "untrained_model", make)
    monkeypatch.setattr(pretraining, "_export", lambda model, run: None)


class Killed(BaseException):
    """What no code catches."""


class Kill(StopAtNonFinite):
    """Ends the process, as it were, in the second epoch, a step after a checkpoint."""

    def on_train_batch_end(self, batch, logs=None):
        if self._epoch == 1 and batch == 1:
            raise Killed


@pytest.mark.slow
def test_a_killed_private_run_ends_as_a_whole_one_and_shows_no_data(tmp_path, small, monkeypatch):
    monkeypatch.setattr(private, "new_seed", lambda: 12345)
    images = images_of()
    metrics = pretrain(RECIPE, tmp_path / "whole", images=images, verbose=0)
    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "StopAtNonFinite", Kill)
        with pytest.raises(Killed):
            pretrain(RECIPE, tmp_path / "run", images=images, verbose=0, saving=Saving(every=1))
    run = RunFolder(tmp_path / "run")
    assert json.loads(run.privacy_seed.read_text()) == {"seed": 12345}
    assert stat.S_IMODE(run.privacy_seed.stat().st_mode) == 0o600
    resumed = pretrain(RECIPE, run.path, images=images, resume=True, verbose=0)
    assert resumed["privacy"] == metrics["privacy"] and metrics["privacy"]["steps"] == 8
    assert 7.5 < metrics["privacy"]["epsilon"] <= 8
    weights = [
        load_model(tmp_path / name / "model.keras").get_weights() for name in ("whole", "run")
    ]
    for one, two in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, two)
    whole = RunFolder(tmp_path / "whole")
    assert run.history.read_bytes() == whole.history.read_bytes()
    assert run.history.read_text().splitlines()[0] == "epoch,private_steps,epsilon"
    assert not run.privacy_seed.exists()
    assert not any(path.suffix == ".png" for path in run.path.rglob("*"))
    assert not {"hidden_loss", "knn_accuracy", "baseline_loss"} & set(metrics)
    config = run.read_json(run.config)
    assert config["data"]["first_images"] is None and not config["data"]["content"]
    assert "(epsilon, delta)-differentially private" in run.model_card.read_text()
    normalization = load_model(run.model).normalization
    assert list(normalization.mean) == [0.5] and list(normalization.std) == [0.25]
    # A finished run is complete without its seed, and cannot be trained on.
    assert pretrain(RECIPE, run.path, images=images, resume=True, verbose=0)["privacy"]
    with pytest.raises(ValueError, match="epochs: 2 in the run, 3 now"):
        longer = dataclasses.replace(RECIPE, epochs=3)
        pretrain(longer, run.path, images=images, resume=True, verbose=0)


@pytest.mark.slow
def test_losses_scores_and_pictures_come_on_request(tmp_path, small):
    recipe = dataclasses.replace(RECIPE, epochs=1, report_private=True)
    metrics = pretrain(recipe, tmp_path / "run", images=images_of(), verbose=0)
    assert metrics["hidden_loss"] > 0 and metrics["privacy"]["steps"] == 4
    assert (tmp_path / "run" / "reconstructions.png").exists()
    header = (tmp_path / "run" / "history.csv").read_text().splitlines()[0]
    assert {"loss", "val_loss", "epsilon"} <= set(header.split(","))


def test_a_run_without_its_seed_is_not_trained_on(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(ValueError, match="needs its seed to go on"):
        private.read_seed(run)
    private.write_seed(run, 99)
    assert private.read_seed(run) == 99
    private.remove_seed(run)
    assert not run.privacy_seed.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delta": None}, "`delta` must be given with `epsilon`"),
        ({"epsilon": None}, "`delta` must be left out without `epsilon`"),
        ({"epsilon": -1.0}, "`epsilon` must be"),
        ({"uniformity_weight": 0.1}, "`uniformity_weight` must be 0 with `epsilon`"),
        ({"gradient_accumulation_steps": 2}, "`gradient_accumulation_steps` must be 1"),
        ({"steps_per_execution": 2}, "`steps_per_execution` must be 1"),
        ({"balance": 0.5}, "`balance` must be 0"),
        ({"on_nan": "skip"}, "`on_nan` must be stop"),
        ({"dtype_policy": "mixed_float16"}, "`dtype_policy` must be float32 or mixed_bfloat16"),
        ({"max_grad_norm": 0.0}, "`max_grad_norm` must be"),
        ({"epsilon": None, "delta": None, "report_private": True}, "`report_private` must be"),
    ],
)
def test_settings_that_break_the_guarantee_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **changes)


def test_recipes_leave_out_uniformity_with_epsilon():
    recipe = find_recipe("mnist-sample")
    assert recipe.uniformity_weight > 0
    assert adapt(recipe, epsilon=8.0, delta=1e-5).uniformity_weight == 0
    with pytest.raises(ValueError, match="`uniformity_weight` must be 0"):
        adapt(recipe, epsilon=8.0, delta=1e-5, uniformity_weight=0.1)


def test_nothing_is_written_when_data_or_budget_do_not_fit(tmp_path):
    cases = (
        (RECIPE, images_of((16, 2), None, "float32"), "`epsilon` is for images"),
        (RECIPE, images_of(value_range=None, dtype="float32"), "range of values is known"),
        (dataclasses.replace(RECIPE, delta=0.1), images_of(), "`delta` must be less than 1 / 64"),
    )
    for recipe, images, message in cases:
        with pytest.raises(ValueError, match=message):
            pretrain(recipe, tmp_path / "run", images=images, verbose=0)
        assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="`probe_every` must be left out with `epsilon`"):
        pretrain(RECIPE, tmp_path / "run", images=images_of(), probe_every=1)


def test_the_summary_and_the_card_say_what_was_spent(tmp_path):
    said = summary({"privacy": SPENT, "steps": 8})
    assert said.startswith("Privacy: epsilon 7.9 of 8 spent in 8 steps, delta 0.001, noise 0.8\n")
    run = RunFolder(tmp_path)
    run.write_json(run.config, {"preset": "nano", "dataset": "digits", "epsilon": 8.0})
    run.write_json(run.metrics, {"privacy": SPENT})
    card = model_card(run)
    assert "## Privacy" in card and "| epsilon | 7.9 |" in card and "Hidden-patch" not in card
