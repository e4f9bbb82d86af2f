"""The code in README and docs runs, and its links and commands exist."""

import doctest
import pathlib
import re
import shlex

import pytest

from mae_keras.cli import app

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("scripts/**/*.md")])


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_give_what_they_show(page):
    text = "\n".join(block for block in blocks(page, "python") if ">>>" in block)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    report = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False).run(
        examples, out=report.append
    )
    assert not report, "".join(report)


@pytest.mark.slow
def test_the_lines_in_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = (b for b in blocks(ROOT / "README.md", "python") if ">>>" not in b)
    assert "epochs=30" in code
    names = {}
    exec(compile(code.replace("epochs=30", "epochs=1"), "README.md", "exec"), names)
    assert names["features"].shape == (1258, 64)
    assert names["made"].pasted.shape == (269, 8, 8, 1)
    assert (tmp_path / "mae.keras").exists()


@pytest.mark.slow
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
            app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert "scripts/test" in commands and "scripts/run" in commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
