"""Notebooks run, have the form that all have, and their two files are in step."""

import os
import pathlib
import re

import pytest

pytest.importorskip("jupytext", reason="notebooks need the extra `notebooks`")
pytest.importorskip("nbclient", reason="notebooks need the extra `notebooks`")

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts" / "notebooks"


@pytest.fixture(autouse=True)
def _notebooks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


def a_pair(folder, *cells):
    """The two files of a small notebook, the `.ipynb` as if it had been executed."""
    import nbformat
    from notebook_pairs import Pair, tidy

    pair = Pair(folder / "01_made_up.py")
    pair.source.write_text("\n\n".join(cells) + "\n")
    notebook = pair.read()
    for count, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.execution_count = count
    nbformat.write(tidy(notebook), pair.executed)
    return pair


OPENING = "# %% [markdown]\n# # Title\n#\n# **Question.**\n#\n# **Run time.**\n#\n# **Data.**"
INSTALL = '# %%\nimport importlib.util\nimportlib.util.find_spec("mae_keras")'
PARAMETERS = '# %% tags=["parameters"]\nSMALL = False'
CLOSING = "# %%\nassert not SMALL"


def test_there_are_twelve_notebooks():
    from notebook_pairs import find_pairs

    assert [pair.name[:2] for pair in find_pairs()] == [f"{number:02}" for number in range(12)]


def test_every_notebook_is_well_formed_and_its_two_files_are_in_step():
    from build_notebooks import check_files
    from notebook_pairs import find_pairs

    assert {pair.name: check_files(pair) for pair in find_pairs() if check_files(pair)} == {}


def test_all_notebooks_install_the_package_in_the_same_way():
    from notebook_pairs import find_pairs

    cells = {pair.name: pair.read().cells[1].source for pair in find_pairs()}
    assert len({re.sub(r"\.\.\[\S+\]", "", cell) for cell in cells.values()}) == 1, cells


def test_the_script_that_builds_installs_every_extra_that_a_notebook_uses():
    from notebook_pairs import find_pairs

    script = (SCRIPTS.parent / "build_notebooks").read_text()
    installed = re.search(r"^set_up notebooks (\S+)$", script, re.M).group(1).split(",")
    for pair in find_pairs():
        extras = re.search(r'"\.\.\[(\S+)\]"', pair.read().cells[1].source).group(1)
        assert set(extras.split(",")) <= set(installed), pair.name


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(["01"], marks=pytest.mark.slow),
        pytest.param([], marks=pytest.mark.long, id="all"),
    ],
)
def test_notebooks_run_with_small_settings_and_leave_no_trace(numbers, monkeypatch):
    import keras
    from build_notebooks import SMALL
    from notebook_pairs import find_pairs
    from notebook_runs import run_in_process

    monkeypatch.setenv("MPLBACKEND", "agg")
    before = dict(os.environ), os.getcwd(), keras.config.dtype_policy().name
    for pair in find_pairs(numbers):
        run_in_process(pair.read(), pair.name, pair.source.parent, SMALL)
        assert (dict(os.environ), os.getcwd(), keras.config.dtype_policy().name) == before, (
            pair.name
        )


@pytest.mark.slow
@pytest.mark.long
def test_five_steps_give_the_same_losses_on_jax_in_notebook_09():
    pytest.importorskip("jax", reason="needs the extra `jax`")
    import nbformat
    from notebook_pairs import find_pairs
    from notebook_runs import run_in_process

    (pair,) = find_pairs(["09"])
    notebook = pair.read()
    sources = [cell.source for cell in notebook.cells]
    last = next(n for n, source in enumerate(sources) if "def compare_elsewhere" in source)
    assert "assert np.allclose" in sources[last]
    made = nbformat.v4.new_code_cell('assert {"tensorflow", "jax"} <= set(results)')
    notebook.cells = [*notebook.cells[: last + 1], made]
    run_in_process(notebook, pair.name, pair.source.parent, {"SMALL": False})


def test_a_pair_in_step_has_no_faults(tmp_path):
    from build_notebooks import check_files

    assert check_files(a_pair(tmp_path, OPENING, INSTALL, PARAMETERS, CLOSING)) == []


