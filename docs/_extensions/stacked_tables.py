"""Sphinx: names of columns within the cells of wide tables, for screens too narrow for columns.

`site.css` shows them there, a row below the other; elsewhere they are hidden.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

_MOST_COLUMNS = 2  # tables of so many columns fit any screen


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
            if len(names) <= _MOST_COLUMNS:
                continue
            table["classes"].append("stacked")
            for row in body.findall(nodes.row):
                for name, entry in zip(names[1:], list(row.children)[1:], strict=False):
                    if name and entry.astext():
                        entry.insert(0, nodes.inline(name, name, classes=["column-name"]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(StackedTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
