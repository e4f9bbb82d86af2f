"""Sphinx: reads this package's docstrings, which are Google's style with Markdown inside.

Some things differ from what napoleon and reStructuredText expect: the lines of an `Example:` are
not indented, indented formulas follow a single colon, `*` and `|` mean themselves, and a property's
first words before a colon are not its type.
"""

import re
from typing import Any

from sphinx.application import Sphinx

_SECTION = re.compile(r"[A-Z][a-z]+( [a-z]+)?:$")
_CODE = re.compile(r"(`+[^`]*`+)")
_MARKUP = re.compile(r"([*|])")
_COLON = "\N{RATIO}"  # one that napoleon does not see


def converted(lines: list[str]) -> list[str]:
    """The lines of a docstring as napoleon reads them."""
    made, section = [], ""
    for number, line in enumerate(lines):
        if _SECTION.match(line):
            section = line
            made.append(line)
        elif section.startswith("Example"):
            made.append(f"    {line}" if line else "")
        elif not section and line.startswith("    "):
            made.append(line)  # a formula
        elif not section and line.endswith(":") and _formula_follows(lines[number + 1 :]):
            made.append(f"{_escaped(line)}:")
        else:
            made.append(_escaped(line))
    return made


def _formula_follows(lines: list[str]) -> bool:
    return len(lines) > 1 and not lines[0] and lines[1].startswith("    ")


def _escaped(line: str) -> str:
    # napoleon escapes the stars of `**kwargs:` itself
    name = re.match(r"\s*\*{1,2}\w+:", line)
    start = name.end() if name else 0
    parts = _CODE.split(line[start:])
    parts[::2] = [_MARKUP.sub(r"\\\1", part) for part in parts[::2]]
    return line[:start] + "".join(parts)


def before(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Change the docstring in place, as autodoc wants it."""
    lines[:] = converted(lines)
    if what == "property":
        lines[:] = [line.replace(":", _COLON) for line in lines]


def after(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Put back what was hidden from napoleon."""
    if what == "property":
        lines[:] = [line.replace(_COLON, ":") for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", before, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", after, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
