"""Commands go on where they cannot print, and hear signals at any time."""

import errno
import io
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from mae_keras.cli import main
from mae_keras.console import (
    EXIT_UNPRINTED,
    exit_code_of,
    interrupting_signals,
    quiet_tensorflow,
    unfailing_output,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes, /dev/full and signals")


class Full(io.StringIO):
    """A log on a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_cannot_be_printed_is_noted_and_ends_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    before = sys.stdout
    with unfailing_output() as failures:
        print("progress", flush=True)
    assert sys.stdout is before
    assert {failure.errno for failure in failures} == {errno.ENOSPC}
    assert exit_code_of(failures) == EXIT_UNPRINTED


def test_a_reader_that_had_enough_is_no_failure():
    assert exit_code_of([BrokenPipeError(errno.EPIPE, "Broken pipe")]) == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_outside_the_encoding_are_printed_as_escapes(monkeypatch, encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    with unfailing_output() as failures:
        print("caf\udce9.png \N{CAT FACE}")
    stream.flush()
    assert failures == [] and stream.errors == "strict"
    cat = "\N{CAT FACE}" if encoding == "utf-8" else r"\U0001f431"
    assert raw.getvalue().decode(encoding) == rf"caf\udce9.png {cat}" + "\n"


def test_output_that_was_closed_before_the_start_is_nowhere(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with unfailing_output():
        sys.stdout.write("as Keras does")  # print() looks for None, others do not


def test_inside_another_it_changes_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    with unfailing_output() as outer:
        within = sys.stdout
        with unfailing_output():
            assert sys.stdout is within
            print("lost")
        assert sys.stdout is within
    assert outer


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_interrupt_as_ctrl_c_does(number):
    with pytest.raises(KeyboardInterrupt, match=number.name), interrupting_signals():
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
    assert signal.getsignal(number) == signal.SIG_DFL


@posix
def test_a_signal_that_is_lost_in_a_callback_ends_the_command_afterwards(monkeypatch, capsys):
    class Signaling:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)

    lost = []
    monkeypatch.setattr("sys.unraisablehook", lambda about: lost.append(about.exc_type))

    def done(arguments):
        Signaling()
        sys.exit(0)

    monkeypatch.setattr("mae_keras.cli.app", done)
    with pytest.raises(SystemExit) as stop:
        main(["presets"])
    assert lost == [KeyboardInterrupt]
    assert stop.value.code == 130
    assert capsys.readouterr().err == "mae-keras: stopped by SIGTERM\n"


@posix
def test_a_signal_that_is_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupting_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@posix
def test_sigterm_before_training_leaves_with_130_and_a_word(monkeypatch, capsys):
    def signaled(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)

    monkeypatch.setattr("mae_keras.cli.find_recipe", signaled)
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", "--out", "runs/never"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == (
        "mae-keras: stopped by SIGTERM; if training had begun, --resume goes on\n"
    )


def command(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "mae_keras", *words], stderr=subprocess.PIPE, text=True, **options
    )


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_the_command_line_says_that_output_was_lost():
    with open("/dev/full", "w") as full:
        done = command("presets", stdout=full)
    assert done.returncode == EXIT_UNPRINTED
    assert done.stderr == "mae-keras: done, but output was lost: No space left on device\n"


@posix
def test_a_closed_pipe_leaves_no_trace():
    reading, writing = os.pipe()
    os.close(reading)
    done = command("presets", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@posix
@pytest.mark.long
@pytest.mark.parametrize("output", ["/dev/full", "closed pipe", ">&-"])
def test_training_that_cannot_print_is_saved(array_file, tmp_path, output):
    words = ["pretrain", "--dataset", str(array_file), "--preset", "nano", "--patch-size", "2"]
    words += ["--epochs", "1", "--jit-compile", "false"]
    words = [sys.executable, "-m", "mae_keras", *words, "--out", str(tmp_path / "run")]
    reading, writing = os.pipe()
    os.close(reading)
    target = {"/dev/full": "> /dev/full", "closed pipe": f">&{writing}", ">&-": ">&-"}[output]
    done = subprocess.run(
        ["bash", "-c", f'"$@" {target}', "-", *words], stderr=subprocess.PIPE, pass_fds=[writing]
    )
    os.close(writing)
    assert done.returncode == (EXIT_UNPRINTED if output == "/dev/full" else 0), done.stderr
    for name in ("model.keras", "metrics.json", "saved_model", "reconstructions.png"):
        assert (tmp_path / "run" / name).exists()


def test_hints_on_retracing_are_hidden_and_other_warnings_are_not(caplog):
    quiet_tensorflow()
    logger = logging.getLogger("tensorflow")
    logger.warning("5 out of the last %d calls triggered tf.function retracing.", 5)
    logger.warning("Gradients do not exist for variables %s", ["a"])
    assert [record.getMessage() for record in caplog.records] == [
        "Gradients do not exist for variables ['a']"
    ]
