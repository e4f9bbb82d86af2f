"""A run from one call: what its folder holds, and that nothing is ever lost."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

from mae_keras import data
from mae_keras.models import load_model
from mae_keras.runs import adapt, pretrain, pretraining
from mae_keras.runs.building import compile_model
from mae_keras.training import NonFiniteError

FILES = [
    "checkpoints",
    "config.json",
    "history.csv",
    "loss.png",
    "metrics.json",
    "model.keras",
    "reconstructions.png",
    "saved_model",
]


def test_a_run_writes_what_the_design_lists(finished):
    folder, _ = finished
    assert sorted(item.name for item in folder.iterdir()) == [".lock", *FILES]


def test_the_metrics_have_the_names_of_the_design(finished):
    folder, metrics = finished
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    encoders = {"trained", "untrained", "pca", "pixels"}
    assert set(metrics["baseline_loss"]) == {"mean_image", "visible_mean", "nearest_visible"}
    assert set(metrics["knn_accuracy"]) == set(metrics["linear_probe_accuracy"]) == encoders
    assert metrics["hidden_loss"] > 0
    assert metrics["images_per_second"] > 0
    assert metrics["wall_seconds"] > metrics["compile_seconds"] > 0
    assert metrics["seed"] == 0
    assert metrics["backend"] in metrics["versions"]
    assert metrics["device"]


def test_the_history_has_one_row_per_epoch(finished):
    folder, _ = finished
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [1, 2]
    assert all(float(row["loss"]) > 0 and float(row["val_loss"]) > 0 for row in rows)


def test_the_metrics_are_those_of_the_saved_model(finished, short_recipe):
    folder, metrics = finished
    model = load_model(folder / "model.keras")
    held_out, _ = data.load(short_recipe.dataset).test.arrays()
    loss = model.evaluate(held_out, batch_size=len(held_out), verbose=0)
    assert metrics["hidden_loss"] == pytest.approx(loss, rel=1e-5)


def test_the_pictures_are_pictures(finished):
    from PIL import Image

    folder, _ = finished
    for name in ("loss.png", "reconstructions.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 100
            assert len(set(picture.convert("L").tobytes())) > 10


def test_another_run_is_not_touched(finished, short_recipe):
    folder, _ = finished
    before = {item.name: item.stat().st_mtime_ns for item in folder.iterdir()}
    with pytest.raises(ValueError, match="holds another run"):
        pretrain(adapt(short_recipe, seed=1), folder, verbose=0)
    assert {item.name: item.stat().st_mtime_ns for item in folder.iterdir()} == before


@pytest.mark.slow
def test_nothing_is_written_when_settings_and_data_do_not_fit(short_recipe, tmp_path):
    out = tmp_path / "run"
    for change, message in (
        ({"patch_size": 3}, "patch_size"),
        ({"batch_size": 1000}, "batch_size"),
        ({"preset": "gigantic"}, "gigantic"),
        ({"dataset": str(tmp_path / "nowhere")}, "nowhere"),
        ({"mask_ratio": 0.001}, "mask_ratio"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrain(adapt(short_recipe, **change), out, verbose=0)
        assert not out.exists()


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_bit(finished, short_recipe, tmp_path, monkeypatch):
    """Killed in its second epoch, one step after a checkpoint."""
    from mae_keras.runs import Saving
    from mae_keras.runs import pretraining as fitting
    from mae_keras.training import StopAtNonFinite

    whole, expected = finished

    class Killed(BaseException):
        pass

    class Kill(StopAtNonFinite):
        def on_train_batch_end(self, batch, logs=None):
            if self._epoch == 1 and batch == 1:
                raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(fitting, "StopAtNonFinite", Kill)
        with pytest.raises(Killed):
            pretrain(short_recipe, tmp_path / "run", verbose=0, saving=Saving(every=1))
    metrics = pretrain(short_recipe, tmp_path / "run", resume=True, verbose=0)
    assert metrics["hidden_loss"] == expected["hidden_loss"]
    for name in ("history.csv", "loss.png", "reconstructions.png"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()
    first, second = (load_model(path / "model.keras") for path in (whole, tmp_path / "run"))
    for one, two in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.long
def test_a_run_that_ended_before_its_numbers_were_written_is_finished(
    short_recipe, tmp_path, monkeypatch
):
    from mae_keras.runs import pretraining

    recipe = adapt(short_recipe, ema_momentum=0.9)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "score", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(recipe, tmp_path / "run", verbose=0)
    averaged = load_model(tmp_path / "run" / "model.keras").get_weights()
    metrics = pretrain(recipe, tmp_path / "run", resume=True, verbose=0)
    assert metrics["hidden_loss"] > 0
    assert metrics["images_per_second"] > 0 and metrics["compile_seconds"] > 0
    again = load_model(tmp_path / "run" / "model.keras").get_weights()
    for one, two in zip(averaged, again, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.long
def test_divergence_stops_the_run_and_names_the_step(short_recipe, tmp_path, monkeypatch):
    def compile_diverged(model, *arguments):
        compile_model(model, *arguments)
        model.encoder.weights[0].assign(model.encoder.weights[0] + np.nan)

    monkeypatch.setattr(pretraining, "compile_model", compile_diverged)
    with pytest.raises(NonFiniteError, match="at step 1 "):
        pretrain(short_recipe, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.long
def test_a_growing_mask_ratio_is_scheduled_and_its_graphs_counted(short_recipe, tmp_path, caplog):
    recipe = adapt(short_recipe, epochs=4, mask_ratio_start=0.25, mask_ratio=0.75)
    with caplog.at_level("INFO", logger="mae_keras"):
        pretrain(recipe, tmp_path / "run", verbose=0)
    model = load_model(tmp_path / "run" / "model.keras")
    assert model.mask_ratio == pytest.approx(0.75)


@pytest.mark.long
def test_a_folder_of_photographs_of_mixed_sizes_can_be_trained_on(short_recipe, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for index in range(60):
        label = tmp_path / "photos" / ("cats" if index % 2 else "dogs")
        label.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20 + index % 7, 24, 3)).astype("uint8")
        Image.fromarray(pixels).save(label / f"{index}.{('png', 'jpg', 'bmp')[index % 3]}")
    recipe = dataclasses.replace(
        short_recipe,
        dataset=str(tmp_path / "photos"),
        image_size=16,
        patch_size=4,
        batch_size=8,
    )
    metrics = pretrain(recipe, tmp_path / "run", verbose=0)
    assert metrics["knn_accuracy"].keys() == {"trained", "untrained", "pca", "pixels"}
    assert load_model(tmp_path / "run" / "model.keras").image_shape == (16, 16, 3)


def test_two_runs_in_one_folder_at_once_are_refused(short_recipe, tmp_path):
    from mae_keras.runs import LockedError, locked

    with locked(tmp_path / "run"), pytest.raises(LockedError, match="another process is at work"):
        pretrain(short_recipe, tmp_path / "run", verbose=0)
    assert [item.name for item in (tmp_path / "run").iterdir()] == [".lock"]


def test_other_images_are_no_way_to_resume(finished, short_recipe):
    folder, _ = finished
    images = data.load(short_recipe.dataset)
    fewer = dataclasses.replace(images, train=data.SelectedSplit(images.train, range(64)))
    with pytest.raises(ValueError, match="settings differ: data: .*'train': .* now"):
        pretrain(short_recipe, folder, resume=True, images=fewer, verbose=0)


def test_weights_to_start_from_that_changed_before_the_first_checkpoint_are_refused(
    finished, short_recipe, tmp_path, monkeypatch
):
    from mae_keras.runs import pretraining

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "fit_recipe", stop)
    source = shutil.copy(finished[0] / "model.keras", tmp_path / "source.keras")
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            pretrain(short_recipe, tmp_path / "run", resume, init_from=source, verbose=0)
    other = load_model(source)
    other.trainable_variables[0].assign_add(other.trainable_variables[0])
    other.save(source)
    with pytest.raises(ValueError, match="source.keras', whose weights have changed since"):
        pretrain(short_recipe, tmp_path / "run", resume=True, init_from=source, verbose=0)


def test_a_run_of_a_version_without_a_setting_can_be_resumed(finished, short_recipe, tmp_path):
    folder, _ = finished
    config = json.loads((folder / "config.json").read_text())
    del config["balance"], config["strict"], config["run_id"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="differ: balance: 0.0 in the run, 0.5 now$"):
        pretrain(adapt(short_recipe, balance=0.5), tmp_path, resume=True, verbose=0)


def test_batches_that_the_devices_cannot_share_are_refused(short_recipe, monkeypatch, tmp_path):
    from mae_keras.runs import building

    monkeypatch.setattr(building, "num_replicas", lambda: 3)
    with pytest.raises(ValueError, match="`batch_size` must be a multiple of the 3 devices"):
        pretrain(short_recipe, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()


def test_a_backend_without_saved_models_does_not_lose_the_rest_of_a_run(
    tmp_path, monkeypatch, capsys
):
    import keras

    from mae_keras.runs import RunFolder, pretraining

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    pretraining._export(None, RunFolder(tmp_path))
    assert capsys.readouterr().out.startswith("No SavedModel was written. ")
    assert not list(tmp_path.iterdir())


def test_what_to_start_from_is_part_of_what_defines_a_run(finished, short_recipe, tmp_path):
    folder, _ = finished
    with pytest.raises(ValueError, match="settings differ: init_from: None in the run"):
        pretrain(short_recipe, folder, resume=True, init_from=tmp_path, verbose=0)
