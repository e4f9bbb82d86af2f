"""Lets tests import the scripts under `scripts/benchmarks`."""

import pathlib

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "scripts" / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
