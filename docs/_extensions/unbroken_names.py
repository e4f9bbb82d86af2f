"""Sphinx: marks code that a line can hold, so that `site.css` keeps it from breaking at hyphens."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

_LONGEST = 32  # characters of a word that fits a line of any screen


class UnbrokenNames(SphinxPostTransform):
    """Marks inline code whose words are short, such as `--batch-size`."""

    default_priority = 900
    formats = ("html",)

    def run(self) -> None:
        """Called by Sphinx for each page."""
        for code in self.document.findall(nodes.literal):
            if max(map(len, code.astext().split()), default=0) <= _LONGEST:
                code["classes"].append("unbroken")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(UnbrokenNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
