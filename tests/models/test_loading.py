"""Saving whole files and loading them back, or saying in words why not."""

import json
import zipfile

import keras
import numpy as np
import pytest

import mae_keras
from mae_keras.models import MaskedAutoencoder, load_model


def change_config(path, change):
    """Rewrite `config.json` inside a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(parts["config.json"])
    change(document["config"])
    parts["config.json"] = json.dumps(document)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.fixture
def saved(tmp_path, make_tiny):
    path = tmp_path / "model.keras"
    make_tiny().save(path)
    return path


def test_the_version_is_in_the_file(saved):
    with zipfile.ZipFile(saved) as archive:
        config = json.loads(archive.read("config.json"))["config"]
    assert config["mae_keras_version"] == mae_keras.__version__


def test_a_file_of_another_version_that_fits_is_loaded(saved, images):
    expected = load_model(saved).encode(images)
    change_config(saved, lambda config: config.update(mae_keras_version="0.0.9"))
    np.testing.assert_array_equal(load_model(saved).encode(images), expected)


def test_a_file_of_another_version_that_does_not_fit_names_both(saved):
    change_config(saved, lambda config: config.update(mae_keras_version="9.9", telepathy=True))
    with pytest.raises(ValueError, match=rf"mae_keras 9\.9 .*mae_keras {mae_keras.__version__}"):
        load_model(saved)


def test_a_part_of_another_version_that_does_not_fit_names_both(saved):
    def change(config):
        config["mae_keras_version"] = "9.9"
        config["encoder"]["config"]["telepathy"] = True

    change_config(saved, change)
    with pytest.raises(ValueError, match=rf"mae_keras 9\.9 .*mae_keras {mae_keras.__version__}"):
        load_model(saved)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.5, 0.99])
def test_a_truncated_file_is_called_truncated(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match="no whole `.keras` file; it is truncated"):
        load_model(saved)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("not a model")
    with pytest.raises(ValueError, match="no whole `.keras` file"):
        load_model(path)


def test_an_archive_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="no whole `.keras` file"):
        load_model(path)


def test_a_flipped_byte_is_found(saved):
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        weights = archive.getinfo("model.weights.h5")
    content[weights.header_offset + weights.compress_size // 2] ^= 0xFF
    saved.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="damaged|no whole"):
        load_model(saved)


def test_a_bomb_is_refused_before_anything_of_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("mae_keras.archives._ALWAYS_ALLOWED", 2**16)
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", " " * 2**20)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(ValueError, match="model.keras' takes .* unfolds to 1.0 MB"):
        load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("document", [[], "text", {"config": None}, {"config": 3}])
def test_an_archive_with_a_strange_config_is_refused_in_words(tmp_path, document):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(document))
    with pytest.raises(ValueError, match="model.keras"):
        load_model(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such file: .*nowhere.keras"):
        load_model(tmp_path / "nowhere.keras")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="must be a `.keras` file"):
        load_model(tmp_path)


def test_code_inside_a_file_is_not_run(tmp_path):
    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    model.save(path)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(path)


def test_any_keras_model_can_be_loaded(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]).save(path)
    assert load_model(path).count_params() == 9


def test_weights_of_another_size_are_an_error_in_words(saved):
    change_config(saved, lambda config: config["encoder"]["config"].update(hidden_dim=32))
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(saved)


@pytest.mark.slow
def test_loading_without_compiling_leaves_the_optimizer_behind(tiny, tmp_path):
    tiny.save(tmp_path / "model.keras")
    assert not load_model(tmp_path / "model.keras", compile=False).compiled
    assert load_model(tmp_path / "model.keras").compiled


def half_then_fail(self, filepath, *_, **__):
    with open(filepath, "w") as file:
        file.write("half")
    raise OSError("disk full")


def test_a_save_that_fails_midway_leaves_the_previous_file_whole(tiny, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    tiny.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(keras.Model, "save", half_then_fail)
    with pytest.raises(OSError, match="disk full"):
        tiny.save(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["model.keras"]


def test_a_first_save_that_fails_leaves_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.Model, "save", half_then_fail)
    with pytest.raises(OSError, match="disk full"):
        tiny.save(tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_callback_that_fails_leaves_the_previous_file_whole(
    tiny, tmp_path, monkeypatch
):
    path = tmp_path / "model.keras"
    tiny.save(path)
    before = path.read_bytes()
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    checkpoint.set_model(tiny)
    monkeypatch.setattr(keras.Model, "save", half_then_fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.on_epoch_end(0, {})
    assert path.read_bytes() == before


def test_keras_saves_the_model_too(tiny, tmp_path, images):
    keras.saving.save_model(tiny, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode(images), tiny.encode(images))


def test_an_existing_file_is_kept_when_asked(tiny, tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("mine")
    with pytest.raises(ValueError, match="`filepath` exists and `overwrite` is False"):
        tiny.save(path, overwrite=False)
    assert path.read_text() == "mine"


def test_weights_alone_are_saved_and_loaded(tiny, make_tiny, tmp_path, images):
    tiny.save_weights(tmp_path / "model.weights.h5")
    other = make_tiny(weights_seed=9)
    other.load_weights(tmp_path / "model.weights.h5")
    assert isinstance(other, MaskedAutoencoder)
    np.testing.assert_array_equal(other.encode(images), tiny.encode(images))


@pytest.mark.slow
def test_what_training_saved_is_loaded_by_a_process_that_knows_models_alone(
    make_tiny, images, tmp_path, run_python
):
    """The optimizer's class lives in a room that models may not import."""
    from mae_keras.training import pretraining_optimizer

    model = make_tiny()
    model.compile(pretraining_optimizer(1e-3, 16, 4), run_eagerly=True)
    model.fit(images, verbose=0)
    model.save(tmp_path / "model.keras")
    (tmp_path / "load.py").write_text(
        "import sys\n"
        "from mae_keras.models import load_model\n"
        "print(type(load_model(sys.argv[1]).optimizer).__name__)\n"
    )
    printed = run_python(tmp_path / "load.py", tmp_path / "model.keras")
    assert printed.strip().endswith("MaskedAdamW")


def test_modules_of_others_are_not_imported(saved, tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    change_config(saved, lambda config: config.update(extra={"module": "hostile"}))
    with pytest.raises(ValueError, match="extra"):
        load_model(saved)
