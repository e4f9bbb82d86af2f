"""The code in README and docs runs, and its links and commands exist."""

import doctest
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from mae_keras.cli import app, with_repeated_options
from mae_keras.run_contents import WEIGHTS

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("scripts/**/*.md")])
TRAINING = {"dense.md", "tables.md"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] * (page.name in TRAINING))
        for page in PAGES
    ],
)
def test_examples_give_what_they_show(page):
    text = "\n".join(block for block in blocks(page, "python") if ">>>" in block)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    report = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False).run(
        examples, out=report.append
    )
    assert not report, "".join(report)


def lines_of_the_readme():
    (code,) = (b for b in blocks(ROOT / "README.md", "python") if ">>>" not in b)
    return code


@pytest.mark.slow
def test_the_lines_in_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = lines_of_the_readme()
    assert "epochs=60" in code
    code = code.replace("epochs=60", "epochs=1")
    # Numbers of threads are for a process that has not used TensorFlow yet.
    shown = "print(features.shape, result.pasted.shape)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{shown}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "(1258, 64) (269, 8, 8, 1)"
    assert (tmp_path / "mae.keras").exists()


@pytest.mark.slow
@pytest.mark.long
def test_the_lines_in_the_readme_learn_more_than_the_mean_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    code = lines_of_the_readme()
    exec(compile(code, "README.md", "exec"), names)
    images, held_out = names["images"], names["digits"].test.arrays()[0]
    by_mean_image = ((held_out - images.mean(axis=0)) ** 2).mean() / images.var()  # all pixels
    assert by_mean_image == pytest.approx(0.5, abs=0.05)
    assert names["model"].evaluate(held_out, verbose=0) < 0.9 * by_mean_image


@pytest.mark.long
def test_the_lines_on_evaluation_run(tmp_path, monkeypatch):
    from mae_keras.models import MaskedAutoencoder

    monkeypatch.chdir(tmp_path)
    model = MaskedAutoencoder.from_preset("nano", image_shape=(8, 8, 1), patch_size=2)
    model.save(tmp_path / "runs" / "digits" / "model.keras")
    code = "\n".join(blocks(ROOT / "docs" / "evaluation.md", "python"))
    assert "epochs=20" in code
    names = {}
    exec(compile(code.replace("epochs=20", "epochs=1"), "evaluation.md", "exec"), names)
    assert names["blocks"].shape == (5, 269, 64)
    assert names["filled"].shape == (269, 8, 8, 1)
    assert (tmp_path / "classifier.keras").exists()


@pytest.mark.long
def test_an_encoder_is_reused_as_the_page_says(tmp_path, monkeypatch):
    import keras
    import numpy as np

    from mae_keras.models import load_model

    monkeypatch.chdir(tmp_path)
    weights, head, unfrozen, save, load = blocks(ROOT / "docs" / "reuse_encoder.md", "python")
    assert "limit=1000" in head and "epochs=10" in head
    head = head.replace("limit=1000", "limit=200").replace("epochs=10", "epochs=1")
    names = {}
    exec(compile(weights + head, "reuse_encoder.md", "exec"), names)
    trained, frozen = names["encoder"], names["model"].trainable_variables
    start = keras.saving.load_model(WEIGHTS / "mnist" / "model.keras").encoder
    for ours, theirs in zip(trained.weights, start.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(frozen) == 4  # of the norm and the head
    exec(
        compile(unfrozen.replace("epochs=3", "epochs=1") + save, "reuse_encoder.md", "exec"), names
    )
    moved = [np.any(a != b) for a, b in zip(trained.weights, start.weights, strict=True)]
    assert np.mean(moved) > 0.9
    images = names["images"][:8]
    expected = names["model"].predict(images, verbose=0)
    np.save("images.npy", images)
    show = (
        "import numpy as np\nnp.save('again.npy', model.predict(np.load('images.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", f"{load}\n{show}"], check=True, capture_output=True)
    np.testing.assert_allclose(np.load("again.npy"), expected, atol=1e-5)
    again = load_model("digits.keras").predict(images, verbose=0)
    np.testing.assert_allclose(again, expected, atol=1e-5)


@pytest.mark.long
def test_the_lines_on_forecasting_forecast(capsys):
    code = "\n".join(blocks(ROOT / "docs" / "forecasting.md", "python"))
    names = {}
    exec(compile(code, "forecasting.md", "exec"), names)
    score, forecasts = names["forecast_score"], names["forecasts"]
    errors = {name: score(values, names["future"]).mse for name, values in forecasts.items()}
    assert errors["ridge"] < 1e-3 and errors["encoder"] < 0.5 * errors["last_value"]
    assert names["shorter"].shape[1:] == (24, 1)
    assert (abs(names["filled"]) < 10).all() and names["distance"].shape == (8, 96, 1)


@pytest.mark.long
def test_the_lines_on_abnormality_find_what_is_planted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    code = "\n".join(blocks(ROOT / "docs" / "abnormality.md", "python"))
    exec(compile(code, "abnormality.md", "exec"), names)
    found = {method.name: method for method in names["report"].methods}
    assert found["reconstruction"].roc_auc > 0.9 and found["reconstruction"].pixel_roc_auc > 0.9
    assert names["temperature"] > 1.5 and (tmp_path / "screening.png").exists()
    assert names["found"].mass.mean() > 3 * names["found"].chance.mean()


def test_commands_in_the_docs_parse():
    commands = [
        line.split("#")[0].strip()
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    ours = [c for c in commands if c.startswith(("mae-keras ", "scripts/run "))]
    assert len(ours) > 5
    for command in ours:
        arguments = shlex.split(command)[1:]
        if arguments[-1] != "--help":
            arguments = with_repeated_options(arguments)
            app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert "scripts/test" in commands and "scripts/run" in commands


STAND_INS = {
    "srun": """
for SLURM_PROCID in 0 1; do export SLURM_PROCID; "${@:2}" || code=$?; done; exit "${code:-0}"
""",
    "scontrol": '[ "$1" = requeue ] && touch requeued || echo node-a',
    "mae-keras": """
[[ "$*" = *"--out runs/large --distribute processes"* ]] || exit 99
codes=($ended)
code=${codes[$KERAS_DISTRIBUTION_PROCESS_ID]}
[ "$code" = killed ] && kill -9 $PPID
exit "$code"
""",
}


@pytest.mark.parametrize(
    ("ended", "requeued"),
    [("0 0", False), ("2 134", False), ("130 134", False), ("75 137", True), ("killed 75", True)],
)
def test_the_slurm_script_goes_by_how_process_0_ended(tmp_path, ended, requeued):
    script = next(s for s in blocks(ROOT / "docs" / "distribute.md", "sh") if "#SBATCH" in s)
    for name, text in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / name).chmod(0o700)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}
    subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**environment, "ended": ended},
        check=True,
        timeout=60,
        capture_output=True,
    )
    assert (tmp_path / "requeued").exists() == requeued


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
