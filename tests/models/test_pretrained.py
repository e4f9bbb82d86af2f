"""Weights to start from: those in the package, and everything else that `from_pretrained` reads."""

import io
import json
import pathlib
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
from models.hostile_files import write

from mae_keras.interop import save_torch_weights
from mae_keras.models import ImageClassifier, MaskedAutoencoder, ViTEncoder
from mae_keras.run_contents import WEIGHTS, pretrained_names
from mae_keras.runs.building import initialize_from

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("name", pretrained_names())
def test_packaged_weights_are_small_and_half_and_come_back_as_float32(name):
    file = WEIGHTS / name / "model.keras"
    assert file.stat().st_size < 2_000_000
    stored = {}
    with zipfile.ZipFile(file) as archive, h5py.File(io.BytesIO(archive.read(MEMBER))) as weights:
        weights.visititems(lambda path, item: stored.update({path: getattr(item, "dtype", None)}))
    kinds = {str(dtype) for dtype in stored.values() if dtype is not None}
    assert kinds == {"float16", "int32"}
    model = MaskedAutoencoder.from_pretrained(name)
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    assert model.compute_dtype == "float32"
    # Keras alone reads it, as any of its files.
    alone = keras.saving.load_model(file)
    images = np.random.default_rng(0).integers(0, 256, (2, *model.image_shape), "uint8")
    np.testing.assert_array_equal(model.encode(images), alone.encode(images))


MEMBER = "model.weights.h5"


@pytest.mark.parametrize("name", pretrained_names())
def test_a_card_tells_data_recipe_commands_and_scores(name):
    card = (WEIGHTS / name / "model_card.md").read_text()
    config = json.loads((WEIGHTS / name / "config.json").read_text())
    for words in (f'from_pretrained("{name}")', "mae-keras pretrain --dataset", "20-NN", "float16"):
        assert words in card
    assert config["dataset"] in card
    assert str(ROOT) not in card


@pytest.mark.slow
def test_storing_in_half_keeps_what_the_model_gives(tiny, images, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import pretrained_weights

    path = tmp_path / "model.keras"
    pretrained_weights.store_half(tiny, path)
    half = MaskedAutoencoder.from_pretrained(path)
    np.testing.assert_allclose(half.encode(images), tiny.encode(images), rtol=0, atol=5e-3)
    for stored, trained in zip(half.trainable_variables, tiny.trainable_variables, strict=True):
        expected = np.asarray(trained.numpy(), "float16").astype("float32")
        np.testing.assert_array_equal(stored.numpy(), expected)
    sys.modules.pop("pretrained_weights")


@pytest.mark.slow
def test_a_run_a_file_a_folder_of_keras_and_a_checkpoint_are_read(tiny, images, tmp_path):
    (tmp_path / "run").mkdir()
    tiny.save(tmp_path / "run" / "model.keras")
    keras.saving.save_model(tiny, tmp_path / "unzipped", zipped=False)
    save_torch_weights(tiny, tmp_path / "hugging-face")
    expected = tiny.encode(images)
    for source in ("run", "run/model.keras", "unzipped", "hugging-face"):
        path = tmp_path / source
        model = MaskedAutoencoder.from_pretrained(path)
        np.testing.assert_allclose(model.encode(images), expected, atol=1e-5, err_msg=source)
        encoder = ViTEncoder.from_pretrained(str(path))
        weights = zip(encoder.weights, tiny.encoder.weights, strict=True)
        assert all(np.array_equal(one, two) for one, two in weights), source


@pytest.mark.slow
def test_a_classifier_gets_the_encoder_and_a_new_head():
    classifier = ImageClassifier.from_pretrained("mnist", num_classes=7, train_blocks=0)
    encoder = MaskedAutoencoder.from_pretrained("mnist").encoder
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), "uint8")
    np.testing.assert_array_equal(classifier.encoder(images), encoder(images))
    np.testing.assert_allclose(classifier.probabilities(images), 1 / 7, atol=1e-3)


