"""Sphinx: entries for the public names of a package, and links from one docstring to another.

Packages load their names on first use, so there is nothing for `automodule` to find. A page
`docs/api/PACKAGE.md` ends with an entry for each name that its package exports, as
`tests/test_docstrings.py` counts them; autodoc writes the entries.
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

ROOT = "mae_keras"
PAGES = "docs/api/"
# What people use most comes first; the other names of a package follow in alphabetical order.
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
    "data": ("load", "DATASETS", "ImageData", "ArraySplit", "training_batches", "Augmentation"),
    "evaluation": ("fit_linear_probe", "knn_accuracy", "fine_tune", "trivial_losses"),
    "training": (
        "pretraining_optimizer",
        "fine_tuning_optimizer",
        "MaskedAdamW",
        "MaskRatioScheduler",
        "ReconstructionCallback",
        "shard_batches_across_cores",
        "distribute",
    ),
    "runs": ("pretrain", "evaluate_run", "fine_tune_run", "predict_files", "Recipe", "RECIPES"),
    "figures": ("reconstruction_figure", "loss_figure", "save_figure"),
    "interop": ("export_saved_model", "export_onnx", "export_litert", "model_from_torch"),
    "layers": ("RandomMasking", "BlockMasking", "AxisMasking", "PatchMasking", "PatchExtraction"),
    "losses": ("MaskedReconstructionLoss",),
    "ops": ("patchify", "unpatchify", "num_hidden", "psnr", "ssim"),
}


def packages() -> list[str]:
    """Names of the packages."""
    return [name for name in importlib.import_module(ROOT).__all__ if not name.startswith("_")]


@functools.cache
def public_names(package: str) -> tuple[str, ...]:
    """What a package exports; one without `__all__` exports what it imports."""
    module = importlib.import_module(f"{ROOT}.{package}")
    names = getattr(module, "__all__", None) or list(vars(module))
    values = {name: getattr(module, name) for name in names if not name.startswith("_")}
    not_documented = types.ModuleType | bool  # sub-modules, and `TYPE_CHECKING`
    return tuple(
        sorted(name for name, value in values.items() if not isinstance(value, not_documented))
    )


def in_order(package: str) -> list[str]:
    """The names of a package as its page lists them."""
    first = FIRST.get(package, ())
    return [*first, *(name for name in public_names(package) if name not in first)]


@functools.cache
def link_targets() -> dict[str, str]:
    """From a name that docstrings mention (`ViTEncoder`, `ops.patchify`) to its entry.

    A bare name must look like a class or a constant: `score` may be an argument as well.
    """
    found = {}
    for package in packages():
        for name in public_names(package):
            path = f"{ROOT}.{package}.{name}"
            found |= {path: path, f"{package}.{name}": path}
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
        if owner is None or not owner.__module__.startswith(f"{ROOT}."):
            continue
        value = vars(owner)[name]
        value = getattr(value, "__func__", value)  # a class method
        if isinstance(value, types.FunctionType | property) and value.__doc__:
            found.append(name)
    return found


def members_in(package: str) -> dict[str, tuple[list[str], dict[str, str]]]:
    """From each class of a package to its documented members, and to the entries of the others.

    A method that several classes of the page share is documented once, at the first of them.
    """
    module = importlib.import_module(f"{ROOT}.{package}")
    seen: dict[tuple[str, int], str] = {}
    found = {}
    for name in in_order(package):
        cls = getattr(module, name)
        if not inspect.isclass(cls):
            continue
        own, elsewhere = [], {}
        for member in documented_members(cls):
            value = inspect.getattr_static(cls, member)
            path = seen.setdefault((member, id(value)), f"{ROOT}.{package}.{name}.{member}")
            if path == f"{ROOT}.{package}.{name}.{member}":
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
    """Append links to the names of a package, and their entries, to its page."""
    if not docname.startswith(PAGES) or docname.removeprefix(PAGES) not in packages():
        return
    package = docname.removeprefix(PAGES)
    module = importlib.import_module(f"{ROOT}.{package}")
    links = (f":py:obj:`{name} <{ROOT}.{package}.{name}>`" for name in in_order(package))
    lines = [", ".join(links)]
    members = members_in(package)
    for name in in_order(package):
        path = f"{ROOT}.{package}.{name}"
        lines += ["", *entry(path, getattr(module, name), members.get(name, ([], {})))]
    content[0] += "\n".join(["", "```{eval-rst}", *lines, "```", ""])


def constructor_signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: Any, returns: Any
) -> tuple[str, None] | None:
    """The signature of `__init__`: autodoc would show Keras's `__new__(*args, **kwargs)`."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    if not value.__init__.__module__.startswith(ROOT):
        return None
    own = inspect.signature(value.__init__)
    parameters = [p.replace(annotation=p.empty) for p in own.parameters.values()][1:]
    return str(own.replace(parameters=parameters, return_annotation=own.empty)), None


class NameOrCode(SphinxRole):
    """Single backticks: a link for a public name, else code."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        path = link_targets().get(self.text)
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
