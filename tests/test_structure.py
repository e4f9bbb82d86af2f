"""Structure of the package: type hints, light imports, one version."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "mae_keras"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__"))
NAMES = [str(path.relative_to(PACKAGE)) for path in MODULES]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_the_public_face_has_type_hints(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        assert not bare, f"{node.name}: {bare}"


def test_the_package_imports_nothing_heavy():
    script = (
        "import sys, mae_keras\n"
        "heavy = {'keras', 'tensorflow', 'matplotlib', 'sklearn', 'torch', 'jax',\n"
        "         'tensorflow_datasets'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import mae_keras.models, mae_keras.data, mae_keras.figures, mae_keras.runs\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_models_load_none_of_the_rare_libraries():
    """Keras loads some of them itself where they are installed; the models add none."""
    script = (
        "import sys, keras\n"
        "before = set(sys.modules)\n"
        "from mae_keras.models import MaskedAutoencoder, DenseMaskedAutoencoder\n"
        "rare = {'matplotlib', 'sklearn', 'torch', 'tensorflow_datasets'}\n"
        "rare &= set(sys.modules) - before\n"
        "assert not rare, rare\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_version_is_one():
    import importlib.metadata

    import mae_keras

    assert importlib.metadata.version("mae_keras") == mae_keras.__version__ == "0.1.0"
