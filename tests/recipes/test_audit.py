"""Audits of runs: what they measure, write and refuse."""

import json

import pytest
from command_line import refusal
from command_line import run as run_command

from mae_keras import data
from mae_keras.runs import audit_run, audit_text

FOUND = {
    "auc": 0.61,
    "interval": [0.58, 0.64],
    "true_positive_rate": 0.05,
    "false_positive_rate": 0.01,
    "num_members": 2000,
    "num_others": 1000,
}


def copy_of(finished, tmp_path):
    import shutil

    folder, _ = finished
    return shutil.copytree(folder, tmp_path / "run")


@pytest.mark.slow
def test_a_run_is_attacked_with_its_own_images(finished, tmp_path, capsys):
    run = copy_of(finished, tmp_path)
    audit = audit_run(run, num_masks=2, max_images=40)
    assert json.loads((run / "audit.json").read_text()) == audit
    found = audit["membership"]
    assert 0 <= found["interval"][0] <= found["auc"] <= found["interval"][1] <= 1
    assert found["num_members"] == 40 and audit["privacy"] is None
    code, said, _ = run_command(capsys, "audit", run, "--num-masks", "2")
    assert code == 0
    assert "Membership inference" in said and "without differential privacy" in said


@pytest.mark.slow
def test_other_images_are_refused(finished, tmp_path):
    run = copy_of(finished, tmp_path)
    other = data.load("digits")
    with pytest.raises(ValueError, match="An audit needs the images of the run"):
        audit_run(run, images=other)


def test_what_is_no_finished_run_is_refused(tmp_path, capsys):
    assert "`RUN` must be the folder of a run" in refusal(capsys, "audit", tmp_path)
    with pytest.raises(ValueError, match="folder of a finished run.*no config.json"):
        audit_run(tmp_path)
    (tmp_path / "config.json").write_text('{"dataset": "digits"}')
    with pytest.raises(ValueError, match="folder of a finished run.*no model.keras"):
        audit_run(tmp_path)


@pytest.mark.parametrize(
    ("interval", "ending"),
    [
        ([0.58, 0.64], "gives away which images it was trained on."),
        ([0.48, 0.64], "a better attack may."),
        ([0.40, 0.45], "the two groups differ otherwise."),
    ],
)
def test_the_text_says_what_the_numbers_mean(interval, ending):
    spent = {"epsilon": 8.0, "delta": 1e-5}
    found = {**FOUND, "interval": interval}
    text = audit_text({"membership": found, "num_masks": 8, "privacy": spent})
    assert text.endswith(ending) and "AUC 0.610" in text and "trained with epsilon 8" in text
