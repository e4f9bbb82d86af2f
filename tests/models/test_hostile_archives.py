"""Files made to run code, reach other files, or fill memory and time: refused, and nothing runs.

The code would make a folder, or copy a file; nothing worse happens should one of them work.
"""

import copy
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
from command_line import refusal
from models.hostile_files import CONFIGS, FILES, dense, marshalled, sequential, write

from mae_keras.models import load_model
from mae_keras.runs.building import initialize_from

CHILD = pathlib.Path(__file__).with_name("hostile_child.py")
REPOSITORY = CHILD.parents[2]


def load_in_child(folder):
    """The report of `hostile_child.py` about the files of a folder, by name."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(CHILD), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=900
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"{lines[-1:]} {done.stderr[-3000:]}"
    return {line["name"].removesuffix(".keras"): line for line in lines}


def held(folder):
    """What lies in a folder, with contents."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink()
    }


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Every hostile file, loaded in one watched process with 1 GB of memory to spare."""
    folder = tmp_path_factory.mktemp("hostile")
    before = os.getcwd()
    os.chdir(folder)  # sockets have short names only
    try:
        for name, (config, _) in CONFIGS.items():
            write(folder / f"{name}.keras", config(folder))
        for name, (make, _) in FILES.items():
            make(folder / f"{name}.keras")
    finally:
        os.chdir(before)
    write(folder / "legitimate.keras", sequential(dense()), fill=one_dense_layer)
    contents = held(folder)
    reports = load_in_child(folder)
    assert held(folder) == contents
    return reports


def one_dense_layer(file):
    file["layers/dense/vars/0"] = [[1.0]] * 4
    file["layers/dense/vars/1"] = [0.0]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CONFIGS, *FILES])
def test_a_hostile_file_is_refused_and_nothing_runs(name, reports):
    reason = {**CONFIGS, **FILES}[name][1]
    report = reports[name]
    assert report["did"] == []
    assert re.search(reason, report["error"] or "was loaded"), report["error"]
    assert f"{name}.keras" in report["error"]
    assert "\n" not in report["error"] and len(report["error"]) < 2500
    assert report["s"] < 10


@pytest.mark.slow
def test_the_process_that_refuses_them_loads_what_is_harmless(reports):
    assert reports["legitimate"]["error"] is None
    assert reports["legitimate"]["did"] == []


# One of each way in, where there is no time for all.
@pytest.mark.parametrize(
    "name", ["module function in Lambda", "download", "a registered function by its name"]
)
def test_a_hostile_config_is_refused(name, tmp_path):
    config, reason = CONFIGS[name]
    keras.saving.get_custom_objects()["hostile>canary"] = pytest.fail
    try:
        with pytest.raises(ValueError, match=reason):
            load_model(write(tmp_path / "model.keras", config(tmp_path)))
    finally:
        del keras.saving.get_custom_objects()["hostile>canary"]
    assert not (tmp_path / "ran").exists()


def change_anything(document, rng, folder):
    """Put something else in place of a random part of a config."""
    places = []
    pending = [document]
    while pending:
        value = pending.pop()
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(part, (dict, list)):
                pending.append(part)
    holder, key = rng.choice(places)
    hostile = rng.choice(list(CONFIGS.values()))[0](folder)
    other, other_key = rng.choice(places)
    part = copy.deepcopy(other[other_key])
    holder[key] = rng.choice(
        [hostile, part, -1, 2**40, None, "hostile>canary", [], {}, 0.5, "os.mkdir"]
    )


@pytest.mark.long
def test_no_change_of_a_file_makes_it_run_anything(tmp_path, make_tiny):
    """Bits flipped, and parts of the config exchanged for each other and for hostile ones."""
    model = make_tiny()
    model.compile("adam", jit_compile=False)
    model.save(tmp_path / "legitimate.keras")
    content = (tmp_path / "legitimate.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "legitimate.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    rng = random.Random(0)
    beside = tmp_path / "beside"
    beside.mkdir()
    for number in range(60):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (tmp_path / f"flipped {number}.keras").write_bytes(flipped)
        document = json.loads(members["config.json"])
        for _ in range(rng.choice([1, 1, 3])):
            change_anything(document, rng, beside)
        with zipfile.ZipFile(tmp_path / f"changed {number}.keras", "w") as archive:
            for name, part in members.items():
                archive.writestr(name, json.dumps(document) if name == "config.json" else part)
    contents = held(tmp_path)
    reports = load_in_child(tmp_path)
    assert held(tmp_path) == contents
    assert len(reports) == 121
    for name, report in reports.items():
        assert report["did"] == [], name
        assert report["s"] < 10, name
        assert "not a ValueError" not in (report["error"] or ""), report["error"]


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_file_of_the_old_format_is_refused_whatever_its_name(name, tmp_path):  # CVE-2025-9905
    marker = tmp_path / "ran"
    with h5py.File(tmp_path / name, "w") as file:
        file.attrs["model_config"] = json.dumps(marshalled(marker))
    with pytest.raises(ValueError, match="no whole `.keras` file"):
        load_model(tmp_path / name)
    assert not marker.exists()


def test_the_byte_code_of_these_tests_does_run_where_safe_mode_is_off(tmp_path):
    marker = tmp_path / "ran"
    path = write(tmp_path / "model.keras", marshalled(marker))
    keras.saving.load_model(path, safe_mode=False)(keras.ops.zeros((1, 1)))
    assert marker.is_dir()


@pytest.mark.parametrize(
    "command",
    [
        ["export", "{run}", "--out", "{out}"],
        ["evaluate", "{run}"],
        ["reconstruct", "{run}", "{run}/a.png", "--out", "{out}"],
        ["import", "{run}/model.keras", "--out", "{out}"],
    ],
    ids=lambda command: command[0],
)
def test_the_command_line_refuses_a_run_with_a_hostile_model(capsys, tmp_path, command):
    marker, run = tmp_path / "ran", tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    keras.utils.save_img(run / "a.png", np.zeros((8, 8, 1)))
    write(run / "model.keras", marshalled(marker))
    line = refusal(capsys, *(word.format(run=run, out=tmp_path / "out") for word in command))
    assert "model.keras" in line
    assert not marker.exists()


def test_a_run_does_not_begin_from_a_hostile_model(tmp_path):
    marker = tmp_path / "ran"
    write(tmp_path / "model.keras", marshalled(marker))
    with pytest.raises(ValueError, match="cannot be loaded"):
        initialize_from(keras.Sequential(), tmp_path)
    assert not marker.exists()
