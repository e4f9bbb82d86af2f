"""A run's folder: refusals, atomic files, resuming to the bit."""

import numpy as np
import pytest

from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.training import RunCheckpoint, RunFolder, pretraining_optimizer

CONFIG = {"dataset": "digits", "epochs": 2, "seed": 0}


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.check(CONFIG)
    run.start(CONFIG)
    return run


def test_another_run_is_refused_and_nothing_touched(run):
    before = run.config.read_text()
    with pytest.raises(ValueError, match="holds another run.*--resume.*--overwrite"):
        run.check({**CONFIG, "epochs": 3})
    assert run.config.read_text() == before


def test_overwriting_removes_the_earlier_run(run):
    run.metrics.write_text("{}")
    run.saved_model.mkdir()
    run.check({**CONFIG, "epochs": 3}, overwrite=True)
    run.start({**CONFIG, "epochs": 3})
    assert run.contents() == ["config.json"]
    assert run.read_json(run.config)["epochs"] == 3


def test_a_folder_of_something_else_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="which holds .'thesis.tex'."):
        RunFolder(tmp_path).check(CONFIG, overwrite=True)


def test_a_stranger_among_the_files_of_a_run_is_kept(run):
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="notes.txt"):
        run.check(CONFIG, overwrite=True)


def test_resuming_lists_the_fields_that_differ(run):
    with pytest.raises(ValueError) as error:
        run.check({**CONFIG, "epochs": 3, "seed": 1}, resume=True)
    assert "epochs: 2 in the run, 3 now; seed: 0 in the run, 1 now" in str(error.value)


def test_resuming_the_same_config_is_allowed(run):
    run.check(dict(CONFIG), resume=True)


def test_resuming_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`--resume` needs a run in .* Received: no run"):
        RunFolder(tmp_path / "nowhere").check(CONFIG, resume=True)


def test_resume_and_overwrite_exclude_each_other(run):
    with pytest.raises(ValueError, match="exclude each other"):
        run.check(CONFIG, resume=True, overwrite=True)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ValueError, match="`out` must be a folder"):
        RunFolder(tmp_path / "run").check(CONFIG)


def test_history_reads_back_exactly(run):
    history = {"epoch": [1.0, 2.0], "loss": [0.1 + 0.2, 1e-17], "val_loss": [None, 3.0]}
    run.write_history(history)
    assert run.read_history() == history


def test_a_damaged_config_is_named(run):
    run.config.write_text("{")
    with pytest.raises(ValueError, match="config.json' cannot be read"):
        run.check(CONFIG, resume=True)


def _model(steps):
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
    decoder = {f"decoder_{name}": value for name, value in sizes.items()}
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=0, **sizes, **decoder)
    optimizer = pretraining_optimizer(1e-2, 256, 4 * steps, steps, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, jit_compile=False)
    return model


@pytest.mark.slow
def test_resuming_at_an_epochs_end_is_bit_identical(tmp_path, tiny_images):
    import keras

    def fit(model, run, first, last):
        checkpoint = RunCheckpoint(run, first, min_seconds=0)
        model.fit(
            tiny_images,
            batch_size=8,
            shuffle=False,
            initial_epoch=first,
            epochs=last,
            callbacks=[checkpoint],
            verbose=0,
        )
        return model

    keras.utils.set_random_seed(0)
    whole = RunFolder(tmp_path / "whole")
    straight = fit(_model(2), whole, 0, 4)
    keras.utils.set_random_seed(0)
    halves = RunFolder(tmp_path / "halves")
    fit(_model(2), halves, 0, 2)
    resumed = fit(load_model(halves.checkpoint), halves, 2, 4)
    pairs = zip(straight.get_weights(), resumed.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert whole.read_history() == halves.read_history()
    pairs = zip(straight.optimizer.variables, resumed.optimizer.variables, strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)


@pytest.mark.slow
def test_a_row_without_its_checkpoint_is_dropped_on_resume(run, tiny_model, tiny_images):
    run.write_history({"epoch": [1.0, 2.0], "loss": [3.0, 2.0]})
    checkpoint = RunCheckpoint(run, epochs_done=1)
    tiny_model.fit(tiny_images, initial_epoch=1, epochs=2, callbacks=[checkpoint], verbose=0)
    history = run.read_history()
    assert history["epoch"] == [1.0, 2.0]
    assert history["loss"][0] == 3.0
    assert history["loss"][1] != 2.0
