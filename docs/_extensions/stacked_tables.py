"""Sphinx: names of columns within the cells of wide tables, for screens too narrow for columns.

`site.css` shows them there, a row below the other; elsewhere they are hidden. Heads without words,
which Markdown asks for, are left out.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

_MOST_COLUMNS = 2  # tables of so many columns fit any screen,
_MOST_CHARACTERS = 36  # if the longest words of their columns are no longer than this together


class StackedTables(SphinxPostTransform):
    """Marks tables of more columns and labels their cells."""

    default_priority = 900
    formats = ("html",)

    def run(self) -> None:
        """Called by Sphinx for each page."""
        for table in self.document.findall(nodes.table):
            head = next(iter(table.findall(nodes.thead)), None)
            body = next(iter(table.findall(nodes.tbody)), None)
            if head is None or body is None:
                continue
            names = [entry.astext() for entry in head.findall(nodes.entry)]
            if not any(names):
                head.parent.remove(head)
            rows = [row.children for row in body.findall(nodes.row)]
            if len(names) <= _MOST_COLUMNS and _longest_words(rows) <= _MOST_CHARACTERS:
                continue
            table["classes"].append("stacked")
            for row in rows:
                for name, entry in zip(names, row, strict=False):
                    text = entry.astext()
                    if not text:
                        entry["classes"].append("empty")
                    elif name and (entry is not row[0] or text.replace(",", "").isdigit()):
                        entry.insert(0, nodes.inline(name, name, classes=["column-name"]))


def _longest_words(rows: list[list[nodes.Node]]) -> int:
    columns = zip(*rows, strict=False)
    words = ([re.split(r"\s", cell.astext()) for cell in column] for column in columns)
    return sum(max(len(word) for cell in column for word in cell) for column in words)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(StackedTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
