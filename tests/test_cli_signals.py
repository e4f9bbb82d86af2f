"""The real command, really signaled: it saves, says how to go on, and does."""

import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

TIMEOUT = 300


class Command:
    """`mae-keras` in a process of its own that saves after every step."""

    def __init__(self, words, run, logs):
        logs.mkdir()
        self.checkpoints, self.out, self.err = run / "checkpoints", logs / "out", logs / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            command = [sys.executable, "-m", "mae_keras", *words]
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def steps(self):
        """Training steps of the newest checkpoint."""
        names = [path.name for path in self.checkpoints.glob("step-*")]
        return max((int(name.removeprefix("step-")) for name in names), default=0)

    def signal_after(self, step, number):
        """Signal it when it has saved a step after that one; exit code and last line of errors."""
        limit = time.monotonic() + TIMEOUT
        while self.steps() <= step:
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < limit
            time.sleep(0.05)
        self.process.send_signal(number)
        code = self.process.wait(TIMEOUT)
        return code, self.err.read_text().splitlines()[-1]


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_pretraining_that_is_signaled_saves_and_says_how_to_go_on(array_file, tmp_path):
    run = tmp_path / "my run"
    words = ["pretrain", "--dataset", str(array_file), "--out", str(run), "--preset", "nano"]
    words += ["--patch-size", "2", "--batch-size", "8", "--epochs", "1000"]
    words += ["--jit-compile", "false", "--checkpoint-minutes", "0"]
    begun = Command(words, run, tmp_path / "begun")
    code, last = begun.signal_after(0, signal.SIGTERM)
    assert code == 130
    # In the middle of an epoch it says so, and at the end of one as well.
    place = r"saved after (step \d+ of 9 in )?epoch \d+ of 1000; go on with: "
    assert re.match(rf"mae-keras: stopped by SIGTERM and {place}", last)
    saved = begun.steps()
    # What it prints is what is done next, word by word.
    _, _, command = last.partition("; go on with: ")
    *before, program = shlex.split(command.partition(" pretrain ")[0])
    assert program == "mae-keras"
    again = Command(shlex.split(command)[len(before) + 1 :], run, tmp_path / "again")
    code, last = again.signal_after(saved, signal.SIGINT)
    assert code == 130
    assert "; going on after epoch " in again.out.read_text()
    assert re.match(rf"mae-keras: stopped by SIGINT and {place}", last)
    assert again.steps() > saved
