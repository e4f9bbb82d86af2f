"""`mae-keras segment`, and masks of new images."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

from mae_keras.models import load_model
from mae_keras.run_contents import check_kind
from mae_keras.runs import Interrupted, SegmentOptions, evaluate_run, segment_files, segment_run
from mae_keras.runs import segmenting as module
from mae_keras.runs.segmenting import _targets

FAST = SegmentOptions(head="linear", steps=3)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Gray images of two sizes with bright squares; masks hold 10, 200, and 255 for no label."""
    folder = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(0)
    for number in range(12):
        size = (14, 12) if number % 2 else (16, 20)
        mask = np.full(size, 10, "uint8")
        mask[2:9, 3:8] = 200
        mask[-1] = 255
        pixels = (rng.integers(0, 60, size) + (mask == 200) * 120).astype("uint8")
        for name, array in (("images", pixels), ("masks", mask)):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(finished, cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "segmenter"
    said = []
    options = SegmentOptions(head="linear", steps=30, learning_rate=1e-2, unlabeled=255)
    metrics = segment_run(finished[0], folder, cells, options, announce=said.append)
    return folder, metrics, said


@pytest.mark.slow
def test_a_run_holds_all_there_is_to_know(run):
    folder, metrics, said = run
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    config = json.loads((folder / "config.json").read_text())
    assert (config["task"], config["class_values"]) == ("segmentation", [10, 200])
    assert config["segment"]["head"] == "linear" and metrics["steps"] == 30
    for name in ("loss.png", "evaluation/segment.png", "evaluation/segment_classes.png"):
        with Image.open(folder / name) as image:
            assert min(image.size) > 100
    card = (folder / "model_card.md").read_text()
    assert "# Segmenter of 2 classes" in card and "| 200 |" in card
    assert (folder / "history.csv").read_text().count("\n") == 11
    assert any(line.startswith("100 % of the steps: accuracy") for line in said)


@pytest.mark.slow
def test_masks_of_new_images_have_the_values_of_training(run, cells, tmp_path):
    folder, metrics, _ = run
    (cells / "images" / "broken.png").write_bytes(b"no image")
    said = []
    unreadable = segment_files(folder, [cells / "images"], tmp_path / "out", announce=said.append)
    (cells / "images" / "broken.png").unlink()
    assert [path for path, _ in unreadable] == [str(cells / "images" / "broken.png")]
    model = load_model(folder / "model.keras")
    found, truth = [], []
    for number in range(12):
        with Image.open(tmp_path / "out" / f"{number}.png") as mask:
            assert mask.mode == "P"
            values = np.asarray(mask)
        image = np.asarray(Image.open(cells / "images" / f"{number}.png"))[..., None]
        np.testing.assert_array_equal(values, np.array([10, 200])[model.segment(image)])
        with Image.open(cells / "masks" / f"{number}.png") as mask:
            labeled = np.asarray(mask) != 255
            truth.append(np.asarray(mask)[labeled])
        found.append(values[labeled])
    assert (
        jaccard_score(np.concatenate(truth), np.concatenate(found), pos_label=200) > 0.4
    )  # 0.15 by chance
    assert len(said) == 12 and "200" in said[0]
    with pytest.raises(ValueError, match="`out` must not hold masks yet"):
        segment_files(folder, [cells / "images"], tmp_path / "out")


@pytest.mark.slow
def test_what_was_written_serves_the_same(run, cells):
    tf = pytest.importorskip("tensorflow")
    folder = run[0]
    if not (folder / "saved_model").exists():
        pytest.skip("only TensorFlow and JAX with TensorFlow write SavedModels")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), "uint8")
    served = tf.saved_model.load(str(folder / "saved_model")).signatures["segment"]
    expected = load_model(folder / "model.keras").probabilities(images)
    got = served(images=tf.constant(images))["probabilities"].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.slow
def test_an_interruption_writes_nothing(finished, cells, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt("SIGTERM")

    monkeypatch.setattr(module, "train_segmenter", interrupted)
    with pytest.raises(Interrupted, match="stopped by SIGTERM before the segmenter was trained"):
        segment_run(finished[0], tmp_path / "out", cells, FAST, announce=str)
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.long
def test_failures_after_training_keep_the_model(finished, cells, tmp_path, monkeypatch):
    def failing(*_, **__):
        raise ValueError("no score")

    monkeypatch.setattr(module, "score_segmenter", failing)
    with pytest.raises(ValueError, match="no score. But the trained segmenter is .*model.keras"):
        segment_run(finished[0], tmp_path / "out", cells, FAST, announce=str)
    assert load_model(tmp_path / "out" / "model.keras").num_classes == 3  # 255 is a class here


@pytest.mark.slow
def test_other_commands_refuse_it(run, finished, cells, tmp_path):
    with pytest.raises(ValueError, match="scores of a segmenter are in its evaluation.json"):
        evaluate_run(run[0])
    with pytest.raises(ValueError, match="`run` must be an autoencoder run. .* a segmenter run"):
        check_kind(run[0], "autoencoder")
    with pytest.raises(ValueError, match="`dataset` must name the folder.*dataset='mnist', masks"):
        segment_run("mnist", tmp_path / "out", cells / "masks", FAST)
    with pytest.raises(ValueError, match="`run` must be one of a masked autoencoder"):
        segment_run(run[0], tmp_path / "out", cells, FAST)
    with pytest.raises(ValueError, match="`run` must be a run of a segmenter of images"):
        segment_files(finished[0], [cells / "images"], tmp_path / "out")


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"head": "unet"},
        {"gap": -1},
        {"learning_rate": 0.0},
        {"train_blocks": -1},
        {"unlabeled": 0.5},
    ],
    ids=str,
)
def test_bad_numbers_are_refused(options):
    with pytest.raises((ValueError, TypeError), match=f"`{next(iter(options))}` must be"):
        SegmentOptions(**options)


def test_masks_of_images_of_one_name_keep_apart(tmp_path):
    assert [path.name for path in _targets(["a/1.png", "b/2.jpg"], tmp_path)] == ["1.png", "2.png"]
    names = [path.name for path in _targets(["x/a/1.png", "x/b/1.png"], tmp_path)]
    assert names == ["a_1.png.png", "b_1.png.png"]
    names = [path.name for path in _targets(["x/1.png", "x/1.bmp"], tmp_path)]
    assert names == ["1.png.png", "1.bmp.png"]
    with pytest.raises(ValueError, match="`images` must have names that differ"):
        _targets(["r/a_b/c.png", "r/a/b_c.png", "r/d/c.png"], tmp_path)


@pytest.mark.slow
def test_pages_are_not_dropped(run, tmp_path):
    pages = [Image.fromarray(np.full((8, 8), number, "uint8")) for number in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match="stack.tif: has 3 pages: save each as a file"):
        segment_files(run[0], [tmp_path / "stack.tif"], tmp_path / "out", announce=str)
