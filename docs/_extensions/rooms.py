"""Sphinx: entries for the public names of a room, and links from one docstring to another.

Rooms load their names on first use, so there is nothing for `automodule` to find. A page
`docs/api/ROOM.md` ends with an entry for each name that its room exports, as
`tests/test_docstrings.py` counts them; what an entry says is left to autodoc.
"""

import functools
import importlib
import inspect
import types
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.util.docutils import SphinxRole

PACKAGE = "mae_keras"
PAGES = "docs/api/"
# What people use most comes first; the other names of a room follow in alphabetical order.
FIRST = {
    "models": (
        "MaskedAutoencoder",
        "ViTEncoder",
        "ImageClassifier",
        "load_model",
        "PRESETS",
        "Preset",
        "Reconstruction",
    ),
}


def rooms() -> list[str]:
    """Names of the rooms."""
    package = importlib.import_module(PACKAGE)
    return [name for name in package.__all__ if not name.startswith("_")]


@functools.cache
def public_names(room: str) -> tuple[str, ...]:
    """What a room exports; one without `__all__` exports what it imports."""
    module = importlib.import_module(f"{PACKAGE}.{room}")
    names = getattr(module, "__all__", None) or list(vars(module))
    values = {name: getattr(module, name) for name in names if not name.startswith("_")}
    others = types.ModuleType | bool  # sub-modules, and `TYPE_CHECKING`
    return tuple(sorted(name for name, value in values.items() if not isinstance(value, others)))


def in_order(room: str) -> list[str]:
    """The names of a room as its page lists them."""
    first = FIRST.get(room, ())
    return [*first, *(name for name in public_names(room) if name not in first)]


@functools.cache
def places() -> dict[str, str]:
    """Where a name that docstrings mention is documented: `ViTEncoder`, `ops.patchify`.

    A bare name must look like a class or a constant: `score` may be an argument as well.
    """
    found = {}
    for room in rooms():
        for name in public_names(room):
            path = f"{PACKAGE}.{room}.{name}"
            found |= {path: path, f"{room}.{name}": path}
            if name != name.lower():
                found[name] = path
    return found


def documented_members(cls: type) -> list[str]:
    """Methods and properties that this package defines, each with a docstring of its own.

    The rest of what a Keras layer or model has is Keras's, and documented there.
    """
    found = []
    for name in (name for name in dir(cls) if not name.startswith("_")):
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if owner is None or not owner.__module__.startswith(f"{PACKAGE}."):
            continue
        value = vars(owner)[name]
        value = getattr(value, "__func__", value)  # a class method
        if isinstance(value, types.FunctionType | property) and value.__doc__:
            found.append(name)
    return found


def members_in(room: str) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Each class of a room to the members documented there, and to the places of its others.

    A method that several classes of the page share is documented once, at the first of them.
    """
    module = importlib.import_module(f"{PACKAGE}.{room}")
    seen: dict[tuple[str, int], str] = {}
    found = {}
    for name in in_order(room):
        cls = getattr(module, name)
        if not inspect.isclass(cls):
            continue
        own, elsewhere = [], {}
        for member in documented_members(cls):
            value = inspect.getattr_static(cls, member)
            path = seen.setdefault((member, id(value)), f"{PACKAGE}.{room}.{name}.{member}")
            if path == f"{PACKAGE}.{room}.{name}.{member}":
                own.append(member)
            else:
                elsewhere[member] = path
        found[name] = own, elsewhere
    return found


def entry(path: str, value: Any, members: tuple[list[str], dict[str, str]]) -> list[str]:
    """The lines of reStructuredText that document one public name."""
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        own, elsewhere = members
        lines = [f".. auto{kind}:: {path}", *([f"   :members: {', '.join(own)}"] if own else [])]
        if elsewhere:
            links = ", ".join(f":py:obj:`{name} <{at}>`" for name, at in elsewhere.items())
            lines += ["", f"   Described above: {links}."]
        return lines
    if callable(value):
        return [f".. autofunction:: {path}"]
    keys = ", ".join(f"``{key}``" for key in value)
    return [f".. py:data:: {path}", "", f"   {type(value).__name__} of {keys}."]


def add_entries(app: Sphinx, docname: str, content: list[str]) -> None:
    """Put links to the names of a room, and their entries, below what its page says in Markdown."""
    if not docname.startswith(PAGES) or docname.removeprefix(PAGES) not in rooms():
        return
    room = docname.removeprefix(PAGES)
    module = importlib.import_module(f"{PACKAGE}.{room}")
    links = (f":py:obj:`{name} <{PACKAGE}.{room}.{name}>`" for name in in_order(room))
    lines = [", ".join(links)]
    members = members_in(room)
    for name in in_order(room):
        path = f"{PACKAGE}.{room}.{name}"
        lines += ["", *entry(path, getattr(module, name), members.get(name, ([], {})))]
    content[0] += "\n".join(["", "```{eval-rst}", *lines, "```", ""])


def constructor_signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: Any, returns: Any
) -> tuple[str, None] | None:
    """What `__init__` takes: Keras's `__new__`, which autodoc asks first, takes anything."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    if not value.__init__.__module__.startswith(PACKAGE):
        return None
    own = inspect.signature(value.__init__)
    parameters = [p.replace(annotation=p.empty) for p in own.parameters.values()][1:]
    return str(own.replace(parameters=parameters, return_annotation=own.empty)), None


class NameOrCode(SphinxRole):
    """What stands in single backticks: a link where it is a public name, else code."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        path = places().get(self.text)
        if path is None:
            return [nodes.literal(self.rawtext, self.text)], []
        explicit = f"{self.text} <{path}>"
        return PyXRefRole()("py:obj", self.rawtext, explicit, self.lineno, self.inliner)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_role("name_or_code", NameOrCode())
    app.connect("source-read", add_entries)
    app.connect("autodoc-process-signature", constructor_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
