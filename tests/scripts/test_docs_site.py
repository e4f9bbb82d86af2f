"""The docs site builds without a warning, its links lead somewhere, and it says what is true."""

import ast
import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
NEEDS_SPHINX = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("sphinx", "myst_nb", "furo")),
    reason="the docs site needs the extra `docs`",
)


def imported(path):
    """A script or extension as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole site, built once."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going"]
    command += ["-c", "docs", "-d", folder / "doctrees", ".", folder / "html"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "html"


@NEEDS_SPHINX
@pytest.mark.slow
def test_every_page_is_built(site):
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert len(pages) > 20
    assert pages <= {path.relative_to(site / "docs") for path in site.rglob("docs/**/*.html")}


@NEEDS_SPHINX
@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(site):
    assert imported(ROOT / "scripts" / "site_links.py").broken_links(site) == []


@NEEDS_SPHINX
@pytest.mark.slow
def test_every_public_name_has_an_entry_with_its_arguments(site):
    from sphinx.util.inventory import InventoryFile

    import mae_keras
    from mae_keras.models import PRESETS, MaskedAutoencoder

    with (site / "objects.inv").open("rb") as file:
        text = str(InventoryFile.load(file, "", lambda base, path: path))
    for package in mae_keras.__all__[1:]:
        module = importlib.import_module(f"mae_keras.{package}")
        names = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
        values = {name: getattr(module, name) for name in names}
        public = [name for name, value in values.items() if callable(value)]
        missing = [name for name in public if f"'mae_keras.{package}.{name}'" not in text]
        assert public and not missing, missing
    assert MaskedAutoencoder.fit and f"'mae_keras.models.{MaskedAutoencoder.__name__}.fit'" in text
    page = (site / "docs" / "api" / "models.html").read_text()
    assert all(name in page for name in PRESETS)
    for package in ("layers", "models"):
        page = (site / "docs" / "api" / f"{package}.html").read_text()
        assert "(*args, **kwargs)" not in re.sub(r"<[^>]+>", "", page)


def test_every_package_has_a_page():
    import mae_keras

    pages = {path.stem for path in (DOCS / "api").glob("*.md")}
    assert pages == {"index", *mae_keras.__all__} - {"__version__"}


def test_the_messages_in_troubleshooting_are_those_of_the_package():
    """A message is a heading in backticks; `...` stands for what varies."""
    text = (DOCS / "troubleshooting.md").read_text()
    messages = re.findall(r"^### `+ ?(.*?) ?`+$", text, re.M)
    assert len(messages) > 40 and len(messages) == text.count("\n### ")
    said = set()
    for path in (ROOT / "mae_keras").rglob("*.py"):
        said |= {written(node) for node in ast.walk(ast.parse(path.read_text()))}
    patterns = [".*".join(re.escape(part) for part in m.split("...")) for m in messages]
    absent = [p for p in patterns if not any(re.search(p, one, re.S) for one in said)]
    assert not absent


def written(node):
    """A string of the code, with a gap for every value put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(written(value) or "\0" for value in node.values)
    return ""


@NEEDS_SPHINX
def test_models_begin_with_what_most_people_use_and_say_nothing_twice():
    packages = imported(DOCS / "_extensions" / "packages.py")
    for package in packages.packages():
        assert sorted(packages.in_order(package)) == sorted(packages.public_names(package))
    order = packages.in_order("models")
    assert order[:4] == ["MaskedAutoencoder", "ViTEncoder", "ImageClassifier", "load_model"]
    members = packages.members_in("models")
    assert "fit" in members["MaskedAutoencoder"][0]
    own, elsewhere = members["DenseMaskedAutoencoder"]
    assert elsewhere["denoise"] == "mae_keras.models.MaskedAutoencoder.denoise"
    assert "denoise" not in own


def built(tmp_path, text, extension, settings=""):
    """The HTML of a page that an extension of the site has seen."""
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(DOCS / '_extensions')!r})\n"
        f"extensions = ['myst_parser', {extension!r}]\n{settings}"
    )
    (tmp_path / "index.md").write_text(text)
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning"]
    command += [tmp_path, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (tmp_path / "out" / "index.html").read_text()


@NEEDS_SPHINX
def test_cells_of_wide_tables_name_their_columns_and_narrow_tables_stay(tmp_path):
    wide = "| run | loss | time |\n|---|---|---|\n| a | 0.5 | 9 s |\n| 2 | | 8 s |\n"
    narrow = "| one | two |\n|---|---|\n| c | d |\n"
    long_words = f"| | means |\n|---|---|\n| `{'x' * 30}` | `{'y' * 10}` |\n"
    headless = "| | |\n|---|---|\n| e | f |\n"
    text = f"# Tables\n\n{wide}\n{narrow}\n{long_words}\n{headless}"
    page = built(tmp_path, text, "stacked_tables")
    tables = re.findall(r"<table.*?</table>", page, re.S)
    labels = [re.findall(r'column-name">(\w+)</span>', table) for table in tables]
    assert labels == [["loss", "time", "run", "time"], [], ["means"], []]
    assert ["stacked" in table for table in tables] == [True, False, True, False]
    assert ['class="empty"' in table for table in tables] == [True, False, False, False]
    assert ["<thead" in table for table in tables] == [True, True, True, False]


@NEEDS_SPHINX
def test_short_names_do_not_break_at_hyphens_and_names_wider_than_a_phone_may(tmp_path):
    text = f"# Code\n\n`--batch-size 64` and `{'a-' * 20}b`\n"
    page = built(tmp_path, text, "unbroken_names")
    classes = re.findall(r'<code class="([^"]*)"', page)
    assert ["unbroken" in found for found in classes] == [True, False]


@NEEDS_SPHINX
def test_formulas_beside_each_other_may_go_below_each_other(tmp_path):
    text = "# Formulas\n\n$$\na = 1, \\qquad b = 2\n$$\n"
    settings = "myst_enable_extensions = ['dollarmath']\nhtml_math_renderer = 'mathml'\n"
    page = built(tmp_path, text, "mathml", settings)
    (formulas,) = re.findall(r'<div class="formula">(.*?)</div>', page, re.S)
    assert [re.findall(r"<m[in]>(\w)</m", one) for one in formulas.split("</math>")] == [
        ["a", "1"],
        ["b", "2"],
        [],
    ]


def test_a_link_to_nowhere_is_found(tmp_path):
    broken_links = imported(ROOT / "scripts" / "site_links.py").broken_links
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<a href="sub/b.html#here">1</a> <a href="sub/b.html#gone">2</a> <img src="no.png">'
        '<a href="https://nowhere.example/x">3</a> <a href="#top">4</a> <p id="top">'
    )
    (tmp_path / "sub" / "b.html").write_text('<a href="../a.html">1</a><h1 id="here"></h1>')
    assert broken_links(tmp_path) == [
        "a.html: no.png (no such file)",
        "a.html: sub/b.html#gone (no 'gone' there)",
    ]


