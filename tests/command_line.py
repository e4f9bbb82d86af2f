"""Running `mae-keras` in this process."""

from unittest import mock

from mae_keras.cli import main


def run(capsys, *arguments):
    """Exit code, standard output and standard error of a command."""
    try:
        # Which holds for the whole process, if TensorFlow has not started in it yet.
        with mock.patch("mae_keras.cli._shard_batches"):
            main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def refusal(capsys, *arguments):
    """The one line that a refused command prints."""
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "Traceback" not in err
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    return lines[0]