def test_a_changed_cell_is_named(tmp_path):
    from build_notebooks import check_files

    pair = a_pair(tmp_path, OPENING, INSTALL, PARAMETERS, CLOSING)
    pair.source.write_text(pair.source.read_text().replace("not SMALL", "True"))
    assert "cell 4 differs; in the .py file it begins with 'assert True'" in check_files(pair)


def test_what_a_notebook_lacks_is_said(tmp_path):
    from build_notebooks import check_files

    faults = check_files(a_pair(tmp_path, "# %% [markdown]\n# # Title", "# %%\n1"))
    for wanted in ("Question", "Run time", "Data", "install", "assert", "parameters"):
        assert any(wanted in fault for fault in faults), wanted


def test_lines_of_code_are_counted_where_readers_see_them(tmp_path):
    from build_notebooks import check_files

    lines = "\n".join(["# a comment", "", *["x = 1"] * 118])
    shown = f"# %%\n{lines}"
    hidden = f'# %% tags=["remove-cell"]\n{lines}\nassert x'
    cells = OPENING, INSTALL, PARAMETERS, shown, hidden, CLOSING
    assert check_files(a_pair(tmp_path, *cells)) == [
        "it shows 122 lines of code, more than 120"  # and two, one and one in the cells of all
    ]
    pair = a_pair(tmp_path, OPENING, INSTALL, PARAMETERS, shown[: -len("x = 1\n") * 2], CLOSING)
    assert check_files(pair) == []


def test_a_cell_that_is_left_out_of_the_site_asserts_something(tmp_path):
    from build_notebooks import check_files

    removed = '# %% tags=["remove-cell"]\nx = 1'
    (fault,) = check_files(a_pair(tmp_path, OPENING, INSTALL, PARAMETERS, removed, CLOSING))
    assert "asserts nothing" in fault


def test_without_an_address_there_is_no_badge_and_with_one_colab_gets_the_clone(tmp_path):
    from notebook_pairs import for_colab, repository

    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text('[project.urls]\nDocumentation = "https://example.org"\n')
    assert repository(pyproject) is None
    pair = a_pair(tmp_path, OPENING, INSTALL, PARAMETERS, CLOSING)
    assert len(for_colab(pair.read(), pair.name, None).cells) == 4

    pyproject.write_text('[project.urls]\nRepository = "https://github.com/owner/name.git"\n')
    address = repository(pyproject)
    assert address == "https://github.com/owner/name"
    book = for_colab(pair.read(), pair.name, address)
    link = "colab.research.google.com/github/owner/name/blob/main/notebooks/01_made_up.ipynb"
    assert link in book.cells[0].source and book.cells[0].source.startswith("# Title\n")
    assert f"git clone --quiet --depth 1 {address}" in book.cells[1].source
    sources = [cell.source for cell in pair.read().cells]
    assert [cell.source for cell in book.cells[2:]] == sources[1:]


def test_a_widget_is_no_part_of_a_committed_notebook():
    import nbformat
    from notebook_pairs import WIDGET, tidy

    v4 = nbformat.v4
    outputs = [v4.new_output("display_data", {kind: ""}) for kind in (WIDGET, "text/html")]
    book = v4.new_notebook(cells=[v4.new_code_cell("1", outputs=outputs)])
    assert [list(output.data) for output in tidy(book).cells[0].outputs] == [["text/html"]]


def test_pictures_get_a_palette_and_keep_their_look():
    import base64
    import io

    import nbformat
    import numpy as np
    from notebook_pairs import tidy
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 100, (64, 64, 1)).repeat(3, axis=2)
    stream = io.BytesIO()
    Image.fromarray(pixels.astype("uint8")).save(stream, "png")
    v4 = nbformat.v4
    encoded = base64.b64encode(stream.getvalue()).decode()
    output = v4.new_output("display_data", {"image/png": encoded})
    book = tidy(v4.new_notebook(cells=[v4.new_code_cell("1", outputs=[output])]))
    kept = base64.b64decode(book.cells[0].outputs[0].data["image/png"])
    assert len(kept) < 0.8 * len(stream.getvalue())
    assert np.abs(np.asarray(Image.open(io.BytesIO(kept)).convert("RGB")) - pixels).max() <= 2


