"""A notebook as text (`.py`, the source) and as executed (`.ipynb`): reading, comparing, writing.

Comparisons look at what a reader sees of the source, cell by cell, never at bytes: cell ids and
metadata change whenever a tool touches a file.
"""

import base64
import dataclasses
import io
import pathlib
import re
from collections.abc import Sequence

import jupytext
import nbformat
from nbformat import NotebookNode
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
MOST_LINES = 120  # lines of code of a notebook that a reader sees
REMOVED = "remove-cell"  # MyST-NB leaves cells with this tag out of the site
LARGEST = 300_000  # bytes of an executed notebook: GitHub and the docs site load it whole
# What is logged in places that a notebook cannot silence: below Python while libraries load, and by
# TensorFlow when several models were asked for predictions.
LOGGED = re.compile(
    r"^(WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:"
    r"|WARNING:tensorflow:\d+ out of the last|INFO:tensorflow:Assets written to).*\n?",
    re.M,
)
# What notebooks say when an extra, the network or a data set is missing.
INCOMPLETE = ("left out", "Going on with")
# Widgets need a running kernel: a committed one would be an empty box.
WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """The two files of one notebook.

    Args:
        source: path of the `.py` file.
    """

    source: pathlib.Path

    @property
    def name(self) -> str:
        """Its name without suffix."""
        return self.source.stem

    @property
    def executed(self) -> pathlib.Path:
        """Path of the `.ipynb` file."""
        return self.source.with_suffix(".ipynb")

    def read(self) -> NotebookNode:
        """The notebook of the `.py` file, without outputs."""
        return jupytext.read(self.source, fmt="py:percent")


def find_pairs(names: Sequence[str] = (), folder: pathlib.Path = FOLDER) -> list[Pair]:
    """Find notebooks by the beginnings of their names; all of them by default.

    Raises:
        ValueError: if a name fits none.
    """
    pairs = [Pair(path) for path in sorted(folder.glob("[0-9][0-9]_*.py"))]
    for name in names:
        if not any(pair.name.startswith(name) for pair in pairs):
            known = ", ".join(pair.name for pair in pairs)
            raise ValueError(f"No notebook begins with {name!r}. There are: {known}")
    return [pair for pair in pairs if not names or pair.name.startswith(tuple(names))]


def repository(pyproject: pathlib.Path = ROOT / "pyproject.toml") -> str | None:
    """The address on GitHub that `[project.urls]` gives as `Repository`, if it gives one."""
    address = re.search(r'^Repository = "(https://github\.com/[^"]+)"', pyproject.read_text(), re.M)
    return address.group(1).rstrip("/").removesuffix(".git") if address else None


def for_colab(notebook: NotebookNode, name: str, address: str | None) -> NotebookNode:
    """Add what Colab needs, if the address is known: a badge, and a cell that gets the clone.

    Returns the same notebook, changed in place.
    """
    if address is None:
        return notebook
    opening = notebook.cells[0]
    place = address.removeprefix("https://github.com/")
    link = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{name}.ipynb"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"
    title, _, rest = opening.source.partition("\n")
    opening.source = f"{title}\n\n{badge}\n{rest}"
    getting = nbformat.v4.new_code_cell(CLONE.format(address=address))
    getting.metadata["tags"] = [REMOVED]
    notebook.cells.insert(1, getting)
    return notebook


# Does nothing in a clone.
CLONE = """import pathlib

if not pathlib.Path("../pyproject.toml").exists():
    !git clone --quiet --depth 1 {address} mae_keras_clone
    %cd mae_keras_clone/notebooks"""


def differences(source: NotebookNode, executed: NotebookNode) -> list[str]:
    """Say in which cells two notebooks differ in kind, text or tags."""
    ours, theirs = ([_seen(cell) for cell in book.cells] for book in (source, executed))
    if len(ours) != len(theirs):
        return [f"the .py file has {len(ours)} cells, the .ipynb file {len(theirs)}"]
    return [
        f"cell {number} differs; in the .py file it begins with {our[1][:60]!r}"
        for number, (our, their) in enumerate(zip(ours, theirs, strict=True), 1)
        if our != their
    ]


