"""Callbacks of a user's own: found, made, and refused in one line before anything is written."""

import functools
import sys
import types

import keras
import numpy as np
import pytest
from command_line import refusal, run
from stopping import StopAtStep

from mae_keras import data
from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.runs import (
    CallbackError,
    Recipe,
    RunCheckpoint,
    RunFolder,
    StopRequest,
    fine_tune_run,
    fine_tuning,
    load_callback,
    pretrain,
    pretraining,
)
from mae_keras.runs.options import FineTuneOptions
from mae_keras.runs.watching import (
    Watching,
    check_callbacks,
    num_probed,
    raising_failures,
    tensorboard_callback,
)

CALLBACKS = r"""
import keras

class Logger(keras.callbacks.Callback):
    pass

def make_logger():
    return Logger()

ready = Logger()
number = 3

def needs_more(project):
    return Logger()

def lacks_a_key():
    raise RuntimeError("No key.\nLog in.")

def gives_a_number():
    return number
"""


@pytest.fixture
def callbacks(tmp_path):
    (tmp_path / "toy_callbacks.py").write_text(CALLBACKS)
    (tmp_path / "toy_broken.py").write_text("import nowhere_to_be_found")
    yield tmp_path
    for name in ("toy_callbacks", "toy_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["Logger", "make_logger", "ready"])
def test_a_class_a_function_and_a_callback_itself_are_taken(callbacks, name):
    made = load_callback(f"{callbacks / 'toy_callbacks.py'}:{name}")
    assert isinstance(made, keras.callbacks.Callback) and type(made).__name__ == "Logger"


WRONG = {
    "toy_callbacks.py": "`--callback` must be module:factory or file.py:factory. Received: ",
    "toy_callback.py:Logger": "`--callback` must be a .py file or a module. Received: ",
    "toy_broken.py:Logger": "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
    "toy_callbacks.py:Loger": "did you mean 'Logger'?",
    "toy_callbacks.py:needs_more": "TypeError: needs_more() missing 1 required positional",
    "toy_callbacks.py:lacks_a_key": "arguments: RuntimeError: No key. Log in. Received: --callback",
    "toy_callbacks.py:gives_a_number": "which gives a int",
    "toy_callbacks.py:number": "`--callback` must be a class or function that can be called",
}


@pytest.mark.parametrize(("name", "words"), WRONG.items(), ids=WRONG)
def test_what_is_no_callback_is_refused_in_one_line(callbacks, capsys, name, words):
    out = callbacks / "run"
    line = refusal(capsys, "pretrain", "--callback", callbacks / name, "--out", out)
    assert line.startswith("mae-keras: `--callback` must ") and words in line
    assert name.partition(":")[0] in line and not out.exists()


@pytest.mark.parametrize("name", ["toy_callbacks.py", "toy_broken.py:Logger"])
def test_fine_tune_refuses_it_too_and_keeps_the_earlier_run(callbacks, capsys, name):
    (callbacks / "run").mkdir()
    for file in ("config.json", "model.keras"):
        (callbacks / "run" / file).write_text("{}")
    line = refusal(
        capsys,
        *("fine-tune", "mnist", "--dataset", "digits", "--callback", callbacks / name),
        *("--out", callbacks / "run", "--overwrite"),
    )
    assert line.startswith("mae-keras: `--callback` must ") and WRONG[name] in line
    assert (callbacks / "run" / "model.keras").read_text() == "{}"


def test_a_module_beside_is_suggested_as_a_file(callbacks, monkeypatch):
    monkeypatch.chdir(callbacks)
    with pytest.raises(ValueError, match="not found; did you mean toy_callbacks.py?"):
        load_callback("toy_callbacks:Logger")


@pytest.mark.parametrize("wrong", [[keras.callbacks.History], 3, ["Logger"]])
def test_what_is_no_list_of_callbacks_is_refused(wrong):
    with pytest.raises(TypeError, match="`callbacks` must be a list of keras.callbacks.Callback"):
        Watching(callbacks=wrong)
    assert len(check_callbacks(keras.callbacks.History())) == 1


def test_tensorboard_that_is_not_installed_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for make in (lambda: Watching(tensorboard=True), lambda: tensorboard_callback(tmp_path)):
        with pytest.raises(ImportError, match=r"`tensorboard` needs TensorBoard.*pip install"):
            make()


def train(folder, **watched):
    """Two epochs of four steps, as `fit_recipe` arranges the callbacks."""
    run, stop = RunFolder(folder), StopRequest()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    rows = np.arange(16.0, dtype="float32").reshape(8, 2) / 16
    own = Watching(**watched).guarded(run.tensorboard, stop)
    checkpoint = RunCheckpoint(run, 2, 4, stop=stop, min_seconds=3600)
    with raising_failures(own):
        model.fit(
            *(rows, rows[:, :1]),
            batch_size=2,
            epochs=2,
            validation_data=(rows, rows[:, 1:]),
            callbacks=[*own, stop, checkpoint],
            verbose=0,
        )
    return run


class Broken(keras.callbacks.Callback):
    """Raises in one of its methods: at the second step, or at the first call of others."""

    def __init__(self, hook):
        super().__init__()
        self.calls = 0
        setattr(self, hook, self._fail)
        self._last = 2 if hook == "on_train_batch_end" else 1

    def _fail(self, *arguments, **options):
        self.calls += 1
        if self.calls >= self._last:
            raise ValueError("disk of\nthe logger")


@pytest.mark.parametrize(
    ("hook", "where", "saved"),
    [
        ("set_model", "before the first step", []),
        ("set_params", "before the first step", []),
        ("on_train_begin", "before the first step", []),
        ("on_train_batch_end", "and saved after step 2 of 4 in epoch 1 of 2", [2]),
        ("on_test_end", "and saved after epoch 1 of 2", [4]),
        ("on_epoch_end", "and saved after epoch 1 of 2", [4]),
    ],
)
def test_a_callback_that_raises_stops_a_run_that_is_saved(hook, where, saved, tmp_path):
    broken = Broken(hook)
    with pytest.raises(CallbackError) as raised:
        train(tmp_path, callbacks=[broken])
    assert str(raised.value) == (
        f"stopped by callback Broken {where}: {hook} of the callback raised ValueError: "
        "disk of the logger"
    )
    assert isinstance(raised.value.__cause__, ValueError)
    assert [int(path.name[5:]) for path in sorted(tmp_path.glob("checkpoints/*"))] == saved


class StopAtOnce(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["mine"] = 7
        self.model.stop_training = True


def test_what_a_callback_ends_and_logs_is_in_the_history_and_on_tensorboard(tmp_path):
    run = train(tmp_path, callbacks=[StopAtOnce()], tensorboard=True)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000000004"]
    history = run.read_history()
    assert history["epoch"] == [1.0] and history["mine"] == [7.0]
    assert_on_tensorboard(run)


def assert_on_tensorboard(run):
    """The losses of the history, as TensorBoard itself reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = run.read_history()
    for folder, name in (("train", "loss"), ("validation", "val_loss")):
        events = accumulator.EventAccumulator(str(run.tensorboard / folder))
        events.Reload()
        protos = [value.tensor_proto for value in events.Tensors("epoch_loss")]
        bits = [np.frombuffer(proto.tensor_content, "<f4") for proto in protos]
        numbers = [b if b.size else p.float_val for b, p in zip(bits, protos, strict=True)]
        np.testing.assert_allclose(np.ravel(numbers), history[name], rtol=1e-6)


def write(value, name="mine"):
    return lambda logs: logs.update({name: value})


SPOILED = {
    "text": (write("good"), "logs['mine']='good'"),
    "nothing": (write(None), "logs['mine']=None"),
    "array": (write(np.ones(3)), "logs['mine']=array([1., 1., 1.])"),
    "epoch": (write(7, "epoch"), "names that are strings other than 'epoch'. Received: 'epoch'"),
    "number of Keras": (write("low", "loss"), "logs['loss']='low'"),
    "cleared": (lambda logs: logs.clear(), "`logs` must keep what was in it. Received: logs with"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILED.values(), ids=SPOILED)
def test_logs_that_a_callback_spoils_lose_no_epoch(spoil, words, tmp_path):
    class Spoils(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            spoil(logs)

    with pytest.raises(CallbackError, match="callback Spoils and saved after epoch 1") as raised:
        train(tmp_path, callbacks=[Spoils()])
    assert words in str(raised.value)
    rows = RunFolder(tmp_path).newest_checkpoint().progress["rows"]
    assert list(rows) == ["epoch", "loss", "val_loss"] and rows["epoch"] == [1.0]


def test_a_callback_that_refuses_the_model_leaves_the_earlier_run_alone():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    watching = Watching(callbacks=[Broken("set_model")])
    with pytest.raises(CallbackError, match="Broken before the first step: set_model of the call"):
        watching.try_on(model, epochs=2, steps=4)


def test_a_probe_takes_fewer_samples_of_large_ones():
    assert num_probed((28, 28, 1), "uint8") == 2048
    assert num_probed((64, 64, 64, 4), "float32") == 256 * 2**20 // 2**22 == 64
    assert num_probed((64, 64, 64, 1), "float32") == 256
    assert num_probed((512, 512, 512, 1), "float32") == 64


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_validation_images_for_a_probe_are_told_of(count):
    few = types.SimpleNamespace(validation=[None] * count)
    told = []
    assert Watching(probe_every=1).probes(few, told.append) == []
    assert told == [
        f"The features are not probed, which takes at least 2 validation samples; there are {count}"
    ]


@pytest.mark.slow
def test_a_callback_that_ends_training_within_an_epoch_loses_no_step(tmp_path, capsys, monkeypatch):
    """What the files say, what was trained, and what a resumed run adds up to agree."""
    for name in ("_export", "_draw", "_draw_loss"):  # which take their time
        monkeypatch.setattr(pretraining, name, lambda *arguments, **options: None)
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
    sizes |= {f"decoder_{name}": value for name, value in sizes.items()}
    small = functools.partial(pretraining.untrained_model, **sizes)
    monkeypatch.setattr(pretraining, "untrained_model", small)
    monkeypatch.setattr(pretraining, "score", lambda *arguments: {"baseline_loss": {}})
    pixels = np.random.default_rng(0).integers(0, 256, (33, 8, 8, 1), "uint8")
    split = data.ArraySplit(pixels)
    images = data.ImageData("digits", (8, 8, 1), None, None, split, split, split)
    recipe = Recipe(
        preset="nano", patch_size=4, batch_size=8, epochs=2, warmup_epochs=0, jit_compile="false"
    )
    options = {"images": images, "verbose": 0}
    metrics = pretrain(recipe, tmp_path, callbacks=[StopAtStep(6)], **options)
    assert "after epoch 1 of 2 and 2 of 4 steps; --resume" in capsys.readouterr().out
    run = RunFolder(tmp_path)
    assert (metrics["steps"], metrics["epochs"]) == (6, 1)
    assert int(load_model(run.model).optimizer.iterations) == 6
    assert run.read_history()["epoch"] == [1.0]
    metrics = pretrain(recipe, tmp_path, resume=True, callbacks=[StopAtStep(8)], **options)
    assert "ended training early" not in capsys.readouterr().out  # it was the last step
    assert (metrics["steps"], metrics["epochs"]) == (8, 2)
    assert int(load_model(run.model).optimizer.iterations) == 8
    assert run.read_history()["epoch"] == [1.0, 2.0]


RECORDER = """
import keras

class Recorder(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["twice_loss"] = 2 * logs["loss"]

class Reader(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        with open("told.txt", "a") as file:
            print(epoch + 1, logs["twice_loss"], file=file)
"""


@pytest.fixture
def labeled(tmp_path, monkeypatch):
    """Images of two classes and a small model, in the working directory."""
    monkeypatch.chdir(tmp_path)
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
    MaskedAutoencoder.from_preset("nano", (8, 8, 1), 4, **sizes).save("tiny.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), "uint8")
    np.savez("labeled.npz", images=pixels, labels=np.arange(40) % 2)
    return tmp_path


QUICK = {"batch_size": 8, "train_blocks": 0, "jit_compile": "false"}


@pytest.mark.slow
def test_fine_tune_calls_the_callbacks_of_the_command_line(labeled, capsys, monkeypatch):
    pytest.importorskip("tensorboard")
    for name in ("export_beside", "draw_scores", "draw_loss"):  # which take their time
        monkeypatch.setattr(fine_tuning, name, lambda *arguments: None)
    (labeled / "toy_recorder.py").write_text(RECORDER)
    code, _, err = run(
        capsys,
        *("fine-tune", "tiny.keras", "--dataset", "labeled.npz", "--out", "run", "--tensorboard"),
        *("--callback", "toy_recorder.py:Recorder", "--callback", "toy_recorder.py:Reader"),
        *("--epochs", 2, "--batch-size", 8, "--train-blocks", 0, "--jit-compile", "false"),
    )
    sys.modules.pop("toy_recorder", None)
    assert code == 0, err
    folder = RunFolder("run")
    history = folder.read_history()
    rows = [line.split() for line in (labeled / "told.txt").read_text().splitlines()]
    assert [int(epoch) for epoch, _ in rows] == [1, 2]
    np.testing.assert_allclose([float(value) for _, value in rows], history["twice_loss"])
    np.testing.assert_allclose(history["twice_loss"], 2 * np.array(history["loss"]))
    assert_on_tensorboard(folder)


@pytest.mark.slow
def test_what_a_callback_ends_is_a_whole_classifier_and_an_error_keeps_the_earlier_one(
    labeled, monkeypatch
):
    monkeypatch.setattr(fine_tuning, "_finish", lambda *arguments: arguments[-2])
    rows, told = np.load("labeled.npz"), []
    split = data.ArraySplit(rows["images"][:32], rows["labels"][:32])
    images = data.ImageData("made", (8, 8, 1), 2, None, split, split, split)

    def tune(callback, **options):
        return fine_tune_run(
            *("tiny.keras", "run", FineTuneOptions(epochs=3, **QUICK)),
            **{"images": images, "announce": told.append, "callbacks": [callback], **options},
        )

    metrics = tune(StopAtStep(6))
    assert (metrics["steps"], metrics["epochs"]) == (6, 1)
    assert "A callback ended training early, after epoch 1 of 3 and 2 of 4 steps" in told
    assert [line.partition(": ")[0] for line in told[1:3]] == ["epoch 1", "epoch 2, 2 of 4 steps"]
    run = RunFolder("run")
    assert len(run.read_history()["loss"]) == 1
    assert int(load_model(run.model).optimizer.iterations) == 6
    held, stored = run.contents(), run.model.read_bytes()
    with pytest.raises(CallbackError, match="Broken before fine-tuning was done; nothing was wri"):
        tune(Broken("on_epoch_end"), overwrite=True, tensorboard=True)
    assert (run.contents(), run.model.read_bytes()) == (held, stored)
    assert [path.name for path in run.path.glob(".*")] == [".lock"]
    with pytest.raises(CallbackError, match="callback Broken failed; run holds the whole run: on_"):
        tune(Broken("on_train_end"), overwrite=True)
    assert int(load_model(run.model).optimizer.iterations) == 12
