"""Sphinx: formulas as MathML, which browsers draw themselves: no script, nothing downloaded."""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(_mathml(node, node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write formulas that stand alone: side by side, or in lines where a screen is narrow."""
    formulas = node.astext().split(r"\qquad")
    lines = "".join(_mathml(node, formula, as_block=True) for formula in formulas)
    translator.body.append(f'<div class="formula">{lines}</div>\n')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, formula: str, as_block: bool) -> str:
    try:
        return tex2mathml(formula, as_block=as_block)
    except MathError as error:
        raise ExtensionError(f"{node.source}: {error} In the formula {formula!r}") from error


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
