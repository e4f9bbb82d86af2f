import json

import keras
import numpy as np
import pytest
from interop.torch_files import meta_tensors, write_pth

from mae_keras.models import load_model
from mae_keras.runs import exporting as importing
from mae_keras.runs.exporting import import_checkpoint, load_run

HEADS = {"num_heads": 4, "decoder_num_heads": 2}


@pytest.fixture
def checkpoint(tmp_path):
    """Of the sizes of `nano`."""
    sizes = {"width": 64, "depth": 4, "mlp": 128, "channels": 1}
    write_pth(tmp_path / "a.pth", {"model": meta_tensors(**sizes)})
    return tmp_path / "a.pth"


@pytest.fixture
def quick(monkeypatch):
    """SavedModels are written in one test only: they take seconds."""
    monkeypatch.setattr(importing, "export_saved_model", lambda _, path: path.mkdir())


@pytest.mark.long
def test_a_checkpoint_becomes_a_run(checkpoint, tmp_path):
    report = import_checkpoint(checkpoint, tmp_path / "run", dataset="digits", **HEADS)
    assert report.complete
    recipe, model = load_run(tmp_path / "run")
    assert (recipe.dataset, recipe.preset, recipe.image_size) == ("digits", "nano", 8)
    assert (recipe.patch_size, recipe.mask_ratio) == (2, 0.75)
    tensors = meta_tensors(width=64, depth=4, mlp=128, channels=1)
    np.testing.assert_array_equal(model.encoder.norm.gamma, tensors["norm.weight"])
    written = json.loads((tmp_path / "run" / "report.json").read_text())
    assert len(written["tensors"]) == len(tensors)
    assert (tmp_path / "run" / "saved_model" / "saved_model.pb").exists()


@pytest.mark.usefixtures("quick")
def test_a_classifier_becomes_a_run(tmp_path):
    write_pth(tmp_path / "a.pth", meta_tensors(decoder=None, classes=3))
    import_checkpoint(tmp_path / "a.pth", tmp_path / "run", num_heads=2)
    assert load_model(tmp_path / "run" / "model.keras").num_classes == 3
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"] == "ImageClassifier" and "preset" not in config


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_another_run_is_replaced_only_on_request(checkpoint, tmp_path):
    import_checkpoint(checkpoint, tmp_path / "run", **HEADS)
    with pytest.raises(ValueError, match="--overwrite"):
        import_checkpoint(checkpoint, tmp_path / "run", **HEADS)
    import_checkpoint(checkpoint, tmp_path / "run", overwrite=True, **HEADS)


def test_a_checkpoint_that_is_refused_writes_nothing(tmp_path):
    (tmp_path / "a.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="LFS"):
        import_checkpoint(tmp_path / "a.pth", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_backend_without_saved_models_is_refused_before_the_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="on TensorFlow or JAX"):
        import_checkpoint("nowhere.pth", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_an_error_in_words(tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("Unable to synchronously write (no space left)")  # as h5py does

    write_pth(tmp_path / "a.pth", meta_tensors(decoder=None, classes=3))
    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(OSError, match="no space left.*import it again with --overwrite"):
        import_checkpoint(tmp_path / "a.pth", tmp_path / "run", num_heads=2)


def test_an_encoder_alone_is_no_run(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="kind='encoder'"):
        import_checkpoint(checkpoint, tmp_path / "run", kind="encoder")
