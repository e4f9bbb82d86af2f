"""The house keeps its order: small rooms, mirrored tests, light imports."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "mae_keras"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__"))
NAMES = [str(path.relative_to(PACKAGE)) for path in MODULES]
# One constant each: their values are looked at in recipes/test_catalogue.py.
NOTHING_TO_TEST = {f"recipes/{name}.py" for name in ("cifar10", "fashion_mnist", "images", "mnist")}
NOTHING_TO_TEST |= {"recipes/digits.py"}


@pytest.mark.parametrize("name", NAMES)
def test_every_module_has_a_test_file_of_its_name(name):
    module = pathlib.Path(name)
    mirrored = ROOT / "tests" / module.parent / f"test_{module.name}"
    assert mirrored.exists() or name in NOTHING_TO_TEST


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_files_and_functions_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            code = node.end_lineno - node.lineno + 1 - len(docstring.splitlines())
            assert code <= 40, f"{node.name} has {code} lines"


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
        "import mae_keras.models, mae_keras.data, mae_keras.figures, mae_keras.recipes\n"
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


def test_no_file_names_a_package_registry():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".ipynb", ""} and path.is_file():
            text = path.read_text(errors="ignore")
            assert "pypi" + ".org" not in text and "index" + "-url" not in text, name
