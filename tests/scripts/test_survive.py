"""Real processes, really killed."""

import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "benchmarks" / "survive.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks and kills")
def test_runs_survive_being_killed():
    # With this seed one run is killed in a save, elsewhere, and while it recovers.
    command = [sys.executable, str(SCRIPT), "--kills", "3", "--seed", "53"]
    made = subprocess.run(
        [*command, "--steps", "4", "--epochs", "2"], capture_output=True, text=True, timeout=900
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "survived: 3 kills in 1 runs" in made.stdout
    assert "before the first step of recovery" in made.stdout