def test_errors_and_noise_in_outputs_are_found(tmp_path):
    import nbformat
    from notebook_pairs import faults_of_outputs

    pair = a_pair(tmp_path, "# %%\n1", "# %%\n2")
    book = nbformat.read(pair.executed, as_version=4)
    book.cells[0].execution_count = None
    noise = nbformat.v4.new_output("stream", name="stderr", text="Warning: x")
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    book.cells[1].outputs = [noise, error]
    faults = "\n".join(faults_of_outputs(book))
    assert "not executed" in faults and "Warning: x" in faults and "failed: no" in faults


def test_a_step_that_was_left_out_is_a_fault_of_the_outputs(tmp_path):
    import nbformat
    from notebook_pairs import faults_of_outputs

    pair = a_pair(tmp_path, "# %%\n1")
    book = nbformat.read(pair.executed, as_version=4)
    said = ("a loss\nThis step is left out: pip install x\n", "No network. Going on with digits.\n")
    streams = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in said]
    book.cells[0].outputs = streams
    faults = faults_of_outputs(book)
    assert len(faults) == 2
    assert "This step is left out" in faults[0] and "a loss" not in faults[0]
    assert "Going on with digits" in faults[1]


def test_what_libraries_log_while_they_load_is_removed_and_nothing_else():
    import nbformat
    from notebook_pairs import tidy

    v4 = nbformat.v4
    log = (
        "WARNING: All log messages before absl::Init() ...\nI0000 00:00:1.2 3 port.cc:153] oneDNN\n"
    )
    streams = [
        v4.new_output("stream", name="stderr", text=text)
        for text in (log, log + "UserWarning: x\n")
    ]
    book = v4.new_notebook(cells=[v4.new_code_cell("1", outputs=streams)])
    assert [output.text for output in tidy(book).cells[0].outputs] == ["UserWarning: x\n"]


FAILING = {
    "a cell raises": ("# %%\nraise ValueError('no')", "no"),
    "a step is left out": ("# %%\nprint('PyTorch is left out: pip install torch')", "left out"),
    "stderr": ("# %%\nimport sys\nprint('noise', file=sys.stderr)", "noise"),
    "too large": ("# %%\nprint('x' * 400_000)", "more than 300,000"),
    "an error that is expected": (
        "# %% tags=[\"raises-exception\"]\nraise ValueError('no')",
        "cell 4 failed: no",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "message"), FAILING.values(), ids=FAILING)
def test_a_notebook_that_did_not_run_through_leaves_the_committed_one_as_it_was(
    tmp_path, cell, message
):
    from build_notebooks import build

    pair = a_pair(tmp_path, OPENING, INSTALL, PARAMETERS, cell, CLOSING)
    before = pair.executed.read_bytes()
    faults = "\n".join(build(pair))
    assert message in faults
    assert pair.executed.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01_made_up.ipynb", "01_made_up.py"]


@pytest.mark.slow
def test_a_notebook_that_ran_through_is_written(tmp_path):
    import nbformat
    from build_notebooks import build

    pair = a_pair(tmp_path, OPENING, INSTALL, PARAMETERS, "# %%\nprint(6 * 7)", CLOSING)
    assert build(pair) == []
    book = nbformat.read(pair.executed, as_version=4)
    assert book.cells[3].outputs[0].text == "42\n"


def test_a_run_here_says_in_which_cell_it_failed(tmp_path):
    from build_notebooks import check_run

    cells = [PARAMETERS, "# %%\n%matplotlib inline\nprint(SMALL)", "# %%\nassert not SMALL"]
    faults = check_run(a_pair(tmp_path, *cells))
    assert len(faults) == 1
    assert "<01_made_up, cell 3>" in faults[0] and "assert not SMALL" in faults[0]


def test_a_cell_of_parameters_must_set_what_the_check_changes(tmp_path):
    from build_notebooks import check_run

    faults = check_run(a_pair(tmp_path, '# %% tags=["parameters"]\nDATASET = "digits"'))
    assert "sets no 'SMALL'" in faults[0]


def test_a_name_that_fits_no_notebook_is_refused():
    from notebook_pairs import find_pairs

    with pytest.raises(ValueError, match="No notebook begins with '77'.*01_masking_by_hand"):
        find_pairs(["77"])
