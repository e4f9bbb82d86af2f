"""Extensions of a user's own: one file each, outside of the package, used by the command line."""

import json
import re
import sys

import keras
import numpy as np
import PIL.Image
import pytest
from command_line import refusal, run

from mae_keras import data
from mae_keras.layers import PatchMasking
from mae_keras.layers.masking import register_masking
from mae_keras.models import load_model
from mae_keras.models.config_check import Allowed
from mae_keras.ops import patchify
from mae_keras.registry import MASKINGS, TARGETS, Registry, load_plugin
from mae_keras.runs import PROTOCOLS, RECIPES, Recipe, register_protocol, register_recipe

MASKING = '''
import numpy as np
from mae_keras.layers import PatchMasking, register_masking
from mae_keras.layers.masking import per_sample

@register_masking("toy-left")
class LeftMasking(PatchMasking):
    """Hides the left of every image."""

    def scores(self, grid, step, samples):
        return per_sample(-np.indices(grid)[-1].ravel().astype("float32"), samples)
'''
SOURCE = """
import numpy as np
from mae_keras.data import register_source

@register_source("toy-stripes", "stripes in three directions")
def stripes(name):
    labels = np.arange(60) % 3
    noise = np.random.default_rng(int(name.partition(":")[2] or 0)).integers(0, 99, (60, 8, 8, 1))
    noise[labels == 1, ::2] += 150
    noise[labels == 2, :, ::2] += 150
    return noise.astype("uint8"), labels
"""
PROTOCOL = """
from mae_keras.figures import feature_map_figure
from mae_keras.runs import register_protocol

def brightness_figure(entry, comparison):
    features, labels = comparison.features["trained"].test
    yield "toy_map", feature_map_figure({"first two": features[:, :2]}, labels)

@register_protocol(
    "toy-majority",
    "always the most frequent class",
    figures=brightness_figure,
    pictures={"toy_map": "Two features"},
    detail=("guess", "guess", "the class that is guessed"),
    lines=lambda entry: [f"{entry['num_test']} images"],
)
def majority(comparison, options):
    (_, train), _, (_, test) = comparison.pixels
    guess = max(set(train.tolist()), key=train.tolist().count)
    accuracy = float((test == guess).mean())
    return {
        "test_accuracy": accuracy,
        "accuracies": {"trained": accuracy},
        "guess": guess,
        "num_test": len(test),
    }
"""
TARGET = '''
from mae_keras.models import Target, register_target

@register_target
class Negative(Target):
    """Predicts negative values, and turns them back."""

    name = "toy-negative"

    def encode(self, rows, indices=None, missing=None):
        return -rows

    def decode(self, predictions, rows, hidden, statistics="original"):
        return -predictions
'''
FILES = {
    "toy_masking": MASKING,
    "toy_target": TARGET,
    "toy_source": SOURCE,
    "toy_protocol": PROTOCOL,
}


@pytest.fixture
def plugins(tmp_path):
    """A file for each extension; nothing stays registered."""
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text)
    yield {name: tmp_path / f"{name}.py" for name in FILES}
    forget()


def forget():
    for registry in (MASKINGS, TARGETS, PROTOCOLS, RECIPES, data.SOURCES):
        for name in registry.added:
            del registry[name]
    for name in FILES:
        sys.modules.pop(name, None)


TINY = ("--preset", "nano", "--patch-size", 2, "--batch-size", 16, "--epochs", 1)


