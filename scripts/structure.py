"""How the package is built, in numbers: modules, and what one image crosses on its way to the loss.

    python scripts/structure.py             this tree
    PYTHONPATH=OTHER python scripts/structure.py --package OTHER/mae_keras

Counts what is in the source, and traces one training step of a tiny model to see which modules of
the package run between `fit` and the loss.
"""

import argparse
import ast
import os
import pathlib
import sys
import types
from collections.abc import Iterator

BACKENDS = ("tensorflow", "jax", "torch")
# What holds the kernels, in this tree and in earlier ones.
KERNELS = ("runtime.cpu_kernels", "layers.compiled_")
PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "mae_keras"


def modules_in(package: pathlib.Path) -> dict[str, ast.Module]:
    """Names of modules, as they are imported, and their syntax trees."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported_by(tree: ast.Module) -> Iterator[str]:
    """Dotted names of what a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importing(modules: dict[str, ast.Module], wanted: tuple[str, ...]) -> list[str]:
    """Modules that import something whose name begins so."""
    return [
        name
        for name, tree in modules.items()
        if any(each.startswith(wanted) for each in imported_by(tree))
    ]


def classes_with_several_bases(modules: dict[str, ast.Module]) -> list[str]:
    """Classes that name more than one class of this package as a base."""
    classes = [
        (name, node)
        for name, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    ours = {node.name for _, node in classes}
    return [
        f"{name}.{node.name}"
        for name, node in classes
        if sum(ast.unparse(base).rpartition(".")[2] in ours for base in node.bases) > 1
    ]


def crossed_by_one_image() -> list[str]:
    """Modules of the package that run from a call of `fit` to the value of the loss."""
    import numpy as np

    from mae_keras.losses import MaskedReconstructionLoss
    from mae_keras.models import MaskedAutoencoder

    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2)
    model.compile("adamw", run_eagerly=True, jit_compile=False)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), "uint8")
    crossed: dict[str, None] = {}
    loss = MaskedReconstructionLoss.call.__code__
    arrived = []

    def follow(frame: types.FrameType, event: str, argument: object) -> None:
        name = frame.f_globals.get("__name__", "")
        if not arrived and event == "call" and name.startswith("mae_keras"):
            crossed.setdefault(name)
        if event == "return" and frame.f_code is loss:
            arrived.append(name)

    sys.setprofile(follow)
    try:
        model.fit(images, batch_size=4, verbose=0)
    finally:
        sys.setprofile(None)
    return list(crossed)


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=pathlib.Path, default=PACKAGE)
    package = parser.parse_args().package
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    modules = modules_in(package)
    lines = sum(len(path.read_text().splitlines()) for path in package.rglob("*.py"))
    several = classes_with_several_bases(modules)
    backends = importing(modules, BACKENDS)
    kernels = importing(modules, tuple(f"mae_keras.{name}" for name in KERNELS))
    crossed = crossed_by_one_image()
    print(f"modules: {len(modules)}, {lines} lines")
    for what, names in (
        ("modules crossed from fit to the loss", crossed),
        ("classes with more than one base of ours", several),
        ("modules that import a backend", backends),
        ("modules that import the kernels", kernels),
    ):
        print(f"{what}: {len(names)}")
        for name in names:
            print(f"    {name}")


if __name__ == "__main__":
    main()
