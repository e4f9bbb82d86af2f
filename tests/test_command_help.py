"""Words of the command line: help out of declarations, messages with options as typed."""

import dataclasses
import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

from mae_keras import cli
from mae_keras.command_help import field_help, recipe_values, spread, typed_names
from mae_keras.runs.options import DataOptions, FineTuneOptions
from mae_keras.runs.protocols import EvaluationOptions
from mae_keras.runs.recipe import RECIPES, Recipe


def shown(*arguments, flags=()):
    command = [sys.executable, *flags, "-m", "mae_keras", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=None, timeout=120)


def help_of(command, width):
    page = io.StringIO()
    cli.app.help_print([command], console=Console(width=width, file=page))
    return page.getvalue()


@pytest.mark.parametrize("settings", [Recipe, EvaluationOptions, FineTuneOptions, DataOptions])
def test_every_option_has_help(settings):
    words = field_help(settings)
    assert set(words) == {field.name for field in dataclasses.fields(settings)}
    assert not any("\n" in text for text in words.values())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pretrain", "fine-tune", "evaluate"])
def test_help_without_docstrings_is_the_same(command):
    stripped, usual = shown(command, "--help", flags=["-OO"]), shown(command, "--help")
    assert stripped.returncode == usual.returncode == 0
    boxes = [text.stdout[text.stdout.index("╭") :] for text in (stripped, usual)]
    assert boxes[0] == boxes[1]


def test_the_version_is_told_without_docstrings():
    assert shown("--version", flags=["-OO"]).stdout.strip() == "0.1.0"


@pytest.mark.long
def test_training_works_without_docstrings(array_file, tmp_path):
    out = tmp_path / "run"
    done = shown(
        *("pretrain", "--dataset", str(array_file), "--out", str(out), "--preset", "nano"),
        *("--patch-size", "2", "--batch-size", "32", "--epochs", "1", "--jit-compile", "false"),
        flags=["-OO"],
    )
    assert done.returncode == 0, done.stderr
    assert (out / "model.keras").exists()


def test_help_of_pretrain_is_grouped_and_shows_what_recipes_have(capsys):
    with pytest.raises(SystemExit):
        cli.main(["pretrain", "--help"])
    text = capsys.readouterr().out
    titles = ["Run", "Data", "Model", "Masking", "Optimization", "Saving", "Watching"]
    titles += ["Devices and speed"]
    places = [text.index(f"─ {title} ─") for title in titles]
    assert places == sorted(places)
    joined = " ".join(text.replace("│", " ").split())
    assert f"digits {RECIPES['digits'].epochs}" in joined
    assert "--empty" not in text


def test_values_of_recipes_are_those_of_the_catalogue():
    assert RECIPES["digits"].mask_ratio == 0.5 and RECIPES["mnist-sample"].mask_ratio == 0.6
    assert (
        recipe_values("mask_ratio") == " [default: 0.75; mnist-sample 0.6, digits 0.5, signals 0.5]"
    )
    assert recipe_values("seed") == " [default: 0]"
    assert recipe_values("ema_momentum") == ""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("`epochs` must be 1. Received: epochs=0", "`--epochs` must be 1. Received: --epochs=0"),
        ("name must be a folder. Received: 'x'", "--dataset must be a folder. Received: 'x'"),
        ("`run` must be a folder", "`RUN` must be a folder"),
        ("`encode_batch` is no option", "`encode_batch` is no option"),
        ("a. Received: path=my_epochs=3", "a. Received: path=my_epochs=3"),
    ],
)
def test_messages_name_options_as_they_are_typed(message, expected):
    assert typed_names(message, "pretrain", ["epochs", "dataset"]) == expected


def test_values_after_an_option_are_all_its_own():
    known = ["knn", "layers", "restoration"]
    typed = ["evaluate", "run", "--protocol=knn", "layers", "--protocol", "knn", "restoration", "x"]
    assert spread(typed, "--protocol", known) == [
        *("evaluate", "run", "--protocol=knn", "--protocol", "layers"),
        *("--protocol", "knn", "--protocol", "restoration", "x"),
    ]
    assert spread(["evaluate", "knn"], "--protocol", known) == ["evaluate", "knn"]


def test_what_libraries_say_about_themselves_is_dropped_and_errors_are_not(tmp_path):
    """Written by C code to the descriptor, past `sys.stderr`."""
    (tmp_path / "keras.py").write_text(
        "import os\n"
        "os.write(2, b'WARNING: All log messages before absl::InitializeLog() is called\\n')\n"
        "os.write(2, b'I0000 00:00:17.5 3 cudart_stub.cc:31] Could not find cuda drivers\\n')\n"
        "os.write(2, b'E0000 00:00:17.5 3 disk.cc:9] The disk is full\\n')\n"
    )
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from mae_keras import cli; cli._start_keras(); print('after', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines() == ["E0000 00:00:17.5 3 disk.cc:9] The disk is full", "after"]


@pytest.mark.slow
def test_values_keep_their_case_and_usage_and_flags_read_alike():
    def text(command):
        return " ".join(help_of(command, 80).replace("│", " ").split())

    pretrain = text("pretrain")
    for words in ("float32, mixed_bfloat16", "key (a new", "crop (the", "self, or cross"):
        assert f" {words}" in pretrain
    assert "[default: False]" not in pretrain
    assert "to grow to --mask-ratio during" in pretrain
    fine_tune = text("fine-tune")
    assert "in place of --dataset." in fine_tune and "in place of --steps." in fine_tune
    assert " mnist-sample, digits, mnist" in fine_tune and " Images per step" in fine_tune
    for command in ("predict", "reconstruct"):
        shown = text(command)
        assert " RUN IMAGES... " in shown and "Examples:" in shown
    assert "Examples:" in text("import")


@pytest.mark.parametrize("command", cli._COMMANDS)
def test_help_lists_every_option_that_the_command_takes(command):
    shown = help_of(command, 200).partition("Examples:")[0]  # wide, so that no name is broken
    taken = [argument.names[0] for argument in cli.app[command].assemble_argument_collection()]
    names = [name for name in taken if name.startswith("--")]
    assert len(names) > 2
    assert not [name for name in names if not re.search(rf"{name}(?![\w-])", shown)]