@pytest.mark.slow
@pytest.mark.long
def test_each_extension_is_one_file_that_the_command_line_uses(plugins, capsys, tmp_path):
    folder = tmp_path / "run"
    train = ["pretrain", "--dataset", "toy-stripes:7", "--masking", "toy-left", "--out", folder]
    train += ["--target", "toy-negative"]
    given = [word for path in plugins.values() for word in ("--plugin", path)]
    code, _, error = run(capsys, *train, *TINY, "--jit-compile", "false", *given)
    assert code == 0, error
    config = json.loads((folder / "config.json").read_text())
    assert (config["masking"], config["dataset"]) == ("toy-left", "toy-stripes:7")
    assert "path" not in config["data"]
    model = load_model(folder / "model.keras")
    images = data.load("toy-stripes:7").test.arrays()[0]
    made = model.reconstruct(images)
    assert (made.patch_mask.reshape(-1, 4, 4) == [True, True, True, False]).all()
    predicted = model.predict_patches(images)
    (mean,), (std,) = model.normalization.mean, model.normalization.std
    for ours, values in ((made.prediction, predicted.predictions), (images, predicted.targets)):
        expected = 255 * (mean - std * values)
        np.testing.assert_allclose(patchify(ours, 2), expected, rtol=1e-4, atol=1e-2)

    PIL.Image.fromarray(images[0, ..., 0]).save(tmp_path / "a.png")
    files = [folder, tmp_path / "a.png", "--out", tmp_path / "drawn.png"]
    code, _, error = run(capsys, "reconstruct", *files, *given)
    assert code == 0 and (tmp_path / "drawn.png").stat().st_size, error

    code, out, _ = run(capsys, "evaluate", folder, "--protocol", "toy-majority", "knn", *given)
    assert code == 0
    entries = json.loads((folder / "evaluation.json").read_text())
    test_labels = data.load("toy-stripes:7").test.arrays()[1]
    entry = entries["toy-majority"]
    assert entry["test_accuracy"] == np.mean(test_labels == entry["guess"])
    row = next(line for line in out.splitlines() if line.startswith("toy-majority  "))
    assert row.endswith(f"guess {entry['guess']}")
    assert f"toy-majority, {len(test_labels)} images" in out
    card = (folder / "model_card.md").read_text()
    assert "![Two features](evaluation/toy_map.png)" in card
    assert "guess, the class that is guessed" in card

    forget()
    for command in (["evaluate", folder], ["reconstruct", *files], [*train, *TINY, "--resume"]):
        line = refusal(capsys, *command)
        assert "'toy-left'" in line and "--plugin FILE" in line
    with pytest.raises(ValueError, match="saved by mae_keras .*toy_target>Negative, .* --plugin"):
        load_model(folder / "model.keras")


def test_help_and_lists_name_what_a_plugin_registers(plugins, capsys):
    def choices(command, plugin):
        _, out, _ = run(capsys, command, "--help", "--plugin", plugins[plugin])
        return " ".join(out.replace("│", " ").split())

    # Examples in docstrings register names too: others may stand before a plugin's.
    assert re.search(r"random, [^]]*grid, [^]]*toy-left\]", choices("pretrain", "toy_masking"))
    assert re.search(r"pixels, [^]]*hog, [^]]*toy-negative\]", choices("pretrain", "toy_target"))
    assert "toy-majority; and" in choices("evaluate", "toy_protocol")
    _, out, _ = run(capsys, "datasets", "--plugin", plugins["toy_source"])
    assert out.splitlines()[-1].split() == "toy-stripes stripes in three directions".split()
    assert list(data.DATASETS)[-1] == "toy-stripes"