def _seen(cell: NotebookNode) -> tuple:
    return cell.cell_type, cell.source.strip(), sorted(cell.metadata.get("tags", ()))


def tidy(notebook: NotebookNode) -> NotebookNode:
    """A copy with what readers see and nothing that changes from run to run or machine to machine.

    Cells are numbered by place, so that a rebuilt notebook differs only where outputs do.
    """
    made = nbformat.v4.new_notebook()
    made.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        new = (
            nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        )
        tidied = new(cell.source, id=f"cell-{number:02d}")
        if cell.metadata.get("tags"):
            tidied.metadata["tags"] = list(cell.metadata["tags"])
        if cell.cell_type == "code":
            tidied.execution_count = cell.get("execution_count")
            tidied.outputs = _tidy_outputs(cell.get("outputs", []))
        made.cells.append(tidied)
    return made


def _tidy_outputs(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    tidied = []
    for output in map(NotebookNode, outputs):
        if "metadata" in output:
            output.metadata = {}
        if WIDGET in output.get("data", {}):
            continue
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = _with_a_palette(output.data["image/png"])
        if output.output_type == "stream":
            output.text = LOGGED.sub("", output.text)
        if output.get("text") != "":
            tidied.append(output)
    return tidied


def _with_a_palette(encoded: str) -> str:
    """A PNG in 256 colors, which halves its size, or as it is where that makes it no smaller."""
    png = base64.b64decode(encoded)
    smaller = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(smaller, "png", optimize=True)
    return base64.b64encode(min(smaller.getvalue(), png, key=len)).decode()


def faults_of_form(notebook: NotebookNode) -> list[str]:
    """What a notebook lacks of the form that all have; see notebooks/README.md."""
    faults = []
    opening = notebook.cells[0] if notebook.cells else None
    for wanted in ("# ", "**Question", "**Run time", "**Data"):
        if opening is None or opening.cell_type != "markdown" or wanted not in opening.source:
            faults.append(f"the first cell must be text with a title and {wanted!r}")
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not codes or 'find_spec("mae_keras")' not in codes[0].source:
        faults.append("the first code cell must install the package when it is missing")
    if not codes or "assert " not in codes[-1].source:
        faults.append("the last code cell must assert something")
    seen = [cell for cell in codes if REMOVED not in cell.metadata.get("tags", ())]
    lines = sum(map(_lines_of_code, seen))
    if lines > MOST_LINES:
        faults.append(f"it shows {lines} lines of code, more than {MOST_LINES}")
    for cell in codes:
        if cell not in seen and "assert " not in cell.source:
            faults.append(f"a cell tagged `{REMOVED}` asserts nothing: {cell.source[:60]!r}")
    parameters = [cell for cell in codes if "parameters" in cell.metadata.get("tags", ())]
    if len(parameters) != 1 or "\nSMALL = False" not in "\n" + parameters[0].source:
        faults.append("one cell must be tagged `parameters` and say `SMALL = False`")
    return faults


def _lines_of_code(cell: NotebookNode) -> int:
    lines = map(str.strip, cell.source.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def faults_of_outputs(executed: NotebookNode) -> list[str]:
    """What is wrong with an executed notebook: errors, noise, cells or steps not run, size."""
    faults = []
    size = len(nbformat.writes(executed).encode())
    if size > LARGEST:
        faults.append(f"the executed notebook has {size:,} bytes, more than {LARGEST:,}")
    for number, cell in enumerate(executed.cells, 1):
        if cell.cell_type != "code":
            continue
        if cell.execution_count is None:
            faults.append(f"cell {number} was not executed")
        for output in cell.outputs:
            if output.output_type == "error":
                faults.append(f"cell {number} failed: {output.evalue}")
            if output.get("name") == "stderr":
                faults.append(f"cell {number} wrote to stderr: {output.text[:200]!r}")
            for line in output.get("text", "").splitlines():
                if any(words in line for words in INCOMPLETE):
                    faults.append(f"cell {number} is not what readers should see: {line!r}")
    return faults