@NEEDS_SPHINX
def test_docstrings_are_read_as_they_are_written_here():
    converted = imported(DOCS / "_extensions" / "docstrings.py").converted
    docstring = [
        "Sum of a * b, or `a * b`:",
        "",
        "    s = |a| * b",
        "",
        "Args:",
        "    **kwargs: passed on, *all* of them.",
        "",
        "Example:",
        ">>> 1 + 1",
        "2",
    ]
    assert converted(docstring) == [
        r"Sum of a \* b, or `a * b`::",
        "",
        "    s = |a| * b",
        "",
        "Args:",
        r"    **kwargs: passed on, \*all\* of them.",
        "",
        "Example:",
        "    >>> 1 + 1",
        "    2",
    ]


@pytest.mark.long
def test_the_lines_of_getting_started_and_own_data_run(tmp_path, monkeypatch):
    """In one go: the second page's folder of photographs is made of the first page's digits."""
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    names = {}
    shorter = ("epochs=60", "epochs=1"), no_xla('(optimizer="adamw"')
    exec(code_of("getting_started.md", *shorter), names)
    assert names["features"].shape == (269, 64)
    assert (tmp_path / "digits.keras").exists()

    for number, (image, label) in enumerate(zip(names["images"], names["labels"], strict=True)):
        folder = tmp_path / "photos" / ("even" if label % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        if number < 120:
            pixels = np.repeat(image, 3, axis=-1)
            Image.fromarray(pixels).resize((64, 64)).save(folder / f"{number}.png")
    (tmp_path / "photos").rename(tmp_path / "labeled")
    (tmp_path / "photos").symlink_to(tmp_path / "labeled")
    model = names["MaskedAutoencoder"].from_preset("nano", (64, 64, 3), 16)
    model.save(tmp_path / "runs" / "photos" / "model.keras")
    shorter = ("epochs=20", "epochs=1"), no_xla("photos.num_classes")
    exec(code_of("own_data.md", *shorter), names)
    assert (tmp_path / "classifier.keras").exists()
    labeled, photos = names["labeled"], names["photos"]
    assert len(labeled.train) == len(photos.train) > 70
    assert sum(map(len, (photos.train, photos.validation, photos.test))) == 120


@pytest.mark.slow
def test_the_lines_of_is_my_loss_normal_run(tmp_path, monkeypatch, capsys):
    from mae_keras.models import MaskedAutoencoder

    monkeypatch.chdir(tmp_path)
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, mask_ratio=0.5)
    model.compile("adamw", jit_compile=False)
    model.save(tmp_path / "runs" / "digits" / "model.keras")
    names = {}
    exec(code_of("is_my_loss_normal.md"), names)
    # the page: in units of black to white, the mean image costs 0.071
    assert names["baselines"]["mean_image"] == pytest.approx(0.071, abs=0.004)
    assert "loss" in capsys.readouterr().out


@pytest.mark.long
def test_the_lines_of_distribute_run(tmp_path, monkeypatch):
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3))):
        Image.fromarray(pixels.astype("uint8")).save(tmp_path / "folder" / f"{number}.png")
    smaller = ("1024, 1000, 10", "4, 1, 1"), ("224", "32"), ('"base"', '"nano"')
    names = {}
    exec(code_of("distribute.md", *smaller), names)
    assert names["model"].optimizer.iterations == 1
    assert (tmp_path / "base.keras").exists()


def code_of(page, *replacements):
    """The Python blocks of a page that are no doctests, made cheaper by what is replaced."""
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    code = "\n".join(block for block in blocks if ">>>" not in block)
    for there, instead in replacements:
        assert there in code
        code = code.replace(there, instead, 1)
    return compile(code, page, "exec")


def no_xla(call):
    """A replacement that adds an argument to the end of a call."""
    return call, f"{call}, jit_compile=False"
