"""Real processes, really killed."""

import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "benchmarks" / "survive.py"


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="forks and kills")
def test_runs_survive_being_killed():
    # With this seed a run is to be killed in a save, elsewhere, and while it recovers; how soon
    # this machine starts a process decides what is hit, and in how many runs.
    command = [sys.executable, str(SCRIPT), "--kills", "3", "--seed", "53"]
    made = subprocess.run(
        [*command, "--steps", "4", "--epochs", "2"], capture_output=True, text=True, timeout=900
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "survived: 3 kills" in made.stdout