def test_a_run_comes_before_weights_of_its_name(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    assert MaskedAutoencoder.from_pretrained("mnist").image_shape == (28, 28, 1)
    tiny.save(tmp_path / "mnist" / "model.keras")
    for path in ("mnist", pathlib.Path("mnist"), "./mnist"):
        assert MaskedAutoencoder.from_pretrained(path).image_shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("mnits", "did you mean 'mnist'.*Received: 'mnits', not found"),
        ("MNIST", "did you mean 'mnist'"),
        ("runs/nothing", "a run's folder, a `.keras` file or a published checkpoint"),
        (__file__, "which is none of these"),
        ("nobody://model", "Received: 'nobody://model'"),
        ("", "`source` must be 'cifar10'"),
        ("~nobody-of-this-name/run", "Received: '~nobody-of-this-name/run'"),
        ("x" * 5000, "not found"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line(source, words):
    for load in (
        MaskedAutoencoder.from_pretrained,
        ViTEncoder.from_pretrained,
        lambda name: ImageClassifier.from_pretrained(name, 3),
    ):
        with pytest.raises(ValueError, match=words) as refused:
            load(source)
        assert "\n" not in str(refused.value)


def test_what_is_neither_text_nor_path_is_refused():
    with pytest.raises(TypeError, match="`source` must be a name or a path. Received: int"):
        MaskedAutoencoder.from_pretrained(3)
    with pytest.raises(ValueError, match="`num_classes` must be an int of at least 2|from 2 to"):
        ImageClassifier.from_pretrained("mnist", num_classes=1)


def test_a_checkpoint_that_cannot_be_read_is_named_as_the_caller_does(tiny, tmp_path):
    files = pytest.importorskip("safetensors.numpy")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "model.safetensors.index.json").touch()
    with pytest.raises(ValueError, match="^`source` must be a checkpoint.*in several files"):
        MaskedAutoencoder.from_pretrained(tmp_path / "shards")
    file = tmp_path / "model" / "model.safetensors"
    save_torch_weights(tiny, file.parent)
    tensors = files.load_file(file)
    odd = {**tensors, "vit.encoder.layer.0.gate.weight": np.zeros((2, 2), "float32")}
    files.save_file(odd, file)
    with pytest.raises(ValueError, match="^`source` must .*_torch` takes `strict`$") as refused:
        ViTEncoder.from_pretrained(str(file.parent))
    assert "gate" in str(refused.value)
    files.save_file(tensors, file)
    (file.parent / "config.json").unlink()
    with pytest.raises(ValueError, match="^`num_heads` must be .*_torch` takes `num_heads`$"):
        ImageClassifier.from_pretrained(file, 3)


def changed(source, path, change):
    """A copy of a `.keras` file with another config."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config["config"])
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return path


def test_weights_that_do_not_fit_their_config_are_refused(tiny, tmp_path):
    tiny.save(tmp_path / "model.keras")
    for number, size in enumerate(({"patch_size": [4, 4]}, {"image_shape": [8, 8, 3]})):
        path = changed(
            tmp_path / "model.keras",
            tmp_path / f"{number}.keras",
            lambda config, size=size: config["encoder"]["config"].update(size),
        )
        with pytest.raises(ValueError, match="cannot be loaded") as refused:
            MaskedAutoencoder.from_pretrained(path)
        assert "\n" not in str(refused.value)
    ImageClassifier.from_pretrained(tiny, 3).save(tmp_path / "three.keras")
    path = changed(
        tmp_path / "three.keras", tmp_path / "five.keras", lambda c: c.update(num_classes=5)
    )
    with pytest.raises(ValueError, match="cannot be loaded"):
        ImageClassifier.from_pretrained(path, num_classes=5)
    with pytest.raises(ValueError, match="must hold a MaskedAutoencoder.*an? ImageClassifier"):
        MaskedAutoencoder.from_pretrained(tmp_path / "three.keras")


@pytest.mark.slow
def test_a_new_run_starts_from_packaged_weights_of_its_sizes_only():
    model = MaskedAutoencoder.from_preset("micro", (28, 28, 1), 4)
    assert initialize_from(model, "mnist").startswith("Weights from ")
    kernel = MaskedAutoencoder.from_pretrained("mnist").encoder.patch_projection.kernel
    np.testing.assert_array_equal(model.encoder.patch_projection.kernel, kernel)
    for sizes in (((28, 28, 1), 7), ((32, 32, 3), 4)):
        other = MaskedAutoencoder.from_preset("micro", *sizes)
        with pytest.raises(ValueError, match="`init_from` must be a model of the same sizes"):
            initialize_from(other, "mnist")


def test_a_file_cut_short_or_hostile_is_refused(tmp_path):
    whole = (WEIGHTS / "mnist" / "model.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="no whole `.keras` file"):
        MaskedAutoencoder.from_pretrained(tmp_path / "cut.keras")
    code = {"module": "os", "class_name": "system", "config": {}, "registered_name": None}
    write(tmp_path / "hostile.keras", code)
    with pytest.raises(ValueError, match="cannot be loaded"):
        MaskedAutoencoder.from_pretrained(tmp_path / "hostile.keras")


@pytest.mark.long
@pytest.mark.parametrize("name", pretrained_names())
def test_the_k_nn_score_of_the_card_is_found_again(name, tfds_dir):
    from sklearn.neighbors import KNeighborsClassifier

    from mae_keras import data

    claimed = json.loads((WEIGHTS / name / "metrics.json").read_text())["knn_accuracy"]["trained"]
    assert f"| 20-NN | {100 * claimed:.1f} |" in (WEIGHTS / name / "model_card.md").read_text()
    dataset = json.loads((WEIGHTS / name / "config.json").read_text())["dataset"]
    images = data.load(dataset, data_dir=tfds_dir)
    encode = MaskedAutoencoder.from_pretrained(name).encode
    (train, labels), (test, answers) = images.train.arrays(), images.test.arrays()
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:10_000])
    neighbors = KNeighborsClassifier(
        20, weights=lambda distance: np.exp((1 - distance) / 0.07), metric="cosine"
    ).fit(encode(train[rows]), labels[rows])
    accuracy = np.mean(neighbors.predict(encode(test)) == answers)
    assert accuracy == pytest.approx(claimed, abs=0.01)
