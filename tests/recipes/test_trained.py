"""What can be done with a finished run."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mae_keras import data
from mae_keras.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder
from mae_keras.runs import exporting as trained
from mae_keras.runs.exporting import export_run, load_run, reconstruct_files, verified_line


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "digit.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20)).astype("uint8")).save(path)
    return path


def test_a_run_gives_its_recipe_and_model_back(finished, short_recipe):
    recipe, model = load_run(finished[0])
    assert recipe == short_recipe
    assert model.image_shape == (8, 8, 1)


def test_a_run_of_an_earlier_version_is_cut_as_it_was(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("split_by") == "key" and config.pop("run_id")  # which holds the checksum
    (folder / "config.json").write_text(json.dumps(config))
    assert load_run(folder)[0].split_by == "order"


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`run` must be the folder of a run. Received"):
        load_run(tmp_path)


def test_an_unfinished_run_is_refused_with_the_way_on(finished, tmp_path):
    shutil.copy(finished[0] / "config.json", tmp_path)
    with pytest.raises(ValueError, match="is not finished.*--resume"):
        load_run(tmp_path)


def test_image_files_are_drawn(finished, picture, tmp_path):
    reconstruct_files(finished[0], [picture, picture], tmp_path / "made.png", 0.5)
    with Image.open(tmp_path / "made.png") as made:
        assert min(made.size) > 100


def test_of_a_folder_the_first_files_are_drawn(finished, picture, tmp_path, monkeypatch):
    folder = tmp_path / "pictures" / "deep"
    folder.mkdir(parents=True)
    for number in range(10):
        shutil.copy(picture, folder / f"{number}.png")
    drawn = []
    monkeypatch.setattr(
        trained, "reconstruction_of", lambda _, images, *rest, **__: drawn.append(images)
    )
    monkeypatch.setattr(trained.figures, "save_figure", lambda *_: None)
    reconstruct_files(finished[0], [tmp_path / "pictures", picture], tmp_path / "made.png")
    assert drawn[0].shape == (9, 8, 8, 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="folders of them. Received: '.*empty', which holds none"):
        reconstruct_files(finished[0], [tmp_path / "empty"], tmp_path / "made.png")


def test_a_model_file_alone_is_exported_in_the_format_of_the_ending(tmp_path, monkeypatch):
    encoder = ViTEncoder((8, 8, 1), 2, 16, 1, 2, 16)
    ImageClassifier(encoder, 3).save(tmp_path / "classifier.keras")
    seen = []
    monkeypatch.setattr(
        trained.interop, "export_onnx", lambda *given, **options: seen.append((given, options))
    )
    export_run(tmp_path / "classifier.keras", tmp_path / "x.onnx")
    (model, out), options = seen[0]
    assert isinstance(model, ImageClassifier) and out == tmp_path / "x.onnx"
    assert options == {"signature": None}  # the exporter's own default


def test_a_model_without_a_range_gets_the_pixels_of_a_file_as_they_are(
    picture, tmp_path, monkeypatch
):
    """So do checkpoints whose preprocessor does not rescale."""
    encoder = ViTEncoder((8, 8, 1), 2, 16, 1, 2, 16, value_range=None)
    MaskedAutoencoder(encoder, MAEDecoder(16, 1, 2, 16)).save(tmp_path / "model.keras")
    (tmp_path / "config.json").write_text("{}")
    given = []
    monkeypatch.setattr(
        trained, "reconstruction_of", lambda _, images, *rest, **__: given.append(images)
    )
    monkeypatch.setattr(trained.figures, "save_figure", lambda *_: None)
    reconstruct_files(tmp_path, [picture], tmp_path / "made.png")
    expected = data.read_image(picture, (8, 8, 1), resize="stretch")  # as runs without the setting
    np.testing.assert_array_equal(given[0][0], expected)


def test_no_files_are_refused(finished, tmp_path):
    with pytest.raises(ValueError, match="at least one image file. Received: none"):
        reconstruct_files(finished[0], [], tmp_path / "made.png")


@pytest.mark.slow
def test_an_export_serves(finished, tmp_path):
    import tensorflow as tf

    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "saved_model.pb").touch()  # an earlier one is replaced
    differences = export_run(finished[0], tmp_path / "served", signatures=["encode"])
    assert set(differences) == {"serving_default/features", "encode/features"}
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype("uint8")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    features = served(images=tf.constant(images))["features"]
    np.testing.assert_allclose(features, load_run(finished[0])[1].encode(images), atol=1e-5)


def test_a_folder_of_something_else_is_not_exported_into(finished, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="must be a new or empty folder"):
        export_run(finished[0], tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_another_format_is_refused_before_the_run_is_looked_at(tmp_path):
    with pytest.raises(ValueError, match="`format` must be 'saved-model', 'onnx' or 'litert'"):
        export_run(tmp_path, tmp_path / "out", "h5")


def test_one_line_says_the_largest_difference_of_each_signature():
    line = verified_line({"a/x": 1e-7, "a/y": 2e-7, "b/x": 0.0})
    assert line.endswith(": a 2e-07, b 0")
