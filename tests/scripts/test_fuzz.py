"""The fuzzer: it covers the public names, finds faults, and finds none here."""

import importlib
import inspect
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("fuzz"), importlib.import_module("fuzz_calls")


@pytest.mark.slow
def test_every_public_name_is_called_or_exempt(fuzz):
    _, fuzz_calls = fuzz
    named = {".".join(name.split(".")[:2]) for name in fuzz_calls.calls()}
    exempt = set(" ".join(fuzz_calls.EXEMPT.values()).split())
    packages = ("layers", "models", "training", "evaluation", "data", "figures", "runs")
    for package in (*packages, "interop"):
        module = importlib.import_module(f"mae_keras.{package}")
        public = [n for n in module.__all__ if not inspect.ismodule(getattr(module, n))]
        assert {f"{package}.{name}" for name in public} - named - exempt == set()


@pytest.mark.slow
def test_outcomes_are_told_apart(fuzz):
    fuzz, fuzz_calls = fuzz

    def outcome(function, argument="size", mistake="negative", value=3):
        call = fuzz_calls.Call("a.b", function, lambda: {argument: value})
        return fuzz.run_case(call, argument, mistake, 0, 0)[0]

    def refuses(size):
        from mae_keras.arguments import check_int

        return check_int("size", size, 1)

    assert outcome(refuses) == "clear"
    assert outcome(lambda size: 1) == "silent"
    assert outcome(lambda size: 1, mistake="zero") == "ok"
    assert outcome(lambda size: np.zeros(2)[size]) == "unclear"
    assert outcome(lambda size: math.nan, mistake="zero") == "silent"


@pytest.mark.slow
def test_a_sample_of_mistakes_is_refused_clearly(tmp_path):
    sizes = "--cases 300 --models 1 --jobs 2 --seed 5".split()
    command = [sys.executable, str(SCRIPTS / "fuzz.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    last = re.search(
        r"301 cases in .*: ([0-9.]+)% unclear, (\d+) hangs, (\d+) crashes, (\d+) silent",
        done.stdout,
    )
    assert last, done.stdout[-3000:] + done.stderr[-1000:]
    assert float(last[1]) <= 2.0 and set(last.groups()[1:]) == {"0"}, done.stdout[-3000:]
    assert "0 broken models" in done.stdout
