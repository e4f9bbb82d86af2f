"""What surrounds the package: the package page, the install page, the workflows."""

import importlib.util
import os
import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
README = (ROOT / "README.md").read_text()
ADDRESS = "https://example.org/some/where"


@pytest.fixture
def package_page():
    spec = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.package_page


def targets(markdown):
    links = re.findall(r"\]\(([^)#]+)", markdown) + re.findall(r'src="([^"]+)"', markdown)
    return {target for target in links if target}


def test_a_package_page_has_no_relative_links(package_page):
    relative = {target for target in targets(README) if not target.startswith("https:")}
    assert len(relative) > 10
    without = "\n".join(line for line in PYPROJECT.splitlines() if "Repository" not in line)
    plain = package_page(README, without)
    assert all(target.startswith("https:") for target in targets(plain))
    assert "[architecture]" not in plain and "architecture" in plain


@pytest.mark.parametrize("ending", ["", "/", ".git"])
def test_with_an_address_they_lead_there(package_page, ending):
    page = package_page(README, f'[project.urls]\nRepository = "{ADDRESS}{ending}"\n')
    found = {target for target in targets(page) if target.startswith(ADDRESS)}
    assert len(found) > 10
    for target in found:
        kind, place = re.fullmatch(rf"{ADDRESS}/(blob|raw)/main/(.+)", target).groups()
        assert (ROOT / place).is_file()
        assert (kind == "raw") == place.endswith(".png")


def section(name):
    return re.search(rf"^\[{re.escape(name)}\]\n(.*?)^\[", PYPROJECT, re.M | re.S)[1]


def test_the_install_page_lists_every_extra():
    extras = re.findall(r"^([a-z-]+) = \[", section("project.optional-dependencies"), re.M)
    page = (ROOT / "docs" / "install.md").read_text()
    cells = " ".join(re.findall(r"^\| (`.*?) \|", page, re.M))
    assert len(extras) > 10
    assert not [extra for extra in extras if f"`{extra}`" not in cells]


def test_the_install_page_leaves_out_tensorflow_alone():
    (dependencies,) = re.findall(r"^dependencies = \[\n(.*?)^\]", PYPROJECT, re.M | re.S)
    names = {name for name in re.findall(r'^ *"([A-Za-z-]+)', dependencies, re.M)}
    page = (ROOT / "docs" / "install.md").read_text()
    (command,) = re.findall(r"^pip install (cyclopts.*)$", page, re.M)
    listed = {re.match(r"'?([A-Za-z-]+)", word)[1] for word in command.split()}
    assert listed == names - {"tensorflow"} | {"jax"}


def test_the_workflows_run_scripts_that_exist():
    steps = []
    for path in ROOT.glob(".github/workflows/*.yml"):
        workflow = yaml.safe_load(path.read_text())
        steps += [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert {".ci/run", "scripts/docs", "scripts/test_wheel"} <= set(commands)
    assert all(os.access(ROOT / command, os.X_OK) for command in commands)
    assert all(set(step) & {"run", "uses"} for step in steps)