def test_unknown_names_are_answered_with_all_names_and_the_nearest(plugins, capsys, tmp_path):
    load_plugin(plugins["toy_masking"])
    line = refusal(capsys, "pretrain", "--masking", "toy-lef", "--out", tmp_path / "run")
    assert "'toy-left'; did you mean 'toy-left'?" in line
    line = refusal(capsys, "pretrain", "--target", "pixel", "--out", tmp_path / "run")
    assert "; did you mean 'pixels'?" in line and "--plugin FILE" in line
    line = refusal(capsys, "pretrain", "--recipe", "digit", "--out", tmp_path / "run")
    assert "`--recipe` must be 'mnist-sample'" in line and "did you mean 'digits'" in line
    line = refusal(capsys, "evaluate", tmp_path, "--protocol", "toy-majority")
    assert "'from-scratch'" in line and "--plugin FILE" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere", "must be code that runs: ModuleNotFoundError: No module named 'nowher"),
        ("1 / 0", "must be code that runs: ZeroDivisionError"),
        ("raise SystemExit(3)", "must be code that runs: SystemExit: 3"),
        (None, "must be a .py file or a module. Received: .*, not found"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_refused(text, message, tmp_path):
    path = tmp_path / "toy_broken.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=f"`plugin` {message}"):
        load_plugin(path)
    assert "toy_broken" not in sys.modules


def test_a_folder_is_no_plugin(tmp_path, monkeypatch):
    (tmp_path / "toy_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("toy_folder", tmp_path / "toy_folder"):
        with pytest.raises(ValueError, match="must be a .py file .*, a folder: name the file in"):
            load_plugin(name)


def test_several_plugins_may_follow_one_option(plugins, capsys):
    files = [plugins["toy_source"], plugins["toy_masking"]]
    code, out, error = run(capsys, "datasets", "--plugin", *files)
    assert code == 0, error
    assert "toy-stripes" in out and "toy-left" in MASKINGS


def test_an_error_of_a_plugin_names_its_own_argument(tmp_path, capsys):
    (tmp_path / "toy_refused.py").write_text(
        "from mae_keras.registry import MASKINGS\nMASKINGS.register('', int)\n"
    )
    plugin = ["--plugin", tmp_path / "toy_refused.py"]
    line = refusal(capsys, "pretrain", *plugin, "--out", tmp_path / "run")
    assert "`--plugin` must be code that runs" in line and "`name` of a masking strategy" in line
    assert "--dataset" not in line


def test_files_may_name_what_a_plugin_registers_with_keras(tmp_path):
    (tmp_path / "toy_layer.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('toy_layer')\n"
        "class Same(keras.layers.Layer):\n"
        "    def call(self, inputs):\n"
        "        return inputs\n"
    )
    config = {"class_name": "Same", "module": "toy_layer", "registered_name": "toy_layer>Same"}
    with pytest.raises(ValueError, match="pass --plugin"):
        Allowed().check_class(config)
    module = load_plugin(tmp_path / "toy_layer.py")
    try:
        assert Allowed().check_class(config) is module.Same
    finally:
        keras.saving.get_custom_objects().pop("toy_layer>Same")
        del sys.modules["toy_layer"]


def test_a_class_of_a_later_version_asks_for_that_version():
    config = {"class_name": "Later", "registered_name": "mae_keras>Later", "module": "mae_keras"}
    with pytest.raises(ValueError, match="mae_keras>Later, .* install the version") as refused:
        Allowed().check_class(config)
    assert "custom_objects" not in str(refused.value)


def test_a_plugin_does_not_take_the_name_of_another_module(tmp_path):
    (tmp_path / "json.py").write_text("")
    with pytest.raises(ValueError, match="there is another module 'json': rename the file"):
        load_plugin(tmp_path / "json.py")
    assert load_plugin("json") is json


def test_a_name_stands_for_one_thing(plugins):
    registry = Registry("thing", {"one": "math:pi"})
    assert registry["one"] == np.pi
    with pytest.raises(ValueError, match="there is a thing of this name"):
        registry.register("one", object)
    with pytest.raises(ValueError, match="letters, digits, - and _. Received: name='a b'"):
        registry.register("a b", object)
    registry.register("two", forget)
    with pytest.raises(ValueError, match="there is a thing of this name"):
        registry.register("two", run)
    with pytest.raises(ValueError, match="there is a masking strategy of this name"):
        register_masking("random")(type("Mine", (PatchMasking,), {}))
    with pytest.raises(TypeError, match="must be a subclass of PatchMasking"):
        register_masking("mine")(object)
    with pytest.raises(TypeError, match="must be a Recipe"):
        register_recipe("mine", {"epochs": 3})
    with pytest.raises(ValueError, match="there is a data source of this name"):
        data.register_source("digits", "mine")(forget)
    with pytest.raises(ValueError, match="there is a protocol of this name"):
        register_protocol("knn", "mine")(forget)


def test_built_in_masking_strategies_are_those_of_the_table():
    import mae_keras.layers.masking as module

    strategies = {
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, PatchMasking) and value != PatchMasking
    }
    built_in = [MASKINGS[name] for name in MASKINGS if name not in MASKINGS.added]
    assert {type(strategy(0.5, 0)) for strategy in built_in} == strategies


def test_a_recipe_declares_the_data_set_it_suits(plugins, capsys):
    load_plugin(plugins["toy_source"])
    recipe = register_recipe("toy-stripes", Recipe(dataset="toy-stripes", patch_size=2))
    from mae_keras.runs import find_recipe

    assert find_recipe(dataset="toy-stripes:3") is recipe


def test_sources_read_files_and_give_arrays_or_splits(plugins, tmp_path):
    @data.register_source("toy-text", "numbers in a file", suffixes=[".numbers"])
    def read(path):
        return np.loadtxt(path).reshape(-1, 8, 8, 1).astype("uint8")

    pixels = np.random.default_rng(0).integers(0, 255, (40, 64))
    np.savetxt(tmp_path / "a.numbers", pixels)
    images = data.load(tmp_path / "a.numbers", splits=(1, 0, 0))
    held = {row.tobytes() for row in images.train.arrays()[0].reshape(40, 64)}
    assert held == {row.tobytes() for row in pixels.astype("uint8")}
    assert images.num_classes is None and data.default_augmentation(tmp_path / "a.numbers") is None

    data.register_source("toy-split", "divided already")(lambda name: images)
    assert data.load("toy-split") is images
    with pytest.raises(ValueError, match="`image_size` must be left out: 'toy-split' has samples"):
        data.load("toy-split", image_size=4)
